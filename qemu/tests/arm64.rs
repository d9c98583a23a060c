//! Updates on machines with U-Boot, whole: what becomes of good and of bad releases, and of an environment that gets lost.

use std::fs;

use rota_qemu::error::{check, Context, Result};
use rota_qemu::kind::{Arm64, Arm64Fast, Copies, Kind, Slot};
use rota_qemu::lab::Lab;
use rota_qemu::machine::{Machine, BOOT};
use rota_qemu::server::UPDATE;

#[test]
fn a_good_release_stays_and_bad_ones_fall_back() -> Result<()> {
    let mut lab = Lab::new("arm64-fast", &Arm64Fast)?;
    let (mut machine, device) = lab.updated_machine()?;

    println!("a release without a kernel: U-Boot falls back in the same start");
    lab.publish(lab.release("no-kernel").without_kernel())?;
    let deployment = lab.server.deploy("no-kernel", &device)?;
    machine.wait_for("slot A does not start", UPDATE)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;

    println!("a release without init panics");
    lab.publish(lab.release("no-init").without_init())?;
    let deployment = lab.server.deploy("no-init", &device)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    machine.expect_well(
        "no-init: failed: trial of slot A was booted once and not committed; U-Boot fell back to slot B",
    )?;

    println!("a release whose client exits is ended by the guard");
    lab.publish(lab.release("no-client").with_client_that_exits())?;
    let deployment = lab.server.deploy("no-client", &device)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;

    println!("a slot that is zeroed after it was armed");
    let zeroes = lab.scene().join("zeroes");
    fs::write(&zeroes, vec![0xff; 64 << 20]).context("write", zeroes.display())?;
    lab.publish(lab.release("zeroed"))?;
    let deployment = lab.server.deploy("zeroed", &device)?;
    machine.wait_for(" of zeroed", UPDATE)?;
    machine.wait_for("rota: booting slot A", UPDATE)?;
    machine.cut_power()?;
    Arm64Fast.layout().fill(&machine.disk(), Arm64Fast.partition(Slot::A), &zeroes)?;
    machine.power_on()?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;

    println!("and the next good release is committed again");
    lab.publish(lab.release("better"))?;
    lab.server.expect_success(&lab.server.deploy("better", &device)?, UPDATE)?;
    machine.expect_committed(Slot::A, "better")
}

#[test]
fn an_environment_may_get_lost() -> Result<()> {
    let mut lab = Lab::new("arm64-fast-env", &Arm64Fast)?;
    let (mut machine, device) = lab.updated_machine()?;

    for lost in 0..2 {
        println!("copy {lost} is destroyed after a commit: the slot stays, the client repairs the copy");
        destroy(&mut machine, &[lost])?;
        machine.power_on()?;
        check("the slot", machine.wait_until_up()?.slot, Slot::B)?;
        machine.wait_for("one copy of U-Boot's environment was lost", BOOT)?;
        machine.expect_committed(Slot::B, "good")?;
    }

    println!("the newer copy is destroyed in a trial: it is tried once more, or not at all");
    lab.publish(lab.release("tried"))?;
    let deployment = lab.server.deploy("tried", &device)?;
    machine.wait_for("rota: booting slot A", UPDATE)?;
    machine.cut_power()?;
    let flags = Arm64Fast.copies(&machine.disk())?.0.map(|copy| copy[4]);
    destroy(&mut machine, &[usize::from(flags[1] > flags[0])])?;
    machine.power_on()?;
    let end = lab.server.watch(&deployment, UPDATE, |_| ())?;
    println!("  {}: {}", end.status, end.substate);
    match end.status.as_str() {
        "success" => machine.expect_committed(Slot::A, "tried")?,
        _ => machine.expect_committed(Slot::B, "good")?,
    }

    println!("both copies are destroyed: U-Boot's own ones start slot A, and the client makes them anew");
    destroy(&mut machine, &[0, 1])?;
    machine.power_on()?;
    check("the slot", machine.wait_until_up()?.slot, Slot::A)?;
    machine.wait_for("U-Boot's environment was lost", BOOT)?;
    let release = machine.running()?.release;
    machine.expect_committed(Slot::A, &release)?;
    machine.expect_said("rota doctor", &["ok boot environment: every copy is whole"])?;

    println!("both copies are destroyed in a trial: it is not committed unless it is the one that the journal knows");
    lab.publish(lab.release("lost"))?;
    let deployment = lab.server.deploy("lost", &device)?;
    machine.wait_for("rota: booting slot B", UPDATE)?;
    destroy(&mut machine, &[0, 1])?;
    machine.power_on()?;
    lab.server.expect_failure(&deployment, &["slot A"], UPDATE)?;
    machine.expect_committed(Slot::A, &release)?;

    println!("and the next good release is committed again");
    lab.publish(lab.release("better"))?;
    lab.server.expect_success(&lab.server.deploy("better", &device)?, UPDATE)?;
    machine.expect_committed(Slot::B, "better")
}

/// The environment raw on an SD card, U-Boot's own counter, a generic kernel, and a watchdog that ends what hangs.
#[test]
fn a_board_with_an_sd_card_and_a_watchdog() -> Result<()> {
    let mut lab = Lab::new("arm64", &Arm64)?;
    let (mut machine, device) = lab.updated_machine()?;

    println!("a release whose init hangs is ended by the watchdog");
    lab.publish(lab.release("hangs").with_file("/sbin/init", b"#!/bin/sh\nwhile :; do :; done\n", 0o755))?;
    let deployment = lab.server.deploy("hangs", &device)?;
    lab.server.expect_failure(&deployment, &["U-Boot fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    machine.expect_well(
        "hangs: failed: trial of slot A was booted once and not committed; U-Boot fell back to slot B",
    )?;

    println!("the newer copy of the environment is lost");
    machine.cut_power()?;
    let copies = Arm64.copies(&machine.disk())?;
    Arm64.set_copies(&machine.disk(), &Copies([vec![0; copies.0[0].len()], copies.0[1].clone()]))?;
    machine.power_on()?;
    check("the slot", machine.wait_until_up()?.slot, Slot::B)?;
    machine.expect_committed(Slot::B, "good")
}

/// Cuts the power and overwrites copies of the environment.
fn destroy(machine: &mut Machine, which: &[usize]) -> Result<()> {
    machine.cut_power()?;
    let mut copies = Arm64Fast.copies(&machine.disk())?;
    which.iter().for_each(|copy| copies.0[*copy].fill(0));
    Arm64Fast.set_copies(&machine.disk(), &copies)
}
