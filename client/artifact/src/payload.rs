//! One payload of an artifact: an archive of plain files, each checked against the manifest (artifact format: data).
use std::{
    io::{self, BufReader, Read},
    mem,
};

use crate::{
    archive::{Archive, Member},
    decoder::Decoder,
    header::{check_file_name, PayloadHeader},
    manifest::compare,
    reader::{FileSummary, State},
    Checksum, Compression, Error, Hasher,
};

type Files<'a, R> = Archive<Decoder<&'a mut Archive<BufReader<R>>>>;

/// A payload that is being read. It has to be read until [`Payload::next_file`] gives `None`.
pub struct Payload<'a, R: Read> {
    index: usize,
    header: &'a PayloadHeader,
    stored: Stored,
    files: Files<'a, R>,
    state: &'a mut State,
    current: Option<Current>,
}

/// The member `data/NNNN.tar*` as it lies in the artifact. Offset and size are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// How it is compressed.
    pub compression: Compression,
    /// Where it begins in the artifact.
    pub offset: u64,
    /// Its compressed size.
    pub size: u64,
}

/// The file that is being read.
struct Current {
    path: String,
    member: Member,
    expected: Checksum,
    hasher: Hasher,
}

impl<'a, R: Read> Payload<'a, R> {
    pub(crate) fn new(
        index: usize,
        header: &'a PayloadHeader,
        stored: Stored,
        files: Files<'a, R>,
        state: &'a mut State,
    ) -> Self {
        Self { index, header, stored, files, state, current: None }
    }

    /// Its number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the artifact's header says about it.
    pub fn header(&self) -> &'a PayloadHeader {
        self.header
    }

    /// Where the payload's member lies in the artifact, and how it is compressed.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// The next file; `None` when the payload is at its end, and whole. What is left of the file before is read and checked.
    pub fn next_file(&mut self) -> Result<Option<PayloadFile<'_>>, Error> {
        let mut rest = [0; 4096];
        while self.current.is_some() {
            self.read_file(&mut rest)?;
        }
        if self.state.open.is_none() {
            return Ok(None);
        }
        let Some(member) = self.files.next()? else {
            self.end()?;
            return Ok(None);
        };
        check_file_name(&member.name)?;
        if !self.header.files.is_empty() && !self.header.files.contains(&member.name) {
            return Err(Error::Unlisted {
                name: format!("headers/{:04}/files: {}", self.index, member.name),
            });
        }
        let path = format!("data/{:04}/{}", self.index, member.name);
        let (expected, augmented) = self.meet(&path)?;
        let Member { name, size, mode, mtime: modified } = member.clone();
        self.current = Some(Current { path, member, expected, hasher: Hasher::default() });
        Ok(Some(PayloadFile { name, size, modified, mode, augmented, source: self }))
    }

    fn meet(&mut self, path: &str) -> Result<(Checksum, bool), Error> {
        let State { manifest, augment, limits, files, .. } = &mut *self.state;
        let met: usize = files.iter().map(Vec::len).sum();
        if met >= limits.files {
            let (limit, found) = (limits.files as u64, met as u64 + 1);
            return Err(Error::Limit { what: "the number of payload files".to_owned(), limit, found });
        }
        match augment {
            Some(augment) if augment.lists(path) && !manifest.lists(path) => Ok((augment.meet(path)?, true)),
            _ => Ok((manifest.meet(path)?, false)),
        }
    }

    /// The archive has ended: so must the compressed stream and the member that holds it.
    fn end(&mut self) -> Result<(), Error> {
        self.files.finish()?;
        if self.files.source().source().left() > 0 {
            return Err(Error::Trailing { after: format!("data/{:04}.tar", self.index) });
        }
        let prefix = format!("data/{:04}/", self.index);
        for manifest in [Some(&self.state.manifest), self.state.augment.as_ref()].into_iter().flatten() {
            manifest.finish(&prefix)?;
        }
        self.state.open = None;
        Ok(())
    }
}

/// What a [`PayloadFile`] reads from.
trait ReadFile {
    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl<R: Read> ReadFile for Payload<'_, R> {
    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(current) = &mut self.current else { return Ok(0) };
        let count = self.files.read(buffer)?;
        current.hasher.update(&buffer[..count]);
        if self.files.left() == 0 {
            let Current { path, member, expected, hasher } = current;
            let sha256 = hasher.clone().finish();
            compare(path, *expected, sha256)?; // with a mismatch it stays the current file: nothing comes after it
            let (name, size, modified) = (mem::take(&mut member.name), member.size, member.mtime);
            self.state.files[self.index].push(FileSummary { name, size, modified, sha256 });
            self.current = None;
        }
        Ok(count)
    }
}

/// A payload file. Its content is checked against the manifest: with a mismatch, the read that would give its last bytes
/// fails with an [`io::Error`] that carries [`Error::Checksum`].
pub struct PayloadFile<'a> {
    name: String,
    size: u64,
    modified: u64,
    mode: u32,
    augmented: bool,
    source: &'a mut dyn ReadFile,
}

impl PayloadFile<'_> {
    /// A plain name without folders.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size in bytes, uncompressed; known before the first byte.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Seconds since 1970.
    pub fn modified(&self) -> u64 {
        self.modified
    }

    /// Permission bits, as the artifact claims them.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Does it come from the augmented, unsigned part?
    pub fn augmented(&self) -> bool {
        self.augmented
    }
}

impl Read for PayloadFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read_file(buffer)
    }
}
