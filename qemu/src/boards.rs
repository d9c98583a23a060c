//! A board's disk image through its life: it starts, takes an update, and falls back from a bad one.

use crate::error::{check, Result};
use crate::house::House;
use crate::kind::{Board, Kind, Maker, Slot};
use crate::lab::Lab;
use crate::machine::BOOT;
use crate::server::UPDATE;
use crate::wait::secs;

/// Runs it; `board` is `qemux86-64` or `qemuarm64`.
pub fn run(board: &str, maker: Maker) -> Result<()> {
    let kind = Board::new(&House::find()?, board, maker)?;
    let mut lab = Lab::new(board, kind)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;
    lab.server.wait_for_inventory(&device, "device_type", kind.device_type(), secs(60))?;
    machine.expect_committed(Slot::A, "release-1")?;
    // Debian's cloud kernel has no driver of a watchdog; everything else is as on the product.
    let wrong = machine.run("rota doctor | grep WRONG | grep -v watchdog; :")?;
    check("what rota doctor finds wrong", wrong.trim(), "")?;
    println!("{board}: started");

    let two = lab.publish(lab.release("release-2"))?;
    lab.server.expect_success(&lab.server.deploy("release-2", &device)?, UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;
    check("what slot B holds", machine.slot_digest(Slot::B, two.length)?, two.digest)?;
    println!("{board}: updated");

    lab.publish(lab.release("release-3").without_init())?;
    lab.server.expect_failure(&lab.server.deploy("release-3", &device)?, &["fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;
    println!("{board}: fell back");
    Ok(())
}
