//! cp, cat, install, rm and modify: on artifacts, and on disk images with MBR and GPT.
mod common;

use std::{
    fs::{self, File},
    os::unix::fs::{symlink, FileExt},
};

use common::{Folder, Ran};

const MIB: u64 = 1 << 20;
/// Where the partitions of the disks begin, in MiB: boot, root A, root B, data.
const STARTS: [u64; 4] = [1, 9, 17, 25];

fn ours(folder: &Folder, line: &str) -> Ran {
    folder.sh(&format!("{} {line}", env!("CARGO_BIN_EXE_rota-artifact")))
}

/// A root file system with the configurations of both clients.
fn workshop(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.file(
        "root/etc/mender/mender.conf",
        r#"{"Servers": [{"ServerURL": "https://old"}], "RootfsPartA": "/dev/sda2"}"#,
    );
    folder.file("root/etc/mender/artifact_info", "artifact_name=old\n");
    folder.file("root/etc/rota/artifact_info", "artifact_name=old\n");
    folder.file(
        "root/etc/rota/rota.toml",
        "# ours\n[server]\nurls = [\"https://old\"] # gone\npoll_interval = \"30m\"\n",
    );
    folder.file("root/usr/bin/tool", "tool\n");
    folder.file("root/with space/a file", "spaced\n");
    folder.file("host", "from the host\n");
    folder.file("token", "secret\n");
    folder.key("p256");
    folder.run("truncate", &["-s", "8M", "root.ext4"]).good();
    folder.sh("mkfs.ext4 -q -d root root.ext4").good();
    folder
}

fn artifact(name: &str, more: &str) -> Folder {
    let folder = workshop(name);
    ours(&folder, &format!("write rootfs-image -f root.ext4 -n old -c devA -o a.mender {more}")).good();
    folder
}

/// A disk with four partitions.
fn disk(folder: &Folder, label: &str) {
    folder.run("truncate", &["-s", "7M", "boot.fat"]).good();
    folder.sh("mkfs.vfat boot.fat").good();
    folder.run("truncate", &["-s", "34M", "disk.img"]).good();
    let table: String =
        STARTS.iter().map(|start| format!("start={},size={}\n", start * 2048, 8 * 2048 - 2048)).collect();
    folder.file("table", format!("label: {label}\n{table}"));
    folder.run("sh", &["-c", "sfdisk -q disk.img <table"]).good();
    let disk = File::options().write(true).open(folder.path().join("disk.img")).unwrap();
    folder.run("truncate", &["-s", "7M", "small.ext4"]).good();
    folder.sh("mkfs.ext4 -q -d root small.ext4").good();
    for (start, partition) in STARTS.into_iter().zip(["boot.fat", "small.ext4", "small.ext4", "small.ext4"]) {
        disk.write_all_at(&fs::read(folder.path().join(partition)).unwrap(), start * MIB).unwrap();
    }
}

/// The bare partition, for other programs to look at.
fn partition(folder: &Folder, number: usize) -> String {
    let mut bytes = vec![0; 7 * MIB as usize];
    File::open(folder.path().join("disk.img"))
        .unwrap()
        .read_exact_at(&mut bytes, STARTS[number] * MIB)
        .unwrap();
    folder.file("partition", bytes);
    "partition".to_owned()
}

#[test]
fn files_of_an_artifact() {
    let folder = artifact("files", "-k p256.pem");
    ours(&folder, "cp host a.mender:/etc/new -k p256.pem").good();
    ours(&folder, "validate -k p256.pub a.mender").good();
    assert_eq!(ours(&folder, "cat a.mender:/etc/new").good().out(), "from the host\n");
    assert_eq!(ours(&folder, "cp a.mender:/usr/bin/tool -").good().out(), "tool\n");
    ours(&folder, "cp a.mender:/usr/bin/tool out").good();
    assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), "tool\n");
    folder.run(env!("CARGO_BIN_EXE_rota-artifact"), &["cp", "host", "a.mender:/with space/a file"]).good();
    ours(&folder, "install -m 4751 host a.mender:/usr/bin/host").good();
    ours(&folder, "install -d -m 700 a.mender:/opt/a/b").good();
    ours(&folder, "rm a.mender:/usr/bin/tool").good();
    ours(&folder, "rm a.mender:/opt").fails_with(1);
    ours(&folder, "rm -r a.mender:/etc/mender").good();

    for (missing, words) in [("/etc/none", "no such file"), ("/etc", "folder"), ("etc/new", "begins with /")]
    {
        let failed = ours(&folder, &format!("cat a.mender:{missing}")).fails_with(1);
        assert!(failed.err().contains(words), "{}", failed.err());
    }
    ours(&folder, "cp host a.mender:/none/new").fails_with(1);
    ours(&folder, "cp host other").fails_with(1);

    folder.sh("mender-artifact validate a.mender").good();
    ours(&folder, "dump a.mender --files dumped").good();
    folder.sh("e2fsck -fn dumped/root.ext4").good();
    let stat =
        |path: &str| folder.run("debugfs", &["-R", &format!("stat \"{path}\""), "dumped/root.ext4"]).out();
    for (path, mode) in [("/usr/bin/host", "04751"), ("/opt/a/b", "0700"), ("/etc/new", "0644")] {
        assert!(stat(path).contains(&format!("Mode:  {mode}")), "{path}: {}", stat(path));
    }
    assert!(!stat("/etc/mender").contains("Inode") && !stat("/usr/bin/tool").contains("Inode"));
    let provided = ours(&folder, "read --json a.mender").good().out();
    let provided: serde_json::Value = serde_json::from_str(&provided).unwrap();
    let payload = &provided["payloads"][0];
    assert_eq!(payload["provides"]["rootfs-image.checksum"], payload["files"][0]["sha256"]);
}

