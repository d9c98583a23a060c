//! Failures, each with the exit code that `mender-artifact` has for its kind.
use std::fmt::Display;

use rota_artifact::Error;

/// Wrong arguments, and everything that has no code of its own.
pub const ARGUMENTS: u8 = 1;
/// A version of the format that is not supported.
pub const VERSION: u8 = 2;
/// The output cannot be made.
pub const CREATE: u8 = 3;
/// An artifact cannot be opened, or is not valid.
pub const INVALID: u8 = 4;
/// Something that artifacts can have, but this program does not do.
pub const FEATURE: u8 = 6;
/// The system, or a program that is needed, failed.
pub const SYSTEM: u8 = 7;

/// Why the program ends, and with which code.
#[derive(Debug)]
pub struct Fail {
    pub code: u8,
    pub message: String,
}

impl Fail {
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// Names the object and the act that an error belongs to.
pub trait During<T> {
    fn during(self, code: u8, act: impl Display) -> Result<T, Fail>;
}

impl<T, E: Into<Error>> During<T> for Result<T, E> {
    fn during(self, code: u8, act: impl Display) -> Result<T, Fail> {
        self.map_err(|error| {
            let error = error.into();
            let code = if matches!(error, Error::Version { .. }) { VERSION } else { code };
            Fail::new(code, format_args!("{act}: {error}"))
        })
    }
}
