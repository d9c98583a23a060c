//! The tool as a person runs it: write, read, validate, sign, modify, dump, and its exit codes.
mod common;

use std::{
    fs,
    os::unix::fs::{symlink, PermissionsExt},
};

use common::{Folder, Ran};
use serde_json::{json, Value};

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");
const WRITE: &str = "write module-image -T mod -n rel-1 -c devA";

fn ours(folder: &Folder, line: &str) -> Ran {
    folder.sh(&format!("{OURS} {line}"))
}

fn json_of(ran: Ran) -> Value {
    serde_json::from_str(&ran.good().out()).unwrap()
}

/// A folder with keys and an artifact of a module, signed by P-256.
fn workshop(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.file("one", "1\n");
    folder.file("two", "22\n");
    folder.file("meta.json", r#"{"a": 1}"#);
    folder.file("ArtifactInstall_Enter_00", "#!/bin/sh\n");
    ["rsa2048", "p256"].iter().for_each(|kind| folder.key(kind));
    let facts = "-f one -f two -m meta.json -s ArtifactInstall_Enter_00 -p a:b -d k:v -g g -G g0 -N rel-0";
    ours(&folder, &format!("{WRITE} {facts} -k p256.pem -o a.mender")).good();
    folder
}

#[test]
fn exit_codes() {
    let folder = workshop("exit-codes");
    folder.file("junk", "junk");
    ours(&folder, &format!("{WRITE} -f one -o plain.mender")).good();
    for (code, line) in [
        (0, "--help"),
        (0, "--version"),
        (0, "validate -k p256.pub a.mender"),
        (0, "validate -k rsa2048.pub -k p256.pub a.mender"),
        (0, "read a.mender"),
        (1, ""),
        (1, "nonsense"),
        (1, "write rootfs-image"),
        (1, "write rootfs-image -n x -c d -f none"),
        (1, "write rootfs-image -n x -c d -f one --compression none,"),
        (1, "write rootfs-image -n x -c d -f one -k one"),
        (1, "write rootfs-image -n x -c d -f one -k p256.pem --sign-command true"),
        (1, "write module-image -T m -n x -c d -s one"),
        (1, "write module-image -T m -n x -c d -d novalue"),
        (2, "write rootfs-image -n x -c d -f one -v 2"),
        (3, "write rootfs-image -n x -c d -f one -o none/x.mender"),
        (1, "write module-image -T m -n x -c d -f one -f one"),
        (1, "write module-image -T m -n x -c d -m one"),
        (3, "write module-image -T m -n x -c d -f one --max-artifact-size 1KB"),
        (4, "validate none"),
        (4, "validate junk"),
        (4, "validate a.mender"),
        (4, "validate -k rsa2048.pub a.mender"),
        (1, "read junk"),
        (4, "read -k rsa2048.pub a.mender"),
        (1, "validate -k one a.mender"),
        (4, "validate -k p256.pub plain.mender"),
        (4, "read -k p256.pub plain.mender"),
        (1, "sign a.mender"),
        (1, "sign -k p256.pem a.mender"),
        (4, "sign -k p256.pem junk"),
        (4, "modify none -n x"),
    ] {
        let ran = ours(&folder, line).fails_with(code);
        assert!(code == 0 || !ran.err().is_empty(), "{line} says nothing");
        assert!(!ran.err().contains("Error {") && !ran.err().contains("panicked"), "{line}: {}", ran.err());
    }
    assert!(!folder.path().join("artifact.mender").exists(), "a failed write leaves no file");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().starts_with('.')),
        "temporary files are left: {left:?}"
    );
}

