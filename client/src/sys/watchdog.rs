//! The hardware watchdog, and the life signs that it is fed for.
//!
//! Who moves bytes or waits with a deadline gives a sign of life that holds for a while. A thread feeds the watchdog as long as
//! the last sign holds, and for no other reason: a client that hangs gives none, and the watchdog restarts the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::c_int;

/// How long a sign of life holds when nothing else is said: longer than storage takes to sync what is written at once.
const SIGN: Duration = Duration::from_secs(60);
/// How much longer than its own limit a call may take that has one.
const SLACK: Duration = Duration::from_secs(15);
/// Written last, it stops a watchdog that can be stopped.
const MAGIC_CLOSE: &[u8] = b"V";

/// The running watchdog, for a client that is ended in the middle of something; and whether it may be stopped then.
static RUNNING: Mutex<Option<File>> = Mutex::new(None);
static MAY_STOP: AtomicBool = AtomicBool::new(false);

/// Until when the last sign holds, in milliseconds since `start`.
static HOLDS: AtomicU64 = AtomicU64::new(0);

mod ioctls {
    use super::c_int;
    nix::ioctl_readwrite!(set_timeout, b'W', 6, c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, c_int);
}

fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A sign of life: bytes were moved, or a wait that ends by itself goes on.
pub fn alive() {
    alive_for(SIGN);
}

/// A sign of life before a call that ends by itself within `limit`.
pub fn alive_for(limit: Duration) {
    let limit = u64::try_from((limit + SLACK).as_millis()).unwrap_or(u64::MAX);
    HOLDS.store(now().saturating_add(limit), Ordering::Relaxed);
}

/// Whether the watchdog may be stopped when the client ends: not while a trial runs.
pub fn may_stop(may: bool) {
    MAY_STOP.store(may, Ordering::Relaxed);
}

/// The process is about to exit: stops the watchdog, if it may be stopped and its driver lets anybody do that.
pub fn exiting() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Some(mut file), true) = (running, MAY_STOP.load(Ordering::Relaxed)) {
        if let Err(error) = file.write_all(MAGIC_CLOSE) {
            log::warn!("cannot stop the watchdog: {error}");
        }
    }
}

/// A running watchdog. When this is dropped nobody feeds it any more, and it bites: only [`exiting`] stops it.
#[derive(Debug)]
pub struct Watchdog {
    over: Arc<AtomicBool>,
    feeder: Option<thread::JoinHandle<()>>,
    /// What it waits for food, as its driver took it.
    pub timeout: Duration,
}

impl Watchdog {
    /// Starts the watchdog `device`, which opening does, and feeds it from now on while there are signs of life. `timeout` is
    /// asked of its driver, which may take another one. `ResourceBusy` (EBUSY): somebody else has it.
    pub fn start(device: &Path, timeout: Duration) -> io::Result<Watchdog> {
        let file = OpenOptions::new().write(true).open(device)?;
        let timeout = set_timeout(&file, timeout);
        alive();
        feed(&file)?;
        let over = Arc::new(AtomicBool::new(false));
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.try_clone()?);
        let ours = over.clone();
        let pause = (timeout / 4).min(Duration::from_secs(5));
        let feeder = thread::Builder::new().name("watchdog".into()).spawn(move || {
            while !ours.load(Ordering::Relaxed) {
                if now() < HOLDS.load(Ordering::Relaxed) {
                    if let Err(error) = feed(&file) {
                        log::error!("cannot feed the watchdog: {error}");
                    }
                }
                thread::park_timeout(pause);
            }
        })?;
        Ok(Watchdog { over, feeder: Some(feeder), timeout })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(feeder) = self.feeder.take() {
            feeder.thread().unpark();
            let _ = feeder.join();
        }
    }
}

/// Any byte but the magic one will do.
fn feed(mut file: &File) -> io::Result<()> {
    file.write_all(b"\0")
}

/// Asks for a time; returns the one that holds.
#[allow(unsafe_code)]
fn set_timeout(file: &File, timeout: Duration) -> Duration {
    let asked = c_int::try_from(timeout.as_secs()).unwrap_or(c_int::MAX);
    let mut seconds = asked;
    // SAFETY: the descriptor is open, and the kernel reads and writes one int.
    if unsafe { ioctls::set_timeout(file.as_raw_fd(), &mut seconds) }.is_err() {
        // SAFETY: as before; the kernel writes one int.
        if unsafe { ioctls::get_timeout(file.as_raw_fd(), &mut seconds) }.is_err() {
            seconds = asked;
        }
    }
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file in the place of the device keeps what it is fed. One test, since all share the signs of life.
    #[test]
    fn it_is_fed_while_there_are_signs_of_life_and_stopped_only_on_purpose() {
        let folder = crate::testing::folder();
        let device = folder.join("watchdog");
        assert!(Watchdog::start(&device, Duration::from_secs(1)).is_err());
        fs::write(&device, "").unwrap();
        let fed = || fs::read(&device).unwrap();
        let until = |what: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(60);
            while !what() {
                assert!(Instant::now() < end, "{:?}", fed());
                thread::yield_now();
            }
        };
        let dog = Watchdog::start(&device, Duration::from_secs(1)).unwrap();
        assert_eq!(dog.timeout, Duration::from_secs(1));
        alive();
        until(&|| fed().len() > 3);
        drop(dog);
        exiting();
        assert!(fed().iter().all(|byte| *byte == 0), "it was stopped");
        fs::write(&device, "").unwrap();
        drop(Watchdog::start(&device, Duration::from_secs(1)).unwrap());
        may_stop(true);
        exiting();
        assert_eq!(fed().last(), Some(&b'V'));
    }
}
