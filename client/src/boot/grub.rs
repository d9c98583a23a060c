//! GRUB, with the boot script `rota-grub.cfg` or grub-mender-grubenv: records in two environment blocks, in Mender's variables.
//!
//! `upgrade_available=1` means a trial of the slot at `mender_boot_part`; the other slot is the committed one then. The boot script
//! sets `bootcount=1` when it boots the trial, and falls back when it finds it so.

mod block;
mod copies;
mod examine;
#[cfg(any(test, feature = "faults"))]
mod loader;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::copies::{Copies, Records};
use super::{Boot, Capabilities, Counter, Error, Settings, State};
use crate::finding::Finding;
use crate::slot::Slot;
use crate::sys::lock::Lock;
use crate::sys::power;

/// Where grub-mender-grubenv keeps its records when nothing says so.
const FOLDERS: [&str; 4] =
    ["/boot/efi/grub-mender-grubenv", "/boot/grub/grub-mender-grubenv", "/boot/efi/EFI/BOOT", "/boot/grub"];
/// Its configuration: `ENV_DIR=…`.
const CONFIGURATION: &str = "/etc/mender_grubenv.config";
/// Its tools hold this lock while they write.
const TOOLS_LOCK: &str = "/var/lock/grub-mender-grubenv-set.lock";

/// The back end for GRUB.
#[derive(Debug)]
pub struct Grub {
    folder: PathBuf,
    parts: [u32; 2],
    tools_lock: Option<PathBuf>,
}

impl Grub {
    /// Opens the records in `env_dir`, or where grub-mender-grubenv has them.
    pub fn open(settings: &Settings) -> Result<Grub, Error> {
        let folder = match &settings.env_dir {
            Some(folder) => folder.clone(),
            None => find_folder(Path::new("/")).ok_or_else(|| {
                Error::Refused(format!(
                    "GRUB's boot records are in none of {}; mount the boot partition or set env_dir in [boot] of rota.toml",
                    FOLDERS.join(", ")
                ))
            })?,
        };
        Ok(Grub { tools_lock: Some(PathBuf::from(TOOLS_LOCK)), ..Grub::at(&folder, settings.parts) })
    }

    /// The records in `folder`, for slots on these partitions.
    pub fn at(folder: &Path, parts: [u32; 2]) -> Grub {
        Grub { folder: folder.to_owned(), parts, tools_lock: None }
    }

    fn read(&self) -> Result<Copies, Error> {
        // Not there at all: the boot partition is not mounted. Making records on what lies below would help nobody.
        if !self.folder.is_dir() {
            let found = "it is not there".to_owned();
            return Err(
                self.invalid(found, "mount the boot partition, or correct env_dir in [boot] of rota.toml")
            );
        }
        Copies::read(&self.folder, self.parts).map_err(|source| self.io("read", source))
    }

    fn records(&self) -> Result<Records, Error> {
        self.read()?.records.ok_or_else(|| {
            let found = "neither copy of the boot records makes sense".to_owned();
            self.invalid(found, "rota writes them anew when it starts as root in a known slot")
        })
    }

    /// Brings `records` into both copies.
    fn write(&self, records: Records) -> Result<(), Error> {
        let _lock = self.lock()?;
        let copies = self.read()?;
        if copies.records == Some(records) && copies.agree() {
            return Ok(());
        }
        let block = records.write(&copies.base()).ok_or_else(|| {
            self.invalid("the environment block is full".to_owned(), "remove foreign variables from it")
        })?;
        copies.write(&self.folder, &block).map_err(|source| self.io("write", source))?;
        match self.read()? {
            written if written.records == Some(records) => Ok(()),
            _ => {
                Err(self
                    .invalid("what was written does not read back".to_owned(), "check the boot partition"))
            }
        }
    }

    fn lock(&self) -> Result<Option<Lock>, Error> {
        let Some(path) = &self.tools_lock else { return Ok(None) };
        match Lock::take(path, Duration::from_secs(10)) {
            Ok(None) => Err(Error::Refused(format!(
                "another program writes the boot records ({} is held)",
                path.display()
            ))),
            Ok(lock) => Ok(lock),
            // No folder for it, no permission: then nobody else has it either, or writing fails anyway.
            Err(_) => Ok(None),
        }
    }