#[test]
fn configuration_of_an_artifact() {
    let folder = artifact("configuration", "");
    folder.file("server.crt", "certificate\n");
    ours(
        &folder,
        "modify a.mender -n new -u https://new -c server.crt -v p256.pub -t token --compression none",
    )
    .good();
    let cat = |path: &str| ours(&folder, &format!("cat a.mender:{path}")).good().out();
    let mender: serde_json::Value = serde_json::from_str(&cat("/etc/mender/mender.conf")).unwrap();
    let expected =
        serde_json::json!({"ServerURL": "https://new", "TenantToken": "secret", "RootfsPartA": "/dev/sda2"});
    assert_eq!(mender, expected);
    ["/etc/mender/artifact_info", "/etc/rota/artifact_info"]
        .iter()
        .for_each(|path| assert_eq!(cat(path), "artifact_name=new\n"));
    assert_eq!(cat("/etc/mender/server.crt"), "certificate\n");
    let toml = cat("/etc/rota/rota.toml");
    for line in [
        "# ours",
        "url = \"https://new\"",
        "tenant_token = \"secret\"",
        "ca = \"/etc/rota/server-ca.pem\"",
        "verify_keys = [\"/etc/rota/artifact-verify-key.pem\"]",
    ] {
        assert!(toml.contains(line), "{line} is not in\n{toml}");
    }
    assert!(!toml.contains("urls"));
    assert!(cat("/etc/rota/artifact-verify-key.pem").contains("PUBLIC KEY"));
    let read = ours(&folder, "read a.mender").good().out();
    assert!(read.contains("Name: new\n"), "{read}");
    folder.sh("mender-artifact validate a.mender").good();
}

#[test]
fn changes_are_told_as_json() {
    let folder = workshop("json");
    for line in [
        "cp host root.ext4:/x",
        "rm root.ext4:/x",
        "install -d root.ext4:/x",
        "modify -u https://x root.ext4",
    ] {
        assert_eq!(ours(&folder, &format!("--json {line}")).good().out(), "{\"changed\":\"root.ext4\"}\n");
    }
    let out = ours(&folder, "--json cp root.ext4:/usr/bin/tool out").good().out();
    assert_eq!(out, "{\"written\":\"out\"}\n");
    let error = ours(&folder, "--json cat root.ext4:/none").fails_with(1).err();
    assert_eq!(error, "{\"code\":1,\"error\":\"/none: no such file\"}\n");
}

#[test]
fn disks_with_partitions() {
    for label in ["dos", "gpt"] {
        let folder = workshop(&format!("disk-{label}"));
        disk(&folder, label);
        ours(&folder, "modify disk.img -u https://new").good();
        ours(&folder, "cp host disk.img:/etc/new").good();
        ours(&folder, "install -m 600 host disk.img:/data/kept").good();
        ours(&folder, "install -d disk.img:/boot/efi/EFI/new").good();
        ours(&folder, "cp host disk.img:/boot/efi/EFI/new/file").good();
        ours(&folder, "cp host disk.img:/uboot/file").good();
        assert_eq!(ours(&folder, "cat disk.img:/boot/efi/EFI/new/file").good().out(), "from the host\n");
        assert_eq!(ours(&folder, "cat disk.img:/data/kept").good().out(), "from the host\n");
        for number in [1, 2] {
            let root = partition(&folder, number);
            folder.sh(&format!("e2fsck -fn {root}")).good();
            assert_eq!(
                folder.run("debugfs", &["-R", "cat /etc/new", &root]).out(),
                "from the host\n",
                "{label}"
            );
            assert!(folder
                .run("debugfs", &["-R", "cat /etc/rota/rota.toml", &root])
                .out()
                .contains("https://new"));
        }
        let boot = partition(&folder, 0);
        assert_eq!(folder.sh(&format!("mtype -i {boot} ::/file")).good().out(), "from the host\n");
        ours(&folder, "rm disk.img:/uboot/file").good();
        ours(&folder, "rm disk.img:/uboot/EFI").fails_with(1);
        ours(&folder, "rm -r disk.img:/uboot/EFI").good();
        ours(&folder, "cat disk.img:/uboot/file").fails_with(1);
        ours(&folder, "modify disk.img -p a:b").fails_with(1);
    }
}

