//! `rota`, the client: installs artifacts into the slot that is not running, and knows afterwards what happened.
//!
//! Rooms: `boot`, `slot` and `net` do not know each other; `update` uses all three; every syscall is in `sys`.
#![deny(unsafe_code)]

pub mod boot;
pub mod clock;
pub mod record;
pub mod slot;
pub mod sys;

#[cfg(test)]
mod testing;
