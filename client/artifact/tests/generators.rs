//! `gen`: what the standard update modules expect.
mod common;

use common::{Folder, Ran};
use serde_json::{json, Value};

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");

fn gen(folder: &Folder, line: &str) -> Ran {
    folder.sh(&format!("{OURS} gen {line} -n rel-1 -t devA -o g.mender"))
}

/// The payload of what was made, and its files by name.
fn payload(folder: &Folder) -> Value {
    folder.sh("mender-artifact validate g.mender").good();
    let read = folder.sh(&format!("{OURS} read --json g.mender")).good().out();
    let facts: Value = serde_json::from_str(&read).unwrap();
    folder.sh(&format!("{OURS} dump g.mender --files dumped")).good();
    facts["payloads"][0].clone()
}

fn dumped(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join("dumped").join(name)).unwrap()
}

#[test]
fn single_file() {
    let folder = Folder::new("gen-single-file");
    folder.file("data.conf", "content\n");
    folder.sh("chmod 640 data.conf").good();
    gen(&folder, "single-file -d /etc/app data.conf --software-name app --software-version 7").good();
    let payload = payload(&folder);
    assert_eq!(payload["type"], "single-file");
    assert_eq!(payload["provides"], json!({"rootfs-image.app.version": "7"}));
    for (name, expected) in [
        ("dest_dir", "/etc/app\n"),
        ("filename", "data.conf\n"),
        ("permissions", "640\n"),
        ("data.conf", "content\n"),
    ] {
        assert_eq!(dumped(&folder, name), expected);
    }
    gen(&folder, "single-file -d etc data.conf").fails_with(1);
    gen(&folder, "single-file -d /etc none").fails_with(1);
}

#[test]
fn directory() {
    let folder = Folder::new("gen-directory");
    folder.file("tree/a/b", "content\n");
    gen(&folder, "directory -d /opt/app tree").good();
    assert_eq!(payload(&folder)["type"], "directory");
    assert_eq!(dumped(&folder, "dest_dir"), "/opt/app\n");
    assert!(folder.sh("tar -tf dumped/update.tar").good().out().contains("./a/b"));
    folder.sh("tar -cf tree.tar -C tree .").good();
    gen(&folder, "directory -d /opt/app tree.tar").good();
    payload(&folder);
    gen(&folder, "directory -d // tree").fails_with(1);
}

#[test]
fn packages_scripts_and_containers() {
    let folder = Folder::new("gen-others");
    ["a.deb", "b.deb", "run.sh", "x.swu"].iter().for_each(|name| drop(folder.file(name, "content\n")));
    gen(&folder, "deb a.deb b.deb").good();
    assert_eq!(payload(&folder)["files"].as_array().unwrap().len(), 2);
    gen(&folder, "rpm a.deb").fails_with(1);
    gen(&folder, "script run.sh").good();
    assert_eq!(payload(&folder)["type"], "script");
    gen(&folder, "swu x.swu").good();
    payload(&folder);

    let digest = format!("nginx@sha256:{}", "a".repeat(64));
    gen(&folder, "docker nginx:latest").fails_with(1);
    gen(&folder, &format!("docker {digest} --run-args=--restart=always")).good();
    let meta_data = json!({"containers": [digest], "run_args": "--restart=always"});
    assert_eq!(payload(&folder)["meta_data"], meta_data);
    gen(&folder, "podman nginx:latest --allow-tags").good();
    payload(&folder);
    gen(&folder, "reboot").good();
    payload(&folder);
}

#[test]
fn compose_projects() {
    let folder = Folder::new("gen-compose");
    folder.file("app/docker-compose.yml", "services: {}\n");
    folder.file("images", "images");
    folder.sh("gzip images").good();
    gen(&folder, "docker-compose --manifests-dir app --project-name app --images images.gz").good();
    let payload = payload(&folder);
    assert_eq!(payload["type"], "docker-compose");
    assert_eq!(payload["meta_data"], json!({"project_name": "app", "version": "1"}));
    assert_eq!(payload["provides"], json!({"data-docker.mender-docker-compose_app.version": "rel-1"}));
    assert!(folder.sh("tar -tf dumped/manifests.tar").good().out().contains("./docker-compose.yml"));
    folder.sh("cmp dumped/images.tar.gz images.gz").good();
    gen(&folder, "docker-compose --manifests-dir app --project-name app").good();
    for wrong in
        ["-m app -p App", "-m . -p app", "-m app -p app --images app/docker-compose.yml", "-m none -p app"]
    {
        gen(&folder, &format!("docker-compose {wrong}")).fails_with(1);
    }
}

#[test]
fn what_follows_the_dashes_goes_to_write() {
    let folder = Folder::new("gen-rest");
    folder.file("run.sh", "content\n");
    folder.key("p256");
    let line = "gen script run.sh -n rel-1 -t devA -o g.mender -- --compression none -k p256.pem -g group";
    folder.sh(&format!("{OURS} {line}")).good();
    folder.sh("mender-artifact validate -k p256.pub g.mender").good();
    assert!(folder.sh(&format!("{OURS} read g.mender")).good().out().contains("Provides group: group"));
    folder.sh(&format!("{OURS} gen script run.sh -n rel-1 -t devA -o g.mender -- -T other")).fails_with(1);
}
