//! Writes an artifact, of version 3, as a stream.
use std::io::{self, Read, Seek, Write};

use crate::{
    archive::{self, Member},
    header::{check_file_name, check_script_name, Header, PayloadHeader, Script},
    json_write,
    reader::FileSummary,
    Checksum, Compression, Encoder, Error, Hasher, Limits, Signature, Signer, Summary,
};

const VERSION: &[u8] = br#"{"format":"mender","version":3}"#;
const BUFFER: usize = 64 << 10;

/// A file that goes into a payload.
pub struct Input<'a> {
    /// Its plain name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
    /// Opens it from its beginning; an uncompressed payload is read twice.
    pub open: Opener<'a>,
}

/// Gives a fresh reader each time.
pub type Opener<'a> = Box<dyn Fn() -> io::Result<Box<dyn Read + 'a>> + 'a>;

/// The content of a payload.
pub enum Data<'a> {
    /// Files, in this order.
    Files(Vec<Input<'a>>),
    /// The member `data/NNNN.tar*` of an artifact that was read and checked, as it is.
    Stored {
        /// How it is compressed.
        compression: Compression,
        /// The size of the member.
        size: u64,
        /// What is in it.
        files: Vec<FileSummary>,
        /// Opens it.
        open: Opener<'a>,
    },
}

/// What is to be written.
pub struct Draft<'a> {
    /// Name, compatibility, scripts and the facts of the payloads.
    pub header: Header,
    /// For each payload what is in it.
    pub data: Vec<Data<'a>>,
    /// With a key here, the first payload provides the SHA-256 of its first file under this key.
    pub checksum_key: Option<String>,
    /// The unsigned part of an augmented artifact.
    pub augment: Option<Augment<'a>>,
}

/// The unsigned part of an augmented artifact: for each payload more facts and more files.
pub struct Augment<'a> {
    /// What is laid over the facts of the payloads.
    pub payloads: Vec<PayloadHeader>,
    /// Files that follow those of the payloads.
    pub files: Vec<Vec<Input<'a>>>,
}

/// How it is written.
pub struct Writer<'a> {
    /// The compression of header and payloads.
    pub compression: Compression,
    /// Makes the compressors; [`Compression::encoder`] is one way.
    pub encoder: &'a MakeEncoder,
    /// Gives an empty temporary file (or memory) for a compressed payload, whose size has to be known before it is written.
    pub spool: &'a dyn Fn() -> io::Result<Box<dyn Spool>>,
    /// Signs the manifest.
    pub signer: Option<&'a dyn Signer>,
    /// The time of what has no time of its own, in seconds since 1970.
    pub modified: u64,
}

/// Makes a compressor that writes to what it is given.
pub type MakeEncoder = dyn for<'w> Fn(Compression, Box<dyn Write + 'w>) -> io::Result<Box<dyn Encoder + 'w>>;

/// Keeps what is written for reading it later.
pub trait Spool: Read + Write + Seek {}

impl<T: Read + Write + Seek> Spool for T {}

/// A payload before its member is written: what is in it is known.
struct Packed<'d, 'a> {
    name: String,
    size: u64,
    /// First those of the payload itself, `own` of them, then those of the augmented part.
    files: Vec<FileSummary>,
    own: usize,
    content: Content<'d, 'a>,
}

enum Content<'d, 'a> {
    Spooled(Box<dyn Spool>),
    Stored(&'d Opener<'a>),
    Plain(Vec<&'d Input<'a>>),
}

