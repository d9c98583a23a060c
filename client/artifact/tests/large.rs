//! A payload beyond 4 GiB, sparse, through write, validate and read.
mod common;

use std::fs::File;

use common::Folder;

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");
const SIZE: u64 = (4 << 30) + 4097;

#[test]
fn more_than_4_gib() {
    let folder = Folder::new("large");
    File::create(folder.path().join("image")).unwrap().set_len(SIZE).unwrap();
    let run = |line: &str| folder.sh(&format!("{OURS} {line}")).good();
    run("write rootfs-image -f image -n rel-1 -c devA --compression zstd_fastest -o l.mender");
    run("validate l.mender");
    let read: serde_json::Value = serde_json::from_str(&run("read --json l.mender").out()).unwrap();
    assert_eq!(read["payloads"][0]["files"][0]["size"], SIZE);
}
