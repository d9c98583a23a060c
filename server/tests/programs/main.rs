//! What takes its time: real programs against the server (Debian's Mender client as a daemon, mender-cli), and faults.
#[path = "../common/mod.rs"]
mod common;

mod cli;
mod faults;
mod mender;

fn observe(_: &str, _: &str, _: u16) {}