impl Writer<'_> {
    /// Writes the artifact and says what is in it.
    pub fn write(&self, draft: &Draft, out: &mut dyn Write) -> Result<Summary, Error> {
        let mut header = draft.header.clone();
        if header.payloads.len() != draft.data.len() {
            return Err(input("the header and the data have a different number of payloads"));
        }
        check_limits(draft)?;
        let packed: Vec<_> =
            (0..draft.data.len()).map(|index| self.pack(draft, index)).collect::<Result<_, _>>()?;
        if let Some(key) = &draft.checksum_key {
            let file = packed.first().and_then(|payload| payload.files.first());
            let file =
                file.ok_or_else(|| input("the payload has no file whose checksum it could provide"))?;
            header.payloads[0].provides.insert(key.clone(), file.sha256.to_string());
        }
        let name = format!("header.tar{}", self.compression.suffix());
        let bytes = self.header(&header, &header.payloads)?;
        let mut manifest = lines(packed.iter().map(|payload| &payload.files[..payload.own]));
        manifest += &line(Checksum::of(&bytes), &name);
        manifest += &line(Checksum::of(VERSION), "version");

        let mut out = Counter { out, bytes: 0 };
        self.member(&mut out, "version", VERSION)?;
        self.member(&mut out, "manifest", manifest.as_bytes())?;
        if let Some(signer) = self.signer {
            let signature = Signature::make(signer, manifest.as_bytes())?;
            self.member(&mut out, "manifest.sig", signature.as_bytes())?;
        }
        match &draft.augment {
            None => self.member(&mut out, &name, &bytes)?,
            Some(augment) => self.augment(&mut out, &header, augment, &packed, (&name, &bytes))?,
        }
        let payloads =
            packed.into_iter().map(|payload| self.data(payload, &mut out)).collect::<Result<_, _>>()?;
        archive::write_end(&mut out)?;
        out.flush()?;
        Ok(Summary { payloads, bytes: out.bytes })
    }

    /// Hashes a payload, and compresses it if it is to be.
    fn pack<'d, 'a>(&self, draft: &'d Draft<'a>, index: usize) -> Result<Packed<'d, 'a>, Error> {
        let stem = format!("data/{index:04}.tar");
        let own = match &draft.data[index] {
            Data::Stored { compression, size, files, open } => {
                let (name, size, own) = (stem + compression.suffix(), *size, files.len());
                return Ok(Packed { name, size, files: files.clone(), own, content: Content::Stored(open) });
            }
            Data::Files(files) => files,
        };
        let augment = draft.augment.iter().flat_map(|augment| augment.files.get(index)).flatten();
        let inputs: Vec<&Input> = own.iter().chain(augment).collect();
        for (nth, file) in inputs.iter().enumerate() {
            check_file_name(&file.name)?;
            if inputs[..nth].iter().any(|other| other.name == file.name) {
                return Err(Error::Duplicate { file: stem, name: file.name.clone() });
            }
        }
        let own = own.len();
        let name = format!("{stem}{}", self.compression.suffix());
        if self.compression == Compression::None {
            let size = archive::size_of(inputs.iter().map(|file| file.size));
            let files = write_files(&inputs, &format!("data/{index:04}"), &mut io::sink())?;
            return Ok(Packed { name, size, files, own, content: Content::Plain(inputs) });
        }
        let mut spool = (self.spool)()?;
        let mut encoder = (self.encoder)(self.compression, Box::new(&mut spool))?;
        let files = write_files(&inputs, &format!("data/{index:04}"), &mut encoder)?;
        encoder.finish()?;
        let size = spool.stream_position()?;
        Ok(Packed { name, size, files, own, content: Content::Spooled(spool) })
    }

    /// Writes the member of a payload.
    fn data(&self, payload: Packed, out: &mut dyn Write) -> Result<Vec<FileSummary>, Error> {
        let Packed { name, size, files, content, .. } = payload;
        Member { name: name.clone(), size, mode: 0o600, mtime: self.modified }.write(out)?;
        let stored = match content {
            Content::Spooled(mut spool) => {
                spool.rewind()?;
                copy(&mut spool, out)?
            }
            Content::Stored(open) => copy(&mut open()?, out)?,
            Content::Plain(inputs) => {
                let folder = name.trim_end_matches(".tar");
                if write_files(&inputs, folder, out)? != files {
                    return Err(input(format!("{name}: a file has changed while it was read")));
                }
                size
            }
        };
        if stored != size {
            return Err(input(format!("{name} has changed while it was read")));
        }
        archive::write_padding(out, size)?;
        Ok(files)
    }

    /// Writes what an augmented artifact has between signature and payloads: its second manifest and both headers.
    fn augment(
        &self,
        out: &mut dyn Write,
        header: &Header,
        augment: &Augment,
        packed: &[Packed],
        (header_name, header_bytes): (&str, &[u8]),
    ) -> Result<(), Error> {
        let name = format!("header-augment.tar{}", self.compression.suffix());
        let bytes = self.header(&Header { scripts: Vec::new(), ..header.clone() }, &augment.payloads)?;
        let mut manifest = lines(packed.iter().map(|payload| &payload.files[payload.own..]));
        manifest += &line(Checksum::of(&bytes), &name);
        self.member(out, "manifest-augment", manifest.as_bytes())?;
        self.member(out, header_name, header_bytes)?;
        self.member(out, &name, &bytes)
    }

    /// The compressed archive of a header.
    fn header(&self, header: &Header, payloads: &[PayloadHeader]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut encoder = self.compression.encoder(Box::new(&mut bytes))?;
        let types = payloads.iter().map(|payload| payload.payload_type.as_deref());
        let Header { artifact_name, artifact_group, depends, scripts, .. } = header;
        let info = json_write::header_info(artifact_name, artifact_group.as_deref(), depends, types)?;
        write_member(&mut encoder, "header-info", 0o600, 0, &info)?;
        for Script { name, bytes } in scripts {
            check_script_name(name)?;
            write_member(&mut encoder, &format!("scripts/{name}"), 0o755, self.modified, bytes)?;
        }
        for (index, payload) in payloads.iter().enumerate() {
            let path = |file: &str| format!("headers/{index:04}/{file}");
            let type_info = json_write::type_info(&path("type-info"), payload)?;
            write_member(&mut encoder, &path("type-info"), 0o600, 0, &type_info)?;
            if !payload.meta_data.is_empty() {
                let meta_data = json_write::meta_data(&path("meta-data"), &payload.meta_data)?;
                write_member(&mut encoder, &path("meta-data"), 0o600, 0, &meta_data)?;
            } else if payload.payload_type.as_deref() == Some("rootfs-image") {
                write_member(&mut encoder, &path("meta-data"), 0o600, 0, b"")?; // Mender's writer does, too
            }
        }
        archive::write_end(&mut encoder)?;
        encoder.finish()?;
        Ok(bytes)
    }

    fn member(&self, out: &mut dyn Write, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let modified = if name.contains(".tar") { self.modified } else { 0 };
        write_member(out, name, 0o600, modified, bytes)
    }
}

