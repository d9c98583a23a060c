//! What breaks on a PC in the middle of an update: the slot after it was written, and the data partition while the trial runs. Each
//! ends in the committed slot, and in a report of why.

use std::fs;
use std::process::Command;

use rota_qemu::error::{check, Context, Result};
use rota_qemu::kind::{Kind, Records, Slot, X86_64};
use rota_qemu::lab::{Lab, FIRST_RELEASE};
use rota_qemu::machine::{Machine, BOOT};
use rota_qemu::run;
use rota_qemu::server::{Deployment, Device, UPDATE};

#[test]
fn a_slot_that_does_not_start() -> Result<()> {
    let mut lab = Lab::new("faults-slot", &X86_64)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;

    println!("a release without a kernel, and one whose kernel is none: GRUB falls back in the same start");
    for release in [
        lab.release("no-kernel").without_kernel(),
        lab.release("bad-kernel").with_file("/boot/vmlinuz", &[0x5a; 1 << 20], 0o644),
    ] {
        let name = lab.publish(release)?.name;
        let deployment = lab.server.deploy(&name, &device)?;
        machine.wait_for("slot B does not load", UPDATE)?;
        lab.server.expect_failure(&deployment, &["trial of slot B", "GRUB fell back to slot A"], UPDATE)?;
        machine.expect_committed(Slot::A, FIRST_RELEASE)?;
    }

    println!("a slot that is zeroed after it was armed");
    let deployment = armed(&lab, &mut machine, &device, "zeroed")?;
    let slot = X86_64.partition(Slot::B);
    X86_64.layout().put(&machine.disk(), slot, &vec![0; X86_64.layout().span(slot).1 as usize])?;
    machine.power_on()?;
    machine.wait_for("slot B does not load", BOOT)?;
    lab.server.expect_failure(&deployment, &["trial of slot B", "GRUB fell back to slot A"], UPDATE)?;
    machine.expect_committed(Slot::A, FIRST_RELEASE)
}

#[test]
fn the_boot_records_get_lost_in_a_trial() -> Result<()> {
    let mut lab = Lab::new("faults-records", &X86_64)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;
    let mut home = (Slot::A, FIRST_RELEASE.to_string());
    for (name, lost) in [("without-1", &[1][..]), ("without-2", &[2]), ("without-both", &[1, 2])] {
        println!("{name}: {lost:?} lost");
        let deployment = armed(&lab, &mut machine, &device, name)?;
        lost.iter().try_for_each(|copy| Records::destroy(&machine.disk(), *copy))?;
        machine.power_on()?;
        let end = lab.server.watch(&deployment, UPDATE, |_| ())?;
        println!("  {} {}", end.status, end.substate);
        match end.status.as_str() {
            "success" => home = (home.0.other(), name.into()),
            _ => check("that the report says why", end.substate.contains("slot"), true)?,
        }
        machine.expect_committed(home.0, &home.1)?;
        machine.expect_said("rota doctor", &["ok boot records: two copies"])?;
    }
    check("that one copy was enough for a trial", home.1.starts_with("without-"), true)
}

