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

/// Calls but for those of every download.
fn calls_after_download(spy: &Spy) -> Vec<String> {
    let calls = spy.calls();
    assert_eq!(calls[..2], SUCCESS[..2]);
    calls[2..].to_vec()
}

#[test]
fn a_restart_is_the_modules_or_the_clients() {
    let (server, machine, spy) = deployed();
    spy.on("NeedsArtifactReboot", "echo Yes").on("ArtifactReboot", "echo restarting; sleep 0.1");
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert_eq!(server.statuses(), ["downloading", "installing", "rebooting", "installing", "success"]);
    let restarted = [
        "ArtifactInstall",
        "NeedsArtifactReboot",
        "ArtifactReboot",
        "ArtifactVerifyReboot",
        "ArtifactCommit",
        "Cleanup",
    ];
    assert_eq!(calls_after_download(&spy), restarted);

    let (server, machine, spy) = deployed();
    spy.on("NeedsArtifactReboot", "echo Automatic");
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(calls_after_download(&spy), ["ArtifactInstall", "NeedsArtifactReboot"]);
    // Only the client was started anew: the restart is still to come.
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    machine.power_on();
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert_eq!(spy.calls(), ["ArtifactVerifyReboot", "ArtifactCommit", "Cleanup"]);
    assert_eq!(server.statuses().last().unwrap(), "success");
}

#[test]
fn a_failing_call_leads_back_where_there_is_a_way_back() {
    const ROLLBACK: &[&str] = &["SupportsRollback", "ArtifactRollback"];
    const RESTART_BACK: &[&str] = &["ArtifactRollbackReboot", "ArtifactVerifyRollbackReboot"];
    let way = [
        "ArtifactInstall",
        "NeedsArtifactReboot",
        "ArtifactReboot",
        "ArtifactVerifyReboot",
        "ArtifactCommit",
    ];
    for (at, call) in way.iter().enumerate() {
        for back in [true, false] {
            let (server, machine, spy) = deployed();
            spy.on("NeedsArtifactReboot", "echo Yes")
                .on("SupportsRollback", if back { "echo Yes" } else { "" });
            spy.on(call, "echo it broke >&2; exit 5");
            machine.run_to_report(&server);
            let mut expected: Vec<&str> = way[..=at].to_vec();
            expected.extend(&ROLLBACK[..if back { 2 } else { 1 }]);
            expected.extend(RESTART_BACK.iter().filter(|_| back && at >= 2));
            expected.extend(["ArtifactFailure", "Cleanup"]);
            assert_eq!(calls_after_download(&spy), expected, "{call}");
            let (why, log) = server.failure();
            assert!(
                why.starts_with(&format!("update module spy: {call} exited with code 5: it broke")),
                "{why}"
            );
            assert!(log.contains(&format!("update module spy: {call}: it broke")), "{log}");
            let name = if back { "rel-1" } else { "rel-2_INCONSISTENT" };
            assert_eq!(machine.artifact_name(), name, "{call}");
        }
    }
}

#[test]
fn what_fails_on_the_way_back_is_told_and_ends() {
    for (call, name) in [
        ("SupportsRollback", "rel-2_INCONSISTENT"),
        ("ArtifactRollback", "rel-2_INCONSISTENT"),
        ("ArtifactRollbackReboot", "rel-1"),
        ("ArtifactFailure", "rel-1"),
        ("Cleanup", "rel-1"),
        // Tried again and again, up to the limit of the states.
        ("ArtifactVerifyRollbackReboot", "rel-2_INCONSISTENT"),
    ] {
        let (server, machine, spy) = deployed();
        spy.on("NeedsArtifactReboot", "echo Yes").on("SupportsRollback", "echo Yes");
        spy.on("ArtifactVerifyReboot", "exit 1").on(call, "exit 1");
        machine.run_to_report(&server);
        assert!(server.failure().0.contains("ArtifactVerifyReboot exited with code 1"), "{call}");
        assert_eq!(machine.artifact_name(), name, "{call}");
        let calls = spy.calls();
        let verified = calls.iter().filter(|call| *call == "ArtifactVerifyRollbackReboot").count();
        assert!(verified < 28, "{calls:?}");
        // The next deployment works.
        for call in [call, "ArtifactVerifyReboot"] {
            spy.on(call, "");
        }
        spy.on("NeedsArtifactReboot", "");
        server.forget_events();
        server.deploy("rel-3", artifact("rel-3", "spy", FILES));
        machine.run_to_report(&server);
        assert_eq!((machine.artifact_name().as_str(), tree(&machine).exists()), ("rel-3", false), "{call}");
    }
}

#[test]
fn answers_are_one_word() {
    for (question, answer, good) in [
        ("ProvidePayloadFileSizes", "echo No", true),
        ("ProvidePayloadFileSizes", "printf Yes", true),
        ("ProvidePayloadFileSizes", "echo maybe", false),
        ("ProvidePayloadFileSizes", "echo Automatic", false),
        ("NeedsArtifactReboot", "echo; echo", false),
        ("NeedsArtifactReboot", "echo No; echo No", false),
        ("NeedsArtifactReboot", "echo yes", false),
        ("NeedsArtifactReboot", "echo No >&2", true),
        ("NeedsArtifactReboot", "echo; exit 0", true),
        ("NeedsArtifactReboot", "echo No; exit 1", false),
        ("NeedsArtifactReboot", "yes Yes | head -c 10000000", false),
    ] {
        let (server, machine, spy) = deployed();
        spy.on(question, answer);
        machine.run_to_report(&server);
        let expected = if good { "rel-2" } else { "rel-1" };
        let found = machine.artifact_name().replace("rel-2_INCONSISTENT", "rel-1");
        assert_eq!(found, expected, "{question}: {answer}");
        assert!(good || server.failure().0.contains(question), "{answer}: {}", server.failure().0);
    }
}

