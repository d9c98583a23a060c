//! Where the slots are, and which of them the root file system is on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Error, Slot};
use crate::sys::device::{self, Number};
use crate::sys::mounts::{self, Mount};

/// The devices of the two slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Slot A, for example `/dev/mmcblk0p2`; a link to it will do.
    pub a: PathBuf,
    /// Slot B.
    pub b: PathBuf,
}

/// Where the kernel tells about itself. Tests put files in the place of `/proc` and `/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    root: PathBuf,
}

impl Default for System {
    /// This machine; or the folder that `ROTA_SYSTEM_ROOT` names, which holds files as `pretend` makes them.
    fn default() -> Self {
        System { root: std::env::var_os("ROTA_SYSTEM_ROOT").map_or_else(|| "/".into(), PathBuf::from) }
    }
}

/// What a slot or the root file system lies on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    Device(Number),
    /// An image file, as a loop device has it.
    File(PathBuf),
}

impl Layout {
    /// The device of a slot.
    pub fn path(&self, slot: Slot) -> &Path {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// The partition number of a slot: the digits at the end of its device's name.
    pub fn number(&self, slot: Slot) -> Option<u32> {
        let path = self.path(slot);
        let device = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = device.file_name()?.to_string_lossy().into_owned();
        name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..].parse().ok()
    }

    /// The slot that the root file system is on.
    pub fn booted(&self) -> Result<Slot, Error> {
        self.booted_in(&System::default())
    }

    /// The slot that the root file system of `system` is on: through overlays' lower layers, device-mapper's slaves and loop devices.
    pub fn booted_in(&self, system: &System) -> Result<Slot, Error> {
        let grounds = system.grounds(Path::new("/"))?;
        let on = |slot| Ok(self.ground(slot)?.is_some_and(|ground| grounds.contains(&ground)));
        match (on(Slot::A)?, on(Slot::B)?) {
            (true, false) => Ok(Slot::A),
            (false, true) => Ok(Slot::B),
            (true, true) => Err(Error::BothSlots { root: describe(&grounds) }),
            (false, false) => {
                Err(Error::NoSlot { root: describe(&grounds), a: self.a.clone(), b: self.b.clone() })
            }
        }
    }

