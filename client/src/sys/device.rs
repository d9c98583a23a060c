//! Block devices: size, numbers, the page cache over them.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::libc::{off64_t, posix_fadvise64, POSIX_FADV_DONTNEED};

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number {
    /// The driver.
    pub major: u64,
    /// The device of that driver.
    pub minor: u64,
}

impl Number {
    /// Reads `major:minor`, as `/proc` and `/sys` write it.
    pub fn parse(text: &str) -> Option<Number> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Number { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Whether `path` leads to a block device.
pub fn is_block(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.file_type().is_block_device())
}

/// The number of the block device that `path` leads to; `None` for anything else.
pub fn number(path: &Path) -> io::Result<Option<Number>> {
    let metadata = fs::metadata(path)?;
    let device = metadata.rdev();
    let number = Number { major: nix::sys::stat::major(device), minor: nix::sys::stat::minor(device) };
    Ok(metadata.file_type().is_block_device().then_some(number))
}

/// Bytes that fit into an open regular file (as it is) or block device.
pub fn size(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.file_type().is_block_device() {
        let mut device = file;
        let end = device.seek(SeekFrom::End(0))?;
        device.seek(SeekFrom::Start(0))?;
        return Ok(end);
    }
    Ok(metadata.len())
}

/// Asks the kernel to forget what it caches of an open file, so that the next read comes from the device.
/// Only what is synced is forgotten. `length` 0 means to the end.
#[allow(unsafe_code)]
pub fn drop_cache(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let position = |bytes| off64_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
    let (offset, length) = (position(offset)?, position(length)?);
    // Not nix's: its offsets have 32 bits on a 32-bit machine.
    // SAFETY: the descriptor is open, and no memory is passed.
    match unsafe { posix_fadvise64(file.as_raw_fd(), offset, length, POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