#[test]
fn signing_changes_nothing_else() {
    let folder = workshop("sign");
    ours(&folder, &format!("{WRITE} -f one -o plain.mender")).good();
    let plain = fs::read(folder.path().join("plain.mender")).unwrap();
    ours(&folder, "sign plain.mender -k rsa2048.pem -o signed.mender").good();
    assert_eq!(fs::read(folder.path().join("plain.mender")).unwrap(), plain);
    for program in [OURS, "mender-artifact"] {
        folder.sh(&format!("{program} validate -k rsa2048.pub signed.mender")).good();
    }
    // version and manifest are the first four kilobytes at most; the rest follows the signature untouched.
    let signed = fs::read(folder.path().join("signed.mender")).unwrap();
    assert_eq!(signed.len(), plain.len() + 1024);
    assert!(signed.ends_with(&plain[2048..]));
    ours(&folder, "sign signed.mender -k p256.pem -f").good();
    folder.sh("mender-artifact validate -k p256.pub signed.mender").good();
    assert_eq!(
        json_of(ours(&folder, "--json sign plain.mender -k p256.pem")),
        json!({"signed": "plain.mender"})
    );
    ours(&folder, "validate -k p256.pub plain.mender").good();
}

#[test]
fn modify_replaces_facts() {
    let folder = workshop("modify");
    folder.file("new.json", r#"{"b": 2}"#);
    let before = json_of(ours(&folder, "read --json a.mender"));
    let line = "modify a.mender -n rel-2 -p x:y -d q:r -g h -G h0 -N rel-1 --clears-provides z.* \
        --delete-clears-provides rootfs-image.mod.* -m new.json --compression lzma -k rsa2048.pem";
    ours(&folder, line).good();
    folder.sh("mender-artifact validate -k rsa2048.pub a.mender").good();
    let after = json_of(ours(&folder, "read --json -k rsa2048.pub a.mender"));
    let mut expected = before;
    expected["artifact_name"] = json!("rel-2");
    expected["provides_group"] = json!("h");
    expected["depends_groups"] = json!(["h0"]);
    expected["depends_artifacts"] = json!(["rel-1"]);
    expected["payloads"][0]["provides"] = json!({"x": "y"});
    expected["payloads"][0]["depends"] = json!({"q": ["r"]});
    expected["payloads"][0]["clears_provides"] = json!(["z.*"]);
    expected["payloads"][0]["meta_data"] = json!({"b": 2});
    expected["signature"] = after["signature"].clone();
    expected["bytes"] = after["bytes"].clone();
    assert_eq!(after, expected);
    assert_eq!(after["signature"]["status"], "verified");
    let unsigned = ours(&folder, "modify a.mender -n rel-3").good();
    assert!(unsigned.err().contains("was signed; now it is not"));
    ours(&folder, "modify a.mender --delete-clears-provides none").fails_with(1);
}

#[test]
fn dump_gives_what_makes_it_again() {
    let folder = workshop("dump");
    let dumped =
        ours(&folder, "dump a.mender --files d --meta-data d --scripts s --print0-cmdline").good().out();
    let mut arguments: Vec<&str> = dumped.split_terminator('\0').collect();
    arguments.extend(["--output-path", "again.mender", "--key", "p256.pem"]);
    let plain =
        ours(&folder, "dump a.mender --files d --meta-data d --scripts s --print-cmdline").good().out();
    let theirs = folder
        .sh("mender-artifact dump a.mender --files e --meta-data e --scripts e --print-cmdline")
        .good()
        .out();
    // The order of Go's maps is random: what is the same are the pairs of flags and values.
    let normal = |text: &str| {
        let text = text.trim().replace("e/0000", "d/0000").replace(" e/A", " s/A").replace(" e/", " d/");
        let mut flags: Vec<String> = text.split(" --").map(str::to_owned).collect();
        flags.sort();
        flags
    };
    assert_eq!(normal(&plain), normal(&theirs));
    for program in [OURS, "mender-artifact"] {
        folder.run(program, &arguments).good();
        let facts = ["a.mender", "again.mender"].map(|name| {
            let mut facts = json_of(ours(&folder, &format!("read --json -k p256.pub {name}")));
            facts.as_object_mut().unwrap().remove("bytes");
            facts
        });
        assert_eq!(facts[0], facts[1], "{program}");
    }
}

#[test]
fn a_dumped_command_line_can_be_run() {
    let folder = workshop("cmdline");
    let facts = ["-p", "a:it's two", "-s", "ArtifactInstall_Enter_00", "-o", "b.mender"];
    folder.run(OURS, &[&WRITE.split(' ').collect::<Vec<_>>()[..], &facts].concat()).good();
    let line = format!("eval \"{OURS} $({OURS} dump --scripts s --print-cmdline b.mender) -o again.mender\"");
    folder.run("sh", &["-c", &line]).good();
    let provides = &json_of(ours(&folder, "--json read again.mender"))["payloads"][0]["provides"];
    assert_eq!(provides["a"], "it's two");
    let mode = fs::metadata(folder.path().join("s/ArtifactInstall_Enter_00")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "as mender-artifact dumps it");
}

#[test]
fn streams_in_and_out() {
    let folder = workshop("streams");
    let line = format!(
        "cat one | {OURS} write rootfs-image -n rel-1 -c devA -f /dev/stdin -o - | {OURS} read --json -"
    );
    let facts = json_of(folder.run("sh", &["-c", &line]));
    assert_eq!(facts["payloads"][0]["files"][0]["size"], 2);
    let line = format!(
        "{OURS} --json write bootstrap-artifact -n rel-1 -c devA -o - | mender-artifact validate /dev/stdin"
    );
    folder.run("sh", &["-c", &line]).good();
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let folder = workshop("reproducible");
    let write = |out: &str, epoch: &str| {
        let line = format!("{WRITE} -f one -s ArtifactInstall_Enter_00 -k rsa2048.pem -o {out}");
        folder.sh(&format!("env SOURCE_DATE_EPOCH={epoch} {OURS} {line}")).good();
        fs::read(folder.path().join(out)).unwrap()
    };
    let first = write("first", "1000000");
    folder.sh("touch one ArtifactInstall_Enter_00").good();
    assert_eq!(write("second", "1000000"), first);
    assert_ne!(write("third", "2000000"), first);
}

#[test]
fn sizes_are_watched() {
    let folder = workshop("sizes");
    let line = format!("{WRITE} -f one -o s.mender");
    ours(&folder, &format!("{line} --max-artifact-size 1KB")).fails_with(3);
    assert!(!folder.path().join("s.mender").exists());
    let warned = ours(&folder, &format!("{line} --warn-artifact-size 1KB --max-artifact-size 1MB")).good();
    assert!(warned.err().contains("more than 1000"));
    ours(&folder, &format!("{line} --max-artifact-size 1XB")).fails_with(1);
}

#[test]
fn a_link_behaves_as_mender_artifact() {
    let folder = workshop("link");
    symlink(OURS, folder.path().join("mender-artifact")).unwrap();
    let link = |line: &str| folder.sh(&format!("./mender-artifact {line}"));
    for line in ["read a.mender", "read -k rsa2048.pub a.mender", "-version", "read -key p256.pub a.mender"] {
        let (here, there) = (link(line), folder.sh(&format!("mender-artifact {line}")));
        assert_eq!(here.code(), there.code(), "{line}");
        if line != "-version" {
            assert_eq!(here.out().trim_end(), there.out().trim_end(), "{line}");
        }
    }
    link(
        "write module-image -type mod -artifact-name rel-1 -device-type devA -file one -output-path l.mender",
    )
    .good();
    folder.sh("mender-artifact validate l.mender").good();
    assert!(ours(&folder, "read a.mender")
        .good()
        .out()
        .contains("Installs on: devA, when the device has artifact rel-0"));
    assert!(ours(&folder, "read -k p256.pub a.mender")
        .good()
        .out()
        .contains("Signed: yes, by the ECDSA P-256 key "));
}

#[test]
fn a_snapshot_comes_through_ssh() {
    let folder = workshop("snapshot");
    // A stand-in for ssh: says what it was asked, and gives an image.
    folder.file("bin/ssh", "#!/bin/sh\necho \"$@\" >asked\n[ \"$3\" = -p ] && cat one || exit 255\n");
    folder.sh("chmod +x bin/ssh").good();
    let path = format!("PATH={}/bin:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let write = |url: &str| {
        let words =
            format!("write rootfs-image -f {url} -S -o -S BatchMode=yes -n rel-1 -c devA -o s.mender");
        folder.run("env", &[&[path.as_str(), OURS], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    };
    write("ssh://root@device:22022").good();
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert!(asked.starts_with("-o BatchMode=yes -p 22022 root@device "), "{asked}");
    assert_eq!(json_of(ours(&folder, "read --json s.mender"))["payloads"][0]["files"][0]["size"], 2);
    write("ssh://device").fails_with(7);
    write("ssh://device:x").fails_with(1);
}

#[test]
fn completions_and_man_pages_are_made() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            ours(&folder, &format!("completions {shell}")).good().out().contains("module-image"),
            "{shell}"
        );
    }
    assert!(ours(&folder, "man").good().out().contains(".SH SUBCOMMANDS"));
    fs::create_dir(folder.path().join("man")).unwrap();
    ours(&folder, "man man").good();
    assert!(folder.path().join("man/rota-artifact-write-rootfs-image.1").exists());
}

