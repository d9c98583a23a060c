//! Update modules that misbehave, and clients that are stopped in the middle of a call: nothing hangs, and all come back.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use rota::update::Exit;
use support::module::{artifact, deployed, tree, STREAMING};

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
