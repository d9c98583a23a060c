//! Raspberry Pi 4, 5 and their modules: the firmware itself tries another boot partition once (`tryboot`).
//!
//! The first partition holds `autoboot.txt` and nothing else of meaning: it names the boot partition that counts and the one
//! that is tried. A flag in the firmware makes the next start a try; it is gone at the start after that, and when the power
//! goes, so that every reset ends a trial. Commit swaps the two numbers by writing one sector.
//!
//! Each slot has a boot partition with firmware files, kernel and `cmdline.txt`. What belongs there comes with the slot, in
//! `/boot/firmware`; `prepare` copies it. While a slot is not committed its `cmdline.txt` says `rota.trial=1`, for the guard.

mod autoboot;
mod examine;
mod firmware;
#[cfg(any(test, feature = "faults"))]
mod loader;
mod partition;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::autoboot::Autoboot;
use self::firmware::{Flag, Tree};
use super::{Boot, Capabilities, Counter, Error, Settings, State};
use crate::finding::Finding;
use crate::slot::Slot;
use crate::sys::disk::{self, InPlace};
use crate::sys::hold::{hold, Held};
use crate::sys::power;

/// The partition of `autoboot.txt` when nothing says so.
const CONFIG: &str = "/dev/mmcblk0p1";
/// Numbers of the boot partitions of slot A and slot B when `autoboot.txt` is lost.
const BOOTS: [u32; 2] = [2, 3];
/// 2023-01-01: boot EEPROMs from before read the wrong file when they try, or do not know how to try.
const OLDEST_EEPROM: u32 = 1_672_531_200;
/// Where partitions are mounted while they are needed.
const POINTS: &str = "/run/rota/boot";

/// The back end for the firmware of a Raspberry Pi. `env_dir` is the partition of `autoboot.txt`, `/dev/mmcblk0p1` unless set; the
/// boot partitions and the slots are on the same disk.
#[derive(Debug)]
pub struct Tryboot {
    /// The disk's partitions but for their number: `/dev/mmcblk0p`.
    stem: String,
    config: PathBuf,
    slots: [u32; 2],
    flag: Option<Flag>,
    tree: Tree,
}

impl Tryboot {
    /// Opens the disk that holds `autoboot.txt`.
    pub fn open(settings: &Settings) -> Result<Tryboot, Error> {
        let config = settings.env_dir.clone().unwrap_or_else(|| CONFIG.into());
        Ok(Tryboot::at(&config, settings.parts, Path::new("/")))
    }

    /// The partition `config` of a disk whose slots have these numbers, on the machine whose `/dev`, `/run` and `/proc` are in `root`.
    pub fn at(config: &Path, slots: [u32; 2], root: &Path) -> Tryboot {
        let stem = config.display().to_string().trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let tree = Tree(root.join("proc/device-tree/chosen/bootloader"));
        Tryboot { stem, config: config.to_owned(), slots, flag: Flag::find(root), tree }
    }

    /// Why this machine's firmware cannot be relied on to try a slot; `None` when nothing speaks against it.
    pub fn eeprom_fault(&self) -> Option<String> {
        let built = self.tree.built().filter(|built| *built < OLDEST_EEPROM)?;
        let date = crate::date::rfc3339(u64::from(built));
        Some(format!(
            "the boot EEPROM is of {:.10}, and trying a slot needs one of 2023 or later; update it with rpi-eeprom-update",
            date
        ))
    }

    fn partition(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}{number}", self.stem))
    }

    fn hold(&self, partition: &Path, kinds: &[&str], writable: bool) -> Result<Held, Error> {
        let name = partition.file_name().unwrap_or_default();
        hold(partition, &Path::new(POINTS).join(name), kinds, writable)
            .map_err(|source| io_error("mount", partition, source))
    }

    /// Reads `autoboot.txt`; `None` when it is lost.
    fn read(&self) -> Result<Option<Autoboot>, Error> {
        let config = self.hold(&self.config, &["vfat"], false)?;
        let path = config.folder().join("autoboot.txt");
        match fs::read(&path) {
            Ok(bytes) => Ok(Autoboot::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("read", &path, source)),
        }
    }

    fn records(&self) -> Result<Autoboot, Error> {
        self.read()?.ok_or_else(|| Error::Invalid {
            object: format!("autoboot.txt on {}", self.config.display()),
            found: "it names no two boot partitions".to_owned(),
            next: "rota writes it anew when it starts as root in a known slot",
        })
    }

    /// Writes `autoboot.txt`: in place when it is a sector already.
    fn write(&self, autoboot: Autoboot) -> Result<(), Error> {
        let config = self.hold(&self.config, &["vfat"], true)?;
        let path = config.folder().join("autoboot.txt");
        let bytes = autoboot.bytes();
        let written = match InPlace::open(&path) {
            Ok(file) if file.size() == bytes.len() as u64 => file.write_at(0, &bytes),
            _ => disk::replace(&path, &bytes, 0o644),
        };
        written.map_err(|source| io_error("write", &path, source))
    }

    /// The slot of a boot partition: the lower number is that of A.
    fn slot(autoboot: Autoboot, partition: u32) -> Slot {
        let other = if partition == autoboot.tried { autoboot.committed } else { autoboot.tried };
        if partition < other {
            Slot::A
        } else {
            Slot::B
        }
    }

    /// The boot partition of a slot.
    fn boot_partition(autoboot: Autoboot, slot: Slot) -> u32 {
        let (lower, upper) = (autoboot.committed.min(autoboot.tried), autoboot.committed.max(autoboot.tried));
        if slot == Slot::A {
            lower
        } else {
            upper
        }
    }

    fn flag(&self) -> Result<&Flag, Error> {
        self.flag.as_ref().ok_or_else(|| {
            Error::Refused(
                "the firmware cannot be told to try a slot: there is neither /dev/vcio (CONFIG_BCM_VCIO) nor systemd"
                    .to_owned(),
            )
        })
    }

    fn flag_is_set(&self) -> Result<bool, Error> {
        let set = self.flag.as_ref().map_or(Ok(false), Flag::is_set);
        set.map_err(|source| io_error("read", Path::new("the firmware's flag"), source))
    }

    fn set_flag(&self, on: bool) -> Result<(), Error> {
        self.flag()?.set(on).map_err(|source| io_error("set", Path::new("the firmware's flag"), source))
    }

    fn state_of(&self, autoboot: Autoboot) -> Result<State, Error> {
        let committed = Tryboot::slot(autoboot, autoboot.committed);
        let tried = self.tree.is_try() && self.tree.partition() == Some(autoboot.tried);
        let armed = self.flag_is_set()?;
        let trial = (tried || armed).then(|| committed.other());
        Ok(State { committed, trial, attempts_left: u32::from(armed) })
    }

    /// Brings the mark of a trial in a slot's `cmdline.txt` to what it should be; says whether it had to.
    fn mark(&self, autoboot: Autoboot, slot: Slot, trial: bool) -> Result<bool, Error> {
        let partition = self.partition(Tryboot::boot_partition(autoboot, slot));
        let root = self.partition(self.slots[slot as usize]);
        let boot = self.hold(&partition, &["vfat"], true)?;
        partition::mark(boot.folder(), boot.folder(), &root, slot, trial)
            .map_err(|source| io_error("write cmdline.txt on", &partition, source))
    }
}

