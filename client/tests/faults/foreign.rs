//! What other people and broken disks leave on the data partition.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use rota::sys::fifo;

use super::machine::Machine;
use super::sweep::Mishap;

/// Every name that the client gives to a file of its own.
const NAMES: &[&str] = &[
    "journal.0",
    "journal.1",
    "provides.0",
    "provides.1",
    ".journal.0.new",
    ".provides.1.new",
    ".device-key.pem.new",
    "bootstrap.mender",
    "epoch.0",
    "deployments",
    "deployments/0000.rel-2.log",
];

type Thing = (&'static str, fn(&Path));
/// What may lie there instead.
const THINGS: &[Thing] = &[
    ("nothing", |_| {}),
    ("an empty file", |path| fs::write(path, "").unwrap()),
    ("garbage", |path| fs::write(path, [0xa5; 5000]).unwrap()),
    ("a huge file", |path| File::create(path).unwrap().set_len(2 << 20).unwrap()),
    ("a folder", |path| fs::create_dir_all(path.join("inside")).unwrap()),
    ("a FIFO", |path| fifo::make(path).unwrap()),
    ("what cannot be read", |path| symlink(path.file_name().unwrap(), path).unwrap()),
    ("a link to nothing", |path| symlink("nowhere/at/all", path).unwrap()),
    ("a link to another file", |path| symlink("device-key.pem", path).unwrap()),
];

/// Before every boot, each thing in the place of each file, and the journal lost.
pub fn mishaps() -> Vec<Mishap<'static>> {
    let files = NAMES.iter().flat_map(|name| THINGS.iter().map(move |(what, put)| (name, what, put)));
    let mut mishaps: Vec<Mishap<'_>> = files
        .map(|(name, what, put)| -> Mishap<'_> {
            (format!("{what} for {name}"), Box::new(|machine| replace(machine, name, *put)))
        })
        .collect();
    mishaps.push(("the journal is lost".into(), Box::new(Machine::lose_journal)));
    mishaps
}

fn replace(machine: &Machine, name: &str, put: fn(&Path)) {
    let path = machine.paths.data.join(name);
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    put(&path);
}
