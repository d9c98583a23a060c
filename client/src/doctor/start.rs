//! What ends a trial that comes to nothing, and what commits one that is well: panic, guard, daemon.

use std::fs;
use std::path::Path;

use super::programs;
use super::Doctor;
use crate::finding::Finding;

/// A kernel that panics restarts.
pub fn panic(doctor: &mut Doctor) -> Vec<Finding> {
    const PANIC: &str = "panic";
    let setting = doctor.read("/proc/sys/kernel/panic").and_then(|text| text.trim().parse::<i64>().ok());
    vec![match setting {
        Some(0) => Finding::wrong(
            PANIC,
            "a restart after a panic, so that a trial that panics falls back",
            "/proc/sys/kernel/panic is 0: the machine would stand still for ever",
            "add panic=5 to the kernel's command line (rota_args or ARGS of the boot script); a sysctl comes too late for early panics",
        ),
        Some(seconds) => {
            let early = doctor.command_line().iter().any(|word| word.starts_with("panic="));
            let how = if early { "by the command line" } else { "not by the command line, so an early panic may hang" };
            match early {
                true => Finding::ok(PANIC, format!("the machine restarts after {seconds} s, {how}")),
                false => Finding::wrong(
                    PANIC,
                    "panic= on the kernel's command line, which holds from the first instant on",
                    format!("/proc/sys/kernel/panic is {seconds}, {how}"),
                    "add panic=5 to the kernel's command line (rota_args or ARGS of the boot script)",
                ),
            }
        }
        None => Finding::not_checked(PANIC, "/proc/sys/kernel/panic cannot be read"),
    }]
}

/// The guard is there and is started.
pub fn guard(doctor: &mut Doctor) -> Vec<Finding> {
    const GUARD: &str = "guard";
    let path = doctor.device.paths.lib.join("rota-guard");
    let mut findings = vec![match programs::fault(doctor, &path) {
        None => Finding::ok(GUARD, path.display().to_string()),
        Some(found) => Finding::wrong(
            GUARD,
            format!("{}, which ends a trial whose client never runs", path.display()),
            found,
            "install client/dist/rota-guard there, executable (package rota-guard)",
        ),
    }];
    findings.push(started(
        doctor,
        GUARD,
        "rota-guard",
        "enable rota-guard.service (systemctl enable), or link the init script as /etc/rcS.d/S04rota-guard or /etc/init.d/S00rota-guard",
    ));
    findings
}

/// The daemon is started.
pub fn daemon(doctor: &mut Doctor) -> Vec<Finding> {
    let remedy = "enable rota.service (systemctl enable), or link the init script into /etc/rc2.d … rc5.d or /etc/init.d/S80rota";
    vec![started(doctor, "daemon", "rota", remedy)]
}

/// Whether the init system starts `name`: systemd by a link in a `.wants` folder, the others by a script `S…name`.
fn started(doctor: &Doctor, check: &'static str, name: &str, remedy: &str) -> Finding {
    let system = &doctor.device.system;
    let entries = |folder: &Path| -> Vec<std::path::PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let ends = |path: &Path, end: &str| path.to_string_lossy().ends_with(end);
    let unit = format!("{name}.service");
    for folder in ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"] {
        let wants = entries(&system.file(folder)).into_iter().filter(|path| ends(path, ".wants"));
        // A link to a unit that the image has: it may not resolve from here, so that its being there has to do.
        if let Some(link) = wants.map(|wants| wants.join(&unit)).find(|link| link.symlink_metadata().is_ok())
        {
            return Finding::ok(check, format!("started by systemd ({})", link.display()));
        }
    }
    for folder in ["/etc/rcS.d", "/etc/rc2.d", "/etc/rc3.d", "/etc/rc5.d", "/etc/init.d"] {
        let script = entries(&system.file(folder)).into_iter().find(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let number =
                file.strip_prefix('S').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            number == Some(name)
        });
        if let Some(script) = script {
            return Finding::ok(check, format!("started by {}", script.display()));
        }
    }
    let inittab = doctor.read("/etc/inittab").unwrap_or_default();
    let line = inittab.lines().find(|line| {
        !line.trim_start().starts_with('#')
            && line.split([' ', ':']).any(|word| word.ends_with(&format!("/{name}")))
    });
    match line {
        Some(line) => Finding::ok(check, format!("started by /etc/inittab ({})", line.trim())),
        None => Finding::wrong(
            check,
            format!("{name} started by the init system"),
            "nothing that starts it",
            remedy,
        ),
    }
}
