//! Why a step of a scenario did not happen.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Error>;

/// `Debug` prints the sentence too: it is what a failing test shows.
pub enum Error {
    /// The operating system refused an act on an object.
    Os { act: &'static str, object: String, source: std::io::Error },
    /// A program of the host failed.
    Program { program: String, status: String, output: String },
    /// Something waited for did not come in time. `last` is what was seen last.
    Late { what: String, limit: Duration, last: String },
    /// The machine ended while it was needed.
    Gone { what: String, last: String },
    /// The server answered otherwise than needed.
    Server { request: String, expected: String, found: String },
    /// Something is not there that a person has to bring.
    Missing { object: PathBuf, next: String },
    /// A check of a scenario found something else.
    Unexpected { what: String, expected: String, found: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Os { act, object, source } => write!(f, "cannot {act} {object}: {source}"),
            Error::Program { program, status, output } => {
                write!(f, "{program}: {status}\n{}", indent(output))
            }
            Error::Late { what, limit, last } => {
                write!(f, "{what}: not within {} s; last seen:\n{}", limit.as_secs(), indent(last))
            }
            Error::Gone { what, last } => {
                write!(f, "{what}: the machine ended; last seen:\n{}", indent(last))
            }
            Error::Server { request, expected, found } => {
                write!(f, "{request}: expected {expected}, the server answered {found}")
            }
            Error::Missing { object, next } => write!(f, "{} is missing: {next}", object.display()),
            Error::Unexpected { what, expected, found } => {
                write!(f, "{what}: expected {expected}, found {found}")
            }
        }
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Says what was tried, and on what, when the operating system refuses.
pub trait Context<T> {
    fn context(self, act: &'static str, object: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, act: &'static str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|source| Error::Os { act, object: object.to_string(), source })
    }
}

/// A check of a scenario: `found` must be `expected`.
pub fn check<T: PartialEq + fmt::Display>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Unexpected { what: what.into(), expected: expected.to_string(), found: found.to_string() })
}
