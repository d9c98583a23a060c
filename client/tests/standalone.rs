//! Updates by hand that stop on their way and are resumed, and what their commands say; the bootstrap artifact; Mender's names.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;

use rota_artifact::Script;
use support::machine::Machine;
use support::module::{artifact, artifact_with, Spy};
use support::program::{complaint, output, rota, text};
use support::server::Server;

/// A machine with the module `spy`, which can roll back, and `rel-2` in a file.
struct Desk {
    machine: Machine,
    spy: Spy,
    file: String,
    _server: Server,
}

impl Desk {
    fn new() -> Desk {
        let server = Server::start();
        let machine = Machine::new(&server);
        let spy = Spy::install(&machine.paths.lib, "spy");
        spy.on("SupportsRollback", "echo Yes");
        let file = machine.folder.join("rel-2.mender");
        let script = |name: &str| Script {
            name: format!("{name}_00"),
            bytes: format!("#!/bin/sh\necho {name} >>{}\n", spy.file("calls").display()).into_bytes(),
        };
        let scripts = [
            "ArtifactInstall_Enter",
            "ArtifactCommit_Enter",
            "ArtifactCommit_Leave",
            "ArtifactRollback_Enter",
            "ArtifactFailure_Enter",
        ];
        let artifact = artifact_with(scripts.map(script).into(), "rel-2", "spy", &[("file", b"content")]);
        fs::write(&file, artifact).unwrap();
        Desk { machine, spy, file: file.display().to_string(), _server: server }
    }

    /// What the command prints, and its exit code.
    fn says(&self, words: &str) -> (String, i32) {
        let words: Vec<&str> =
            words.split(' ').map(|word| if word == "FILE" { self.file.as_str() } else { word }).collect();
        let output = output(&self.machine, &words);
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    }

    /// What scripts and module were called, without questions.
    fn calls(&self) -> String {
        let calls = self.spy.calls();
        let questions = ["ProvidePayloadFileSizes", "NeedsArtifactReboot", "SupportsRollback"];
        calls.into_iter().filter(|call| !questions.contains(&call.as_str())).collect::<Vec<_>>().join(" ")
    }
}

const INSTALLED: &str = "Installing artifact...\nInstalled, but not committed.\n\
    Use 'commit' to update, or 'rollback' to roll back the update.\n";

#[test]
fn an_update_stops_at_every_place_and_goes_on() {
    let desk = Desk::new();
    let stopped = |place: &str| (format!("Stopped before {place}; resume goes on.\n"), 0);
    let places =
        "--stop-before ArtifactInstall_Enter --stop-before ArtifactCommit_Leave --stop-before Cleanup";
    let (said, code) = desk.says(&format!("install FILE {places}"));
    assert_eq!((said, code), (format!("Installing artifact...\n{}", stopped("ArtifactInstall_Enter").0), 0));
    assert_eq!(desk.calls(), "Download");
    let (said, code) = desk.says("commit");
    assert_eq!(
        (said.as_str(), code),
        ("rota: the update stopped before ArtifactInstall_Enter; rota resume goes on with it\n", 1)
    );
    assert_eq!(
        desk.says("install FILE"),
        (
            "Installing artifact...\nrota: Update already in progress. Please commit or roll back first\n"
                .into(),
            1
        )
    );
    let (said, code) = desk.says("resume");
    assert!(INSTALLED.ends_with(&said) && code == 0, "{said}");
    assert_eq!(desk.calls(), "ArtifactInstall_Enter ArtifactInstall");
    assert_eq!(desk.says(&format!("resume {places}")), stopped("ArtifactCommit_Leave"));
    assert_eq!(desk.calls(), "ArtifactCommit_Enter ArtifactCommit");
    assert_eq!(desk.says("rollback").1, 1);
    assert_eq!(desk.says(&format!("resume {places}")), stopped("Cleanup"));
    assert_eq!(desk.says("resume"), ("Committed.\n".into(), 0));
    assert_eq!(desk.calls(), "ArtifactCommit_Leave Cleanup");
    assert_eq!(desk.machine.artifact_name(), "rel-2");
    assert_eq!(desk.says("resume"), ("No update in progress.\n".into(), 2));
}

