//! Restarting the machine. A build for tests only passes the fault point: it never restarts the machine it runs on.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::reboot::{reboot, RebootMode};

use super::fault::{self, Kind};
use super::process::{self, Ended};

/// How long the init system may take to accept a restart; programs that ask it sync the disks first.
const ASKING: Duration = Duration::from_secs(120);

/// Asks the init system for a restart, which stops everything in order. `Ok` means that it was accepted: wait for the end,
/// and force it when it does not come. When there is no init system to ask, the restart is forced at once.
pub fn restart() -> io::Result<()> {
    fault::point(Kind::Reboot, Path::new("/sbin/reboot"))?;
    if fault::BUILT_IN {
        return Ok(());
    }
    match is_accepted(&mut Command::new("reboot"), ASKING) {
        true => Ok(()),
        false => force(),
    }
}

/// An init system that hangs must not keep the machine from restarting.
fn is_accepted(command: &mut Command, limit: Duration) -> bool {
    let ended = process::run(command, limit, &mut |_, line| log::info!("reboot: {line}"));
    ended.is_ok_and(Ended::is_success)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_has_not_accepted() {
        let limit = Duration::from_secs(60);
        assert!(is_accepted(&mut Command::new("true"), limit));
        assert!(!is_accepted(&mut Command::new("false"), limit));
        assert!(!is_accepted(&mut Command::new("no-such-program"), limit));
        assert!(!is_accepted(Command::new("sleep").arg("1000"), Duration::from_millis(50)));
    }
}
