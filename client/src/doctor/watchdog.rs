//! The hardware watchdog: whether there is one, who feeds it, and which hangs it ends.

use std::fs;
use std::path::PathBuf;

use super::Doctor;
use crate::finding::Finding;
use crate::watchdog::{by_systemd, has_restarted};

const WATCHDOG: &str = "watchdog";

/// Who feeds it, and what that is worth.
pub fn check(doctor: &mut Doctor) -> Vec<Finding> {
    let system = &doctor.device.system;
    let mut dogs: Vec<PathBuf> = fs::read_dir(system.file("/sys/class/watchdog"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    dogs.sort();
    if dogs.is_empty() {
        return vec![Finding::wrong(
            WATCHDOG,
            "a hardware watchdog: a trial that hangs, kernel or user space, ends only by it",
            "none in /sys/class/watchdog",
            "enable the driver of the SoC's watchdog in the kernel, and its node in the device tree; a board that has none needs one outside",
        )];
    }
    let of_systemd = by_systemd(system);
    let ours = doctor.device.config.watchdog.as_ref().map(|device| device.display().to_string());
    let active = dogs.iter().find(|dog| says(dog, "state").as_deref() == Some("active"));
    let told = describe(active.or(dogs.first()));
    let ends = "it ends hangs of user space and of a running kernel";
    if let (Some(ours), Some(time)) = (&ours, &of_systemd) {
        return vec![Finding::wrong(
            WATCHDOG,
            "one who feeds it",
            format!("two: systemd (RuntimeWatchdogSec={time}) and rota (watchdog.device = {ours}, which is ignored)"),
            "leave it to systemd, and take [watchdog] out of rota.toml",
        )];
    }
    let mut findings = vec![match (&of_systemd, active) {
        (Some(time), _) => {
            Finding::ok(WATCHDOG, format!("{told}; systemd feeds it (RuntimeWatchdogSec={time}); {ends}"))
        }
        (None, _) if ours.is_some() => match ours.filter(|device| !std::path::Path::new(device).exists()) {
            None => Finding::ok(WATCHDOG, format!("{told}; the daemon feeds it while it gets on (watchdog.device); {ends}")),
            Some(device) => Finding::wrong(
                WATCHDOG,
                format!("{device}, as watchdog.device says"),
                "it is not there",
                "correct watchdog.device in rota.toml; `ls /dev/watchdog*` shows what there is",
            ),
        },
        (None, Some(_)) => Finding::ok(WATCHDOG, format!("{told}; it runs, and a program feeds it; {ends}")),
        (None, None) => Finding::wrong(
            WATCHDOG,
            "a watchdog that runs, so that a trial that hangs is ended",
            format!("{told}, which nobody has started"),
            "set RuntimeWatchdogSec=30 in /etc/systemd/system.conf, or device in [watchdog] of rota.toml, or start BusyBox' watchdog early",
        ),
    }];
    findings.push(Finding::not_checked(
        WATCHDOG,
        "whether it runs while the boot loader and the early kernel do: only where boot loader or firmware starts it are their hangs \
         ended (CONFIG_WATCHDOG_AUTOSTART in U-Boot)",
    ));
    findings
}

/// One value of a watchdog in `/sys`.
fn says(dog: &std::path::Path, name: &str) -> Option<String> {
    fs::read_to_string(dog.join(name)).ok().map(|text| text.trim().to_owned())
}

fn describe(dog: Option<&PathBuf>) -> String {
    let Some(dog) = dog else { return String::new() };
    let mut text = dog.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(identity) = says(dog, "identity") {
        text += &format!(" ({identity})");
    }
    if let Some(timeout) = says(dog, "timeout") {
        text += &format!(", {timeout} s");
    }
    if says(dog, "nowayout").as_deref() == Some("1") {
        text += ", cannot be stopped";
    }
    if has_restarted(dog) {
        text += ", caused the last restart";
    }
    text
}