/// A signature that can be none would spoil the artifact for good: nobody could verify it.
#[test]
fn a_command_that_gives_no_signature_changes_nothing() {
    let folder = workshop("no-signature");
    let before = fs::read(folder.path().join("a.mender")).unwrap();
    for command in ["echo garbage", "head -c 100000 /dev/zero", "head -c 65 /dev/zero", "true", "exit 3"] {
        let ran = folder.run(OURS, &["sign", "-f", "a.mender", "--sign-command", command]).fails_with(3);
        assert!(ran.err().contains("signing failed"), "{}", ran.err());
        assert_eq!(fs::read(folder.path().join("a.mender")).unwrap(), before, "{command}");
    }
}

#[test]
fn keys_that_cannot_sign_say_why() {
    let folder = workshop("keys");
    for (make, said) in [
        ("genrsa -out k.pem 1024", "RSA key of 1024 bits"),
        ("genrsa -3 -out k.pem 2048", "exponent"),
        ("genrsa -aes128 -passout pass:x -out k.pem 2048", "encrypted"),
        ("ecparam -name secp384r1 -genkey -noout -out k.pem", "another curve than P-256"),
        ("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:secp384r1 -out k.pem", "another curve than P-256"),
        ("ec -in p256.pem -conv_form compressed -out k.pem", "-conv_form uncompressed"),
        ("pkey -in p256.pem -pubout -out k.pem", "found PUBLIC KEY"),
        ("genpkey -algorithm x25519 -out k.pem", "not supported"),
    ] {
        folder.sh(&format!("openssl {make}")).good();
        let ran = ours(&folder, "sign -f -k k.pem a.mender").fails_with(1);
        assert!(ran.err().contains(said), "{make}: {}", ran.err());
    }
    folder.sh("openssl genrsa -out big.pem 4104").good();
    let ran = ours(&folder, "sign -f -k big.pem a.mender").fails_with(1);
    assert!(ran.err().contains("4104 bits") && ran.err().contains("--sign-command"), "{}", ran.err());
    // What the message advises helps.
    folder.sh("openssl pkey -in big.pem -pubout -out big.pub").good();
    let command = "openssl dgst -sha256 -sign big.pem";
    folder.run(OURS, &["sign", "-f", "a.mender", "--sign-command", command]).good();
    ours(&folder, "validate -k big.pub a.mender").good();
    folder.sh("openssl ec -in p256.pem -conv_form compressed -out k.pem").good();
    folder.sh("openssl ec -in k.pem -conv_form uncompressed -out k2.pem").good();
    ours(&folder, "sign -f -k k2.pem a.mender").good();
}

