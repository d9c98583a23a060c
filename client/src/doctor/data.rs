//! The data partition: apart from the slots, writable, with room; and what the client keeps there.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Doctor;
use crate::finding::Finding;
use crate::key::DeviceKey;
use crate::provides;
use crate::record::{self, Condition};
use crate::sys::{disk, host, mounts};
use crate::update::journal::{self, Journal};

const DATA: &str = "data partition";
/// File systems that forget everything, or lie over something that does.
const FORGETFUL: [&str; 4] = ["tmpfs", "ramfs", "overlay", "rootfs"];

/// Where the client's state lies.
pub fn partition(doctor: &mut Doctor) -> Vec<Finding> {
    let data = doctor.device.paths.data.clone();
    let remedy =
        "mount a partition that both slots share at /data, and make /var/lib/rota a link to /data/rota";
    let folder = match fs::canonicalize(&data) {
        Ok(folder) if folder.is_dir() => folder,
        Ok(folder) => {
            return vec![Finding::wrong(DATA, "a folder", format!("{} is none", folder.display()), remedy)];
        }
        Err(error) => {
            return vec![Finding::wrong(DATA, data.display().to_string(), error.to_string(), remedy)];
        }
    };
    let mut findings = vec![place(doctor, &folder, remedy)];
    let missing = |name: &str, size: usize| {
        let conditions = record::conditions(&data, name);
        size * conditions.iter().filter(|condition| **condition == Condition::Missing).count()
    };
    let needed = (missing("journal", journal::SIZE) + missing("provides", provides::SIZE)) as u64;
    findings.push(match mounts::free(&folder) {
        Ok(free) if free >= needed => Finding::ok(DATA, format!("{free} bytes are free")),
        Ok(free) => Finding::wrong(
            DATA,
            format!("{needed} bytes of room for the journal"),
            format!("{free} bytes are free"),
            "make room: without its journal the client arms no trial",
        ),
        Err(error) => Finding::not_checked(DATA, format!("free space: {error}")),
    });
    let trace = folder.join("doctor");
    findings.push(
        match disk::replace(&trace, b"rota doctor was here\n", 0o600).and_then(|()| disk::remove(&trace)) {
            Ok(()) => Finding::ok(DATA, "a file can be written, and removed"),
            Err(error) => Finding::wrong(
                DATA,
                "a folder that can be written",
                error.to_string(),
                "mount the partition read-write, check it for errors (fsck), and run this as root",
            ),
        },
    );
    findings
}

fn place(doctor: &Doctor, folder: &std::path::Path, remedy: &str) -> Finding {
    let system = &doctor.device.system;
    let mounts = match system.mounts() {
        Ok(mounts) => mounts,
        Err(error) => return Finding::not_checked(DATA, error.to_string()),
    };
    let Some(mount) = mounts::holding(&mounts, folder) else {
        return Finding::not_checked(DATA, format!("nobody says what {} lies on", folder.display()));
    };
    let apart = "a partition of its own, which both slots share and a restart leaves alone";
    if FORGETFUL.contains(&mount.kind.as_str()) {
        let found =
            format!("{} lies on {}, which forgets everything at a restart", folder.display(), mount.kind);
        return Finding::wrong(DATA, apart, found, remedy);
    }
    let holding = doctor.device.layout().ok().map(|layout| layout.holding(folder, system));
    match holding {
        Some(Ok(Some(slot))) => {
            let found = format!("{} lies on slot {slot}, and would go with it", folder.display());
            Finding::wrong(DATA, apart, found, remedy)
        }
        Some(Err(error)) => Finding::not_checked(DATA, error.to_string()),
        _ => Finding::ok(DATA, format!("{} lies on {} ({})", folder.display(), mount.source, mount.kind)),
    }
}

/// Journal and provides: both records whole, and nothing in them that has to be known.
pub fn journal(doctor: &mut Doctor) -> Vec<Finding> {
    let data = &doctor.device.paths.data;
    let mut findings = vec![pair(doctor, "journal"), pair(doctor, "provides")];
    let record = Journal::peek(data);
    findings.extend(record.faults().map(|fault| {
        let remedy = "`rota status --why` tells more; it is told to the server with the next inventory, and then forgotten";
        Finding::wrong("journal", "nothing that went wrong", fault, remedy)
    }));
    findings
}