#[test]
fn a_torn_superblock_of_the_data_partition_is_repaired() -> Result<()> {
    let mut lab = Lab::new("faults-superblock", &X86_64)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;
    let deployment = armed(&lab, &mut machine, &device, "torn")?;
    // The checksum at its end is that of another one.
    change_data(&machine, r#"printf '\0\0\0\0' | dd of="$1" bs=1 seek=2044 conv=notrunc"#)?;
    machine.power_on()?;
    machine.wait_for("rota-data: /data is not mounted", BOOT)?;
    machine.wait_for("rota-data: /data is mounted", BOOT)?;
    lab.server.expect_success(&deployment, UPDATE)?;
    machine.expect_committed(Slot::B, "torn")?;
    machine.expect_said("rota doctor", &["ok data partition: /data/rota lies on", "ok journal:"])
}

#[test]
fn the_data_partition_fails_in_a_trial() -> Result<()> {
    let mut lab = Lab::new("faults-data", &X86_64)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;

    println!("zeroed, so that it cannot be mounted: the trial ends itself; without its key the device cannot report");
    let deployment = armed(&lab, &mut machine, &device, "unmountable")?;
    let whole = X86_64.layout().take(&machine.disk(), X86_64.data())?;
    X86_64.layout().put(&machine.disk(), X86_64.data(), &vec![0; whole.len()])?;
    machine.power_on()?;
    let knew_nothing = "slot B was on trial, but the journal knew nothing of it; rolled back to slot A";
    returns(&mut machine, knew_nothing)?;
    machine.expect_said(
        "rota status --why",
        &["state committed", "fault the journal cannot be written: /var/lib/rota: No such file"],
    )?;
    machine
        .expect_said("rota doctor", &["WRONG data partition: expected /var/lib/rota found No such file"])?;
    println!("  it comes back: the report comes late, and is true");
    machine.cut_power()?;
    X86_64.layout().put(&machine.disk(), X86_64.data(), &whole)?;
    machine.power_on()?;
    lab.server.expect_failure(&deployment, &["trial of slot B was booted once and not committed"], UPDATE)?;
    machine.expect_committed(Slot::A, FIRST_RELEASE)?;

    println!("it is read-only from the trial on: the report says so");
    let deployment = armed(&lab, &mut machine, &device, "read-only")?;
    change_data(&machine, r#"tune2fs -O read-only "$1""#)?;
    machine.power_on()?;
    returns(&mut machine, "Read-only file system")?;
    let why = ["trial of slot B was booted once", "the journal cannot be written", "Read-only file system"];
    lab.server.expect_failure(&deployment, &why, UPDATE)?;
    machine.expect_committed(Slot::A, FIRST_RELEASE)?;
    let fault = "fault the journal cannot be written: /var/lib/rota/journal.0: Read-only file system";
    machine.expect_said("rota status --why", &["state committed", fault])?;
    machine.expect_said(
        "rota doctor",
        &["WRONG data partition: expected a folder that can be written found Read-only"],
    )?;
    machine.cut_power()?;
    change_data(&machine, r#"tune2fs -O ^read-only "$1""#)?;

    println!(
        "its journal is gone: the trial is not committed; the device is sent the release again, and takes it"
    );
    machine.power_on()?;
    check("the slot", machine.wait_until_up()?.slot, Slot::A)?;
    let deployment = armed(&lab, &mut machine, &device, "no-journal")?;
    change_data(&machine, r#"for n in 0 1; do debugfs -w -R "rm rota/journal.$n" "$1"; done"#)?;
    machine.power_on()?;
    returns(&mut machine, knew_nothing)?;
    machine.expect_said("rota status --why", &[knew_nothing])?;
    lab.server.expect_success(&deployment, UPDATE)?;
    machine.expect_committed(Slot::B, "no-journal")?;

    println!("it is made anew: no journal, and another key, by which the device has to be admitted");
    let deployment = armed(&lab, &mut machine, &device, "anew")?;
    change_data(&machine, r#"mke2fs -q -F -t ext4 "$1""#)?;
    machine.power_on()?;
    returns(&mut machine, "slot A was on trial, but the journal knew nothing of it; rolled back to slot B")?;
    lab.server.accept_new_key(&device, UPDATE)?;
    lab.server.expect_success(&deployment, UPDATE)?;
    machine.expect_committed(Slot::A, "anew")
}

/// Sends out a release, and cuts the power when its trial is armed.
fn armed(lab: &Lab, machine: &mut Machine, device: &Device, release: &str) -> Result<Deployment> {
    let slot = machine.loader()?.committed.other();
    lab.publish(lab.release(release).impatient())?;
    let deployment = lab.server.deploy(release, device)?;
    machine.wait_for("restarting into the trial", UPDATE)?;
    machine.cut_power()?;
    // However late the cut came: the trial is still to be booted.
    (1..=2).try_for_each(|copy| Records::armed(slot).write(&machine.disk(), copy))?;
    Ok(deployment)
}

/// Waits for a trial in which this is said, and for the machine's return to the slot before.
fn returns(machine: &mut Machine, said: &str) -> Result<()> {
    let trial = loop {
        let up = machine.wait_until_up()?;
        if up.trial {
            break up;
        }
    };
    machine.wait_for(said, BOOT)?;
    let up = machine.wait_until_up()?;
    check("the slot that came up", up.slot, trial.slot.other())?;
    check("whether it is on trial", up.trial, false)
}

/// Changes the data partition of a machine that is off, by a script that is handed the image as `$1`.
fn change_data(machine: &Machine, script: &str) -> Result<()> {
    let image = machine.disk().with_extension("data");
    let bytes = X86_64.layout().take(&machine.disk(), X86_64.data())?;
    fs::write(&image, bytes).context("write", image.display())?;
    // What the power cut has left in the file system's own journal comes first.
    let script = format!(r#"PATH=$PATH:/usr/sbin:/sbin; e2fsck -fy "$1"; [ $? -le 1 ] || exit; {script}"#);
    run::output(Command::new("sh").args(["-c", &script, "sh"]).arg(&image))?;
    let bytes = fs::read(&image).context("read", image.display())?;
    X86_64.layout().put(&machine.disk(), X86_64.data(), &bytes)
}
