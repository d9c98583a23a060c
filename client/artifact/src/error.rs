//! Everything that can be wrong with an artifact, each kind an error of its own.
use std::{error, fmt, io};

use crate::Checksum;

/// Why an artifact, a key or a signature was refused. The text names the file, the field, what was expected and what was found.
///
/// Fields are what the message says: the object, what was `expected` and `found`, the `limit` that was passed.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    /// The source or the destination failed; nothing is known about the artifact.
    Io(io::Error),
    /// The bytes end inside of something.
    Truncated { inside: String },
    /// A tar header is damaged: bad checksum, bad number, name that is no text.
    Tar { archive: String, reason: String },
    /// A tar member that is no plain file, or an extension header (type flags `x`, `g`, `L`, `K`).
    TarMember { archive: String, name: String, flag: u8 },
    /// A member stands where another one belongs.
    Order { archive: String, found: String, expected: String },
    /// Bytes follow the end of an archive or of a compressed stream.
    Trailing { after: String },
    /// The file is of another format than `mender`.
    Format { found: String },
    /// The format version is not supported.
    Version { found: u64, supported: &'static str },
    /// A line of a manifest does not follow its grammar.
    Manifest { file: String, line: usize, reason: String },
    /// A name is there twice.
    Duplicate { file: String, name: String },
    /// A file that no manifest lists.
    Unlisted { name: String },
    /// A file that a manifest lists, but that is not in the artifact.
    Missing { name: String },
    /// A file's content is not what the manifest says.
    Checksum { name: String, expected: Checksum, actual: Checksum },
    /// There is no signature, but there has to be one.
    Unsigned,
    /// `manifest.sig` is no base64 text on one line.
    SignatureSyntax { reason: String },
    /// None of the keys verifies the signature.
    SignatureInvalid { keys: usize },
    /// A key file cannot be read as a key.
    Key { reason: String },
    /// A key is fine, but of a kind, curve or size that artifacts do not have.
    KeyUnsupported { found: String },
    /// An RSA key that verifies, but is too large to sign with here.
    KeyTooLarge { bits: usize },
    /// Making a signature failed.
    Signing { reason: String },
    /// JSON, or a field of it, is wrong: `header-info`, `type-info`, `meta-data`, `version`.
    Json { file: String, reason: String },
    /// The name of a payload file has forbidden characters.
    FileName { name: String },
    /// The name of a state script is none that an artifact may carry.
    ScriptName { name: String },
    /// The artifact is not for this type of device.
    Device { found: String, compatible: Vec<String> },
    /// What the artifact depends on is not provided by the device.
    Depends { key: String, found: Option<String>, wanted: Vec<String> },
    /// A limit was passed.
    Limit { what: String, limit: u64, found: u64 },
    /// A member's suffix names no compression that is known (or built in).
    Compression { name: String },
    /// Decompressing needs more memory than is allowed.
    DecoderMemory { name: String, needed: Option<u64>, limit: u64 },
    /// Compressed data are damaged.
    Compressed { name: String, reason: String },
    /// The caller went on before a payload was read to its end: nothing of it is checked.
    Unfinished { name: String },
    /// What is to be written cannot be written as an artifact.
    Input { reason: String },
}

