//! The 32-bit board: U-Boot, kernel and client for ARMv7.

use rota_qemu::cuts::cuts;
use rota_qemu::error::{check, Result};
use rota_qemu::kind::{Armhf, Slot};
use rota_qemu::lab::Lab;
use rota_qemu::server::UPDATE;

#[test]
fn a_good_release_stays_and_a_bad_one_falls_back() -> Result<()> {
    let mut lab = Lab::new("armhf", &Armhf)?;
    let (mut machine, device) = lab.updated_machine()?;
    check("what runs", machine.run("uname -m")?.trim(), "armv7l")?;

    println!("a release without init panics");
    lab.publish(lab.release("no-init").without_init())?;
    let deployment = lab.server.deploy("no-init", &device)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    machine.expect_well(
        "no-init: failed: trial of slot A was booted once and not committed; U-Boot fell back to slot B",
    )
}

#[test]
fn a_power_cut_anywhere_leaves_the_old_or_the_new_and_a_truthful_report() -> Result<()> {
    cuts("armhf-power", &Armhf, 8)
}
