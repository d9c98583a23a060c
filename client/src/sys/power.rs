//! Restarting the machine. A build for tests only passes the fault point: it never restarts the machine it runs on.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::reboot::{reboot, RebootMode};

use super::fault::{self, Kind};

/// Asks the init system for a restart, which stops everything in order. `Ok` means that it was accepted: wait for the end,
/// and force it when it does not come. When there is no init system to ask, the restart is forced at once.
pub fn restart() -> io::Result<()> {
    fault::point(Kind::Reboot, Path::new("/sbin/reboot"))?;
    if fault::BUILT_IN {
        return Ok(());
    }
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
    if fault::BUILT_IN {
        return Ok(());
    }
    nix::unistd::sync();
    match reboot(RebootMode::RB_AUTOBOOT) {
        Err(error) => Err(error.into()),
        Ok(never) => match never {},
    }
}
