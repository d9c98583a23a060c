//! `rota`, the client: installs artifacts into the slot that is not running, and knows afterwards what happened.
//!
//! Rooms: `boot`, `slot` and `net` do not know each other; `update` uses all three; every syscall is in `sys`.
#![deny(unsafe_code)]

mod base64;
pub mod boot;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod date;
pub mod device;
pub mod doctor;
pub mod epoch;
pub mod finding;
pub mod identity;
pub mod inventory;
pub mod key;
pub mod log;
pub mod net;
pub mod provides;
pub mod record;
pub mod signals;
pub mod slot;
pub mod status;
pub mod sys;
pub mod token;
pub mod update;
pub mod watchdog;
pub mod window;

#[cfg(test)]
mod testing;