    /// The slot that `folder` lies on, if it lies on one.
    pub fn holding(&self, folder: &Path, system: &System) -> Result<Option<Slot>, Error> {
        let grounds = system.grounds(folder)?;
        for slot in Slot::BOTH {
            if self.ground(slot)?.is_some_and(|ground| grounds.contains(&ground)) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Whether both slots are the same device or file.
    pub fn is_one(&self) -> Result<bool, Error> {
        let (a, b) = (self.ground(Slot::A)?, self.ground(Slot::B)?);
        Ok(a.is_some() && a == b)
    }

    /// What a slot is on; `None` when it is not there.
    fn ground(&self, slot: Slot) -> Result<Option<Ground>, Error> {
        let path = self.path(slot);
        match device::number(path) {
            Ok(Some(number)) => Ok(Some(Ground::Device(number))),
            Ok(None) => fs::canonicalize(path).map(|path| Some(Ground::File(path))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
        .map_err(|source| Error::Io { act: "look at", path: path.to_owned(), source })
    }
}

impl System {
    /// The system below `root`.
    pub fn at(root: &Path) -> System {
        System { root: root.to_owned() }
    }

    /// A file of this system, by its absolute path.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What is mounted.
    pub fn mounts(&self) -> Result<Vec<Mount>, Error> {
        let path = self.file("/proc/self/mountinfo");
        let text = fs::read_to_string(&path).map_err(|source| Error::Io { act: "read", path, source })?;
        Ok(mounts::parse(&text))
    }

    /// Number of this boot: another one after every start of the machine. Empty when the kernel does not say.
    pub fn boot_id(&self) -> String {
        let id = fs::read_to_string(self.root.join("proc/sys/kernel/random/boot_id")).unwrap_or_default();
        id.trim_end().to_owned()
    }

    /// Makes a system in `folder` that has just started, with its root file system on the image file `slot` of `layout`.
    pub fn pretend(folder: &Path, layout: &Layout, slot: Slot) -> std::io::Result<System> {
        static BOOTS: AtomicU32 = AtomicU32::new(0);
        let backing = folder.join("sys/dev/block/7:0/loop");
        fs::create_dir_all(&backing)?;
        fs::create_dir_all(folder.join("proc/self"))?;
        fs::create_dir_all(folder.join("proc/sys/kernel/random"))?;
        let boot = format!("boot-{}\n", BOOTS.fetch_add(1, Ordering::Relaxed));
        fs::write(folder.join("proc/sys/kernel/random/boot_id"), boot)?;
        let image = fs::canonicalize(layout.path(slot))?;
        fs::write(backing.join("backing_file"), format!("{}\n", image.display()))?;
        fs::write(folder.join("proc/self/mountinfo"), "1 0 7:0 / / ro - ext4 /dev/root ro\n")?;
        fs::write(folder.join("proc/cmdline"), format!("ro rota.slot={slot}\n"))?;
        Ok(System::at(folder))
    }

    /// Everything that the file system of a folder lies on, down to the disks.
    fn grounds(&self, folder: &Path) -> Result<BTreeSet<Ground>, Error> {
        let mounts = self.mounts()?;
        let mut grounds = BTreeSet::new();
        match mounts::holding(&mounts, folder) {
            Some(mount) => self.add_mount(&mounts, mount, 0, &mut grounds),
            None => self.add_command_line(&mut grounds),
        }
        Ok(grounds)
    }

    fn add_mount(&self, mounts: &[Mount], mount: &Mount, depth: u32, grounds: &mut BTreeSet<Ground>) {
        for folder in mount.lower_folders() {
            match mounts::holding(mounts, &folder) {
                // A lower layer that cannot be seen from here seems to lie on the overlay itself: ask the command line.
                Some(lower) if lower != mount && depth < 8 => {
                    self.add_mount(mounts, lower, depth + 1, grounds)
                }
                _ => self.add_command_line(grounds),
            }
        }
        if mount.device.major != 0 {
            self.add_device(mount.device, 0, grounds);
        } else if let Ok(Some(number)) = device::number(Path::new(&mount.source)) {
            // btrfs and its like are on a device that mountinfo does not number.
            self.add_device(number, 0, grounds);
        }
    }

    fn add_device(&self, number: Number, depth: u32, grounds: &mut BTreeSet<Ground>) {
        let folder = self.root.join(format!("sys/dev/block/{number}"));
        grounds.insert(Ground::Device(number));
        if let Ok(file) = fs::read_to_string(folder.join("loop/backing_file")) {
            grounds.insert(Ground::File(PathBuf::from(file.trim_end_matches('\n'))));
        }
        let Ok(slaves) = fs::read_dir(folder.join("slaves")) else { return };
        for slave in slaves.flatten() {
            let number =
                fs::read_to_string(slave.path().join("dev")).ok().and_then(|text| Number::parse(&text));
            if let (Some(number), true) = (number, depth < 8) {
                self.add_device(number, depth + 1, grounds);
            }
        }
    }

    /// The device that the kernel was told to use as root.
    fn add_command_line(&self, grounds: &mut BTreeSet<Ground>) {
        let line = fs::read_to_string(self.root.join("proc/cmdline")).unwrap_or_default();
        let Some(root) = line.split_whitespace().rev().find_map(|word| word.strip_prefix("root=")) else {
            return;
        };
        let path = match root.split_once('=') {
            Some((by @ ("PARTLABEL" | "PARTUUID" | "LABEL" | "UUID"), value)) => {
                self.root.join(format!("dev/disk/by-{}/{value}", by.to_lowercase()))
            }
            _ => self.root.join(root.trim_start_matches('/')),
        };
        if let Ok(Some(number)) = device::number(&path) {
            self.add_device(number, 0, grounds);
        }
    }
}

fn describe(grounds: &BTreeSet<Ground>) -> String {
    let one = |ground: &Ground| match ground {
        Ground::Device(number) => format!("device {number}"),
        Ground::File(path) => path.display().to_string(),
    };
    match grounds.is_empty() {
        true => "no block device".to_owned(),
        false => grounds.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
