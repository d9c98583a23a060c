//! The compressions of the inner archives, told by the suffix of the member's name (artifact format: compression).
use std::io::{self, Write};

use flate2::write::GzEncoder;
use liblzma::write::XzEncoder;

use crate::Error;

/// How an inner archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Stored as it is.
    None,
    /// gzip.
    Gzip,
    /// xz; Mender's name for it is `lzma`.
    Xz,
    /// Zstandard, with a level of the C library (1 to 19).
    Zstd(i32),
}

impl Compression {
    /// What the member's name ends with, after `.tar`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd(_) => ".zst",
        }
    }

    /// The compression that `--compression` names.
    pub fn from_option(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "gzip" => Self::Gzip,
            "lzma" | "xz" => Self::Xz,
            "zstd_fastest" => Self::Zstd(1),
            "zstd_fast" => Self::Zstd(3),
            "zstd" | "zstd_better" => Self::Zstd(9),
            "zstd_best" => Self::Zstd(19),
            _ => return None,
        })
    }

    /// The name that `--compression` has for it.
    pub fn option(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "lzma",
            Self::Zstd(..=1) => "zstd_fastest",
            Self::Zstd(2..=3) => "zstd_fast",
            Self::Zstd(4..=9) => "zstd_better",
            Self::Zstd(_) => "zstd_best",
        }
    }

    /// The compression of the member `name`, which has to be `stem` and a suffix.
    pub(crate) fn of_member(name: &str, stem: &str) -> Result<Self, Error> {
        match name.strip_prefix(stem) {
            Some("") => Ok(Self::None),
            Some(".gz") => Ok(Self::Gzip),
            Some(".xz") => Ok(Self::Xz),
            Some(".zst") => Ok(Self::Zstd(3)),
            _ => Err(Error::Compression { name: name.to_owned() }),
        }
    }

    /// A compressor; [`Encoder::finish`] has to be called.
    pub fn encoder<'a>(self, out: Box<dyn Write + 'a>) -> io::Result<Box<dyn Encoder + 'a>> {
        Ok(match self {
            Self::None => Box::new(Plain(out)),
            Self::Gzip => Box::new(GzEncoder::new(out, flate2::Compression::best())),
            Self::Xz => Box::new(XzEncoder::new(out, 6)),
            Self::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(out, level)?;
                encoder.include_checksum(true)?;
                Box::new(encoder)
            }
        })
    }
}

/// A compressor that has to be told of the end.
pub trait Encoder: Write {
    /// Writes what is still held back.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Encoder for Plain<W> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Encoder for GzEncoder<W> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.try_finish()
    }
}

impl<W: Write> Encoder for XzEncoder<W> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.try_finish()
    }
}

impl<W: Write> Encoder for zstd::Encoder<'_, W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish().map(drop)
    }
}
