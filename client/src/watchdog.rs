//! Whether the client feeds a hardware watchdog: the one of `[watchdog]`, never beside systemd, not stopped while a trial runs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::slot::System;
use crate::sys::watchdog::Watchdog;

/// Starts the configured watchdog. `None`: none is configured, or somebody else has it, which is said in the log.
pub fn start(config: &Config, system: &System) -> Option<Watchdog> {
    let device = config.watchdog.as_ref()?;
    let name = device.display();
    if let Some(time) = by_systemd(system) {
        log::warn!("systemd feeds the watchdog (RuntimeWatchdogSec={time}); {name} is left to it, and watchdog.device is not needed");
        return None;
    }
    match Watchdog::start(device, config.watchdog_timeout) {
        Ok(dog) => {
            log::info!("{name} restarts the machine when the client hangs for {} s", dog.timeout.as_secs());
            Some(dog)
        }
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {
            log::warn!("{name} is fed by another program; watchdog.device is not needed");
            None
        }
        Err(error) => {
            log::error!("cannot start the watchdog {name}: {error}; nothing restarts the machine when the client hangs");
            None
        }
    }
}

/// `bootstatus` of a watchdog that has caused the last restart (`WDIOF_CARDRESET`).
const CARD_RESET: u32 = 0x20;

/// Whether this watchdog, a folder below `/sys/class/watchdog`, says that it has caused the last restart. Not every one can say.
pub fn has_restarted(dog: &Path) -> bool {
    let status = fs::read_to_string(dog.join("bootstatus")).ok().and_then(|text| text.trim().parse().ok());
    status.is_some_and(|status: u32| status & CARD_RESET != 0)
}

/// Whether any watchdog says so.
pub fn any_has_restarted(system: &System) -> bool {
    let dogs = fs::read_dir(system.file("/sys/class/watchdog"));
    dogs.into_iter().flatten().flatten().any(|dog| has_restarted(&dog.path()))
}

/// What systemd's configuration says of `RuntimeWatchdogSec`, when systemd runs and feeds a watchdog.
pub fn by_systemd(system: &System) -> Option<String> {
    if !system.file("/run/systemd/system").is_dir() {
        return None;
    }
    let mut files =
        vec![system.file("/usr/lib/systemd/system.conf"), system.file("/etc/systemd/system.conf")];
    let mut parts: Vec<PathBuf> = ["/usr/lib/systemd", "/lib/systemd", "/etc/systemd", "/run/systemd"]
        .into_iter()
        .filter_map(|folder| fs::read_dir(system.file(folder).join("system.conf.d")).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    parts.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    files.extend(parts);
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let value = |text: String| {
        let line = text.lines().rev().find_map(|line| line.trim().strip_prefix("RuntimeWatchdogSec="));
        line.map(|value| value.trim().to_owned())
    };
    let last = texts.filter_map(value).next_back()?;
    (!["", "0", "off", "infinity"].contains(&last.as_str())).then_some(last)
}
