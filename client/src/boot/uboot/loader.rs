//! What U-Boot does with the boot script `rota-boot.cmd`, in Rust: the power-cut sweep boots with it.

use super::{Boot, Error, UBoot};
use crate::boot::fake::Loader;
use crate::slot::Slot;

impl Loader for UBoot {
    /// Counting is one `saveenv`, falling back two.
    fn power_on(&mut self, loads: &dyn Fn(Slot) -> bool) -> Result<(Slot, bool), Error> {
        let state = self.state()?;
        if let Some(trial) = state.trial {
            let mut env = self.current()?;
            env.set("bootcount", env.number("bootcount") + 1);
            let counted = self.store.load().and_then(|copies| self.store.save(&copies, &env)).is_ok();
            if counted && state.attempts_left > 0 && loads(trial) {
                return Ok((trial, true));
            }
            let _ =
                self.current().and_then(|env| self.store.settle(&self.naming(env, state.committed, false)));
        }
        let slot = if loads(state.committed) { state.committed } else { state.committed.other() };
        Ok((slot, false))
    }
}
