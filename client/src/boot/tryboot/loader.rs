//! What the firmware does at power-on, as documented: it takes the flag and forgets it, reads `autoboot.txt`, and tells the
//! kernel in the device tree what it did. For the power-cut sweep.

use std::fs;

use super::{Error, Tryboot};
use crate::boot::fake::Loader;
use crate::slot::Slot;

impl Loader for Tryboot {
    fn power_on(&mut self, loads: &dyn Fn(Slot) -> bool) -> Result<(Slot, bool), Error> {
        let tries = self.flag_is_set()?;
        if tries {
            self.set_flag(false)?;
        }
        // Without autoboot.txt the firmware takes the first partition that has what it needs: that of slot A.
        let autoboot = self.read()?;
        let committed = autoboot.map_or(Slot::A, |autoboot| Tryboot::slot(autoboot, autoboot.committed));
        let tried = autoboot.filter(|_| tries && loads(committed.other()));
        let number = match (autoboot, tried) {
            (_, Some(autoboot)) => autoboot.tried,
            (Some(autoboot), None) => autoboot.committed,
            (None, None) => super::BOOTS[0],
        };
        self.tell("partition", number)?;
        self.tell("tryboot", u32::from(tried.is_some()))?;
        Ok((if tried.is_some() { committed.other() } else { committed }, tried.is_some()))
    }
}

impl Tryboot {
    /// Puts a property into the device tree.
    pub(super) fn tell(&self, name: &str, value: u32) -> Result<(), Error> {
        let path = self.tree.0.join(name);
        fs::create_dir_all(&self.tree.0)
            .and_then(|()| fs::write(&path, value.to_be_bytes()))
            .map_err(|source| super::io_error("write", &path, source))
    }
}
