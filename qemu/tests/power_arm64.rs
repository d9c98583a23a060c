//! Power cuts in the middle of updates with U-Boot: every moment, and as many random ones. This machine starts in a fraction of
//! the time of a PC.

use rota_qemu::cuts::cuts;
use rota_qemu::error::Result;
use rota_qemu::kind::Arm64Fast;

#[test]
fn a_power_cut_anywhere_leaves_the_old_or_the_new_and_a_truthful_report() -> Result<()> {
    cuts("arm64-fast-power", &Arm64Fast, 24)
}