#[test]
fn what_a_module_says_is_in_the_log_within_bounds() {
    let (server, machine, spy) = deployed();
    spy.on("ArtifactInstall", "echo first; yes 'so much to say' | head -n 300000; head -c 100000 /dev/zero | tr '\\0' x; echo; echo last word >&2; exit 1");
    machine.run_to_report(&server);
    let (why, log) = server.failure();
    assert!(why.contains("ArtifactInstall exited with code 1: last word"), "{why}");
    assert!(
        log.contains("ArtifactInstall: first") && log.contains("more lines were left out"),
        "{}",
        log.len()
    );
    assert!(log.len() < 256 << 10, "{}", log.len());
    assert!(log.lines().all(|line| line.len() < 2000));
}

#[test]
fn a_daemon_that_a_module_leaves_behind_hangs_nothing() {
    let (server, machine, spy) = deployed();
    let keep =
        "exec 3<$(cat stream-next); sleep 1000 <&3 & echo $! >$here/pid; cat <&3 >/dev/null; exec 3<&-";
    spy.on("Download", &format!("{keep}\n{STREAMING}"));
    spy.on("ArtifactInstall", "sleep 1000 & echo $! >>$here/pid");
    let start = Instant::now();
    machine.run_to_report(&server);
    assert!(start.elapsed() < BOUND);
    for pid in fs::read_to_string(spy.file("pid")).unwrap().lines() {
        // A service that a module starts lives on.
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    }
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_never_taken_to_its_end() {
    let (server, machine, spy) = deployed();
    let mut spoilt = artifact("rel-2", "spy", &[("big", &[b'x'; 300_000])]);
    let at = spoilt.len() - 100_000;
    assert_eq!(spoilt[at], b'x');
    spoilt[at] = b'y';
    server.deploy("rel-2", spoilt);
    let end = spy.file("end");
    spy.on("Download", &format!("cat $(cat stream-next) >/dev/null; touch {}", end.display()));
    machine.run_to_report(&server);
    assert!(server.failure().0.contains("checksum"), "{}", server.failure().0);
    assert_eq!(spy.calls(), ["ProvidePayloadFileSizes", "Download", "Cleanup"]);
    assert!(!end.exists(), "the module took it for whole");
}

#[test]
fn a_client_that_is_asked_to_end_takes_its_module_along_and_finds_back() {
    for (call, after) in [
        ("Download", &["Cleanup"][..]),
        ("ArtifactInstall", &["SupportsRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup"]),
        ("ArtifactReboot", &["ArtifactVerifyReboot", "ArtifactCommit", "Cleanup"]),
        (
            "ArtifactCommit",
            &[
                "SupportsRollback",
                "ArtifactRollback",
                "ArtifactRollbackReboot",
                "ArtifactVerifyRollbackReboot",
                "ArtifactFailure",
                "Cleanup",
            ],
        ),
        ("Cleanup", &["Cleanup"]),
    ] {
        let (server, machine, spy) = deployed();
        let (pids, began) = (spy.file("pids"), spy.file("began"));
        spy.on("NeedsArtifactReboot", "echo Yes").on("SupportsRollback", "echo Yes");
        spy.on(call, &format!("sleep 1000 & echo $! >{}; touch {}; wait", pids.display(), began.display()));
        assert_eq!(machine.run(&server, |_| began.exists()), Exit::Stopped, "{call}");
        let pid = fs::read_to_string(&pids).unwrap();
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{call}: the module's child lives");
        spy.calls();
        spy.on(call, "");
        machine.run_to_report(&server);
        assert_eq!(spy.calls(), after, "{call}");
        assert!(!tree(&machine).exists());
    }
}

#[test]
fn a_payload_without_a_module_is_refused() {
    let (server, machine, _) = deployed();
    server.deploy("rel-2", artifact("rel-2", "nothing", FILES));
    machine.run_to_report(&server);
    let why = server.failure().0;
    let places = [&machine.paths.lib, &machine.paths.mender].map(|folder| folder.join("modules/v3/nothing"));
    assert_eq!(
        why,
        format!(
            "payload type \"nothing\" is not supported: there is neither {} nor {}; known are rootfs-image, spy",
            places[0].display(),
            places[1].display()
        )
    );
    assert_eq!(server.inventory()["update_modules"], serde_json::json!(["rootfs-image", "spy"]));
}

#[test]
fn a_rootfs_image_module_takes_the_place_of_what_is_built_in() {
    // Mender's folder has one wherever Mender's client is: it counts only without slots.
    for (native, slots, taken) in [(true, true, true), (false, true, false), (false, false, true)] {
        let server = Server::start();
        let mut machine = Machine::new(&server);
        let lib = if native { machine.paths.lib.clone() } else { machine.paths.mender.clone() };
        let spy = Spy::install(&lib, "rootfs-image");
        if !slots {
            machine.config.slots = None;
        }
        server.deploy("rel-2", artifact("rel-2", "rootfs-image", &[("rootfs.ext4", b"image")]));
        assert_eq!(machine.run_to_report(&server), if taken { Exit::Stopped } else { Exit::Restarting });
        assert_eq!(spy.calls(), if taken { SUCCESS } else { &[] }, "{native} {slots}");
    }
}

#[test]
fn a_tree_that_another_update_left_is_gone_before_the_next() {
    let (server, machine, spy) = deployed();
    fs::create_dir_all(tree(&machine).join("tmp/old")).unwrap();
    fs::write(tree(&machine).join("tmp/old/file"), "").unwrap();
    spy.on("Download", "[ -z \"$(ls tmp)\" ]");
    machine.run_to_report(&server);
    assert_eq!(machine.artifact_name(), "rel-2");
}
