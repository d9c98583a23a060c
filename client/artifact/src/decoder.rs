//! Streaming decompressors with bounded memory.
use std::io::{self, BufRead, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::{bufread::XzDecoder, stream};

use crate::{Compression, Error, Limits};

/// How much of a stream is looked at to know the memory that it takes.
const HEAD: u64 = 64;
/// What liblzma takes beside the dictionary.
const XZ_OVERHEAD: u64 = 1 << 20;

/// A decompressor. Its errors carry an [`Error`].
pub(crate) struct Decoder<R: BufRead> {
    codec: Codec<R>,
    name: String,
    limit: u64,
}

type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

enum Codec<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Xz(Box<XzDecoder<Peeked<R>>>),
    Zstd(zstd::Decoder<'static, Peeked<R>>),
}

impl<R: BufRead> Decoder<R> {
    /// `name` is the member's, for messages.
    pub fn new(compression: Compression, source: R, name: &str, limits: &Limits) -> Result<Self, Error> {
        let limit = limits.decoder_memory;
        let codec = match compression {
            Compression::None => Codec::Plain(source),
            Compression::Gzip => Codec::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Xz => {
                let source = peek(source, name, limit, xz_dictionary)?;
                let decoder = stream::Stream::new_stream_decoder(
                    limit.saturating_add(XZ_OVERHEAD),
                    stream::CONCATENATED,
                );
                Codec::Xz(Box::new(XzDecoder::new_stream(source, decoder.map_err(io::Error::from)?)))
            }
            Compression::Zstd(_) => {
                let log = limit.max(1).ilog2().clamp(10, 31);
                let mut decoder = zstd::Decoder::with_buffer(peek(source, name, 1 << log, zstd_window)?)?;
                decoder.window_log_max(log)?;
                Codec::Zstd(decoder)
            }
        };
        Ok(Self { codec, name: name.to_owned(), limit })
    }

    /// What is decompressed.
    pub fn source(&self) -> &R {
        match &self.codec {
            Codec::Plain(source) => source,
            Codec::Gzip(decoder) => decoder.get_ref(),
            Codec::Xz(decoder) => decoder.get_ref().get_ref().1,
            Codec::Zstd(decoder) => decoder.get_ref().get_ref().1,
        }
    }

    fn error(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted
            || error.get_ref().is_some_and(|inner| inner.is::<Error>())
        {
            return error;
        }
        let reason = error.to_string();
        let name = self.name.clone();
        // A later block or frame may ask for more than the first; the codecs say so by their text only.
        if reason.contains("memory limit") || reason.contains("too much memory") {
            return Error::DecoderMemory { name, needed: None, limit: self.limit }.into();
        }
        Error::Compressed { name, reason }.into()
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.codec {
            Codec::Plain(source) => source.read(buffer),
            Codec::Gzip(decoder) => decoder.read(buffer),
            Codec::Xz(decoder) => decoder.read(buffer),
            Codec::Zstd(decoder) => decoder.read(buffer),
        }
        .map_err(|error| self.error(error))
    }
}

/// Refuses a stream whose beginning asks for more than `limit`.
fn peek<R: BufRead>(
    mut source: R,
    name: &str,
    limit: u64,
    need: fn(&[u8]) -> Option<u64>,
) -> Result<Peeked<R>, Error> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD).read_to_end(&mut head)?;
    match need(&head) {
        Some(needed) if needed > limit => {
            Err(Error::DecoderMemory { name: name.to_owned(), needed: Some(needed), limit })
        }
        _ => Ok(Cursor::new(head).chain(source)),
    }
}

/// The dictionary of the first block of an xz stream, in bytes.
fn xz_dictionary(head: &[u8]) -> Option<u64> {
    let (flags, mut rest) = head.get(13..)?.split_first()?;
    let sizes = [0x40, 0x80].into_iter().filter(|bit| flags & bit != 0).count();
    for _ in 0..sizes {
        xz_number(&mut rest)?;
    }
    for _ in 0..=flags & 3 {
        let (filter, size) = (xz_number(&mut rest)?, xz_number(&mut rest)?);
        let properties = rest.get(..usize::try_from(size).ok()?)?;
        rest = &rest[properties.len()..];
        if filter == 0x21 {
            let bits = u64::from(*properties.first()?);
            return (bits < 40).then(|| (2 | bits & 1) << (bits / 2 + 11)).or(Some(u64::from(u32::MAX)));
        }
    }
    None
}

fn xz_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The window of the first frame of a zstd stream, in bytes.
fn zstd_window(head: &[u8]) -> Option<u64> {
    let rest = head.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = u64::from(*rest.first()?);
        let base = 1 << (10 + (window >> 3));
        return Some(base + base / 8 * (window & 7));
    }
    // A single segment: the window is the content, whose size follows the dictionary's id.
    let skip = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let width = 1 << (descriptor >> 6);
    let size = rest.get(skip..skip + width)?;
    let size = size.iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte));
    Some(if width == 2 { size + 256 } else { size })
}
