//! Restarting the machine.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::reboot::{reboot, RebootMode};

use super::fault::{self, Kind};

/// Asks the init system for a restart, which stops everything in order. `Ok` means that it was accepted: wait for the end,
/// and force it when it does not come. When there is no init system to ask, the restart is forced at once.
pub fn restart() -> io::Result<()> {
    fault::point(Kind::Reboot, Path::new("/sbin/reboot"))?;
    let asked =
        Command::new("reboot").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match asked {
        Ok(status) if status.success() => Ok(()),
        _ => force(),
    }
}

/// Restarts the machine now: syncs the file systems, then the kernel resets. Returns only on failure.
pub fn force() -> io::Result<()> {
    fault::point(Kind::Reboot, Path::new("reboot(2)"))?;
    nix::unistd::sync();
    match reboot(RebootMode::RB_AUTOBOOT) {
        Err(error) => Err(error.into()),
        Ok(never) => match never {},
    }
}
