//! The Raspberry Pi's path: Debian's U-Boot for it, unchanged, which finds rota's boot script on the card.

use rota_qemu::error::{check, Result};
use rota_qemu::kind::{Raspi3b, Slot};
use rota_qemu::lab::{Lab, FIRST_RELEASE};
use rota_qemu::machine::BOOT;
use rota_qemu::server::UPDATE;

#[test]
fn the_boot_script_runs_in_debians_u_boot() -> Result<()> {
    let mut lab = Lab::new("raspi3b", &Raspi3b)?;
    let (mut machine, device) = lab.updated_machine()?;

    println!("the environment, of which there is one copy, is lost: U-Boot finds the script on the card, which starts slot A");
    machine.cut_power()?;
    Raspi3b.set_environment(&machine.disk(), &[0; 0x4000])?;
    machine.power_on()?;
    machine.wait_for("Found U-Boot script /boot.scr", BOOT)?;
    check("the slot", machine.wait_until_up()?.slot, Slot::A)?;
    machine.wait_for("U-Boot's environment was lost", BOOT)?;
    machine.expect_committed(Slot::A, FIRST_RELEASE)?;

    println!("a release without init panics");
    machine.power_on()?;
    lab.publish(lab.release("no-init").without_init())?;
    let deployment = lab.server.deploy("no-init", &device)?;
    machine.wait_for("boot 1 of the trial is noted", UPDATE)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot A"], UPDATE)?;
    machine.expect_committed(Slot::A, FIRST_RELEASE)?;
    machine.expect_well(
        "no-init: failed: trial of slot B was booted once and not committed; U-Boot fell back to slot A",
    )
}
