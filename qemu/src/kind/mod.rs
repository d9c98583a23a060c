//! Kinds of machines: one trait, one file per kind.

mod arm64;
mod arm64_fast;
mod armhf;
mod board;
pub mod card;
mod linux;
mod raspi3b;
mod uboot;
mod x86_64;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::disk::{Layout, MIB};
use crate::error::{Error, Result};
use crate::house::House;

pub use arm64::Arm64;
pub use arm64_fast::Arm64Fast;
pub use armhf::Armhf;
pub use board::{Board, Maker};
pub use raspi3b::Raspi3b;
pub use uboot::Copies;
pub use x86_64::{Pc, Records, X86_64, X86_64_SYSTEMD};

/// Every kind there is.
pub const ALL: [&dyn Kind; 6] = [&X86_64, &X86_64_SYSTEMD, &Arm64Fast, &Arm64, &Armhf, &Raspi3b];

/// The kind called `name`.
pub fn named(name: &str) -> Result<&'static dyn Kind> {
    ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| Error::Unexpected {
        what: "the kind of machine".into(),
        expected: ALL.map(|kind| kind.name()).join(" or "),
        found: name.into(),
    })
}

/// One of the two root file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// From `A` or `B`, as on the kernel's command line.
    pub fn named(name: &str) -> Result<Slot> {
        match name {
            "A" => Ok(Slot::A),
            "B" => Ok(Slot::B),
            _ => Err(Error::Unexpected {
                what: "the slot".into(),
                expected: "A or B".into(),
                found: name.into(),
            }),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The init system of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    BusyBox,
    Systemd,
}

/// What the boot loader's records on the disk say, read from outside of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loader {
    /// The slot that is started when nothing is on trial.
    pub committed: Slot,
    /// Whether the other slot is armed or running its trial.
    pub trial: bool,
}

impl Loader {
    /// From records with Mender's names; `slots` are the numbers of the two slots' partitions.
    fn read(what: &str, records: &BTreeMap<String, String>, slots: [usize; 2]) -> Result<Loader> {
        let value = |key: &str| records.get(key).map_or("", String::as_str);
        let (part, trial) = (value("mender_boot_part"), value("upgrade_available") == "1");
        let named = match slots.map(|slot| slot.to_string() == part) {
            [true, _] => Slot::A,
            [_, true] => Slot::B,
            _ => {
                return Err(Error::Unexpected {
                    what: format!("mender_boot_part in {what}"),
                    expected: slots.map(|slot| slot.to_string()).join(" or "),
                    found: part.into(),
                })
            }
        };
        Ok(Loader { committed: if trial { named.other() } else { named }, trial })
    }
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} committed", self.committed)?;
        if self.trial {
            write!(f, ", slot {} on trial", self.committed.other())?;
        }
        Ok(())
    }
}

/// A boot loader, by its words on the console.
#[derive(Debug, Clone, Copy)]
pub struct BootLoader {
    /// What the client calls it.
    pub name: &'static str,
    /// What is in the line with which it starts a trial, and in no other.
    pub trial: &'static str,
    /// What is in the line with which it ends one that was not committed.
    pub fall_back: &'static str,
}

/// What differs from machine to machine.
pub trait Kind: Sync {
    /// Name of the kind, for people and for folders.
    fn name(&self) -> &'static str;
    /// The device type that its artifacts are made for.
    fn device_type(&self) -> &'static str;
    /// Debian's name of the architecture.
    fn architecture(&self) -> &'static str;
    /// Debian package that depends on the kernel.
    fn kernel(&self) -> &'static str;
    /// Kernel modules to load at start; those that they need come along.
    fn modules(&self) -> &'static [&'static str];
    /// Kernel modules that the root file system needs: with any, the slot has an initramfs.
    fn early_modules(&self) -> &'static [&'static str] {
        &[]
    }
    /// The kernel's file in the slot.
    fn kernel_file(&self) -> &'static str {
        "/boot/vmlinuz"
    }
    /// A kernel that was built for the machine, instead of Debian's. It has all that it needs in it.
    fn built_kernel(&self) -> Option<&Path> {
        None
    }
    /// What starts rota in the slot.
    fn init(&self) -> Init {
        Init::BusyBox
    }
    /// What the slot has for the boot loader: path, content.
    fn files(&self, _house: &House) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(Vec::new())
    }
    /// Further lines for `/etc/inittab`.
    fn services(&self) -> &'static str {
        ""
    }
    /// Terminal device of the lab's shell, for example `ttyS1`.
    fn shell(&self) -> &'static str;
    /// What is mounted at start: device, folder, file system.
    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)];
    /// The boot loader, and what it says.
    fn boot_loader(&self) -> BootLoader;
    /// The same as lines of `/etc/fstab`.
    fn fstab(&self) -> String {
        let line =
            |(device, place, kind): &(&str, &str, &str)| format!("{device} {place} {kind} noatime 0 0\n");
        self.mounts().iter().map(line).collect()
    }
    /// The client's configuration of slots and boot loader, TOML.
    fn client(&self) -> &'static str;
    /// What `rota doctor` rightly finds wrong with it.
    fn wrong(&self) -> &'static [&'static str] {
        &["watchdog"]
    }
    /// The partitions of the disk.
    fn layout(&self) -> Layout;
    /// Number of a slot's partition, from 1.
    fn partition(&self, slot: Slot) -> usize {
        match slot {
            Slot::A => 2,
            Slot::B => 3,
        }
    }
    /// MiB of a release's root file system: all of the slot, unless the kind says otherwise.
    fn release_mib(&self) -> u64 {
        self.layout().span(self.partition(Slot::A)).1 / MIB
    }
    /// Number of the data partition: it is the last.
    fn data(&self) -> usize {
        self.layout().0.len()
    }
    /// Makes a disk with `image` in slot A, committed, and nothing in slot B. `work` is a folder for files on the way.
    fn make_disk(&self, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()>;
    /// The emulator with all that the machine is made of: console on standard output, the lab's shell on the
    /// character device `shell`. It runs in the folder of the machine; `disk` is QEMU's `file=` for its disk.
    fn qemu(&self, folder: &Path, disk: &str) -> Result<Command>;
    /// Whether its disk has a write cache that a power cut takes along. An SD card has none: what it has acknowledged is there.
    fn has_write_cache(&self) -> bool {
        true
    }
    /// Reads the boot loader's records from a disk.
    fn loader(&self, disk: &Path) -> Result<Loader>;
}