#[test]
fn a_failure_stops_before_it_is_undone_and_told() {
    let desk = Desk::new();
    desk.spy.on("ArtifactInstall", "exit 3");
    let places = "--stop-before ArtifactRollback_Enter --stop-before ArtifactFailure_Enter";
    assert!(desk.says(&format!("install FILE {places}")).0.contains(
        "
Stopped before ArtifactRollback_Enter; resume goes on.
"
    ));
    assert_eq!(desk.calls(), "Download ArtifactInstall_Enter ArtifactInstall");
    assert_eq!(
        desk.says(&format!("resume {places}")).0,
        "Stopped before ArtifactFailure_Enter; resume goes on.\n"
    );
    assert_eq!(desk.calls(), "ArtifactRollback_Enter ArtifactRollback");
    let (said, code) = desk.says("resume");
    assert!(
        code == 1
            && said.contains("ArtifactInstall exited with code 3")
            && said.ends_with("\nRolled back.\n"),
        "{said}"
    );
    assert_eq!(desk.calls(), "ArtifactFailure_Enter ArtifactFailure Cleanup");
    assert_eq!(desk.machine.artifact_name(), "rel-1");
}

#[test]
fn what_is_stopped_before_it_is_installed_can_be_given_up() {
    let desk = Desk::new();
    desk.says("install FILE --stop-before ArtifactInstall_Enter");
    assert_eq!(desk.says("rollback"), ("System not modified.\n".into(), 0));
    assert_eq!(desk.calls(), "Download Cleanup");
    assert_eq!(desk.says("rollback"), ("No update in progress.\n".into(), 2));
    // Nor is anything modified by what is for another device.
    fs::write(&desk.file, artifact("rel-2", "nobody", &[])).unwrap();
    let (said, code) = desk.says("install FILE");
    assert!(code == 1 && said.ends_with("\nSystem not modified.\n"), "{said}");
    assert_eq!(desk.calls(), "");
}

#[test]
fn without_a_way_back_it_is_committed_at_once_unless_it_shall_stop() {
    let desk = Desk::new();
    desk.spy.on("SupportsRollback", "echo No");
    let (said, code) = desk.says("install FILE");
    let at_once = "Installing artifact...\nUpdate Module doesn't support rollback. Committing immediately.\nInstalled and committed.\n";
    assert_eq!((said.as_str(), code), (at_once, 0));
    desk.calls();
    assert!(desk
        .says("install FILE --stop-before ArtifactCommit_Enter")
        .0
        .contains("Stopped before ArtifactCommit_Enter"));
    let (said, code) = desk.says("rollback");
    assert!(code == 1 && said.contains("cannot be rolled back"), "{said}");
    assert_eq!(desk.says("commit"), ("Committed.\n".into(), 0));

    desk.spy.on("ArtifactInstall", "exit 1");
    let (said, code) = desk.says("install FILE");
    assert!(code == 1 && said.ends_with("\nThe system may be in an inconsistent state.\n"), "{said}");
    assert_eq!(desk.machine.artifact_name(), "rel-2_INCONSISTENT");
}

#[test]
fn an_update_that_stopped_is_a_persons_affair() {
    let desk = Desk::new();
    desk.says("install FILE --stop-before ArtifactInstall_Enter");
    desk.machine.run(&desk._server, |events| !events.is_empty());
    assert_eq!(desk.calls(), "Download");
    assert_eq!(desk.says("rollback").1, 0);
}

/// Serves one file over plain HTTP, once.
fn serve_once(file: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/rel-2.mender", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let body = fs::read(file).unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.into_bytes(), body].concat()).unwrap();
    });
    address
}

#[test]
fn an_artifact_by_hand_may_come_over_plain_http() {
    let desk = Desk::new();
    let (said, code) = desk.says(&format!("install {}", serve_once(desk.file.clone())));
    assert!(code == 0 && said.contains("Installed, but not committed."), "{said}");
    assert!(said.contains("nothing proves who sends the artifact"), "{said}");
}

