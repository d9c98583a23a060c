//! A signal that ends the program removes its temporary files first: they can be as large as an image.
use std::{
    fs,
    path::{Path, PathBuf},
    process::exit,
    sync::{Mutex, PoisonError},
    thread,
};

use nix::sys::signal::{SigSet, Signal};

static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file or folder that is removed when a signal ends the program while this exists.
pub struct Temporary(PathBuf);

impl Temporary {
    pub fn new(path: &Path) -> Self {
        paths().push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        paths().retain(|path| *path != self.0);
    }
}

fn paths() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for signals from now on. Has to be called before any other thread is started, for they inherit what is blocked.
pub fn watch() {
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let set: SigSet = signals.into_iter().filter(|signal| !is_ignored(*signal)).collect();
    if set.thread_block().is_err() {
        return;
    }
    thread::spawn(move || {
        if let Ok(signal) = set.wait() {
            for path in paths().iter() {
                let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
            exit(128 + signal as i32);
        }
    });
}

/// Was the program told to ignore the signal, as `nohup` does? Blocked, it would arrive all the same.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as i32 - 1) & 1 == 1
}
