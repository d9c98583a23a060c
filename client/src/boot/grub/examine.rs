//! GRUB's part of `rota doctor`.

use std::fs;
use std::path::Path;

use super::Grub;
use crate::boot::examine::{kernel, writable};
use crate::finding::Finding;

const RECORDS: &str = "boot records";
const SCRIPT: &str = "boot script";

impl Grub {
    pub(super) fn look(&self, root: &Path) -> Vec<Finding> {
        let mut findings = vec![self.records_found(), self.writable_found()];
        let (script, kernel_path) = self.script();
        findings.push(script);
        findings.push(kernel(root, kernel_path.as_deref()));
        findings
    }

    /// Whether both copies are whole and equal.
    fn records_found(&self) -> Finding {
        let expected = "two copies of GRUB's boot records, whole and equal";
        let place = self.folder.display();
        let copies = match self.read() {
            Ok(copies) => copies,
            Err(error) => {
                return Finding::wrong(
                    RECORDS,
                    expected,
                    error.to_string(),
                    "mount the boot partition (/etc/fstab), or correct env_dir in [boot] of rota.toml",
                )
            }
        };
        let faults: Vec<String> = (0..2)
            .filter_map(|at| Some(format!("copy {}: {}", at + 1, copies.copies[at].fault()?)))
            .collect();
        let remedy = "`rota daemon` makes both copies equal when it starts; if this comes back, the boot partition is failing";
        match copies.records {
            _ if !faults.is_empty() => Finding::wrong(RECORDS, expected, faults.join("; "), remedy),
            None => Finding::wrong(
                RECORDS,
                format!(
                    "mender_boot_part {} or {}, upgrade_available and bootcount 0 or 1",
                    self.parts[0], self.parts[1]
                ),
                format!("other values in {place}"),
                "set slots.a and slots.b to partitions with these numbers; otherwise `rota daemon` writes the records anew",
            ),
            Some(_) if !copies.agree() => {
                Finding::wrong(RECORDS, expected, format!("the copies in {place} differ"), remedy)
            }
            Some(_) => Finding::ok(RECORDS, format!("two copies in {place}, whole and equal")),
        }
    }

    /// Whether the files of both copies may be written.
    fn writable_found(&self) -> Finding {
        let files = ["mender_grubenv1", "mender_grubenv2"]
            .into_iter()
            .flat_map(|copy| ["env", "lock", "lock.sha256sum"].map(|name| self.folder.join(copy).join(name)));
        let refused = files
            .filter(|file| file.exists())
            .find_map(|file| Some(format!("{}: {}", file.display(), writable(&file).err()?)));
        match refused {
            None => Finding::ok(RECORDS, "they can be written"),
            Some(found) => Finding::wrong(
                RECORDS,
                "files that can be written, so that a trial can be armed and committed",
                found,
                "mount the boot partition read-write, and run this as root",
            ),
        }
    }

    /// Whether a boot script for these records and partitions lies where GRUB looks, and the kernel's path if it says one.
    fn script(&self) -> (Finding, Option<String>) {
        let beside = self.folder.parent().unwrap_or(Path::new("/"));
        let scripts =
            [beside.join("grub/grub.cfg"), beside.join("EFI/BOOT/grub.cfg"), beside.join("grub.cfg")];
        let found = scripts.iter().find_map(|path| Some((path, fs::read_to_string(path).ok()?)));
        let Some((path, script)) = found else {
            let why = format!("no grub.cfg beside {}", self.folder.display());
            return (Finding::not_checked(SCRIPT, why), None);
        };
        if !script.contains("upgrade_available") {
            let wrong = Finding::wrong(
                SCRIPT,
                "a script that reads the boot records (rota-grub.cfg, or grub-mender-grubenv's)",
                format!("{} never names upgrade_available", path.display()),
                "install meta-rota's rota-grub.cfg there: with this one no trial is ever booted",
            );
            return (wrong, None);
        }
        let defines = path.with_file_name("rota-grub-defines.cfg");
        let text = fs::read_to_string(&defines).unwrap_or_default();
        let setting = |name: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix("set ")?.strip_prefix(name));
            Some(value?.strip_prefix('=')?.trim_matches('"').to_owned())
        };
        let parts = [setting("rota_part_a"), setting("rota_part_b")];
        let expected = self.parts.map(|part| Some(part.to_string()));
        let finding = match parts.iter().any(Option::is_some) && parts != expected {
            true => Finding::wrong(
                SCRIPT,
                format!("partitions {} and {}, as in slots.a and slots.b", self.parts[0], self.parts[1]),
                format!(
                    "{} says {} and {}",
                    defines.display(),
                    parts[0].as_deref().unwrap_or("nothing"),
                    parts[1].as_deref().unwrap_or("nothing")
                ),
                "make the two agree: otherwise GRUB boots what the client did not write",
            ),
            false => Finding::ok(SCRIPT, path.display().to_string()),
        };
        (finding, setting("rota_kernel"))
    }
}
