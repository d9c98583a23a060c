//! Whole updates with an update module, from the deployment to the report, and by hand.

mod support;

use std::fs;

use rota::signals::Signals;
use rota::update::standalone::Done;
use rota::update::{Engine, Exit};
use support::machine::Machine;
use support::module::{artifact, deployed, tree, Spy, FILES, STREAMING, SUCCESS};
use support::server::{Event, Server};

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

#[test]
fn by_hand_a_person_restarts_the_machine() {
    for (reboot, again) in [("Yes", true), ("Automatic", true), ("No", false)] {
        let (_server, machine, spy) = deployed();
        let file = machine.folder.join("rel-2.mender");
        fs::write(&file, artifact("rel-2", "spy", FILES)).unwrap();
        spy.on("NeedsArtifactReboot", &format!("echo {reboot}")).on("SupportsRollback", "echo Yes");
        let engine = || Engine::new(machine.device(), Signals::default());
        let install = || engine().install(file.to_str().unwrap());
        assert_eq!(install(), Ok(Done::Installed { reboot: again }));
        assert_eq!(
            calls_after_download(&spy),
            ["ArtifactInstall", "SupportsRollback", "NeedsArtifactReboot"]
        );
        assert_eq!(engine().rollback(), Ok(Done::RolledBack { reboot: again }));
        assert_eq!(spy.calls(), ["SupportsRollback", "ArtifactRollback", "Cleanup"]);

        install().unwrap();
        spy.calls();
        if reboot == "Automatic" {
            assert!(engine().commit().unwrap_err().contains("restart the machine"));
        }
        machine.power_on();
        assert_eq!(engine().commit(), Ok(Done::Committed));
        let verified: &[&str] = if reboot == "Automatic" { &["ArtifactVerifyReboot"] } else { &[] };
        assert_eq!(spy.calls(), [verified, &["ArtifactCommit", "Cleanup"]].concat());
        assert_eq!(machine.artifact_name(), "rel-2");
    }
}

#[test]
fn the_daemon_leaves_alone_what_a_person_installed() {
    let (server, machine, spy) = deployed();
    let file = machine.folder.join("rel-3.mender");
    fs::write(&file, artifact("rel-3", "spy", FILES)).unwrap();
    spy.on("SupportsRollback", "echo Yes");
    let engine = || Engine::new(machine.device(), Signals::default());
    engine().install(file.to_str().unwrap()).unwrap();
    spy.calls();
    machine.run(&server, |events| events.iter().any(|event| matches!(event, Event::Inventory(_))));
    assert_eq!((spy.calls().len(), server.statuses().len()), (0, 0));
    assert_eq!(engine().commit(), Ok(Done::Committed));
    assert_eq!(machine.artifact_name(), "rel-3");
    // Then it is the deployment's turn.
    machine.run_to_report(&server);
    assert_eq!(machine.artifact_name(), "rel-2");
}
