//! The Raspberry Pi's path: Debian's U-Boot for it, unchanged, which finds rota's boot script on the card.

use rota_qemu::error::{check, Result};
use rota_qemu::kind::{Raspi3b, Slot};
use rota_qemu::lab::Lab;
use rota_qemu::machine::BOOT;
use rota_qemu::server::UPDATE;

#[test]
fn the_boot_script_runs_in_debians_u_boot() -> Result<()> {
    let mut lab = Lab::new("raspi3b", &Raspi3b)?;
    let (mut machine, device) = lab.updated_machine()?;

    println!("a release without init panics");
    lab.publish(lab.release("no-init").without_init())?;
    let deployment = lab.server.deploy("no-init", &device)?;
    machine.wait_for("counted boot 1", UPDATE)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    machine.expect_well(
        "no-init: failed: trial of slot A was booted once and not committed; U-Boot fell back to slot B",
    )?;

    println!("the environment, of which there is one copy, is lost: U-Boot finds the script on the card, which starts slot A");
    machine.cut_power()?;
    Raspi3b.set_environment(&machine.disk(), &[0; 0x4000])?;
    machine.power_on()?;
    machine.wait_for("Found U-Boot script /boot.scr", BOOT)?;
    check("the slot", machine.wait_until_up()?.slot, Slot::A)
}
