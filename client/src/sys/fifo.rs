//! Named pipes without blocking, for the streams of update modules.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::stat::Mode;

/// Makes a named pipe that only its owner may use.
pub fn make(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// The writing end of a named pipe.
#[derive(Debug)]
pub struct Writer {
    pipe: File,
}

impl Writer {
    /// Opens the writing end if somebody has the reading end open; `None` when nobody has.
    pub fn open(path: &Path) -> io::Result<Option<Writer>> {
        match OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
            Ok(pipe) => Ok(Some(Writer { pipe })),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENXIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what fits now; 0 when the pipe is full: wait on it with `process::Running::pump`.
    /// A reader that went away is `BrokenPipe`.
    pub fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn never_blocks() {
        let folder = crate::testing::folder();
        let path = folder.join("fifo");
        make(&path).unwrap();
        assert!(Writer::open(&path).unwrap().is_none(), "nobody reads");
        let mut reader =
            OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).unwrap();
        let mut writer = Writer::open(&path).unwrap().expect("somebody reads");
        let mut total = 0;
        loop {
            match writer.write_some(&[7; 4096]).unwrap() {
                0 => break,
                some => total += some,
            }
        }
        let mut buffer = vec![0; total];
        reader.read_exact(&mut buffer).unwrap();
        drop(reader);
        assert_eq!(writer.write_some(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
