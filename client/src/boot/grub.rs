//! GRUB.
use super::{Boot, Capabilities, Counter, Error, Settings, State};
use crate::slot::Slot;

/// The back end for GRUB.
#[derive(Debug)]
pub struct Grub {}

fn soon() -> Error {
    Error::Refused("the back end for GRUB is not there yet".to_owned())
}

impl Grub {
    /// Opens the environment.
    pub fn open(_settings: &Settings) -> Result<Grub, Error> {
        Err(soon())
    }
}

impl Boot for Grub {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "grub", loader: "GRUB", counter: Counter::Loader, tries: 1 }
    }
    fn state(&mut self) -> Result<State, Error> {
        Err(soon())
    }
    fn invalidate(&mut self, _: Slot) -> Result<(), Error> {
        Err(soon())
    }
    fn prepare(&mut self, _: Slot) -> Result<(), Error> {
        Err(soon())
    }
    fn arm(&mut self, _: Slot) -> Result<(), Error> {
        Err(soon())
    }
    fn commit(&mut self, _: Slot) -> Result<(), Error> {
        Err(soon())
    }
    fn cancel(&mut self) -> Result<(), Error> {
        Err(soon())
    }
    fn repair(&mut self, _: Slot) -> Result<Option<String>, Error> {
        Err(soon())
    }
    fn reboot(&mut self) -> Result<(), Error> {
        Err(soon())
    }
}
