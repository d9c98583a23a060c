//! A boot loader that is not there: its records are one file, and a function plays its part at power-on.
//!
//! For tests, and for trying rota where nothing can be booted.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Boot, Capabilities, Counter, Error, Settings, State};
use crate::slot::Slot;
use crate::sys::disk;
use crate::sys::fault::{self, Kind};

/// The part of a boot loader, for tests.
pub trait Loader: Boot {
    /// What the boot loader does at power-on: counts a boot of the trial, falls back, and returns the slot it starts
    /// and whether it starts it on trial. `loads` says whether the kernel of a slot can be loaded.
    fn power_on(&mut self, loads: &dyn Fn(Slot) -> bool) -> Result<(Slot, bool), Error>;
}

/// A back end whose records are a file `fake-boot` in a folder: committed slot, slot on trial (or `-`), boots left.
#[derive(Debug)]
pub struct Fake {
    path: PathBuf,
}

impl Fake {
    /// Opens the records in `env_dir`; when there are none, slot A is committed.
    pub fn open(settings: &Settings) -> Result<Fake, Error> {
        match &settings.env_dir {
            Some(folder) => Ok(Fake::at(folder)),
            None => {
                Err(Error::Refused("the fake boot loader needs env_dir in [boot] of rota.toml".to_owned()))
            }
        }
    }

    /// The records in `folder`.
    pub fn at(folder: &Path) -> Fake {
        Fake { path: folder.join("fake-boot") }
    }

    fn store(&self, state: State) -> Result<(), Error> {
        let trial = state.trial.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
        let text = format!("{} {trial} {}\n", state.committed, state.attempts_left);
        disk::replace(&self.path, text.as_bytes(), 0o600).map_err(|source| self.error("write", source))
    }

    fn error(&self, act: &'static str, source: std::io::Error) -> Error {
        Error::Io { act, object: self.path.display().to_string(), source }
    }
}

impl Loader for Fake {
    fn power_on(&mut self, loads: &dyn Fn(Slot) -> bool) -> Result<(Slot, bool), Error> {
        let state = self.state()?;
        if let (Some(trial), true) = (state.trial, state.attempts_left > 0) {
            self.store(State { attempts_left: state.attempts_left - 1, ..state })?;
            if loads(trial) {
                return Ok((trial, true));
            }
        }
        self.store(State { trial: None, attempts_left: 0, ..state })?;
        let slot = if loads(state.committed) { state.committed } else { state.committed.other() };
        Ok((slot, false))
    }
}

impl Boot for Fake {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "fake", loader: "the fake boot loader", counter: Counter::Loader, tries: 1 }
    }

    fn state(&mut self) -> Result<State, Error> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "A - 0".to_owned(),
            Err(source) => return Err(self.error("read", source)),
        };
        parse(&text).ok_or_else(|| Error::Invalid {
            object: self.path.display().to_string(),
            found: format!("{:.40}", text.trim_end()),
            next: "remove it",
        })
    }

    fn invalidate(&mut self, slot: Slot) -> Result<(), Error> {
        let state = self.state()?;
        if slot == state.committed {
            return Err(Error::is_committed("invalidate", slot));
        }
        self.cancel()
    }

    fn prepare(&mut self, _slot: Slot) -> Result<(), Error> {
        Ok(())
    }

    fn arm(&mut self, slot: Slot) -> Result<(), Error> {
        let state = self.state()?;
        if slot == state.committed {
            return Err(Error::is_committed("arm", slot));
        }
        self.store(State { trial: Some(slot), attempts_left: 1, ..state })
    }

    fn commit(&mut self, slot: Slot) -> Result<(), Error> {
        self.store(State { committed: slot, trial: None, attempts_left: 0 })
    }

    fn cancel(&mut self) -> Result<(), Error> {
        let state = self.state()?;
        match state.trial {
            Some(_) => self.store(State { trial: None, attempts_left: 0, ..state }),
            None => Ok(()),
        }
    }

    fn repair(&mut self, fallback: Slot) -> Result<Option<String>, Error> {
        match self.state() {
            Ok(_) => Ok(None),
            Err(Error::Invalid { object, .. }) => {
                self.store(State { committed: fallback, trial: None, attempts_left: 0 })?;
                Ok(Some(format!("{object} was lost; slot {fallback} is the committed one now")))
            }
            Err(error) => Err(error),
        }
    }

    fn reboot(&mut self) -> Result<(), Error> {
        fault::point(Kind::Reboot, &self.path).map_err(|source| self.error("restart by", source))
    }
}

fn parse(text: &str) -> Option<State> {
    let slot = |word: &str| Slot::BOTH.into_iter().find(|slot| slot.to_string() == word);
    let mut words = text.split_whitespace();
    let committed = slot(words.next()?)?;
    let trial = match words.next()? {
        "-" => None,
        word => Some(slot(word)?),
    };
    let attempts_left = words.next()?.parse().ok()?;
    (words.next().is_none() && trial != Some(committed)).then_some(State { committed, trial, attempts_left })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything(_: Slot) -> bool {
        true
    }

    #[test]
    fn a_trial_is_booted_once_and_then_falls_back() {
        let folder = crate::testing::folder();
        let mut boot = Fake::at(&folder);
        assert_eq!(boot.power_on(&everything).unwrap(), (Slot::A, false));
        boot.arm(Slot::B).unwrap();
        assert_eq!(
            boot.state().unwrap(),
            State { committed: Slot::A, trial: Some(Slot::B), attempts_left: 1 }
        );
        assert_eq!(boot.power_on(&everything).unwrap(), (Slot::B, true));
        assert_eq!(boot.state().unwrap().attempts_left, 0);
        assert_eq!(boot.power_on(&everything).unwrap(), (Slot::A, false));
        assert_eq!(boot.state().unwrap(), State { committed: Slot::A, trial: None, attempts_left: 0 });
    }

    #[test]
    fn a_commit_stays_and_what_does_not_load_is_left_out() {
        let folder = crate::testing::folder();
        let mut boot = Fake::at(&folder);
        boot.arm(Slot::B).unwrap();
        boot.power_on(&everything).unwrap();
        boot.commit(Slot::B).unwrap();
        assert_eq!(boot.power_on(&everything).unwrap(), (Slot::B, false));
        assert_eq!(boot.power_on(&|slot| slot == Slot::A).unwrap(), (Slot::A, false));
        assert!(boot.arm(Slot::B).is_err() && boot.invalidate(Slot::B).is_err());
        boot.arm(Slot::A).unwrap();
        assert_eq!(boot.power_on(&|slot| slot == Slot::B).unwrap(), (Slot::B, false));
    }

    #[test]
    fn garbage_is_repaired() {
        let folder = crate::testing::folder();
        let mut boot = Fake::at(&folder);
        fs::write(folder.join("fake-boot"), "B B 7").unwrap();
        assert!(boot.state().is_err());
        assert!(boot.repair(Slot::B).unwrap().is_some());
        assert_eq!(boot.state().unwrap().committed, Slot::B);
        assert_eq!(boot.repair(Slot::A).unwrap(), None);
    }
}