#[test]
fn nothing_is_written_that_no_reader_takes() {
    let folder = workshop("unreadable");
    folder.file("again/ArtifactInstall_Enter_00", "#!/bin/sh\n");
    folder.file("large/ArtifactInstall_Enter_00", vec![b'x'; (1 << 20) + 1]);
    folder.file("large.json", format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)));
    (0..1001).for_each(|number| drop(folder.file(&format!("many/f{number}"), "")));
    let many: String = (0..1001).map(|number| format!(" -f many/f{number}")).collect();
    for (facts, said) in [
        ("-s ArtifactInstall_Enter_00 -s again", "ArtifactInstall_Enter_00 is there twice"),
        ("-s large", "the size of scripts/ArtifactInstall_Enter_00 is 1048577, the limit is 1048576"),
        ("-m large.json", "the size of headers/0000/meta-data"),
        (many.as_str(), "the number of payload files is 1001"),
        ("--augment-file one", "--augment-type"),
    ] {
        let ran = ours(&folder, &format!("{WRITE} {facts} -o b.mender")).fails_with(1);
        assert!(ran.err().contains(said), "{}", ran.err());
        assert!(!folder.path().join("b.mender").exists());
    }
}

#[test]
fn a_flag_that_is_given_twice_has_its_last_value() {
    let folder = workshop("twice");
    ours(&folder, &format!("{WRITE} -n rel-2 --compression gzip --compression none -o b.mender")).good();
    let read = json_of(ours(&folder, "--json read b.mender"));
    assert_eq!(read["artifact_name"], "rel-2");
    // A list stays a list.
    ours(&folder, &format!("{WRITE} -c devB -o b.mender")).good();
    let read = json_of(ours(&folder, "--json read b.mender"));
    assert_eq!(read["compatible_types"], json!(["devA", "devB"]));
}

