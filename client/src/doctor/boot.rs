//! The boot loader: its records, what it is, and what it hands to the kernel.

use std::path::Path;

use super::Doctor;
use crate::device::Standing;
use crate::finding::Finding;
use crate::sys::mounts;

/// What the back end says of its records, and of what it takes from the slot.
pub fn records(doctor: &mut Doctor) -> Vec<Finding> {
    let root = doctor.device.system.file("/");
    match doctor.device.boot() {
        Ok(boot) => boot.examine(&root),
        Err(why) => vec![Finding::wrong(
            "boot back end",
            "boot records that can be opened",
            why,
            "set backend and env_dir in [boot] of rota.toml; see meta-rota/docs/porting.md",
        )],
    }
}

/// What the boot loader is, and how it stands.
pub fn loader(doctor: &mut Doctor) -> Vec<Finding> {
    const BOOT: &str = "boot back end";
    let Ok(boot) = doctor.device.boot() else { return Vec::new() };
    let mut findings = vec![Finding::ok(BOOT, boot.capabilities().words())];
    match doctor.device.view() {
        Ok(view) => {
            let stands = format!("slot {} booted, slot {} committed", view.booted, view.boot.committed);
            findings.push(match view.standing() {
                Standing::Fallback => Finding::wrong(
                    BOOT,
                    "the committed slot booted",
                    stands,
                    "see why with `rota status --why` and on the serial console; the daemon commits the running slot once it is healthy",
                ),
                _ => Finding::ok(BOOT, stands),
            });
        }
        Err(why) => findings.push(Finding::not_checked(BOOT, why)),
    }
    findings
}

/// The kernel comes from the slot: `/boot` is no file system of its own, and what runs has its modules there.
pub fn kernel_place(doctor: &mut Doctor) -> Vec<Finding> {
    const KERNEL: &str = "kernel";
    let mounts = match doctor.device.system.mounts() {
        Ok(mounts) => mounts,
        Err(error) => return vec![Finding::not_checked(KERNEL, error.to_string())],
    };
    let mut findings = Vec::new();
    let (boot, root) =
        (mounts::holding(&mounts, Path::new("/boot")), mounts::holding(&mounts, Path::new("/")));
    if let (Some(boot), Some(root)) = (boot, root) {
        if boot.point != root.point {
            findings.push(Finding::wrong(
                KERNEL,
                "/boot in the slot, so that root file system and kernel change together",
                format!("{} is mounted there, which both slots share", boot.source),
                "put the kernel into the root file system's /boot and let the boot script load it from the slot",
            ));
        }
    }
    let release = doctor.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (release, modules) = (release.trim(), doctor.device.system.file("/lib/modules"));
    if !release.is_empty() && modules.is_dir() {
        findings.push(match modules.join(release).is_dir() {
            true => Finding::ok(KERNEL, format!("{release} runs and has its modules in the slot")),
            false => Finding::wrong(
                KERNEL,
                format!("/lib/modules/{release}, the modules of the kernel that runs"),
                "only those of another kernel: the one that runs does not come from this slot",
                "let the boot loader load the kernel from the slot's /boot",
            ),
        });
    }
    findings
}

/// What the boot script tells the kernel.
pub fn command_line(doctor: &mut Doctor) -> Vec<Finding> {
    const LINE: &str = "kernel command line";
    let words = doctor.command_line();
    let said = words.iter().rev().find_map(|word| word.strip_prefix("rota.slot=")).unwrap_or_default();
    let marked = words.iter().any(|word| word == "rota.trial=1");
    let mut findings = Vec::new();
    let remedy = "use meta-rota's boot script, or have yours add rota.slot=A or =B and, for a trial only, rota.trial=1";
    match doctor.device.booted() {
        Ok(slot) if slot.to_string() == said => {
            findings.push(Finding::ok(LINE, format!("rota.slot={said}")));
        }
        Ok(slot) => findings.push(Finding::wrong(
            LINE,
            format!("rota.slot={slot}"),
            if said.is_empty() { "no rota.slot=".to_owned() } else { format!("rota.slot={said}") },
            remedy,
        )),
        Err(_) => findings.push(Finding::not_checked(LINE, "the booted slot is not known")),
    }
    let trial = doctor.device.view().map(|view| view.standing() == Standing::Trial);
    match (trial, marked) {
        (Ok(true), false) => findings.push(Finding::wrong(
            LINE,
            "rota.trial=1, since this is a trial: the guard goes by it",
            "no such word",
            remedy,
        )),
        // After a commit the word stays until the next start; then the mark for the guard is there.
        (Ok(false), true) if !doctor.device.paths.run.join("committed").exists() => {
            findings.push(Finding::wrong(
                LINE,
                "no rota.trial=1, since nothing is on trial",
                "rota.trial=1",
                remedy,
            ));
        }
        _ => {}
    }
    findings
}
