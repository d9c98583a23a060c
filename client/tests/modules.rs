//! Whole updates with an update module, from the deployment to the report.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rota::update::Exit;
use support::machine::Machine;
use support::module::{artifact, Spy, STREAMING};
use support::server::Server;

const FILES: &[(&str, &[u8])] = &[("one", b"first\n"), ("none", b""), ("big", &[b'x'; 300_000])];
const SUCCESS: &[&str] = &[
    "ProvidePayloadFileSizes",
    "Download",
    "ArtifactInstall",
    "NeedsArtifactReboot",
    "ArtifactCommit",
    "Cleanup",
];

/// A server with a deployment of `rel-2` of type `spy`, and a machine with that module.
fn deployed() -> (Server, Machine, Spy) {
    let server = Server::start();
    let machine = Machine::new(&server);
    let spy = Spy::install(&machine.paths.lib, "spy");
    server.deploy("rel-2", artifact("rel-2", "spy", FILES));
    (server, machine, spy)
}

fn tree(machine: &Machine) -> PathBuf {
    machine.paths.data.join("modules/v3/payloads/0000/tree")
}

#[test]
fn what_a_module_does_not_ask_for_is_stored() {
    let (server, machine, spy) = deployed();
    let copy = spy.file("copy");
    spy.on("Download", &format!("ls -lR . >{}", spy.file("download").display()));
    spy.on(
        "ArtifactInstall",
        &format!("cp -r . {}; pwd >{0}/cwd; echo \"$2\" >{0}/argument", copy.display()),
    );
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert_eq!(server.statuses(), ["downloading", "installing", "installing", "success"]);
    assert_eq!(spy.calls(), SUCCESS);
    for (file, content) in FILES {
        assert_eq!(fs::read(copy.join("files").join(file)).unwrap(), *content);
    }
    for (file, content) in [
        ("version", "3\n"),
        ("current_artifact_name", "rel-1\n"),
        ("current_artifact_group", "\n"),
        ("current_device_type", "test-board\n"),
        ("header/artifact_name", "rel-2"),
        ("header/artifact_group", "beta"),
        ("header/payload_type", "spy"),
        ("header/meta-data", r#"{"number":1,"text":"two"}"#),
        (
            "header/header-info",
            r#"{"payloads":[{"type":"spy"}],"artifact_provides":{"artifact_name":"rel-2","artifact_group":"beta"},"artifact_depends":{"device_type":["test-board"]}}"#,
        ),
        (
            "header/type-info",
            r#"{"type":"spy","artifact_provides":{"rootfs-image.spy.version":"rel-2"},"clears_artifact_provides":["rootfs-image.spy.*"]}"#,
        ),
        ("cwd", &format!("{}\n", tree(&machine).display())),
        ("argument", &format!("{}\n", tree(&machine).display())),
    ] {
        assert_eq!(fs::read_to_string(copy.join(file)).unwrap(), content, "{file}");
    }
    assert!(
        copy.join("tmp").is_dir() && !copy.join("streams").exists() && !copy.join("stream-next").exists()
    );
    assert!(!tree(&machine).exists());
    assert_eq!(machine.artifact_name(), "rel-2");
}

#[test]
fn a_module_takes_the_files_as_they_come() {
    for sizes in [false, true] {
        let (server, machine, spy) = deployed();
        let copy = spy.file("copy");
        let download = if sizes { "DownloadWithFileSizes" } else { "Download" };
        spy.on("ProvidePayloadFileSizes", if sizes { "echo Yes" } else { "echo No" });
        spy.on(download, STREAMING).on("ArtifactInstall", &format!("cp -r tmp {}", copy.display()));
        assert_eq!(machine.run_to_report(&server), Exit::Stopped);
        assert_eq!(server.statuses().last().unwrap(), "success", "{:?}", server.failure());
        let asked = fs::read_to_string(copy.join("asked")).unwrap();
        let expected = match sizes {
            true => "streams/one 6\nstreams/none 0\nstreams/big 300000\n",
            false => "streams/one\nstreams/none\nstreams/big\n",
        };
        assert_eq!(asked, expected);
        for (file, content) in FILES {
            assert!(fs::read(copy.join(file)).unwrap() == *content, "{file}");
        }
        assert_eq!(spy.calls()[..2], ["ProvidePayloadFileSizes", download]);
    }
}

/// How long one of the tests that wait for a module may take.
const BOUND: Duration = Duration::from_secs(60);

#[test]
fn whatever_a_module_does_in_its_download_hangs_nothing() {
    let open_next = "next=$(cat stream-next)";
    for (what, lines, why) in [
        ("fails at once", "echo no >&2; exit 3", "Download exited with code 3: no"),
        ("asks and ends", open_next, "ended before it had read streams/one"),
        ("asks and fails", "next=$(cat stream-next); echo broken; exit 1", "exited with code 1: broken"),
        ("reads one of three", "cat $(cat stream-next) >/dev/null", "ended before it had read streams/none"),
        ("opens and leaves", "next=$(cat stream-next); : <$next", "ended before it had read streams/one"),
        (
            "reads a part of a large file",
            "for n in 1 2; do cat $(cat stream-next) >/dev/null; done; head -c 10 $(cat stream-next)",
            "ended before it had read streams/big",
        ),
        ("dies", "kill -9 $$", "was killed by signal 9"),
        (
            "removes its pipes",
            "next=$(cat stream-next); rm -r streams; sleep 1000",
            "cannot open streams/one",
        ),
        ("hangs with children", "sleep 1000 & cat $(cat stream-next); sleep 1000", "took longer than 2 s"),
        ("never opens", "sleep 1000", "took longer than 2 s"),
        (
            "does not read",
            "for n in 1 2; do cat $(cat stream-next); done; exec 3<$(cat stream-next); sleep 1000",
            "took longer than 2 s",
        ),
    ] {
        let (server, mut machine, spy) = deployed();
        machine.config.module_timeout = Duration::from_secs(if why.contains("longer") { 2 } else { 600 });
        spy.on("Download", lines);
        let start = Instant::now();
        machine.run_to_report(&server);
        assert!(start.elapsed() < BOUND, "{what}");
        let (reason, _) = server.failure();
        assert!(reason.contains(why), "{what}: {reason}");
        assert_eq!(spy.calls(), ["ProvidePayloadFileSizes", "Download", "Cleanup"], "{what}");
        assert_eq!(machine.artifact_name(), "rel-1");
        assert!(!tree(&machine).exists());
    }
}
