//! `rota daemon`, and the commands that wake it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Paths;
use crate::device::Device;
use crate::signals::Signals;
use crate::sys::lock::Lock;
use crate::sys::power;
use crate::sys::signal::{self, Signal};
use crate::sys::watchdog;
use crate::update::{Engine, Exit};

/// How long a restart may take before it is forced.
const RESTART: Duration = Duration::from_secs(120);

/// How long a daemon waits for the place of another one: a command that looks for the daemon takes it for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(5);

fn pid_file(paths: &Paths) -> PathBuf {
    paths.run.join("daemon.pid")
}

/// Runs the client until a signal or a restart of the machine ends it.
pub fn run(mut device: Device) -> Result<(), String> {
    let paths = device.paths.clone();
    let signals = Signals::listen(0).map_err(|error| format!("cannot listen to signals: {error}"))?;
    let _ = fs::create_dir_all(&paths.run);
    let _only = match Lock::take(&pid_file(&paths), LOCK_WAIT) {
        Ok(Some(lock)) => Some(lock),
        Ok(None) => return Err("the daemon is running already".into()),
        Err(error) => {
            log::warn!(
                "{}: {error}; check-update and send-inventory will not find the daemon",
                paths.run.display()
            );
            None
        }
    };
    let _ = fs::write(pid_file(&paths), format!("{}\n", std::process::id()));
    log::info!("rota {} started", env!("CARGO_PKG_VERSION"));
    let dog = crate::watchdog::start(&device.config, &device.system);
    watchdog::may_stop(!device.is_on_trial());
    let mut engine = Engine::new(device, signals.clone());
    let exit = engine.run();
    if exit == Exit::Restarting && !signals.sleep(RESTART) {
        log::error!("the machine does not restart; forcing it");
        power::force().map_err(|error| format!("cannot restart the machine: {error}"))?;
    }
    drop(dog);
    watchdog::may_stop(!engine.device.is_on_trial());
    watchdog::exiting();
    log::info!("stopped");
    Ok(())
}

/// Sends a signal to the daemon.
pub fn wake(paths: &Paths, with: Signal) -> Result<(), String> {
    let pid = running(paths).map_err(|why| {
        let file = pid_file(paths);
        format!("the daemon is not running ({}: {why})", file.display())
    })?;
    signal::send(pid, with).map_err(|error| format!("cannot wake the daemon: {error}"))
}

/// The number of the daemon's process; the error says why it seems not to run.
pub fn running(paths: &Paths) -> Result<u32, String> {
    let file = pid_file(paths);
    let pid = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    match Lock::take(&file, Duration::ZERO) {
        Ok(Some(_)) => return Err("nobody holds the lock".into()),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error.to_string()),
        _ => {}
    }
    pid.trim().parse().map_err(|_| "it holds no number".into())
}
