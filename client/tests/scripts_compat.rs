//! By hand, the same artifact makes rota and Debian's Mender client (3.4, written in Go) run the same state scripts and the same
//! calls of the update module, in the same order, whatever fails. Where they differ, Mender's later client does as we do.

mod support;

use std::fs;
use std::process::Command;

use rota_artifact::{Script, SCRIPT_STATES};
use support::machine::Machine;
use support::module::{artifact_with, program, Spy};
use support::program::rota;
use support::server::Server;

/// What of the module is asked when it suits the client.
const QUESTIONS: [&str; 3] = ["ProvidePayloadFileSizes", "NeedsArtifactReboot", "SupportsRollback"];

/// What a client did at the commands `install` and then `commit` or `rollback`.
#[derive(Debug, PartialEq)]
struct Did {
    calls: Vec<String>,
    codes: Vec<i32>,
    name: String,
}

/// Two clients on one machine.
struct Both {
    server: Server,
    machine: Machine,
    spy: Spy,
}

impl Both {
    fn new() -> Both {
        let server = Server::start();
        let machine = Machine::new(&server);
        let spy = Spy::install(&machine.paths.lib, "spy");
        let both = Both { server, machine, spy };
        let scripts = both.machine.paths.conf.join("scripts");
        for (name, text) in both.telling(&["Idle", "Sync", "Download"]) {
            program(&scripts.join(name), &text);
        }
        fs::write(scripts.join("version"), "3").unwrap();
        fs::write(both.machine.paths.conf.join("mender.conf"), "{}").unwrap();
        let of_artifact = both.telling(&SCRIPT_STATES);
        let scripts = of_artifact.into_iter().map(|(name, text)| Script { name, bytes: text.into_bytes() });
        let artifact = artifact_with(scripts.collect(), "rel-2", "spy", &[("file", b"content")]);
        fs::write(both.artifact(), artifact).unwrap();
        both
    }

    fn artifact(&self) -> String {
        self.machine.folder.join("rel-2.mender").display().to_string()
    }

    /// A script for each action of these states. It fails where a file of its name is.
    fn telling(&self, states: &[&str]) -> Vec<(String, String)> {
        let edges = states
            .iter()
            .flat_map(|state| ["Enter", "Leave", "Error"].map(|action| format!("{state}_{action}")));
        let (calls, on) = (self.spy.file("calls"), self.spy.file("on"));
        let text = |edge: &str| {
            format!("#!/bin/sh\necho {edge} >>{}\n[ ! -e {}/{edge} ]\n", calls.display(), on.display())
        };
        edges.map(|edge| (format!("{edge}_00"), text(&edge))).collect()
    }

    fn run(&self, client: impl Fn(&[&str]) -> Command, then: &str) -> Did {
        let mut codes = Vec::new();
        let mut command = |words: &[&str]| {
            let output = client(words).output().unwrap();
            codes.push(output.status.code().unwrap());
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        command(&["install", "--reboot-exit-code", &self.artifact()]);
        command(&[then]);
        let name = command(&["show-artifact"]);
        let mut calls = self.spy.calls();
        calls.retain(|call| !QUESTIONS.contains(&call.as_str()));
        Did { calls, codes, name }
    }

    fn rota(&self, then: &str) -> Did {
        self.run(|words| rota(&self.machine, words), then)
    }

    /// In a mount namespace of its own, where its folders are those of the machine.
    fn mender(&self, then: &str) -> Did {
        let data = self.machine.folder.join("mender-state");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("device_type"), "device_type=test-board\n").unwrap();
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let script = format!(
            "mount --bind {} /etc/mender && mount --bind {} /usr/share/mender/modules/v3 && exec timeout 15 mender --data {} \"$@\"",
            self.machine.paths.conf.display(),
            self.machine.paths.lib.join("modules/v3").display(),
            data.display()
        );
        let client = |words: &[&str]| {
            let mut command = Command::new("unshare");
            command.arg("--mount").args((!root).then_some("--map-root-user"));
            command.args(["sh", "-c", &script, "mender"]).args(words);
            command
        };
        self.run(client, then)
    }
}

/// What each of the two did when this failed.
fn both(failing: &[&str], answers: &[(&str, &str)], then: &str) -> (Did, Did) {
    let run = |ours: bool| {
        let both = Both::new();
        for edge in failing {
            both.spy.on(edge, "exit 1");
        }
        for (question, answer) in answers {
            both.spy.on(question, &format!("echo {answer}"));
        }
        let did = if ours { both.rota(then) } else { both.mender(then) };
        drop(both.server);
        did
    };
    // Mender's client sometimes waits for a pipe of the module for ever; then it is ended, and tried anew.
    let theirs = || Some(run(false)).filter(|did| !did.codes.contains(&124));
    let theirs = (0..8).find_map(|_| theirs()).expect("Mender's client comes to an end");
    let ours = run(true);
    assert!(!theirs.calls.is_empty(), "Mender's client did nothing");
    (ours, theirs)
}

#[test]
fn whatever_fails_both_do_the_same() {
    let yes = ("SupportsRollback", "Yes");
    for failing in [
        &[] as &[&str],
        &["Download_Enter"],
        &["Download"],
        &["Download_Leave", "Download_Error"],
        &["ArtifactInstall_Enter"],
        &["ArtifactInstall", "ArtifactInstall_Error"],
        &["ArtifactInstall_Leave"],
        &["ArtifactCommit_Enter"],
        &["ArtifactCommit", "ArtifactCommit_Error"],
        &["ArtifactCommit_Leave"],
        &["ArtifactCommit", "ArtifactRollback"],
    ] {
        let (ours, theirs) = both(failing, &[yes], "commit");
        assert_eq!(ours, theirs, "{failing:?}");
    }
    for failing in [&[] as &[&str], &["ArtifactInstall"]] {
        let (ours, theirs) = both(failing, &[("SupportsRollback", "No")], "commit");
        assert_eq!(ours, theirs, "no rollback, {failing:?}");
    }
    let (ours, theirs) = both(&[], &[yes, ("NeedsArtifactReboot", "Yes")], "rollback");
    assert_eq!(ours, theirs, "rollback");
    assert_eq!(ours.codes, [4, 0, 0]);
}

#[test]
fn failures_on_the_way_out_count_for_one_and_are_ignored_by_the_other() {
    let yes = [("SupportsRollback", "Yes")];
    for failing in ["ArtifactRollback_Enter", "ArtifactRollback_Leave"] {
        let (ours, theirs) = both(&[failing], &yes, "rollback");
        assert_eq!((ours.name.as_str(), theirs.name.as_str()), ("rel-1", "rel-2_INCONSISTENT"));
        assert_eq!((ours.codes, theirs.codes), (vec![0, 0, 0], vec![0, 1, 0]));
        let failure = ["ArtifactFailure_Enter", "ArtifactFailure", "ArtifactFailure_Leave"];
        let without: Vec<_> =
            theirs.calls.into_iter().filter(|call| !failure.contains(&call.as_str())).collect();
        assert_eq!(ours.calls, without);
    }
    for (failing, name) in [
        ("ArtifactFailure_Enter", "rel-1"),
        ("ArtifactFailure", "rel-2_INCONSISTENT"),
        ("ArtifactFailure_Leave", "rel-1"),
    ] {
        let (ours, theirs) = both(&["ArtifactInstall", failing], &yes, "commit");
        assert_eq!((ours.name.as_str(), theirs.name.as_str()), ("rel-1", name), "{failing}");
        assert_eq!((ours.calls, ours.codes), (theirs.calls, theirs.codes));
    }
}
