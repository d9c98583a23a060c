//! What `rota doctor` and `rota status --why` say on a PC that is well, and on one where something is not.

use std::fs;

use rota_qemu::error::{check, Context, Result};
use rota_qemu::kind::{Kind, Slot, X86_64};
use rota_qemu::lab::Lab;
use rota_qemu::machine::BOOT;
use rota_qemu::server::UPDATE;
use rota_qemu::wait::secs;

#[test]
fn they_say_how_the_machine_is() -> Result<()> {
    let mut lab = Lab::new("doctor", &X86_64)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;
    let doctor = "rota doctor";
    let status = "rota status --why";

    println!("after a commit all is well, but that this machine has no watchdog");
    lab.publish(lab.release("good"))?;
    lab.server.expect_success(&lab.server.deploy("good", &device)?, UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    let good = [
        "artifact good",
        "booted slot B",
        "committed slot B",
        "state committed",
        "last good: installed and committed",
    ];
    machine.expect_said(status, &good)?;
    machine.expect_said(
        status,
        &["armed a trial of slot B", "committed slot B", "boot grub (GRUB); the boot loader counts"],
    )?;
    let well = [
        "ok boot records: two copies in /boot/efi/grub-mender-grubenv, whole and equal",
        "ok boot back end: slot B booted, slot B committed",
        "ok kernel command line: rota.slot=B",
        "ok data partition: /data/rota lies on /dev/nvme0n1p4 (ext4)",
        "ok journal: /var/lib/rota/journal.0 and .1 are whole",
        "WRONG watchdog: expected a hardware watchdog",
        ", 1 wrong, ",
    ];
    machine.expect_said(doctor, &well)?;

    println!("after a failed trial: which, and why");
    lab.publish(lab.release("no-kernel").without_kernel())?;
    let deployment = lab.server.deploy("no-kernel", &device)?;
    lab.server.expect_failure(&deployment, &["GRUB fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    let why =
        "no-kernel: failed: trial of slot A was booted once and not committed; GRUB fell back to slot B";
    machine.expect_said(
        status,
        &["artifact good", "state committed", &format!("last {why}"), why, "armed a trial of slot A"],
    )?;
    machine.expect_said(doctor, &["ok boot back end: slot B booted, slot B committed", ", 1 wrong, "])?;

    println!("a copy of the boot records is destroyed");
    let copy = "/boot/efi/grub-mender-grubenv/mender_grubenv2/env";
    machine.run(&format!("dd if=/dev/zero of={copy} bs=1024 count=1 conv=notrunc && sync"))?;
    machine
        .expect_said(doctor, &["WRONG boot records: expected two copies", "found copy 2: ", ", 2 wrong, "])?;
    machine.expect_said(status, &["state committed"])?;

    println!("and the data partition is read-only");
    machine.run(
        "mount -o remount,errors=remount-ro /dev/nvme0n1p4 /data
         echo a fault of the lab >/sys/fs/ext4/nvme0n1p4/trigger_fs_error"
            .replace('\n', ";")
            .as_str(),
    )?;
    let fault = "fault the journal cannot be written: /var/lib/rota: Read-only file system";
    machine.expect_said(status, &["state committed", fault])?;
    machine.expect_said(
        doctor,
        &["WRONG data partition: expected a folder that can be written found Read-only", ", 3 wrong, "],
    )?;
    lab.server.wait_for_inventory(&device, "faults", "the journal cannot be written", secs(120))?;

    println!("the committed slot does not load any more: the machine runs in fallback");
    lab.server.stop()?;
    machine.cut_power()?;
    let slot = X86_64.partition(Slot::B);
    X86_64.layout().put(&machine.disk(), slot, &vec![0; X86_64.layout().span(slot).1 as usize])?;
    // There is a whole kernel in no slot but A, since the failed release was written over it; so it is made whole first.
    let image = lab.build(lab.release("release-1"))?.image;
    let image = fs::read(&image).context("read", image.display())?;
    X86_64.layout().put(&machine.disk(), X86_64.partition(Slot::A), &image)?;
    machine.power_on()?;
    machine.wait_for("slot B does not load", BOOT)?;
    check("the slot", machine.wait_until_up()?.slot, Slot::A)?;
    machine.wait_for("becomes the committed one once it is healthy", BOOT)?;
    let why = "slot B is the committed one, but slot A runs: GRUB could not start slot B";
    let repaired =
        "repaired the boot loader's records: copy 2 of GRUB's boot records was not whole or differed";
    machine.expect_said(status, &["booted slot A", "committed slot B", "state fallback", why, repaired])?;
    machine.expect_said(doctor, &["WRONG boot back end: expected the committed slot booted", why])?;
    machine.expect_said(
        doctor,
        &["ok boot records: two copies in /boot/efi/grub-mender-grubenv, whole and equal"],
    )?;

    println!("and commits what runs, once the server is reached");
    lab.server.resume()?;
    machine.wait_for("slot A is the committed one now", UPDATE)?;
    machine.expect_committed(Slot::A, "release-1")?;
    machine.expect_said(status, &["booted slot A", "committed slot A", "state committed"])
}
