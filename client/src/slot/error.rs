//! Why a slot could not be found or written.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Slot;

/// Why a slot could not be found or written.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused: act, path, reason.
    Io { act: &'static str, path: PathBuf, source: io::Error },
    /// The root file system is on neither slot: what it is on.
    NoSlot { root: String, a: PathBuf, b: PathBuf },
    /// The root file system is on both slots, or both are the same device.
    BothSlots { root: String },
    /// The slot to be written is in use as the root file system.
    IsRoot { slot: Slot, path: PathBuf },
    /// The image is larger than the slot (bytes).
    TooLarge { slot: Slot, path: PathBuf, image: u64, size: u64 },
    /// Another number of bytes came than was announced.
    WrongLength { slot: Slot, announced: u64, written: u64 },
    /// What was read back from the slot is not what was written.
    ReadBack { slot: Slot, path: PathBuf, expected: String, found: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { act, path, source } => write!(f, "cannot {act} {}: {source}", path.display()),
            Error::NoSlot { root, a, b } => write!(
                f,
                "the root file system is on {root}, which is neither slot A ({}) nor slot B ({}); check [slots] in rota.toml",
                a.display(),
                b.display()
            ),
            Error::BothSlots { root } => {
                write!(f, "slot A and slot B are both {root}; check [slots] in rota.toml")
            }
            Error::IsRoot { slot, path } => {
                write!(f, "slot {slot} ({}) is the running root file system and is not written to", path.display())
            }
            Error::TooLarge { slot, path, image, size } => {
                let path = path.display();
                write!(f, "the image of {image} bytes is larger than slot {slot} ({path}) of {size} bytes")
            }
            Error::WrongLength { slot, announced, written } => {
                write!(f, "slot {slot}: {announced} bytes were announced, {written} came")
            }
            Error::ReadBack { slot, path, expected, found } => write!(
                f,
                "slot {slot} ({}) does not hold what was written: SHA-256 expected {expected}, found {found}; the storage may be failing",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {}
