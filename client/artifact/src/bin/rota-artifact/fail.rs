//! Failures, each of a kind that has an exit code of its own.
use std::fmt::Display;

use rota_artifact::Error;

/// Wrong arguments, and everything that has no code of its own.
pub const ARGUMENTS: Code = Code(1);
/// A version of the format that is not supported.
pub const VERSION: Code = Code(2);
/// The output cannot be made.
pub const CREATE: Code = Code(3);
/// An artifact is not valid.
pub const INVALID: Code = Code(4);
/// An artifact cannot be opened: the same to a person, but not to `mender-artifact`.
pub const OPEN: Code = Code(5);
/// Something that artifacts can have, but this program does not do.
pub const FEATURE: Code = Code(6);
/// The system, or a program that is needed, failed.
pub const SYSTEM: Code = Code(7);

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Code(u8);

impl Code {
    /// The exit code.
    pub fn exit(self) -> u8 {
        match self {
            OPEN => INVALID.0,
            Self(code) => code,
        }
    }
}

/// Why the program ends, and of which kind that is.
#[derive(Debug)]
pub struct Fail {
    pub code: Code,
    pub message: String,
}

impl Fail {
    pub fn new(code: Code, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// Names the object and the act that an error belongs to.
pub trait During<T> {
    fn during(self, code: Code, act: impl Display) -> Result<T, Fail>;
}

impl<T, E: Into<Error>> During<T> for Result<T, E> {
    fn during(self, code: Code, act: impl Display) -> Result<T, Fail> {
        self.map_err(|error| {
            let error = error.into();
            let code = if matches!(error, Error::Version { .. }) { VERSION } else { code };
            Fail::new(code, format_args!("{act}: {error}"))
        })
    }
}