/// By the other name, the exit codes are those of the other program, as it has them and not as it documents them.
#[test]
fn exit_codes_of_mender_artifact() {
    let folder = workshop("mender-codes");
    folder.file("junk", "junk");
    symlink(OURS, folder.path().join("mender-artifact")).unwrap();
    let link = folder.path().join("mender-artifact");
    for line in [
        "",
        "-v",
        "write",
        "read none",
        "read junk",
        "validate none",
        "validate junk",
        "validate a.mender",
        "validate -k rsa2048.pub a.mender",
        "read -k rsa2048.pub a.mender",
        "dump none",
        "dump junk",
        "sign -k rsa2048.pem none",
        "sign -k rsa2048.pem a.mender",
        "modify -n x none",
        "cat none:/x",
        "write module-image -T x -t d -n a -o none/x.mender",
        "write module-image -T x -t d -n a -f none -o x.mender",
        "write module-image -T x -t d -n a -f one -f one -o x.mender",
        "--compression none write module-image -T x -t d -n a -n b -f one -o x.mender",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (theirs, ours) = (folder.run("mender-artifact", &words), folder.run(&link, &words));
        assert_eq!(ours.code(), theirs.code(), "{line}\n{}\n{}", theirs.err(), ours.err());
    }
    let version = folder.run(&link, &["--version"]).good().out();
    assert!(version.starts_with("mender-artifact version 3.9.0"), "{version}");
}

#[test]
fn does_it_install_on_this_device() {
    let folder = workshop("device");
    let out = ours(&folder, "read -t devA a.mender").good().out();
    assert!(out.contains("\nInstalls on devA: yes, when the device has artifact rel-0"), "{out}");
    assert!(ours(&folder, "read -t devB a.mender").fails_with(4).out().contains("\nInstalls on devB: NO\n"));
    let error = ours(&folder, "validate -k p256.pub -t devB a.mender").fails_with(4).err();
    assert!(error.contains("it is for devA, not for devB"), "{error}");
    ours(&folder, "validate -k p256.pub -t devA a.mender").good();
    assert_eq!(json_of(ours(&folder, "read --json -t devA a.mender"))["installs"], true);
    assert_eq!(json_of(ours(&folder, "read --json a.mender"))["installs"], Value::Null);
}

#[test]
fn a_stream_can_be_signed() {
    let folder = workshop("sign-stream");
    let line = format!(
        "{OURS} {WRITE} -f one -o - | {OURS} sign -k p256.pem - >b.mender && {OURS} validate -k p256.pub b.mender && \
         cat a.mender | {OURS} sign -f -k rsa2048.pem -o c.mender /dev/stdin && {OURS} validate -k rsa2048.pub c.mender"
    );
    folder.run("sh", &["-c", &line]).good();
}

#[test]
fn an_epoch_is_a_fact_like_any_other() {
    let folder = Folder::new("epoch");
    folder.file("image.ext4", "an image");
    ours(&folder, "write rootfs-image -n rel-5 -t devA -f image.ext4 -o a.mender --provides rota.epoch:5")
        .good();
    let file = fs::File::open(folder.path().join("a.mender")).unwrap();
    let reader = rota_artifact::Reader::new(file, &rota_artifact::Limits::default()).unwrap();
    assert_eq!(reader.header().payloads[0].provides["rota.epoch"], "5");
}