/// Refuses what no reader takes with its default limits.
fn check_limits(draft: &Draft) -> Result<(), Error> {
    let limits = Limits::default();
    let files = |data: &Data| match data {
        Data::Files(files) => files.len(),
        Data::Stored { files, .. } => files.len(),
    };
    let augmented = draft.augment.iter().flat_map(|augment| &augment.files).map(Vec::len);
    let files: usize = draft.data.iter().map(files).chain(augmented).sum();
    let Header { scripts, payloads, .. } = &draft.header;
    let below = |what: String, limit: u64, found: usize| match found as u64 {
        found if found > limit => Err(Error::Limit { what, limit, found }),
        _ => Ok(()),
    };
    below("the number of payload files".to_owned(), limits.files as u64, files)?;
    below("the number of state scripts".to_owned(), limits.files as u64, scripts.len())?;
    for (index, Script { name, bytes }) in scripts.iter().enumerate() {
        if scripts[..index].iter().any(|other| other.name == *name) {
            return Err(Error::Duplicate { file: "header.tar".to_owned(), name: format!("scripts/{name}") });
        }
        below(format!("the size of scripts/{name}"), limits.script, bytes.len())?;
    }
    for (index, payload) in payloads.iter().enumerate() {
        let what = format!("the size of headers/{index:04}/meta-data");
        below(what, limits.meta_data, payload.meta_data.len())?;
    }
    Ok(())
}

fn write_member(out: &mut dyn Write, name: &str, mode: u32, mtime: u64, bytes: &[u8]) -> Result<(), Error> {
    let size = bytes.len() as u64;
    Member { name: name.to_owned(), size, mode, mtime }.write(out)?;
    out.write_all(bytes)?;
    Ok(archive::write_padding(out, size)?)
}

/// Writes the archive of these files and gives their sums.
fn write_files(inputs: &[&Input], folder: &str, out: &mut dyn Write) -> Result<Vec<FileSummary>, Error> {
    let mut written = Vec::new();
    let mut buffer = vec![0; BUFFER];
    for file in inputs {
        Member { name: file.name.clone(), size: file.size, mode: file.mode, mtime: file.modified }
            .write(out)?;
        let (mut source, mut hasher, mut left) = ((file.open)()?, Hasher::default(), file.size);
        loop {
            let count = match source.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if count as u64 > left || (count == 0 && left > 0) {
                return Err(input(format!("{folder}/{}: the size of the file has changed", file.name)));
            }
            if count == 0 {
                break;
            }
            left -= count as u64;
            hasher.update(&buffer[..count]);
            out.write_all(&buffer[..count])?;
        }
        archive::write_padding(out, file.size)?;
        let (name, size, modified) = (file.name.clone(), file.size, file.modified);
        written.push(FileSummary { name, size, modified, sha256: hasher.finish() });
    }
    archive::write_end(out)?;
    Ok(written)
}

/// The manifest's lines for the files of all payloads.
fn lines<'p>(payloads: impl Iterator<Item = &'p [FileSummary]>) -> String {
    let files = |(index, files): (usize, &'p [FileSummary])| {
        files.iter().map(move |file| line(file.sha256, &format!("data/{index:04}/{}", file.name)))
    };
    payloads.enumerate().flat_map(files).collect()
}

fn line(sum: Checksum, path: &str) -> String {
    format!("{sum}  {path}\n")
}

fn copy(source: &mut dyn Read, out: &mut dyn Write) -> io::Result<u64> {
    io::copy(&mut io::BufReader::with_capacity(BUFFER, source), out)
}

fn input(reason: impl Into<String>) -> Error {
    Error::Input { reason: reason.into() }
}

/// Counts what is written.
struct Counter<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