fn pair(doctor: &Doctor, name: &'static str) -> Finding {
    let data = &doctor.device.paths.data;
    let files = format!("{}/{name}.0 and .1", data.display());
    let conditions = record::conditions(data, name);
    let remedy = "`rota daemon` makes what is missing, and the next write makes a torn record whole; if this comes back, the storage is \
                  failing";
    match conditions {
        [Condition::Missing, Condition::Missing] => Finding::not_checked(
            name,
            format!("{files} are not there yet: `rota daemon` makes them when it first starts"),
        ),
        conditions if conditions.iter().all(|at| matches!(at, Condition::Whole | Condition::Blank)) => {
            Finding::ok(name, format!("{files} are whole"))
        }
        conditions => {
            let word = |condition: &Condition| match condition {
                Condition::Whole => "whole",
                Condition::Blank => "not yet written",
                Condition::Missing => "missing",
                Condition::Garbled => "torn or foreign",
            };
            let found = format!("{name}.0 is {}, {name}.1 is {}", word(&conditions[0]), word(&conditions[1]));
            Finding::wrong(name, format!("{files} both whole"), found, remedy)
        }
    }
}

/// The key that the server knows this device by: there, readable, and nobody else's.
pub fn device_key(doctor: &mut Doctor) -> Vec<Finding> {
    const KEY: &str = "device key";
    let mut findings = vec![match crate::identity::attributes(&doctor.device.paths) {
        Ok(attributes) => Finding::ok("identity", attributes),
        Err(why) => Finding::wrong(
            "identity",
            "attributes that name this device, the same at every start",
            why,
            "install a program /usr/lib/rota/identity that prints name=value, for example a serial number",
        ),
    }];
    let file = crate::key::file(&doctor.device.paths, doctor.device.config.device_key.as_deref());
    let name = crate::token::name(&file);
    if crate::token::uri(&file).is_some() {
        // One signature shows that it is there, and that the PIN is right.
        let tried = DeviceKey::read(&file).and_then(|key| key.public_key().and(key.sign(b"")));
        findings.push(match tried {
            Ok(_) => Finding::ok(KEY, format!("{name} signs in its hardware")),
            Err(why) => Finding::wrong(
                KEY,
                format!("{name} to sign"),
                why,
                "plug the token in, or correct device_key in rota.toml; `pkcs11-tool -L -O` shows what a token holds",
            ),
        });
        return findings;
    }
    match fs::metadata(&file) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why = format!("{name} is not there yet: `rota daemon` makes it when it first starts");
            findings.push(Finding::not_checked(KEY, why));
            return findings;
        }
        Err(error) => {
            findings.push(Finding::not_checked(KEY, format!("{name}: {error}")));
            return findings;
        }
    }
    findings.extend(exposed(KEY, &file));
    findings.push(match DeviceKey::read(&file) {
        Ok(_) => Finding::ok(KEY, format!("{name} is a key that the client can use")),
        Err(why) => Finding::wrong(
            KEY,
            "an Ed25519, RSA or ECDSA P-256 key in PEM form",
            why,
            "restore it; or remove it, and the device comes to the server with a new one",
        ),
    });
    findings
}

/// What is wrong when others than this user can read a private key.
pub fn exposed(check: &'static str, file: &std::path::Path) -> Option<Finding> {
    let metadata = fs::metadata(file).ok()?;
    let (mode, owner, user, name) = (metadata.mode() & 0o7777, metadata.uid(), host::user(), file.display());
    (mode & 0o077 != 0 || owner != user).then(|| {
        Finding::wrong(
            check,
            format!("{name} with mode 600, of user {user}"),
            format!("mode {mode:o}, user {owner}: others can pretend to be this device"),
            format!(
                "chown {user} {name}; chmod 600 {name}; if others may have read it, make another, and dismiss the device on the server"
            ),
        )
    })
}
