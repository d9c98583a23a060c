//! A pair of records: how the client remembers across power cuts and full disks.
//!
//! Two files of one fixed size, written in turn and in place, each with a sequence number and a checksum. The newest whole
//! one counts, so a torn write leaves the one before; and since both exist in full from the start, a full disk stops nothing.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use sha2::{Digest, Sha256};

use crate::sys::disk::{self, InPlace};

/// First bytes of a record: magic (8), sequence (8, little endian), length of the content (4), SHA-256 of all else (32).
const MAGIC: &[u8; 8] = b"rotarec1";
const HEADER: usize = 52;
/// Bytes of the largest file that is read as a record, whichever version wrote it.
const LARGEST: u64 = 1 << 20;

/// Formats of the content of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// The oldest that is read.
    pub oldest: u32,
    /// The newest that is read. It is written once the slot of this client is the committed one: until then, the
    /// client of the committed slot has to be able to read what is written.
    pub newest: u32,
}

/// Those of this version.
pub const FORMATS: Formats = Formats { oldest: 1, newest: 1 };

impl Formats {
    /// Those of the client that runs.
    pub fn of_client() -> Formats {
        #[cfg(any(test, feature = "faults"))]
        return PRETENDED.get();
        #[cfg(not(any(test, feature = "faults")))]
        FORMATS
    }

    /// Whether content of this format can be read.
    pub fn reads(self, format: u32) -> bool {
        (self.oldest..=self.newest).contains(&format)
    }
}

#[cfg(any(test, feature = "faults"))]
thread_local! {
    static PRETENDED: std::cell::Cell<Formats> = const { std::cell::Cell::new(FORMATS) };
}

/// For tests: from now on, the client in this thread is a version that has these formats.
#[cfg(any(test, feature = "faults"))]
pub fn pretend(formats: Formats) {
    PRETENDED.set(formats);
}

/// Why a record could not be kept.
#[derive(Debug)]
pub enum Error {
    /// One of the two files cannot be made or written.
    Io { act: &'static str, path: PathBuf, source: io::Error },
    /// The content does not fit: bytes given, bytes that fit.
    TooLarge { path: PathBuf, length: usize, limit: usize },
    /// It belongs to another version of the client, whose slot is the committed one.
    Kept { path: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { act, path, source } => write!(f, "cannot {act} {}: {source}", path.display()),
            Error::TooLarge { path, length, limit } => {
                write!(
                    f,
                    "cannot write {}: {length} bytes do not fit into a record of {limit}",
                    path.display()
                )
            }
            Error::Kept { path } => write!(
                f,
                "{} is not written to: another version wrote it, to which the machine returns from this trial",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Two records of one content.
#[derive(Debug)]
pub struct Pair {
    paths: [PathBuf; 2],
    size: usize,
    /// The newest whole record: its place and sequence number.
    newest: Option<(usize, u64)>,
    /// What was written last without coming to a good end; it may be there all the same.
    failed: Option<(usize, u64)>,
}

impl Pair {
    /// Opens `NAME.0` and `NAME.1` in `folder`, each of `size` bytes, making what is missing if that is possible.
    /// Returns the newest content that is whole; `None` when there is none. Whatever lies there does not fail this:
    /// ask `fault` before relying on it.
    pub fn open(folder: &Path, name: &str, size: usize) -> (Pair, Option<Vec<u8>>) {
        let paths = paths(folder, name);
        let records = [read(&paths[0]), read(&paths[1])];
        let newest = newest(&records);
        let mut pair = Pair {
            paths,
            size,
            newest: newest.map(|at| (at, records[at].as_ref().map_or(0, |r| r.0))),
            failed: None,
        };
        for at in 0..2 {
            let _ = pair.make(at);
        }
        let content = newest.and_then(|at| records.into_iter().nth(at).flatten()).map(|(_, content)| content);
        (pair, content)
    }

    /// Why the next write cannot be relied on, if it cannot: a file is not there in full size, so that a full disk could stop
    /// it, or may not be written to.
    pub fn fault(&self) -> Option<String> {
        let spoilt = (0..2).find_map(|at| match writable(&self.paths[at]) {
            Err(error) => Some(format!("{}: {error}", self.paths[at].display())),
            Ok(()) if !self.is_there(at) => Some(format!("{} is not whole", self.paths[at].display())),
            Ok(()) => None,
        });
        spoilt.or_else(|| self.paths[0].parent().and_then(given_up))
    }

    /// Whether the newest record is one that `earlier` knew of, or wrote.
    pub fn follows(&self, earlier: &Pair) -> bool {
        self.newest == earlier.newest || self.newest == earlier.failed
    }

    /// The error of not writing what another version needs.
    pub fn kept(&self) -> Error {
        Error::Kept { path: self.paths[0].clone() }
    }

    /// Records `content` durably, over the older record.
    pub fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        let (at, sequence) = match self.newest {
            Some((newest, sequence)) => (1 - newest, sequence.wrapping_add(1)),
            None => (0, 0),
        };
        let limit = self.size.saturating_sub(HEADER);
        if content.len() > limit {
            return Err(Error::TooLarge { path: self.paths[at].clone(), length: content.len(), limit });
        }
        self.failed = Some((at, sequence));
        self.make(at).map_err(|source| self.error("make", at, source))?;
        InPlace::open(&self.paths[at])
            .and_then(|file| file.write_at(0, &encode(sequence, content)))
            .map_err(|source| self.error("write", at, source))?;
        self.newest = self.failed.take();
        Ok(())
    }

    fn is_there(&self, at: usize) -> bool {
        let (path, size) = (&self.paths[at], self.size as u64);
        let fits = |length: u64| length == size || length > size && read(path).is_some();
        fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && fits(file.len()))
    }

    /// Makes a file that is missing or has another size; a larger one stays as it is when another version wrote a record to it. Filled with ones: a file of zeros may be stored as a hole, which
    /// would need space later.
    fn make(&mut self, at: usize) -> io::Result<()> {
        if self.is_there(at) {
            return Ok(());
        }
        let mut bytes = vec![0xff; self.size];
        // A record of another size (a file cut short, another version's) keeps its content.
        if let Some((sequence, content)) =
            read(&self.paths[at]).filter(|(_, c)| c.len() + HEADER <= self.size)
        {
            let record = encode(sequence, &content);
            bytes[..record.len()].copy_from_slice(&record);
        }
        disk::replace(&self.paths[at], &bytes, 0o600)
    }

    fn error(&self, act: &'static str, at: usize, source: io::Error) -> Error {
        Error::Io { act, path: self.paths[at].clone(), source }
    }
}

/// The newest whole content of the pair `name` in `folder`, touching nothing.
pub fn newest_content(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let paths = paths(folder, name);
    let records = [read(&paths[0]), read(&paths[1])];
    let at = newest(&records)?;
    records.into_iter().nth(at).flatten().map(|(_, content)| content)
}

/// How a record's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It holds a whole record.
    Whole,
    /// It is there, and no record has been written to it yet.
    Blank,
    /// There is no such file.
    Missing,
    /// It holds something else: a write was cut, or somebody else's.
    Garbled,
}

/// How both files of the pair `name` in `folder` are, touching nothing.
pub fn conditions(folder: &Path, name: &str) -> [Condition; 2] {
    paths(folder, name).map(|path| match fs::symlink_metadata(&path) {
        _ if read(&path).is_some() => Condition::Whole,
        // No record that anybody keeps is longer.
        Ok(file) if file.is_file() && file.len() <= 1 << 20 && is_blank(&path) => Condition::Blank,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Condition::Missing,
        _ => Condition::Garbled,
    })
}

/// Why the pair `name` in `folder` cannot be written, touching nothing. What is yet to be made is no fault, nor what this user may not do.
pub fn fault(folder: &Path, name: &str) -> Option<String> {
    if let Err(error) = fs::metadata(folder) {
        return Some(format!("{}: {error}", folder.display()));
    }
    let spoilt = paths(folder, name).iter().find_map(|path| match writable(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Some(format!("{}: {error}", path.display()))
        }
        _ => None,
    });
    spoilt.or_else(|| given_up(folder))
}