#[test]
fn what_cannot_be_changed() {
    let folder = workshop("unchangeable");
    folder.file("text", "no file system\n");
    ours(&folder, "write rootfs-image -f text -n old -c devA -o a.mender").good();
    assert!(ours(&folder, "cat a.mender:/etc/x").fails_with(4).err().contains("no ext or FAT file system"));
    ours(&folder, "modify a.mender -u https://new").fails_with(4);
    ours(&folder, "modify a.mender -n new").good(); // the name alone needs no file system
    ours(&folder, "cat text:/etc/x").fails_with(4);
    folder.sh("mender-artifact write rootfs-image -v 2 -f root.ext4 -n old -t devA -o 2.mender").good();
    assert!(ours(&folder, "modify 2.mender -n new").fails_with(6).err().contains("version 2"));
}

/// The file systems of today have /lib as a link to usr/lib; and what is replaced keeps its owner.
#[test]
fn links_are_followed() {
    let folder = workshop("links");
    let link = |target: &str, name: &str| symlink(target, folder.path().join("root").join(name)).unwrap();
    fs::create_dir_all(folder.path().join("root/usr/lib")).unwrap();
    link("usr/lib", "lib");
    link("../../usr/bin/tool", "etc/rota/tool");
    link("/usr/lib/none", "etc/dangling");
    link(&"../".repeat(40), "etc/long");
    link("loop", "etc/loop");
    folder.sh("mkfs.ext4 -q -F -d root root.ext4").good();
    folder.run("debugfs", &["-w", "-R", "sif /usr/bin/tool uid 1234", "root.ext4"]).good();
    folder.run("debugfs", &["-w", "-R", "sif /usr/bin/tool gid 70000", "root.ext4"]).good();
    folder.run("debugfs", &["-w", "-R", "sif /usr/bin/tool mode 0100750", "root.ext4"]).good();
    ours(&folder, "write rootfs-image -f root.ext4 -n old -c devA -o a.mender").good();

    assert_eq!(ours(&folder, "cat a.mender:/etc/rota/tool").good().out(), "tool\n");
    assert_eq!(ours(&folder, "cat a.mender:/etc/long/../usr/../etc/rota/tool").good().out(), "tool\n");
    assert!(ours(&folder, "cat a.mender:/etc/loop").fails_with(1).err().contains("symbolic links"));
    assert!(ours(&folder, "cat a.mender:/etc/dangling").fails_with(1).err().contains("no such file"));
    ours(&folder, "cp host a.mender:/lib/new").good();
    ours(&folder, "install -d a.mender:/lib/deep/er").good();
    ours(&folder, "cp host a.mender:/etc/rota/tool").good();
    ours(&folder, "cp host a.mender:/etc/dangling").good();
    ours(&folder, "rm a.mender:/etc/rota/tool").good();
    ours(&folder, "dump --files out a.mender").good();
    let stat =
        |path: &str| folder.run("debugfs", &["-R", &format!("stat {path}"), "out/root.ext4"]).good().out();
    for (path, said) in [
        ("/usr/lib/new", "Type: regular"),
        ("/usr/lib/deep/er", "Type: directory"),
        ("/usr/lib/none", "Type: regular"),
        ("/lib", "Type: symlink"),
        ("/usr/bin/tool", "Mode:  0750"),
        ("/usr/bin/tool", "User:  1234   Group: 70000"),
    ] {
        assert!(stat(path).contains(said), "{path}: {}", stat(path));
    }
    assert!(!stat("/etc/rota/tool").contains("Type:"), "rm removes the link");
    folder.sh("e2fsck -fn out/root.ext4").good();
}

/// Looking into an artifact needs no writable folder beside it, and messages do not speak of temporary files.
#[test]
fn what_only_reads_leaves_the_folder_alone() {
    let folder = artifact("reading", "");
    for line in ["cat a.mender:/usr/bin/tool", "cp a.mender:/usr/bin/tool -"] {
        let run = |tmp: &str| {
            folder.sh(&format!("env TMPDIR={tmp} {} {line}", env!("CARGO_BIN_EXE_rota-artifact")))
        };
        assert_eq!(run(".").good().out(), "tool\n");
        let error = run("none").fails_with(3).err();
        assert!(
            error.ends_with("a temporary folder in none: No such file or directory (os error 2)\n"),
            "{error}"
        );
    }
    folder.file("junk", "junk");
    ours(&folder, "write module-image -T x -f junk -n a -c d -o b.mender").good();
    for name in ["b.mender", "junk"] {
        let ran = ours(&folder, &format!("cat {name}:/x")).fails_with(4);
        assert_eq!(ran.err(), format!("rota-artifact: {name}: found no ext or FAT file system for /x\n"));
    }
}
