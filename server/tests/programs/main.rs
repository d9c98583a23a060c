//! What takes its time: real programs against the server (Debian's Mender client and rota as daemons, mender-cli), and faults.
#[path = "../common/mod.rs"]
mod common;

mod cli;
mod clients;
mod faults;
mod migrate;

fn observe(_: &str, _: &str, _: u16) {}
