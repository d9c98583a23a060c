//! Fault points: every durable operation passes one, so that a test can cut the power or fill the disk there.
//!
//! Built only for tests (`cfg(test)` or feature `faults`); otherwise a point is nothing. A plan holds for the thread that
//! runs it and for the helper threads it is carried to. While a plan runs, each change of a file leaves its pre-image until
//! the change is synced; a power cut then loses or tears what was not.

use std::path::PathBuf;

/// Whether this is a build for tests.
pub const BUILT_IN: bool = cfg!(any(test, feature = "faults"));

/// What is about to happen at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file is made or grows: this is what a full disk refuses.
    Create,
    /// Bytes of an existing file change in place.
    Write,
    /// The content of a file becomes durable.
    Sync,
    /// A file takes the name of another.
    Rename,
    /// A name goes away.
    Remove,
    /// The names in a folder become durable.
    SyncFolder,
    /// Another program is run: an update module, a state script.
    Run,
    /// The machine restarts.
    Reboot,
}

/// A change that is not durable yet, with what it takes to undo it.
#[cfg_attr(not(any(test, feature = "faults")), allow(dead_code))]
pub(super) enum Change {
    /// `new` bytes were written at `offset`, over `old` (shorter when the file grew).
    Written {
        path: PathBuf,
        offset: u64,
        old: Vec<u8>,
        new: usize,
    },
    Appeared {
        path: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        old: Option<Vec<u8>>,
    },
    Removed {
        path: PathBuf,
        old: Vec<u8>,
    },
}

#[cfg(not(any(test, feature = "faults")))]
mod inner {
    use super::{Change, Kind};
    use std::{io, path::Path};

    /// A place where a test may cut the power. Nothing in a release.
    #[inline(always)]
    pub fn point(_kind: Kind, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// For a helper thread: call the returned function first there. Nothing in a release.
    #[inline(always)]
    pub fn carry() -> impl FnOnce() + Send {
        || ()
    }

    #[inline(always)]
    pub(in crate::sys) fn is_simulated() -> bool {
        false
    }

    #[inline(always)]
    pub(in crate::sys) fn changing(_change: impl FnOnce() -> Change) {}

    #[inline(always)]
    pub(in crate::sys) fn durable(_path: &Path) {}

    #[inline(always)]
    pub(in crate::sys) fn folder_durable(_folder: &Path) {}
}

#[cfg(any(test, feature = "faults"))]
#[path = "fault_plan.rs"]
mod inner;

pub use inner::*;
