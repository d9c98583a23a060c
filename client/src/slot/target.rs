//! Writing the slot that is not root.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Error, Layout, Slot, System};
use crate::sys::device;
use crate::sys::disk::InPlace;
use crate::sys::watchdog;

/// Bytes written at once, and bytes at the front that make a slot bootable: zeroed first, written last. Where the power-cut
/// sweep replays thousands of updates, images are small, and so is this.
pub const FRONT: usize = if IS_SWEPT { 64 << 10 } else { 1 << 20 };
/// What storage writes as a whole; file systems have their superblock inside the first.
const BLOCK: usize = 4096;
/// After so many bytes what was written is synced and dropped from the page cache, so that neither memory nor the last sync grow.
const SYNC_EVERY: u64 = if IS_SWEPT { 128 << 10 } else { 32 << 20 };
const IS_SWEPT: bool = cfg!(all(feature = "faults", not(test)));

/// The slot that may be written: never the one that is root.
#[derive(Debug)]
pub struct Target {
    slot: Slot,
    file: InPlace,
    is_invalid: bool,
}

impl Target {
    /// Opens the slot that is not root. `booted` is what the caller takes for the booted slot; it is looked up anew here.
    pub fn open(layout: &Layout, booted: Slot) -> Result<Target, Error> {
        Self::open_in(layout, booted, &System::default())
    }

    /// Opens the slot that is not root of `system`. This is the only way to a slot that can be written.
    pub fn open_in(layout: &Layout, booted: Slot, system: &System) -> Result<Target, Error> {
        let slot = booted.other();
        let path = layout.path(slot);
        // Refuses as well when both slots are one device, and when no slot is root.
        if layout.booted_in(system)? != booted {
            return Err(Error::IsRoot { slot, path: path.to_owned() });
        }
        let file = InPlace::open_exclusive(path).map_err(|source| Error::Io {
            act: "open",
            path: path.to_owned(),
            source,
        })?;
        Ok(Target { slot, file, is_invalid: false })
    }

    /// Which slot this is.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Bytes that fit.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// Refuses an image that does not fit; touches nothing.
    pub fn check_fits(&self, image: u64) -> Result<(), Error> {
        match image <= self.size() {
            true => Ok(()),
            false => Err(Error::TooLarge { slot: self.slot, path: self.path(), image, size: self.size() }),
        }
    }

    /// Makes what is in the slot unusable: zeroes its first MiB and syncs. Idempotent.
    pub fn invalidate(&mut self) -> Result<(), Error> {
        let front = self.size().min(FRONT as u64) as usize;
        self.file.write_at(0, &vec![0; front]).map_err(|source| self.error("invalidate", source))?;
        self.is_invalid = true;
        Ok(())
    }

    /// Begins to write an image of `length` bytes; makes the slot unusable first, if it is not. An image that does not fit is refused before anything is touched.
    pub fn writer(&mut self, length: u64) -> Result<Writer<'_>, Error> {
        self.check_fits(length)?;
        if !self.is_invalid {
            self.invalidate()?;
        }
        let (front, buffer) = (Vec::with_capacity(FRONT), Vec::with_capacity(FRONT));
        Ok(Writer { target: self, length, front, buffer, at: FRONT as u64, synced: FRONT as u64 })
    }

    /// Reads the first `length` bytes back from the device and compares their SHA-256.
    pub fn read_back(&self, length: u64, expected: &[u8; 32]) -> Result<(), Error> {
        let mut sum = Sha256::new();
        let mut buffer = vec![0; FRONT];
        let mut reader = PositionedReader { file: &self.file, at: 0 }.take(length);
        device::drop_cache(self.file.file(), 0, 0).map_err(|source| self.error("read back", source))?;
        loop {
            watchdog::alive();
            match reader.read(&mut buffer).map_err(|source| self.error("read back", source))? {
                0 => break,
                count => sum.update(&buffer[..count]),
            }
        }
        let found: [u8; 32] = sum.finalize().into();
        if found == *expected {
            return Ok(());
        }
        let (expected, found) = (hex(expected), hex(&found));
        Err(Error::ReadBack { slot: self.slot, path: self.path(), expected, found })
    }

    fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    fn error(&self, act: &'static str, source: io::Error) -> Error {
        Error::Io { act, path: self.path(), source }
    }
}

/// Takes an image and writes it so that the slot cannot boot before `finish`: the first MiB is kept back until all else is synced.
#[derive(Debug)]
pub struct Writer<'t> {
    target: &'t mut Target,
    length: u64,
    front: Vec<u8>,
    buffer: Vec<u8>,
    /// Where the buffer belongs, and up to where all is synced.
    at: u64,
    synced: u64,
}

impl Writer<'_> {
    /// Bytes taken so far.
    pub fn taken(&self) -> u64 {
        match self.front.len() < FRONT {
            true => self.front.len() as u64,
            false => self.at + self.buffer.len() as u64,
        }
    }

    /// Makes the image whole: syncs, writes the first MiB, syncs. Refuses when fewer bytes came than were announced.
    pub fn finish(mut self) -> Result<(), Error> {
        let (announced, written) = (self.length, self.taken());
        if announced != written {
            return Err(Error::WrongLength { slot: self.target.slot, announced, written });
        }
        self.target.is_invalid = false;
        self.flush_buffer()
            .and_then(|()| self.target.file.sync())
            .and_then(|()| self.write_front())
            .map_err(|source| self.target.error("write", source))
    }

    /// The block that makes it a file system comes last: not even a torn front looks like one.
    fn write_front(&self) -> io::Result<()> {
        let (block, rest) = self.front.split_at(self.front.len().min(BLOCK));
        self.target.file.write_at(block.len() as u64, rest)?;
        self.target.file.write_at(0, block)
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.target.file.put(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        if self.at - self.synced >= SYNC_EVERY {
            self.target.file.sync()?;
            device::drop_cache(self.target.file.file(), self.synced, self.at - self.synced)?;
            self.synced = self.at;
        }
        Ok(())
    }
}

impl Write for Writer<'_> {
    /// Takes all or part of `bytes`. Errors carry a `slot::Error`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.taken() + bytes.len() as u64 > self.length {
            let written = self.taken() + bytes.len() as u64;
            let error = Error::WrongLength { slot: self.target.slot, announced: self.length, written };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let to_front = self.front.len() < FRONT;
        let piece = if to_front { &mut self.front } else { &mut self.buffer };
        let count = bytes.len().min(FRONT - piece.len());
        piece.extend_from_slice(&bytes[..count]);
        if !to_front && self.buffer.len() == FRONT {
            self.flush_buffer()
                .map_err(|source| io::Error::new(source.kind(), self.target.error("write", source)))?;
        }
        Ok(count)
    }

    /// Nothing: only `finish` makes an image whole.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct PositionedReader<'f> {
    file: &'f InPlace,
    at: u64,
}

impl Read for PositionedReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(self.file.file(), bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "target/tests.rs"]
mod tests;