#[test]
fn by_menders_name_its_options_are_understood() {
    let desk = Desk::new();
    let log = desk.machine.folder.join("log");
    let by_name =
        |words: &[&str]| rota(&desk.machine, words).arg0("/usr/bin/mender-update").output().unwrap();
    assert!(String::from_utf8(by_name(&["-v"]).stdout).unwrap().starts_with("rota "));
    let done = by_name(&["--skipverify", "-L", log.to_str().unwrap(), "-l", "debug", "install", &desk.file]);
    assert_eq!((String::from_utf8(done.stdout).unwrap().as_str(), done.status.code()), (INSTALLED, Some(0)));
    assert!(String::from_utf8(done.stderr).unwrap().contains("--skipverify changes nothing"));
    assert!(fs::read_to_string(log)
        .unwrap()
        .contains("Z info: running state script ArtifactInstall_Enter_00\n"));
    assert!(complaint(&desk.machine, &["-v"]).1.contains("there is no option -v"));
}

/// Without payload, with a fact of the board.
fn bootstrap_artifact(machine: &Machine) -> Vec<u8> {
    let file = machine.folder.join("made.mender");
    fs::write(&file, support::artifact::empty("factory-7", &[("board.revision", "C")], None)).unwrap();
    fs::read(file).unwrap()
}

#[test]
fn a_bootstrap_artifact_says_what_the_device_provides() {
    let desk = Desk::new();
    let bootstrap = desk.machine.paths.data.join("bootstrap.mender");
    let put = || fs::write(&bootstrap, bootstrap_artifact(&desk.machine)).unwrap();
    put();
    assert_eq!(text(&desk.machine, &["show-provides"]), "artifact_name=factory-7\nboard.revision=C\n");
    assert!(!bootstrap.exists());
    // Once something is recorded, another one changes nothing, and is gone all the same.
    fs::write(&bootstrap, support::artifact::empty("factory-8", &[], None)).unwrap();
    assert_eq!(
        text(&desk.machine, &["bootstrap"]),
        "There was nothing to do: the device provides factory-7.\n"
    );
    assert!(!bootstrap.exists());
    desk.says("install FILE");
    desk.says("commit");
    let provides = text(&desk.machine, &["show-provides"]);
    assert!(
        provides.contains("artifact_name=rel-2\n") && provides.contains("board.revision=C\n"),
        "{provides}"
    );
}

#[test]
fn the_daemon_and_the_command_take_a_bootstrap_artifact_and_a_bad_one_does_no_harm() {
    let desk = Desk::new();
    let bootstrap = desk.machine.paths.data.join("bootstrap.mender");
    for (bad, why) in [
        (b"garbage".to_vec(), "bootstrap.mender: "),
        (fs::read(&desk.file).unwrap(), "expected an artifact without payload, found the payload type spy"),
    ] {
        fs::write(&bootstrap, bad).unwrap();
        let (code, said) = complaint(&desk.machine, &["bootstrap"]);
        assert!(code == 1 && said.contains(why), "{said}");
        assert!(!bootstrap.exists());
        assert_eq!(desk.machine.artifact_name(), "rel-1");
    }
    fs::write(&bootstrap, bootstrap_artifact(&desk.machine)).unwrap();
    let polled = |events: &[support::server::Event]| {
        events.iter().any(|event| matches!(event, support::server::Event::Polled(_)))
    };
    desk.machine.run(&desk._server, polled);
    assert_eq!(desk._server.inventory()["artifact_name"], "factory-7");
    assert_eq!(desk._server.inventory()["board.revision"], "C");

    let desk = Desk::new();
    fs::write(desk.machine.paths.data.join("bootstrap.mender"), bootstrap_artifact(&desk.machine)).unwrap();
    assert_eq!(
        text(&desk.machine, &["bootstrap"]),
        "The device provides what the bootstrap artifact factory-7 says.\n"
    );
}
