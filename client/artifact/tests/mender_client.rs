//! Debian's mender 3.4.0 installs what we write: also gzip in several members, which the tool makes on all cores.
mod common;

use std::fs;

use common::Folder;
use serde_json::json;

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");

#[test]
fn mender_installs_what_we_write() {
    let folder = Folder::new("mender-client");
    let path = folder.path().display();
    folder.key("rsa2048");
    let content: Vec<u8> =
        (0..1_000_000u32).flat_map(|number| number.wrapping_mul(number).to_le_bytes()).collect();
    folder.file("file", &content);
    folder.file("etc/artifact_info", "artifact_name=rel-0\n");
    folder.file("etc/mender.conf", json!({"ArtifactVerifyKey": format!("{path}/rsa2048.pub")}).to_string());
    folder.file("data/device_type", "device_type=devA\n");
    // The client reads its first artifact's name from /etc/mender, so it gets one of its own.
    let setting = folder.file("run", format!(
        "#!/bin/sh\nset -e\nmount --bind {path}/etc /etc/mender\nmender --no-syslog --data {path}/data install $1\nmender --no-syslog --data {path}/data commit\n"
    ));
    let root = folder.sh("id -u").out().trim() == "0";
    for compression in ["gzip", "none", "lzma"] {
        let _ = fs::remove_dir_all(folder.path().join("dest"));
        fs::create_dir(folder.path().join("dest")).unwrap();
        let make = format!("gen single-file -d {path}/dest file -n rel-{compression} -t devA -o {path}/a.mender -- --compression {compression} -k rsa2048.pem");
        folder.sh(&format!("{OURS} {make}")).good();
        let unshare = if root { "unshare --mount" } else { "unshare --mount --map-root-user" };
        folder.sh(&format!("{unshare} sh {} {path}/a.mender", setting.display())).good();
        assert!(fs::read(folder.path().join("dest/file")).unwrap() == content, "{compression}");
        let provides =
            folder.sh(&format!("mender --no-syslog --data {path}/data show-provides")).good().out();
        assert!(provides.contains(&format!("artifact_name=rel-{compression}")), "{provides}");
    }
}