impl Error {
    /// The error that a reader of this crate put into an [`io::Error`], or [`Error::Io`] with it when it came from elsewhere.
    pub fn from_io(error: io::Error) -> Self {
        if !error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            return Self::Io(error);
        }
        let kind = error.kind();
        match error.into_inner().map(|inner| inner.downcast::<Self>()) {
            Some(Ok(own)) => *own,
            _ => Self::Io(kind.into()),
        }
    }

    /// Marks an error of the source as such, so that a decompressor above cannot take it for its own.
    pub(crate) fn own(error: io::Error) -> io::Error {
        Self::from_io(error).into()
    }

    pub(crate) fn json(file: &str, reason: impl fmt::Display) -> Self {
        Self::Json { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from_io(error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io(error) => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Truncated { inside } => write!(f, "the artifact is truncated: it ends inside of {inside}"),
            Self::Tar { archive, reason } => write!(f, "{archive} is no tar archive: {reason}"),
            Self::TarMember { archive, name, flag } if b"xgLK".contains(flag) => write!(
                f,
                "{archive}: member {name:?} is an extension header (tar type flag {:?}), which is not read; \
                 mender-artifact writes one for names beyond 100 bytes and files beyond 8 GiB: \
                 write the artifact with rota-artifact, or with compressed files that are smaller",
                char::from(*flag)
            ),
            Self::TarMember { archive, name, flag } => write!(
                f,
                "{archive}: member {name:?} has tar type flag {:?}; only plain files (flag '0') are allowed",
                char::from(*flag)
            ),
            Self::Order { archive, found, expected } => {
                write!(f, "{archive}: found {found} where {expected} was expected")
            }
            Self::Trailing { after } => write!(f, "there are data after the end of {after}"),
            Self::Format { found } => write!(f, "version: format is {found:?}, expected \"mender\""),
            Self::Version { found, supported } => {
                write!(f, "version: format version {found} is not supported, expected {supported}")
            }
            Self::Manifest { file, line, reason } => write!(f, "{file}, line {line}: {reason}"),
            Self::Duplicate { file, name } => write!(f, "{file}: {name} is there twice"),
            Self::Unlisted { name } => write!(f, "{name} is not listed in the manifest"),
            Self::Missing { name } => write!(f, "{name} is listed in the manifest, but not in the artifact"),
            Self::Checksum { name, expected, actual } => {
                write!(f, "{name}: checksum mismatch: the manifest says {expected}, the content has {actual}")
            }
            Self::Unsigned => write!(f, "expected a signed artifact, but it has no signature"),
            Self::SignatureSyntax { reason } => write!(f, "manifest.sig: {reason}"),
            Self::SignatureInvalid { keys: 1 } => write!(f, "the signature does not verify with the key"),
            Self::SignatureInvalid { keys } => {
                write!(f, "the signature does not verify with any of {keys} keys")
            }
            Self::Key { reason } => write!(f, "cannot read the key: {reason}"),
            Self::KeyUnsupported { found } => {
                write!(
                    f,
                    "{found} is not supported for artifacts; use RSA of 2048 to 8192 bits, ECDSA P-256 or Ed25519"
                )
            }
            Self::KeyTooLarge { bits } => write!(
                f,
                "an RSA key of {bits} bits cannot sign from a file (it can verify); the limit is 4096: \
                 let another program sign (--sign-command 'openssl dgst -sha256 -sign KEY'), or a token (--key-pkcs11)"
            ),
            Self::Signing { reason } => write!(f, "signing failed: {reason}"),
            Self::Json { file, reason } => write!(f, "{file}: {reason}"),
            Self::FileName { name } => write!(
                f,
                "payload file {name:?}: forbidden name; only letters, digits and the characters \".,_-\" are allowed, 100 at most"
            ),
            Self::ScriptName { name } => write!(
                f,
                "state script {name:?}: forbidden name; expected Artifact<State>_<Enter|Leave|Error>_<two digits>[_<text>]"
            ),
            Self::Device { found, compatible } => {
                write!(f, "the artifact is for device type {}, this is {found:?}", one_of(compatible))
            }
            Self::Depends { key, found: Some(found), wanted } => {
                write!(f, "the artifact depends on {key} being {}, it is {found:?}", one_of(wanted))
            }
            Self::Depends { key, found: None, wanted } => {
                write!(f, "the artifact depends on {key} being {}, the device does not have it", one_of(wanted))
            }
            Self::Limit { what, limit, found } => write!(f, "{what} is {found}, the limit is {limit}"),
            Self::Compression { name } => {
                write!(f, "{name}: unknown compression; expected the suffix .tar, .tar.gz, .tar.xz or .tar.zst")
            }
            Self::DecoderMemory { name, needed: Some(needed), limit } => write!(
                f,
                "{name}: decompressing needs {needed} bytes of memory, the limit is {limit}; compress with a smaller dictionary"
            ),
            Self::DecoderMemory { name, needed: None, limit } => {
                write!(f, "{name}: decompressing needs more memory than the limit of {limit} bytes")
            }
            Self::Compressed { name, reason } => write!(f, "{name}: damaged compressed data: {reason}"),
            Self::Unfinished { name } => write!(f, "{name} was not read to its end, so it is not checked"),
            Self::Input { reason } => write!(f, "{reason}"),
        }
    }
}

fn one_of(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        many => format!("one of {}", many.join(", ")),
    }
}
