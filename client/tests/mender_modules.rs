//! The update modules of Debian's mender-client run unchanged, and a module sees the same from Debian's client as from this one.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rota::signals::Signals;
use rota::update::standalone::Done;
use rota::update::{Engine, Exit};
use serde_json::Value;
use support::artifact::DEVICE_TYPE;
use support::machine::Machine;
use support::module::{artifact, program, STREAMING};
use support::program::rota;
use support::server::Server;

/// Runs a line of shell in the folder.
fn sh(folder: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-ec", line]).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A machine with Debian's modules, and what its artifacts are made of.
fn machine(server: &Server) -> Machine {
    let mut machine = Machine::new(server);
    machine.paths.mender = "/usr/share/mender".into();
    sh(&machine.folder, "mkdir in out; echo content >in/a.conf; chmod 640 in/a.conf; mkdir -p in/tree/deep; echo deep >in/tree/deep/file");
    machine
}

/// An artifact by Debian's generator, which lies among the documentation; where that was not installed, by what it runs.
fn generate(machine: &Machine, name: &str, kind: &str, dest: &str, from: &str) -> PathBuf {
    let generator = format!("/usr/share/doc/mender-client/examples/{kind}-artifact-gen");
    let by_hand = match kind {
        "single-file" => format!(
            "echo {dest} >dest_dir; basename {from} >filename; stat -c %a {from} >permissions; files='-f dest_dir -f filename -f permissions -f {from}'"
        ),
        _ => format!("echo {dest} >dest_dir; tar -cf update.tar -C {from} .; files='-f update.tar -f dest_dir'"),
    };
    sh(
        &machine.folder,
        &format!(
            "if [ -e {generator} ]; then bash {generator} -n {name} -t {DEVICE_TYPE} -d {dest} -o {name}.mender {from}
            else {by_hand}; mender-artifact write module-image -T {kind} -n {name} -t {DEVICE_TYPE} -o {name}.mender $files; fi"
        ),
    );
    machine.folder.join(format!("{name}.mender"))
}

fn run(machine: &Machine, words: &[&str]) -> String {
    let output = rota(machine, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const INSTALLED: &str = "Installing artifact...\nInstalled, but not committed.\nUse 'commit' to update, or 'rollback' to roll back the update.\n";

#[test]
fn single_file_and_directory_by_hand() {
    let server = Server::start();
    let machine = machine(&server);
    let out = machine.folder.join("out");
    let file = out.join("conf/a.conf");
    let artifact =
        generate(&machine, "rel-2", "single-file", &format!("{}/conf", out.display()), "in/a.conf");
    assert_eq!(run(&machine, &["install", artifact.to_str().unwrap()]), INSTALLED);
    assert_eq!(run(&machine, &["commit"]), "Committed.\n");
    assert_eq!(sh(&out, "stat -c %a conf/a.conf; cat conf/a.conf"), "640\ncontent\n");
    assert!(run(&machine, &["show-provides"]).contains("rootfs-image.single-file.version=rel-2\n"));

    fs::write(&file, "changed").unwrap();
    run(&machine, &["install", artifact.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "content\n");
    assert_eq!(run(&machine, &["rollback"]), "Rolled back.\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed");

    let artifact = generate(&machine, "rel-3", "directory", &format!("{}/conf", out.display()), "in/tree");
    run(&machine, &["install", artifact.to_str().unwrap()]);
    assert_eq!(sh(&out, "cd conf; find . -type f"), "./deep/file\n");
    run(&machine, &["rollback"]);
    assert_eq!(sh(&out, "cd conf; find . -type f"), "./a.conf\n");
    run(&machine, &["install", artifact.to_str().unwrap()]);
    run(&machine, &["commit"]);
    assert_eq!(run(&machine, &["show-artifact"]), "rel-3\n");
    assert!(!machine.paths.data.join("modules/v3/payloads/0000/tree").exists());
}

#[test]
fn packages_and_scripts_by_hand_have_no_way_back() {
    let server = Server::start();
    let machine = machine(&server);
    // A root of their own for the packages, so that this machine's are left alone.
    let root = machine.folder.join("root");
    sh(&machine.folder, &format!(
        "mkdir -p root/var/lib/dpkg/updates root/var/lib/dpkg/info pkg/DEBIAN pkg/opt; : >root/var/lib/dpkg/status
        printf 'Package: sample\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody\\nDescription: sample\\n' >pkg/DEBIAN/control
        echo sample >pkg/opt/sample; dpkg-deb --root-owner-group -b pkg sample.deb
        printf '#!/bin/sh\\necho ran >>{}/out/ran\\n' >run-me
        mender-artifact write module-image -T deb -n rel-2 -t {DEVICE_TYPE} -o rel-2.mender -f sample.deb
        mender-artifact write module-image -T script -n rel-3 -t {DEVICE_TYPE} -o rel-3.mender -f run-me", machine.folder.display()));
    for name in ["rel-2", "rel-3"] {
        let file = machine.folder.join(format!("{name}.mender"));
        let mut install = rota(&machine, &["install", file.to_str().unwrap()]);
        let output =
            install.env("DPKG_ROOT", &root).env("DPKG_ADMINDIR", root.join("var/lib/dpkg")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "Installing artifact...\nUpdate Module doesn't support rollback. Committing immediately.\nInstalled and committed.\n",
            "{said}"
        );
        assert_eq!(run(&machine, &["show-artifact"]), format!("{name}\n"));
    }
    assert_eq!(sh(&machine.folder, "cat root/opt/sample out/ran"), "sample\nran\n");
}

#[test]
fn through_the_daemon() {
    let server = Server::start();
    let machine = machine(&server);
    let out = machine.folder.join("out");
    let artifact = generate(&machine, "rel-2", "single-file", out.to_str().unwrap(), "in/a.conf");
    server.deploy("rel-2", fs::read(artifact).unwrap());
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert_eq!(sh(&out, "cat a.conf"), "content\n");
    let artifact = generate(&machine, "rel-3", "directory", out.to_str().unwrap(), "in/tree");
    server.forget_events();
    server.deploy("rel-3", fs::read(artifact).unwrap());
    machine.run_to_report(&server);
    assert_eq!(sh(&out, "find . -type f"), "./deep/file\n");
    assert_eq!(server.statuses(), ["downloading", "installing", "installing", "success"]);
    let installed = server.inventory()["update_modules"].to_string();
    for name in ["deb", "directory", "docker", "rootfs-image", "rpm", "script", "single-file"] {
        assert!(installed.contains(&format!("\"{name}\"")), "{installed}");
    }
}

/// A module that copies its tree away at each call, into a folder named after it.
fn spy(folder: &Path, download: &str, fails: &str) {
    let here = folder.display();
    program(
        &folder.join("share/modules/v3/spy"),
        &format!(
            "#!/bin/sh\nn=$(cat {here}/seen/calls 2>/dev/null | wc -l)\necho $1 >>{here}/seen/calls\n\
             cd \"$2\"; mkdir -p {here}/seen/$n; find . ! -type p ! -path ./tmp -type d -mindepth 1 >{here}/seen/$n/folders\n\
             for file in $(find . -type f); do mkdir -p {here}/seen/$n/$(dirname $file); cp $file {here}/seen/$n/$file; done\n\
             find . -type p >{here}/seen/$n/pipes\n\
             case $1 in SupportsRollback) echo Yes ;; Download) {download} ;; esac\n[ $1 != '{fails}' ]\n"
        ),
    );
}

/// What the module saw: each call with the files of its tree, JSON as such, other texts without the end of their line.
fn seen(folder: &Path) -> Vec<(String, Vec<(String, Value)>)> {
    // The two clients ask at different moments, and one more question.
    let questions = ["SupportsRollback", "NeedsArtifactReboot", "ProvidePayloadFileSizes"];
    let calls = fs::read_to_string(folder.join("seen/calls")).unwrap();
    let mut found = Vec::new();
    for (number, call) in calls.lines().enumerate().filter(|(_, call)| !questions.contains(call)) {
        let tree = folder.join("seen").join(number.to_string());
        let names = sh(&tree, "find . -type f | sort");
        let value = |name: &str| {
            let text = fs::read_to_string(tree.join(name)).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            if ["./pipes", "./folders"].contains(&name) {
                // Only Debian's makes the pipe of the first file before it is asked for.
                lines.retain(|line| {
                    !["Download", "Cleanup"].contains(&call) || !line.starts_with("./streams/")
                });
                lines.sort_unstable();
            }
            serde_json::from_str(&text).unwrap_or_else(|_| Value::from(lines.join("\n")))
        };
        found.push((call.to_owned(), names.lines().map(|name| (name.to_owned(), value(name))).collect()));
    }
    fs::remove_dir_all(folder.join("seen")).unwrap();
    found
}

#[test]
fn a_module_sees_the_same_from_debians_client() {
    let server = Server::start();
    let files: &[(&str, &[u8])] = &[("one", b"first\n"), ("two", b"second\n")];
    let one_left = "cat $(cat stream-next) >/dev/null";
    for (download, fails, end) in [
        ("", "", "commit"),
        (STREAMING, "", "rollback"),
        ("", "ArtifactInstall", ""),
        ("", "ArtifactCommit", "commit"),
        ("", "Download", ""),
        (one_left, "", ""),
    ] {
        let mut machine = Machine::new(&server);
        let folder = machine.folder.to_owned();
        machine.paths.mender = folder.join("share");
        for name in ["seen", "etc-mender", "debian"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        spy(&folder, download, fails);
        let file = folder.join("rel-2.mender");
        fs::write(&file, artifact("rel-2", "spy", files)).unwrap();

        let engine = || Engine::new(machine.device(), Signals::default());
        let installed = engine().install(file.to_str().unwrap());
        assert_eq!(installed.is_ok(), !end.is_empty(), "{installed:?}");
        match end {
            "commit" => assert_eq!(engine().commit().is_ok(), fails.is_empty()),
            "rollback" => assert!(matches!(engine().rollback(), Ok(Done::RolledBack { reboot: false }))),
            _ => {}
        }
        let ours = seen(&folder);
        fs::create_dir_all(folder.join("seen")).unwrap();

        fs::write(folder.join("debian/device_type"), format!("device_type={DEVICE_TYPE}\n")).unwrap();
        fs::write(folder.join("etc-mender/artifact_info"), "artifact_name=rel-1\n").unwrap();
        fs::write(folder.join("etc-mender/mender.conf"), "{}").unwrap();
        let user = sh(&folder, "id -u");
        let unshare = if user.trim() == "0" { "unshare --mount" } else { "unshare --mount --map-root-user" };
        let mender = "mender --no-syslog --data $PWD/debian";
        sh(
            &folder,
            &format!(
                "{unshare} sh -c 'mount --bind $PWD/share /usr/share/mender; mount --bind $PWD/etc-mender /etc/mender
                {mender} install rel-2.mender; [ -z \"{end}\" ] || {mender} {end}; true'"
            ),
        );
        let debians = seen(&folder);
        let calls = |seen: &[(String, Vec<(String, Value)>)]| {
            seen.iter().map(|one| one.0.clone()).collect::<Vec<_>>()
        };
        assert_eq!(calls(&ours), calls(&debians), "{download} {fails}");
        for (ours, debians) in ours.iter().zip(&debians) {
            assert_eq!(ours, debians, "{download} {fails}");
        }
    }
}
