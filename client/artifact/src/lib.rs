//! Reads, writes, signs and verifies `.mender` artifacts.
//!
//! The format and nothing else: streams over `Read` and `Write`, no paths, no network. Everything is checked before it is
//! handed out, and memory stays within [`Limits`] whatever a file claims.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod archive;
mod checksum;
mod compression;
mod decoder;
pub mod der;
mod error;
mod header;
mod json;
mod json_write;
mod key;
mod limits;
mod manifest;
mod payload;
pub mod provides;
mod read_header;
mod reader;
mod resign;
mod sign_key;
mod signature;
#[cfg(feature = "pkcs11")]
pub mod token;
mod writer;

pub use checksum::{Checksum, Hasher};
pub use compression::{Compression, Encoder};
pub use error::Error;
pub use header::{
    check_file_name, check_script_name, Depends, Header, PayloadHeader, Script, ARTIFACT_GROUP,
    ARTIFACT_NAME, DEVICE_TYPE, SCRIPT_STATES,
};
pub use key::{ecdsa_der_to_raw, ecdsa_raw_to_der, KeyKind, VerifyKey};
pub use limits::Limits;
pub use payload::{Payload, PayloadFile, Stored};
pub use reader::{FileSummary, Reader, Summary};
pub use resign::resign;
pub use sign_key::SignKey;
pub use signature::{Signature, Signer};
pub use writer::{Augment, Data, Draft, Input, MakeEncoder, Opener, Spool, Writer};