impl Boot for Tryboot {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "tryboot",
            loader: "the Raspberry Pi's firmware",
            counter: Counter::OneShot,
            tries: 1,
        }
    }

    fn state(&mut self) -> Result<State, Error> {
        self.state_of(self.records()?)
    }

    fn invalidate(&mut self, slot: Slot) -> Result<(), Error> {
        if self.state()?.committed == slot {
            return Err(Error::is_committed("invalidate", slot));
        }
        self.cancel()
    }

    fn prepare(&mut self, slot: Slot) -> Result<(), Error> {
        let autoboot = self.records()?;
        if Tryboot::slot(autoboot, autoboot.committed) == slot {
            return Err(Error::is_committed("prepare", slot));
        }
        let root = self.partition(self.slots[slot as usize]);
        let target = self.partition(Tryboot::boot_partition(autoboot, slot));
        let system = self.hold(&root, &["ext4", "erofs", "squashfs"], false)?;
        let boot = self.hold(&target, &["vfat"], true)?;
        let files = system.folder().join("boot/firmware");
        if !files.is_dir() {
            return Err(Error::Invalid {
                object: format!("slot {slot} ({})", root.display()),
                found: "it has no /boot/firmware".to_owned(),
                next: "build the image for tryboot",
            });
        }
        partition::copy(&files, boot.folder()).map_err(|source| io_error("fill", &target, source))?;
        partition::mark(boot.folder(), &files, &root, slot, true)
            .map(drop)
            .map_err(|source| io_error("write cmdline.txt on", &target, source))
    }

    fn arm(&mut self, slot: Slot) -> Result<(), Error> {
        if self.state()?.committed == slot {
            return Err(Error::is_committed("arm", slot));
        }
        if let Some(fault) = self.eeprom_fault() {
            return Err(Error::Refused(fault));
        }
        self.set_flag(true)?;
        if !self.flag_is_set()? {
            return Err(Error::Refused(
                "the firmware did not take the flag to try the other slot".to_owned(),
            ));
        }
        Ok(())
    }

    fn commit(&mut self, slot: Slot) -> Result<(), Error> {
        let autoboot = self.records()?;
        // First: a committed slot that still called itself a trial would be restarted by the guard.
        self.mark(autoboot, slot, false)?;
        if Tryboot::slot(autoboot, autoboot.committed) != slot {
            self.write(autoboot.swapped())?;
        }
        if self.flag_is_set()? {
            self.set_flag(false)?;
        }
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), Error> {
        if self.flag_is_set()? {
            self.set_flag(false)?;
        }
        Ok(())
    }

    fn repair(&mut self, fallback: Slot) -> Result<Option<String>, Error> {
        if let Some(fault) = self.eeprom_fault() {
            log::warn!("{fault}");
        }
        let Some(autoboot) = self.read()? else {
            let [a, b] = BOOTS;
            let autoboot = Autoboot { committed: a, tried: b };
            self.write(if fallback == Slot::A { autoboot } else { autoboot.swapped() })?;
            return Ok(Some(format!(
                "autoboot.txt was lost; it is written anew with slot {fallback} committed"
            )));
        };
        let committed = Tryboot::slot(autoboot, autoboot.committed);
        match self.mark(autoboot, committed, false)? {
            true => {
                Ok(Some(format!("cmdline.txt of slot {committed}, which is committed, called it a trial")))
            }
            false => Ok(None),
        }
    }

    fn examine(&mut self, root: &Path) -> Vec<Finding> {
        self.look(root)
    }

    fn reboot(&mut self) -> Result<(), Error> {
        power::restart().map_err(|source| io_error("restart", Path::new("the machine"), source))
    }
}

fn io_error(act: &'static str, object: &Path, source: io::Error) -> Error {
    Error::Io { act, object: object.display().to_string(), source }
}

#[cfg(test)]
#[path = "tryboot/tests.rs"]
mod tests;