/// What a file system says that has given up after an error. It still lets files be opened for writing, and flushed; so it is asked
/// for a file without a name, where it knows such files.
fn given_up(folder: &Path) -> Option<String> {
    let nameless = fs::OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(folder);
    let error = nameless.err()?;
    let is_final = matches!(error.raw_os_error(), Some(libc::EROFS | libc::EIO));
    is_final.then(|| format!("{}: {error}", folder.display()))
}

/// Whether a file may be written to. It is opened for that, and closed again; a FIFO does not keep anybody waiting.
fn writable(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).map(drop)
}

fn is_blank(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0xff))
}

fn paths(folder: &Path, name: &str) -> [PathBuf; 2] {
    [folder.join(format!("{name}.0")), folder.join(format!("{name}.1"))]
}

type Record = (u64, Vec<u8>);

/// Sequence numbers wrap around: the newer one is ahead by less than half of them.
fn newest(records: &[Option<Record>; 2]) -> Option<usize> {
    match records {
        [Some((first, _)), Some((second, _))] => Some(usize::from((second.wrapping_sub(*first) as i64) > 0)),
        [Some(_), None] => Some(0),
        [None, Some(_)] => Some(1),
        [None, None] => None,
    }
}

fn encode(sequence: u64, content: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER + content.len());
    record.extend_from_slice(MAGIC);
    record.extend_from_slice(&sequence.to_le_bytes());
    record.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let sum = sum(&record, content);
    record.extend_from_slice(&sum);
    record.extend_from_slice(content);
    record
}

fn read(path: &Path) -> Option<Record> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let bytes = disk::read(path, LARGEST).ok()?;
    let (head, rest) = (bytes.get(..20)?, bytes.get(20..)?);
    let sequence = u64::from_le_bytes(head.get(8..16)?.try_into().ok()?);
    let length = u32::from_le_bytes(head.get(16..20)?.try_into().ok()?) as usize;
    let content = rest.get(32..)?.get(..length)?;
    (head.starts_with(MAGIC) && sum(head, content) == rest[..32]).then(|| (sequence, content.to_vec()))
}

fn sum(head: &[u8], content: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(head).chain_update(content).finalize().into()
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
