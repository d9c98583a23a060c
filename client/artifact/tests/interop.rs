//! Debian's mender-artifact and rota-artifact, both ways: what one writes the other reads, validates, and says the same of.
mod common;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use common::{Folder, Ran};
use rota_artifact::{Limits, Reader};
use serde_json::Value;

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");
const MENDER: &str = "mender-artifact";

/// The payloads of the matrix: a name, and the arguments that write it.
const PAYLOADS: [(&str, &str); 6] = [
    ("rootfs", "rootfs-image --file image.ext4"),
    ("no file", "module-image --type mod"),
    ("one file", "module-image --type mod --file one"),
    ("three files", "module-image --type mod --file one --file two --file three.tar.gz"),
    ("meta-data", "module-image --type mod --file one --meta-data meta.json"),
    ("bootstrap", "bootstrap-artifact"),
];
const COMPRESSIONS: [&str; 3] = ["none", "gzip", "lzma"];
const KEYS: [Option<&str>; 4] = [None, Some("rsa2048"), Some("rsa3072"), Some("p256")];
const SCRIPTS: [&str; 2] = ["", "--script ArtifactInstall_Enter_00_a --script ArtifactCommit_Leave_99"];
const OPTIONS: [&str; 2] = [
    "",
    "--provides-group g --depends-groups g0 --depends-groups g1 --artifact-name-depends rel-0 \
     --provides a:b --provides c<:d&e --depends k:v --clears-provides x.* --clears-provides y",
];
/// More options, which are not crossed with everything.
const MORE_OPTIONS: [&str; 4] = [
    "--no-default-software-version --no-default-clears-provides --provides a:b:c",
    "--software-name n --software-version 7",
    "--software-filesystem f --provides a:b --provides a:c",
    "--software-filesystem f --software-name n --clears-provides *",
];

struct Case {
    arguments: Vec<String>,
    key: Option<&'static str>,
}

/// Everything with everything, and more options with each payload.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (payload, write) in PAYLOADS {
        let bootstrap = payload == "bootstrap"; // has no scripts, and no software version
        for compression in COMPRESSIONS {
            for key in KEYS {
                for scripts in SCRIPTS.into_iter().filter(|scripts| !bootstrap || scripts.is_empty()) {
                    cases.extend(OPTIONS.map(|options| Case::new(write, compression, key, scripts, options)));
                }
            }
        }
        if !bootstrap {
            cases.extend(MORE_OPTIONS.map(|options| Case::new(write, "none", None, "", options)));
        }
    }
    cases
}

impl Case {
    fn new(write: &str, compression: &str, key: Option<&'static str>, scripts: &str, options: &str) -> Self {
        let names = "--artifact-name rel-1 --device-type devA --device-type devB";
        let key_option = key.map(|key| format!("--key {key}.pem")).unwrap_or_default();
        let line =
            format!("write {write} --compression {compression} {names} {key_option} {scripts} {options}");
        Self { arguments: line.split_whitespace().map(str::to_owned).collect(), key }
    }
}

/// The members of the header, by name.
fn header_members(path: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    use std::io::Read;
    let mut outer = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut found = BTreeMap::new();
    for entry in outer.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if !name.starts_with("header.tar") {
            continue;
        }
        let mut bytes = Vec::new();
        match name.as_str() {
            "header.tar" => entry.read_to_end(&mut bytes).unwrap(),
            "header.tar.gz" => flate2::read::MultiGzDecoder::new(entry).read_to_end(&mut bytes).unwrap(),
            _ => liblzma::read::XzDecoder::new(entry).read_to_end(&mut bytes).unwrap(),
        };
        for inner in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut inner = inner.unwrap();
            let mut content = Vec::new();
            inner.read_to_end(&mut content).unwrap();
            found.insert(inner.path().unwrap().display().to_string(), content);
        }
    }
    found
}

/// What a program's `read` says, less what depends on the order of Go's maps, and how it escapes the meta-data.
fn facts(read: Ran) -> (Vec<String>, Value) {
    let text = read.good().out();
    let text = text.split("\nInstalls on:").next().unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    let scripts = lines.iter().position(|line| line == "  State scripts:").unwrap() + 1;
    let end = scripts + lines[scripts..].iter().take_while(|line| line.starts_with("    ")).count();
    lines[scripts..end].sort();
    let Some(start) = lines.iter().position(|line| line == "    Metadata:") else {
        return (lines, Value::Null);
    };
    let end = lines.iter().position(|line| line.starts_with("    Files:")).unwrap();
    let meta_data: String = lines.drain(start..end).skip(1).collect();
    (lines, serde_json::from_str(&meta_data).unwrap())
}

