//! Named pipes without blocking, for the streams of update modules.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::stat::Mode;

nix::ioctl_read_bad!(
    /// How many bytes lie in a pipe (ioctl(2): FIONREAD).
    fionread, nix::libc::FIONREAD, nix::libc::c_int
);

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

    /// How many bytes were written and not read yet.
    pub fn unread(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: the descriptor is open as long as `self`, and the kernel writes one int to where `bytes` is.
        unsafe { fionread(self.pipe.as_raw_fd(), &mut bytes)? };
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// Whether nobody has the reading end open any more.
    pub fn is_left(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        poll(&mut polled, PollTimeout::ZERO)?;
        Ok(polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)))
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
        let mut buffer = vec![0; total - 1];
        reader.read_exact(&mut buffer).unwrap();
        assert_eq!((writer.unread().unwrap(), writer.is_left().unwrap()), (1, false));
        drop(reader);
        assert_eq!((writer.unread().unwrap(), writer.is_left().unwrap()), (1, true));
        assert_eq!(writer.write_some(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
