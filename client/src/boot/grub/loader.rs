//! What the boot script `rota-grub.cfg` does, in Rust: the power-cut sweep boots with it. `tests/grub_script.rs` holds the two together.

use super::{Error, Grub, Records};
use crate::boot::fake::Loader;
use crate::boot::Boot;
use crate::slot::Slot;

impl Loader for Grub {
    fn power_on(&mut self, loads: &dyn Fn(Slot) -> bool) -> Result<(Slot, bool), Error> {
        let records = self.read()?.records;
        let state = self.state_of(records.unwrap_or(self.committed(Slot::A)));
        if let Some(trial) = state.trial {
            let counted = Records { part: self.part(trial), trial: true, booted: true };
            if state.attempts_left > 0 && self.write(counted).is_ok() && loads(trial) {
                return Ok((trial, true));
            }
            let _ = self.commit(state.committed);
        }
        let slot = if loads(state.committed) { state.committed } else { state.committed.other() };
        Ok((slot, false))
    }
}