    fn part(&self, slot: Slot) -> u32 {
        match slot {
            Slot::A => self.parts[0],
            Slot::B => self.parts[1],
        }
    }

    fn state_of(&self, records: Records) -> State {
        let slot = if records.part == self.parts[0] { Slot::A } else { Slot::B };
        match records.trial {
            true => State {
                committed: slot.other(),
                trial: Some(slot),
                attempts_left: u32::from(!records.booted),
            },
            false => State { committed: slot, trial: None, attempts_left: 0 },
        }
    }

    fn committed(&self, slot: Slot) -> Records {
        Records { part: self.part(slot), trial: false, booted: false }
    }

    fn io(&self, act: &'static str, source: io::Error) -> Error {
        Error::Io { act, object: format!("the boot records in {}", self.folder.display()), source }
    }

    fn invalid(&self, found: String, next: &'static str) -> Error {
        Error::Invalid { object: self.folder.display().to_string(), found, next }
    }
}

impl Boot for Grub {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "grub", loader: "GRUB", counter: Counter::Loader, tries: 1 }
    }

    fn state(&mut self) -> Result<State, Error> {
        Ok(self.state_of(self.records()?))
    }

    fn invalidate(&mut self, slot: Slot) -> Result<(), Error> {
        if self.state()?.committed == slot {
            return Err(Error::is_committed("invalidate", slot));
        }
        self.cancel()
    }

    fn prepare(&mut self, _slot: Slot) -> Result<(), Error> {
        Ok(())
    }

    fn arm(&mut self, slot: Slot) -> Result<(), Error> {
        if self.state()?.committed == slot {
            return Err(Error::is_committed("arm", slot));
        }
        self.write(Records { part: self.part(slot), trial: true, booted: false })
    }

    fn commit(&mut self, slot: Slot) -> Result<(), Error> {
        self.write(self.committed(slot))
    }

    fn cancel(&mut self) -> Result<(), Error> {
        let state = self.state()?;
        match state.trial {
            Some(_) => self.write(self.committed(state.committed)),
            None => Ok(()),
        }
    }

    fn repair(&mut self, fallback: Slot) -> Result<Option<String>, Error> {
        let copies = self.read()?;
        let Some(records) = copies.records else {
            self.write(self.committed(fallback))?;
            return Ok(Some(format!(
                "both copies of GRUB's boot records were lost; they are written anew with slot {fallback} committed"
            )));
        };
        if copies.agree() {
            return Ok(None);
        }
        self.write(records)?;
        let (spare, counts) = (2 - copies.counts, copies.counts + 1);
        Ok(Some(format!("copy {spare} of GRUB's boot records was not whole or differed; it is made equal to copy {counts}")))
    }

    fn examine(&mut self, root: &Path) -> Vec<Finding> {
        self.look(root)
    }

    fn reboot(&mut self) -> Result<(), Error> {
        power::restart().map_err(|source| Error::Io {
            act: "restart",
            object: "the machine".to_owned(),
            source,
        })
    }
}

/// Whether there are records where grub-mender-grubenv has them.
pub(super) fn is_there() -> bool {
    find_folder(Path::new("/")).is_some()
}

/// The folder of the records: what grub-mender-grubenv's configuration says, else the first usual one that holds any.
fn find_folder(root: &Path) -> Option<PathBuf> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let configuration = fs::read_to_string(below(CONFIGURATION)).unwrap_or_default();
    let configured = configuration.lines().rev().find_map(|line| line.trim().strip_prefix("ENV_DIR="));
    match configured.map(|folder| folder.trim_matches(['"', '\''])) {
        Some(folder) if !folder.is_empty() => Some(below(folder)),
        _ => FOLDERS.into_iter().map(below).find(|folder| folder.join("mender_grubenv1").is_dir()),
    }
}

#[cfg(test)]
#[path = "grub/tests.rs"]
mod tests;
