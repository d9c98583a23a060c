//! Waiting: every wait has a deadline, and says at the end what it saw last.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What one look at the world found.
pub enum Look<T> {
    /// It is there.
    There(T),
    /// Not yet; what was seen instead.
    NotYet(String),
}

/// Looks four times a second until `look` finds what it looks for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match look()? {
            Look::There(found) => return Ok(found),
            Look::NotYet(last) if Instant::now() >= end => {
                return Err(Error::Late { what: what.into(), limit, last });
            }
            Look::NotYet(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}
