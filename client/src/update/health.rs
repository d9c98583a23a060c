//! Whether a new slot may be committed: its configuration is good, the server is reached from it, the product is content.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::state::Outcome;
use super::{Act, Engine, Halt};
use crate::device::Standing;
use crate::net::api::Status;
use crate::net::backoff::jitter;
use crate::net::Error;
use crate::sys::process::{self, LastLine};

/// Longest wait between two looks for the server.
const PAUSE: Duration = Duration::from_secs(10);

/// What a look for the server showed.
enum Look {
    Healthy,
    Aborted,
    /// The server is there, but has trouble of its own: what it answered.
    Troubled(Error),
    Unreachable(Error),
}

impl Engine {
    /// The last question before the commit. An answer over verified TLS is what makes a slot healthy: whatever the server's
    /// own trouble is, it could be reached from here, and so could the next update.
    pub(super) fn check_health(&mut self) -> Act {
        let slot =
            self.device.view().ok().filter(|view| view.standing() == Standing::Trial).map(|view| view.booted);
        let started = Instant::now();
        let mut limit = self.device.config.health_timeout;
        if slot.is_some() {
            limit = self.device.promise_verdict(limit);
        }
        self.server.end_by(Some(started + limit));
        let verdict = self.check_within(started, limit, slot.is_some());
        self.server.end_by(None);
        match (verdict, slot) {
            (Err(Halt::Failed(why)), Some(slot)) => Err(Halt::Failed(format!(
                "trial of slot {slot}: the trial's client ran and rolled back: {why}"
            ))),
            (verdict, _) => verdict,
        }
    }

    fn check_within(&mut self, started: Instant, limit: Duration, on_trial: bool) -> Act {
        if let (true, Some(fault)) = (on_trial, self.device.config.faults.first()) {
            return Err(Halt::Failed(format!("the configuration has faults: {fault}")));
        }
        if self.update()?.attempt.deployment.is_some() {
            match self.look_until(started, limit)? {
                Look::Healthy => {}
                Look::Aborted => return Ok(Outcome::Aborted),
                Look::Troubled(error) => {
                    log::warn!("{error}; the server is there, so the slot is committed");
                    self.update()?.remark = Some(format!("committed although {error}"));
                }
                Look::Unreachable(error) => {
                    let seconds = self.device.config.health_timeout.as_secs();
                    return Err(Halt::Failed(format!(
                        "the server was not reached within {seconds} s: {error}"
                    )));
                }
            }
        }
        self.run_checks(started + limit)?;
        Ok(Outcome::Done)
    }

    /// Looks for the server until it is content or the time is up.
    fn look_until(&mut self, started: Instant, limit: Duration) -> Result<Look, Halt> {
        let id = self.update()?.attempt.deployment.clone().unwrap_or_default();
        let mut troubled = None;
        let mut refused = false;
        loop {
            let (last, asked) = match self.look(&id) {
                // Whoever refuses this device twice, with a new token between, is there and means it: more of that tells nothing.
                Look::Troubled(error) if error.code() == Some(401) && refused => {
                    return Ok(Look::Troubled(error))
                }
                Look::Troubled(error) => {
                    let asked = error.retry_after();
                    log::warn!("{error}");
                    if error.code() == Some(401) {
                        self.server.forget_token();
                        refused = true;
                    }
                    troubled = Some(error.clone());
                    (Look::Troubled(error), asked)
                }
                Look::Unreachable(error) => {
                    log::warn!("{error}");
                    self.update()?.attempt.event(format!("the server is not reached: {error}"));
                    self.note_connection(&error);
                    (Look::Unreachable(error), None)
                }
                found => return Ok(found),
            };
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(troubled.map_or(last, Look::Troubled));
            }
            let pause = asked.unwrap_or_else(|| jitter(PAUSE.min(limit / 8))).min(left);
            if self.signals.sleep(pause) {
                return Err(Halt::Stopped);
            }
        }
    }

    /// One look: the status `installing`, as the protocol has it.
    fn look(&mut self, id: &str) -> Look {
        match self.server.report(id, Status::Installing, None) {
            Ok(()) => Look::Healthy,
            Err(error) => match error.code() {
                Some(409) => Look::Aborted,
                Some(401 | 429 | 500..=599) => Look::Troubled(error),
                Some(_) => {
                    log::warn!("{error}");
                    Look::Healthy
                }
                None if error.reached() => Look::Troubled(error),
                None => Look::Unreachable(error),
            },
        }
    }

    /// Runs the product's own checks, in the order of their names. One that fails is the end of the trial.
    pub(super) fn run_checks(&mut self, until: Instant) -> Result<(), Halt> {
        // However late it is, the checks get a little time, less than the guard adds to what was promised.
        let until = until.max(Instant::now() + Duration::from_secs(10));
        for check in executables(&self.device.paths.conf.join("health.d")) {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            let mut last = LastLine::default();
            let ended = process::run(&mut Command::new(&check), left, &mut |output, line| {
                log::info!("{}: {line}", check.display());
                last.take(output, line);
            });
            let name = check.display();
            let why = match ended {
                Ok(ended) if ended.is_success() => continue,
                Ok(ended) => format!("health check {name} {ended}{}", last.told()),
                Err(error) => format!("health check {name} cannot be run: {error}"),
            };
            return Err(Halt::Failed(why));
        }
        Ok(())
    }
}

/// The programs in a folder, in the order of their names.
pub(crate) fn executables(folder: &std::path::Path) -> Vec<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let mut programs: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_program).collect();
    programs.sort();
    programs
}
