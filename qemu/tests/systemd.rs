//! rota's units under systemd, on a PC with a hardware watchdog.

use rota_qemu::error::{check, Result};
use rota_qemu::kind::{Slot, X86_64_SYSTEMD};
use rota_qemu::lab::Lab;
use rota_qemu::machine::BOOT;
use rota_qemu::server::UPDATE;

/// What the watchdog has to end: nothing else would.
const HANGS: &[u8] = b"#!/bin/sh\necho lab: hanging\nwhile :; do :; done\n";

#[test]
fn units_and_watchdog_bring_every_release_to_its_end() -> Result<()> {
    let mut lab = Lab::new("systemd", &X86_64_SYSTEMD)?;
    let mut machine = lab.machine()?;
    let device = lab.server.accept_next(BOOT)?;
    machine.expect_committed(Slot::A, "release-1")?;
    let failed = machine.run("systemctl --failed --no-legend --plain | cat")?;
    check("units that failed", failed.trim(), "")?;
    let after = machine.run("systemctl show -p After rota.service | cat")?;
    check("rota waits for the data partition", after.contains("data.mount"), true)?;
    let doctor = machine.run("rota doctor")?;
    for found in [
        "guard: started by systemd (/etc/systemd/system/sysinit.target.wants/rota-guard.service)",
        "daemon: started by systemd (/etc/systemd/system/multi-user.target.wants/rota.service)",
        "watchdog: watchdog0 (i6300ESB timer), 60 s; systemd feeds it (RuntimeWatchdogSec=60)",
        ", 0 wrong, ",
    ] {
        check(found, doctor.contains(found), true)?;
    }

    println!("a good release is committed");
    lab.publish(lab.release("good"))?;
    lab.server.expect_success(&lab.server.deploy("good", &device)?, UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;

    println!("a release whose client exits is ended by the guard");
    lab.publish(lab.release("no-client").with_client_that_exits())?;
    let deployment = lab.server.deploy("no-client", &device)?;
    machine.wait_for("rota-guard: not committed in time", UPDATE)?;
    lab.server.expect_failure(&deployment, &["GRUB fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")?;
    machine.expect_well(
        "no-client: failed: trial of slot A was booted once and not committed; GRUB fell back to slot B",
    )?;

    println!("a release whose init hangs is ended by the watchdog");
    lab.publish(lab.release("hangs").with_file("/sbin/init", HANGS, 0o755))?;
    let deployment = lab.server.deploy("hangs", &device)?;
    machine.wait_for("lab: hanging", UPDATE)?;
    lab.server.expect_failure(&deployment, &["GRUB fell back to slot B"], UPDATE)?;
    machine.expect_committed(Slot::B, "good")
}
