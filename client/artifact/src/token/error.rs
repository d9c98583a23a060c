//! What can be wrong with a key on a token.
use std::{fmt, io};

/// Why a key on a token cannot be used: which key, of which module, and what to do.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    /// The text is no URI of a key.
    Uri { uri: String, what: String },
    /// The file of the PIN cannot be read.
    PinSource { uri: String, file: String, error: io::Error },
    /// The PKCS#11 module is missing or does not work.
    Module { module: String, act: &'static str, why: String },
    /// Not one token, but none or several, fit.
    Tokens { uri: String, module: String, count: usize, present: Vec<String> },
    /// The token refuses the PIN.
    Pin { uri: String, why: String },
    /// Not one key, but none or several, fit.
    Keys { uri: String, count: usize, logged_in: bool },
    /// The key is of a kind that is not used here.
    Unsupported { uri: String, found: String },
    /// The public half is nowhere on the token.
    NoPublic { uri: String },
    /// The token does not do what it was asked for.
    Token { uri: String, act: &'static str, why: String },
}

impl Error {
    /// Whether it may be different once the module is loaded and the token is looked for anew.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Module { .. } | Self::Tokens { .. } | Self::Token { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri { uri, what } => write!(f, "PKCS#11 URI {uri}: {what}"),
            Self::PinSource { uri, file, error } => {
                write!(f, "{uri}: the PIN's file {file} cannot be read: {error}; correct pin-source=")
            }
            Self::Module { module, act, why } => {
                write!(f, "PKCS#11 module {module}: {act}: {why}; name the token's module with module-path=")
            }
            Self::Tokens { uri, module, count, present } => {
                let present = match present[..] {
                    [] => "there is none".to_owned(),
                    _ => format!("there are {}", present.join(", ")),
                };
                write!(
                    f,
                    "{uri}: {count} tokens fit the URI in {module}, expected one ({present}); \
                     plug it in, or name it with token= or serial="
                )
            }
            Self::Pin { uri, why } => write!(
                f,
                "{uri}: cannot log in: {why}; correct pin-source= or pin-value=, it is not tried again before \
                 that, so that the token is not locked"
            ),
            Self::Keys { uri, count: 0, logged_in } => {
                let hint = match logged_in {
                    true => "correct object= or id=, or make the key",
                    false => "private keys are seen only with pin-source= or pin-value=",
                };
                write!(f, "{uri}: no key on the token fits the URI; {hint}")
            }
            Self::Keys { uri, count, .. } => {
                write!(f, "{uri}: {count} keys on the token fit the URI; name one with object= or id=")
            }
            Self::Unsupported { uri, found } => {
                write!(f, "{uri}: expected a key of RSA or of ECDSA on P-256 or P-384, found {found}")
            }
            Self::NoPublic { uri } => write!(
                f,
                "{uri}: the token has neither the public key nor a certificate beside the private key; \
                 store one there under the same id"
            ),
            Self::Token { uri, act, why } => write!(f, "{uri}: the token cannot {act}: {why}"),
        }
    }
}

impl std::error::Error for Error {}
