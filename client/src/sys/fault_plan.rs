//! The plans of `fault`: where the power goes, and what the disk has kept by then.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Change, Kind};

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 512;

/// What happens to changes that were not synced when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They have all reached the disk.
    Nothing,
    /// They are all lost.
    Everything,
    /// Each is kept, lost or torn at a sector, as drawn from this seed.
    Torn(u64),
}

/// What goes wrong, counted in points from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: only count and record the points.
    Never,
    /// The power goes just before what this point announces.
    Cut(usize, Loss),
    /// From this point on the disk is full: files cannot be made, but written in place.
    Full(usize),
    /// From this point on every disk operation fails with an I/O error.
    Broken(usize),
}

/// What came of a run under a plan.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the body returned; `None` when the power was cut.
    pub result: Option<T>,
    /// Every point that was passed, in order.
    pub points: Vec<(Kind, PathBuf)>,
}

/// Runs `body` under a fault. Panics other than the power cut pass through.
pub fn run<T>(fault: Fault, body: impl FnOnce() -> T) -> Outcome<T> {
    let plan = Arc::new(Mutex::new(Plan { fault, points: Vec::new(), unsynced: Vec::new(), off: false }));
    let before = CURRENT.replace(Some(plan.clone()));
    let result = catch_unwind(AssertUnwindSafe(body));
    CURRENT.replace(before);
    let mut plan = lock(&plan);
    if let (true, Fault::Cut(_, loss)) = (plan.off, fault) {
        settle(std::mem::take(&mut plan.unsynced), loss);
    }
    let points = std::mem::take(&mut plan.points);
    match result {
        // A body that swallowed the unwinding (a join, a catch) was cut all the same.
        Ok(_) if plan.off => Outcome { result: None, points },
        Ok(value) => Outcome { result: Some(value), points },
        Err(panic) if panic.is::<PowerCut>() || plan.off => Outcome { result: None, points },
        Err(panic) => {
            drop(plan);
            resume_unwind(panic)
        }
    }
}

/// A place where a test may cut the power: announces `kind` of `path`. After the cut nothing succeeds any more.
pub fn point(kind: Kind, path: &Path) -> io::Result<()> {
    let Some(plan) = current() else { return Ok(()) };
    let mut plan = lock(&plan);
    if !plan.off {
        let number = plan.points.len();
        plan.points.push((kind, path.to_owned()));
        let of_disk = !matches!(kind, Kind::Run | Kind::Reboot);
        match plan.fault {
            Fault::Cut(at, _) if number == at => plan.off = true,
            Fault::Full(from) if number >= from && kind == Kind::Create => {
                return Err(nix::Error::ENOSPC.into())
            }
            Fault::Broken(from) if number >= from && of_disk => return Err(nix::Error::EIO.into()),
            _ => return Ok(()),
        }
    }
    drop(plan);
    if std::thread::panicking() {
        return Err(io::Error::other("the power is off"));
    }
    resume_unwind(Box::new(PowerCut))
}

/// For a helper thread: call the returned function first there, so that the plan of this thread holds there too.
pub fn carry() -> impl FnOnce() + Send {
    let plan = current();
    move || {
        CURRENT.replace(plan);
    }
}

/// The private payload that the power cut unwinds with.
struct PowerCut;

struct Plan {
    fault: Fault,
    points: Vec<(Kind, PathBuf)>,
    unsynced: Vec<Change>,
    off: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Mutex<Plan>>>> = const { RefCell::new(None) };
}

fn current() -> Option<Arc<Mutex<Plan>>> {
    CURRENT.with(|current| current.borrow().clone())
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a plan runs: it keeps account of what is synced, so the slow real thing is left out.
pub(in crate::sys) fn is_simulated() -> bool {
    current().is_some()
}

/// Keeps the pre-image of a change that is about to be made.
pub(in crate::sys) fn changing(change: impl FnOnce() -> Change) {
    if let Some(plan) = current() {
        let change = change();
        lock(&plan).unsynced.push(change);
    }
}

/// The content of `path` is durable now.
pub(in crate::sys) fn durable(path: &Path) {
    forget(|change| matches!(change, Change::Written { path: written, .. } if written == path));
}

/// The names in `folder` are durable now.
pub(in crate::sys) fn folder_durable(folder: &Path) {
    forget(|change| match change {
        Change::Written { .. } => false,
        Change::Appeared { path } | Change::Removed { path, .. } | Change::Renamed { to: path, .. } => {
            path.parent() == Some(folder)
        }
    });
}

fn forget(what: impl Fn(&Change) -> bool) {
    if let Some(plan) = current() {
        lock(&plan).unsynced.retain(|change| !what(change));
    }
}

/// Leaves on disk what a power cut leaves of unsynced changes, undoing from the newest to the oldest.
fn settle(unsynced: Vec<Change>, loss: Loss) {
    let mut seed = match loss {
        Loss::Nothing => return,
        Loss::Everything => 0,
        Loss::Torn(seed) => seed.wrapping_mul(2).wrapping_add(1),
    };
    for change in unsynced.into_iter().rev() {
        let kept = match loss {
            Loss::Torn(_) => draw(&mut seed) % 3,
            _ => 0,
        };
        if kept == 2 {
            continue;
        }
        match change {
            Change::Written { path, offset, old, new } => {
                let sectors = new.div_ceil(SECTOR);
                let prefix = if kept == 1 { SECTOR * (draw(&mut seed) as usize % (sectors + 1)) } else { 0 };
                unwrite(&path, offset, &old, prefix.min(new), new);
            }
            Change::Appeared { path } => drop(fs::remove_file(path)),
            Change::Renamed { from, to, old } => {
                let _ = fs::rename(&to, from);
                if let Some(old) = old {
                    let _ = fs::write(to, old);
                }
            }
            Change::Removed { path, old } => drop(fs::write(path, old)),
        }
    }
}

/// Puts back what was at `offset`, except for the first `kept` bytes that did reach the disk.
fn unwrite(path: &Path, offset: u64, old: &[u8], kept: usize, new: usize) {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    if let Some(lost) = old.get(kept..) {
        let _ = file.write_all_at(lost, offset + kept as u64);
    }
    if old.len() < new {
        let _ = file.set_len(offset + old.len().max(kept) as u64);
    }
}

/// The next number of a small generator (splitmix64): good enough to draw from, and the same everywhere.
fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
