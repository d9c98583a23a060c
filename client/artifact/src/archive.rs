//! Tar archives as artifacts use them: plain files in a strict order, read as a stream.
use std::io::{self, BufRead, Read, Write};

use tar::{EntryType, Header};

use crate::Error;

const BLOCK: u64 = 512;
/// tar pads to records of 10 KiB, some to more.
const PADDING_MAX: u64 = 1 << 20;

/// What a tar header says about a member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub name: String,
    pub size: u64,
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: u64,
}

impl Member {
    /// Reads one header. Only plain files pass: extension headers would have to be buffered, everything else has no place.
    fn parse(archive: &str, block: &[u8; BLOCK as usize]) -> Result<Self, Error> {
        let damaged = |reason: &str| Error::Tar { archive: archive.to_owned(), reason: reason.to_owned() };
        let header = Header::from_byte_slice(block);
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(i, b)| u32::from(if (148..156).contains(&i) { b' ' } else { *b }))
            .sum();
        if header.cksum().map_or(true, |stored| stored != sum) {
            return Err(damaged("a header has a wrong checksum"));
        }
        let name = String::from_utf8(header.path_bytes().into_owned())
            .map_err(|_| damaged("a member's name is no text"))?;
        if name.is_empty() {
            return Err(damaged("a member has no name"));
        }
        if header.entry_type() != EntryType::Regular {
            let flag = header.entry_type().as_byte();
            return Err(Error::TarMember { archive: archive.to_owned(), name, flag });
        }
        let size = header.entry_size().map_err(|_| damaged("a member's size is no number"))?;
        // Binary numbers have twelve bytes, of which the last eight are read.
        let binary = header.as_old().size;
        if size > i64::MAX as u64 || (binary[0] & 0x80 != 0 && binary[..4] != [0x80, 0, 0, 0]) {
            return Err(damaged("a member's size is beyond all bounds"));
        }
        // Mode and time carry nothing that is relied on; damaged ones read as absent.
        Ok(Self { name, size, mode: header.mode().unwrap_or(0o600), mtime: header.mtime().unwrap_or(0) })
    }

    /// Writes the header of this member, as `ustar` with no owner.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        let unfit =
            |_| Error::Input { reason: format!("the name {:?} does not fit into a tar header", self.name) };
        header.set_path(&self.name).map_err(unfit)?;
        header.set_size(self.size);
        header.set_mode(self.mode & 0o7777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        Ok(out.write_all(header.as_bytes())?)
    }
}

/// Fills the last block of a member of `size` bytes.
pub(crate) fn write_padding(out: &mut dyn Write, size: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK as usize][..padding(size) as usize])
}

/// Ends an archive.
pub(crate) fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK as usize])
}

/// The size of an archive with members of these sizes.
pub(crate) fn size_of(members: impl Iterator<Item = u64>) -> u64 {
    members.map(|size| BLOCK + size + padding(size)).sum::<u64>() + 2 * BLOCK
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

/// Reads an archive member after member. Reading from it gives the content of the member that [`Archive::next`] announced.
pub(crate) struct Archive<R> {
    source: R,
    name: String,
    member: String,
    left: u64,
    padding: u64,
    read: u64,
}

impl<R: Read> Archive<R> {
    /// `name` stands for the archive in messages.
    pub fn new(source: R, name: &str) -> Self {
        Self { source, name: name.to_owned(), member: String::new(), left: 0, padding: 0, read: 0 }
    }

    /// The next member; `None` at the end. What is left of the one before is skipped.
    pub fn next(&mut self) -> Result<Option<Member>, Error> {
        self.skip()?;
        let mut block = [0; BLOCK as usize];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            self.fill(&mut block)?;
            if block.iter().any(|byte| *byte != 0) {
                return Err(Error::Trailing { after: self.name.clone() });
            }
            return Ok(None);
        }
        let member = Member::parse(&self.name, &block)?;
        self.member.clone_from(&member.name);
        self.left = member.size;
        self.padding = padding(member.size);
        Ok(Some(member))
    }

    /// Bytes of the current member that were not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// What the archive is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// Bytes read from the source.
    pub fn total(&self) -> u64 {
        self.read
    }

    /// After the end: the source must be at its end too. Only zeros may stand in between, as tar pads, and not many.
    pub fn finish(&mut self) -> Result<(), Error> {
        let mut rest = [0; 4096];
        let end = self.read + PADDING_MAX;
        loop {
            match self.read_source(&mut rest)? {
                0 => return Ok(()),
                count if self.read <= end && rest[..count].iter().all(|byte| *byte == 0) => (),
                _ => return Err(Error::Trailing { after: self.name.clone() }),
            }
        }
    }

    fn skip(&mut self) -> Result<(), Error> {
        let mut rest = [0; 4096];
        while self.left > 0 {
            retry(|| self.read(&mut rest))?;
        }
        let padding = std::mem::take(&mut self.padding) as usize;
        self.fill(&mut rest[..padding])
    }

    fn fill(&mut self, mut block: &mut [u8]) -> Result<(), Error> {
        while !block.is_empty() {
            match self.read_source(block)? {
                0 => return Err(Error::Truncated { inside: self.name.clone() }),
                count => block = &mut block[count..],
            }
        }
        Ok(())
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = retry(|| self.source.read(buffer)).map_err(Error::own)?;
        self.read += count as u64;
        Ok(count)
    }

    fn truncated(&self) -> io::Error {
        Error::Truncated { inside: format!("{} of {}", self.member, self.name) }.into()
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        match self.read_source(&mut buffer[..most])? {
            0 => Err(self.truncated()),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

impl<R: BufRead> BufRead for Archive<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        if retry(|| self.source.fill_buf().map(<[u8]>::len)).map_err(Error::own)? == 0 {
            return Err(self.truncated());
        }
        let buffered = self.source.fill_buf()?;
        Ok(&buffered[..self.left.min(buffered.len() as u64) as usize])
    }

    fn consume(&mut self, count: usize) {
        self.source.consume(count);
        self.left -= count as u64;
        self.read += count as u64;
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            done => return done,
        }
    }
}
