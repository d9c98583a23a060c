//! What becomes of good and of bad releases.

use rota_qemu::error::{check, Result};
use rota_qemu::kind::{Slot, X86_64};
use rota_qemu::lab::Lab;
use rota_qemu::machine::BOOT;
use rota_qemu::server::UPDATE;
use rota_qemu::wait::secs;

/// A check of a trial's health under which the data partition fails: its file system finds an error, and is read-only from then on.
const FAILING: &[u8] = b"#!/bin/sh
mount -o remount,errors=remount-ro /dev/nvme0n1p4 /data
echo a fault of the lab >/sys/fs/ext4/nvme0n1p4/trigger_fs_error
! : >/data/rota/trace
";

#[test]
fn a_good_release_stays_and_bad_ones_fall_back() -> Result<()> {
    let mut lab = Lab::new("updates", &X86_64)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;
    lab.server.wait_for_inventory(&device, "device_type", "qemu-x86_64", secs(60))?;
    machine.expect_committed(Slot::A, "release-1")?;

    println!("a good release is committed");
    let two = lab.publish(lab.release("release-2"))?;
    let deployment = lab.server.deploy("release-2", &device)?;
    lab.server.expect_success(&deployment, UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;
    check("what slot B holds", machine.slot_digest(Slot::B, two.length)?, two.digest)?;
    lab.server.wait_for_inventory(&device, "artifact_name", "release-2", secs(60))?;

    println!("a release without init panics, and GRUB falls back");
    lab.publish(lab.release("release-3").without_init())?;
    let deployment = lab.server.deploy("release-3", &device)?;
    lab.server.expect_failure(&deployment, &["slot A", "GRUB fell back"], UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;

    println!("a release without a kernel: GRUB falls back in the same start");
    let no_kernel = lab.publish(lab.release("no-kernel").without_kernel())?;
    let deployment = lab.server.deploy(&no_kernel.name, &device)?;
    machine.wait_for("slot A does not load", UPDATE)?;
    lab.server.expect_failure(&deployment, &["slot A", "GRUB fell back"], UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;

    println!("a release that cannot reach the server rolls itself back");
    lab.publish(lab.release("release-4").with_server("https://10.0.2.2:9"))?;
    let deployment = lab.server.deploy("release-4", &device)?;
    lab.server.expect_failure(&deployment, &["10.0.2.2:9"], UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;

    println!("a release whose client exits is ended by the guard");
    lab.publish(lab.release("release-5").with_client_that_exits())?;
    let deployment = lab.server.deploy("release-5", &device)?;
    lab.server.expect_failure(&deployment, &["slot A", "GRUB fell back"], UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;

    println!("a release under whose trial the data partition fails rolls itself back");
    lab.publish(lab.release("no-data").impatient().with_file("/etc/rota/health.d/10-fails", FAILING, 0o755))?;
    let deployment = lab.server.deploy("no-data", &device)?;
    machine.wait_for("cannot write /var/lib/rota/journal", UPDATE)?;
    let why = "the trial's client ran, but the machine was restarted before it committed";
    lab.server.expect_failure(&deployment, &["slot A", why], UPDATE)?;
    machine.expect_committed(Slot::B, "release-2")?;

    println!("and the next good release is committed again");
    lab.publish(lab.release("release-6"))?;
    let deployment = lab.server.deploy("release-6", &device)?;
    lab.server.expect_success(&deployment, UPDATE)?;
    machine.expect_committed(Slot::A, "release-6")
}
