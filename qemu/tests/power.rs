//! Power cuts in the middle of updates. `ROTA_SEED=N` repeats a run's moments and losses.

use rota_qemu::cuts::cuts;
use rota_qemu::error::Result;
use rota_qemu::kind::X86_64;

#[test]
fn a_power_cut_anywhere_leaves_the_old_or_the_new_and_a_truthful_report() -> Result<()> {
    cuts("power", &X86_64, 6)
}