fn check(folder: &Folder, case: &Case, number: usize) {
    let [theirs, ours] = ["theirs", "ours"].map(|who| format!("{who}-{number}.mender"));
    let write = |program: &str, out: &str| {
        let arguments: Vec<&str> =
            case.arguments.iter().map(String::as_str).chain(["--output-path", out]).collect();
        folder.run(program, &arguments).good();
    };
    write(MENDER, &theirs);
    write(OURS, &ours);

    let public = case.key.map(|key| format!("{key}.pub"));
    let keys: Vec<&str> = public.iter().flat_map(|public| ["--key", public]).collect();
    let run = |program: &str, command: &str, artifact: &str| {
        folder.run(program, &[&[command], &keys[..], &[artifact]].concat())
    };
    run(MENDER, "validate", &ours).good();
    run(OURS, "validate", &theirs).good();
    let said = [(MENDER, &theirs), (OURS, &theirs), (MENDER, &ours), (OURS, &ours)];
    let said = said.map(|(program, artifact)| facts(run(program, "read", artifact)));
    said.iter().for_each(|facts| assert_eq!(*facts, said[0], "{:?}", case.arguments));

    let [members, mut expected] = [&ours, &theirs].map(|name| header_members(&folder.path().join(name)));
    if case.arguments[1] == "rootfs-image" {
        // Before 4.3.1 mender-artifact leaves the type empty, which later ones refuse.
        let info = expected.get_mut("headers/0000/type-info").unwrap();
        *info = String::from_utf8(info.clone()).unwrap().replacen("\"\"", "\"rootfs-image\"", 1).into_bytes();
    }
    assert_eq!(members, expected, "{:?}", case.arguments);
    [theirs, ours].iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
}

fn workshop(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.file("image.ext4", b"an image, or what passes for one\n".repeat(4000));
    folder.file("one", "1\n");
    folder.file("two", "");
    folder.file("three.tar.gz", [3; 1000]);
    folder.file("meta.json", r#"{"b": [1.0, -2, 1e30, 1.5e-9, true, null], "a": {"x": "<&>\u2028ü"}}"#);
    folder.file("ArtifactInstall_Enter_00_a", "#!/bin/sh\n");
    folder.file("ArtifactCommit_Leave_99", "#!/bin/sh\nexit 0\n");
    ["rsa2048", "rsa3072", "p256"].iter().for_each(|kind| folder.key(kind));
    folder
}

#[test]
fn each_reads_what_the_other_writes() {
    let folder = workshop("interop");
    let cases = cases();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((number, case)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, cases.get(at)?)))
                {
                    check(&folder, case, number);
                }
            });
        }
    });
}

#[test]
fn version_2_is_read() {
    let folder = workshop("version-2");
    let key = ["--key", "rsa2048.pem"];
    for compression in COMPRESSIONS {
        let write = [
            "write",
            "rootfs-image",
            "--version",
            "2",
            "--artifact-name",
            "rel-1",
            "--device-type",
            "devA",
            "--file",
        ];
        let more = [
            "image.ext4",
            "--script",
            "ArtifactCommit_Leave_99",
            "--compression",
            compression,
            "--output-path",
            "2.mender",
        ];
        folder.run(MENDER, &[&write[..], &more, &key].concat()).good();
        folder.sh(&format!("{OURS} validate --key rsa2048.pub 2.mender")).good();
        let said = [MENDER, OURS].map(|program| facts(folder.sh(&format!("{program} read 2.mender"))));
        assert_eq!(said[0], said[1]);
    }
}

#[test]
fn augmented_artifacts_are_read_and_written() {
    let folder = workshop("augmented");
    folder.file("more.json", r#"{"a": {"y": [1]}, "b": [2]}"#);
    let line = "write module-image --type mod --artifact-name rel-1 --device-type devA --file one --meta-data meta.json \
        --augment-type mod --augment-file two --augment-provides p:q --augment-depends d:e --augment-meta-data more.json --output-path";
    for program in [MENDER, OURS] {
        for compression in COMPRESSIONS {
            folder.sh(&format!("{program} {line} a.mender --compression {compression}")).good();
            let said = [MENDER, OURS].map(|program| facts(folder.sh(&format!("{program} read a.mender"))));
            assert_eq!(said[0], said[1], "written by {program}");
            let bytes = std::fs::read(folder.path().join("a.mender")).unwrap();
            let reader = Reader::new(bytes.as_slice(), &Limits::default()).unwrap();
            assert!(reader.header().augmented);
            reader.validate().unwrap();
        }
    }
}

/// What mender-artifact 3.9.0 does not know: zstd, PKCS#8, Ed25519. We read our own.
#[test]
fn what_only_later_tools_know() {
    let folder = workshop("later");
    folder.run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "p256.pem", "-out", "p256.pkcs8"]).good();
    folder
        .run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "rsa2048.pem", "-out", "rsa2048.pkcs8"])
        .good();
    folder.key("ed25519");
    for (compression, private, public) in [
        ("zstd_fastest", "p256.pkcs8", "p256.pub"),
        ("zstd_fast", "rsa2048.pkcs8", "rsa2048.pub"),
        ("zstd_better", "ed25519.pem", "ed25519.pub"),
        ("zstd_best", "p256.pem", "p256.pub"),
    ] {
        let write = "write rootfs-image -f image.ext4 -n rel-1 -c devA -o z.mender";
        folder.sh(&format!("{OURS} {write} --compression {compression} -k {private}")).good();
        folder.sh(&format!("{OURS} validate -k {public} z.mender")).good();
        folder.sh(&format!("{OURS} validate -k rsa3072.pub z.mender")).fails_with(4);
        folder.sh(&format!("{OURS} {write} --compression gzip -k {private}")).good();
        let mender = folder.sh(&format!("{MENDER} validate -k {public} z.mender")).out();
        assert_eq!(mender.contains("validated successfully"), public != "ed25519.pub", "{private}");
    }
}
