//! systemd as the init system of a slot, with the units that rota ships, enabled as `systemctl enable` does.

use std::fs;

use super::Tree;
use crate::debian::Debian;
use crate::error::{Context, Error, Result};
use crate::house::{folder, House};
use crate::kind::Kind;

/// Packages that are taken with the libraries that they depend on.
const PACKAGES: [&str; 3] = ["systemd", "udev", "mount"];
/// Libraries of programs that maintain an installation, which comes as a whole here.
const NOT_NEEDED: [&str; 6] = ["libdb5.3", "libdebian", "libnewt", "libsemanage", "libslang", "libsepol"];
/// What of the packages nobody reads here.
const FOLDERS: [&str; 5] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "lib/udev/hwdb.d",
    "usr/lib/x86_64-linux-gnu/gconv",
];

/// A unit: its name and text.
type Unit = (&'static str, &'static str);
/// What brings the machine up in the place of `rcS`, and the lab's shell.
const LAB: [Unit; 2] = [
    ("lab-up.service", include_str!("../../image/systemd/lab-up.service")),
    ("lab-shell.service", include_str!("../../image/systemd/lab-shell.service")),
];

/// Adds systemd, the lab's units and rota's.
pub fn add(tree: &Tree, debian: &Debian, house: &House, kind: &dyn Kind) -> Result<()> {
    let all = debian.closure(&PACKAGES)?;
    let is_needed = |name: &&str| {
        let is_library = name.starts_with("lib") && !NOT_NEEDED.iter().any(|not| name.starts_with(not));
        is_library || PACKAGES.contains(name)
    };
    let needed: Vec<&str> = all.iter().map(String::as_str).filter(is_needed).collect();
    for files in debian.all_unpacked(&needed)? {
        tree.add_files(&files)?;
    }
    for path in FOLDERS {
        let path = tree.path().join(path);
        if path.exists() {
            fs::remove_dir_all(&path).context("remove", path.display())?;
        }
    }
    tree.remove("/sbin/init")?;
    tree.link("sbin/init", "/lib/systemd/systemd")?;
    // systemctl, where people and rota look for it.
    tree.remove("/sbin/reboot")?;
    tree.link("sbin/reboot", "/bin/systemctl")?;
    add_settings(tree, kind)?;
    for (name, text) in LAB {
        enable(tree, name, &text.replace("@SHELL@", kind.shell()))?;
    }
    tree.write("/usr/lib/lab/up", include_bytes!("../../image/systemd/up"), 0o755)?;
    tree.write("/usr/lib/lab/shell", include_bytes!("../../image/shell"), 0o755)?;
    for name in ["rota.service", "rota-guard.service"] {
        let unit = house.source(&format!("client/dist/{name}"))?;
        enable(tree, name, &fs::read_to_string(&unit).context("read", unit.display())?)?;
    }
    Ok(())
}

/// What an image's builder decides: names, partitions, console, watchdog.
fn add_settings(tree: &Tree, kind: &dyn Kind) -> Result<()> {
    tree.add_names(kind)?;
    tree.write("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n", 0o644)?;
    // As meta-rota writes it.
    let mut partitions = String::from("tmp /tmp tmpfs defaults 0 0\n");
    for (device, place, file_system) in kind.mounts() {
        folder(tree.at(place)?)?;
        partitions += &format!("{device} {place} {file_system} defaults,noatime,nofail 0 0\n");
    }
    tree.write("/etc/fstab", partitions.as_bytes(), 0o644)?;
    tree.write("/etc/modules-load.d/lab.conf", kind.modules().join("\n").as_bytes(), 0o644)?;
    let journal = "[Journal]\nStorage=volatile\nForwardToConsole=yes\nMaxLevelConsole=info\n";
    tree.write("/etc/systemd/journald.conf.d/lab.conf", journal.as_bytes(), 0o644)?;
    tree.write("/etc/systemd/system.conf.d/watchdog.conf", b"[Manager]\nRuntimeWatchdogSec=60\n", 0o644)?;
    folder(tree.at("/etc/systemd/system")?)?;
    tree.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")?;
    // Interfaces keep the kernel's names.
    folder(tree.at("/etc/systemd/network")?)?;
    tree.link("etc/systemd/network/99-default.link", "/dev/null")?;
    // Nobody signs in on the console.
    tree.link("etc/systemd/system/serial-getty@ttyS0.service", "/dev/null")?;
    tree.link("etc/systemd/system/getty.target", "/dev/null")
}

/// Installs a unit, and links it into what it says that wants it.
fn enable(tree: &Tree, name: &str, text: &str) -> Result<()> {
    tree.write(&format!("/lib/systemd/system/{name}"), text.as_bytes(), 0o644)?;
    let target =
        text.lines().find_map(|line| line.strip_prefix("WantedBy=")).ok_or_else(|| Error::Unexpected {
            what: format!("the unit {name}"),
            expected: "WantedBy=".into(),
            found: "none".into(),
        })?;
    let wants = format!("/etc/systemd/system/{target}.wants");
    folder(tree.at(&format!("{wants}/x"))?.parent().unwrap_or(tree.path()).to_path_buf())?;
    tree.link(&format!("{wants}/{name}"), &format!("/lib/systemd/system/{name}"))
}
