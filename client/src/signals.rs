//! What wakes a waiting client: signals, and the end of its wait.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::signal::{listen, Signal};
use crate::sys::watchdog;

/// How long the client may take to come to an end by itself. What it is in the middle of is safe against being cut.
const GRACE: Duration = Duration::from_secs(5);

/// How long a wait goes on between two signs of life.
const TICK: Duration = Duration::from_secs(10);

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The client is to end.
    Stop,
    /// Poll for a deployment now.
    CheckUpdate,
    /// Send the inventory now.
    SendInventory,
    /// The time is up.
    Time,
}

#[derive(Default)]
struct Pending {
    stop: bool,
    check_update: bool,
    send_inventory: bool,
}

/// The signals that came and were not yet acted on. Clones share them.
#[derive(Clone, Default)]
pub struct Signals(Arc<(Mutex<Pending>, Condvar)>);

impl Signals {
    /// From now on, SIGTERM, SIGINT and SIGHUP mean stop, SIGUSR1 check-update and SIGUSR2 send-inventory. A process that does
    /// not come to an end by itself exits with `code`.
    pub fn listen(code: i32) -> io::Result<Signals> {
        let signals = Signals::default();
        let ours = signals.clone();
        let on = move |signal| match signal {
            Signal::SIGUSR1 => ours.check_update(),
            Signal::SIGUSR2 => ours.send_inventory(),
            _ => {
                ours.stop();
                std::thread::sleep(GRACE);
                watchdog::exiting();
                if code != 0 {
                    eprintln!("rota: stopped");
                }
                std::process::exit(code);
            }
        };
        use Signal::*;
        listen(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2], on)?;
        Ok(signals)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0 .0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.pending().stop = true;
        self.0 .1.notify_all();
    }

    /// Asks for a poll.
    pub fn check_update(&self) {
        self.pending().check_update = true;
        self.0 .1.notify_all();
    }

    /// Asks for the inventory to be sent.
    pub fn send_inventory(&self) {
        self.pending().send_inventory = true;
        self.0 .1.notify_all();
    }

    /// Whether the client is to end.
    pub fn stopped(&self) -> bool {
        self.pending().stop
    }

    /// Waits for `time`; true when the client is to end instead.
    pub fn sleep(&self, time: Duration) -> bool {
        self.pause(Instant::now().checked_add(time), |pending| !pending.stop).stop
    }

    /// Waits until `until` or until it is no longer quiet, with a sign of life now and then.
    fn pause(&self, until: Option<Instant>, quiet: impl Fn(&mut Pending) -> bool) -> MutexGuard<'_, Pending> {
        let mut pending = self.pending();
        loop {
            watchdog::alive();
            let left = until.map_or(TICK, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() || !quiet(&mut pending) {
                return pending;
            }
            let wait = self.0 .1.wait_timeout_while(pending, left.min(TICK), |pending| quiet(pending));
            pending = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `until`, or until a poll is asked for; true when the client is to end instead.
    pub fn wait_for_update(&self, until: Instant) -> bool {
        let mut pending = self.pause(Some(until), |pending| !(pending.stop || pending.check_update));
        pending.check_update = false;
        pending.stop
    }

    /// Waits until `until` or a signal, whichever is first; the signal is then done with.
    pub fn wait(&self, until: Instant) -> Wake {
        let quiet = |pending: &mut Pending| !(pending.stop || pending.check_update || pending.send_inventory);
        let mut pending = self.pause(Some(until), quiet);
        if pending.stop {
            Wake::Stop
        } else if std::mem::take(&mut pending.check_update) {
            Wake::CheckUpdate
        } else if std::mem::take(&mut pending.send_inventory) {
            Wake::SendInventory
        } else {
            Wake::Time
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_end_waits_once_and_a_stop_ends_all() {
        let signals = Signals::default();
        let far = Instant::now() + Duration::from_secs(1000);
        assert_eq!(signals.wait(Instant::now()), Wake::Time);
        assert!(!signals.sleep(Duration::ZERO));
        let other = signals.clone();
        std::thread::spawn(move || {
            other.send_inventory();
            other.check_update();
        })
        .join()
        .unwrap();
        assert_eq!(signals.wait(far), Wake::CheckUpdate);
        assert_eq!(signals.wait(far), Wake::SendInventory);
        signals.stop();
        assert_eq!(signals.wait(far), Wake::Stop);
        assert!(signals.sleep(Duration::from_secs(1000)) && signals.stopped());
    }

    #[test]
    fn a_signal_of_the_system_arrives_and_programs_that_are_started_are_not_concerned() {
        let signals = Signals::listen(0).unwrap();
        let kill =
            std::process::Command::new("kill").args(["-USR1", &std::process::id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(signals.wait(Instant::now() + Duration::from_secs(60)), Wake::CheckUpdate);
        let status =
            std::process::Command::new("grep").args(["SigBlk", "/proc/self/status"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), "SigBlk:\t0000000000000000");
    }
}
