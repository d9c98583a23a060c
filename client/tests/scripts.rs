//! State scripts: which run, in which order, and what their failures lead to; in the daemon, and by hand.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rota::signals::Signals;
use rota::slot::Slot;
use rota::update::standalone::Done;
use rota::update::{Engine, Exit};
use rota_artifact::{Script, SCRIPT_STATES};
use support::artifact::{image, Artifact};
use support::machine::{Machine, SLOT};
use support::server::{Event, Server};

const OF_SLOT: &[&str] = &["Idle", "Sync", "Download"];

/// A machine whose scripts write down that they ran, and a server.
struct Scripted {
    server: Server,
    machine: Machine,
    image: Vec<u8>,
}

impl Scripted {
    fn new() -> Scripted {
        let server = Server::start();
        let mut machine = Machine::new(&server);
        machine.config.script_retry_interval = Duration::from_millis(1);
        Scripted { server, machine, image: image(7, SLOT / 4) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.folder.join(name)
    }

    /// A script for each action of these states. It fails where a file `fail.NAME` is.
    fn telling(&self, states: &[&str]) -> Vec<(String, String)> {
        let folder = self.machine.folder.display();
        let edges = states
            .iter()
            .flat_map(|state| ["Enter", "Leave", "Error"].map(|action| format!("{state}_{action}")));
        let text = |edge: &str| format!("echo {edge} >>{folder}/calls; [ ! -e {folder}/fail.{edge} ]");
        edges.map(|edge| (format!("{edge}_00"), text(&edge))).collect()
    }

    fn slot_script(&self, name: &str, text: &str) {
        let file = self.machine.paths.conf.join("scripts").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn slot_scripts(&self) {
        self.telling(OF_SLOT).iter().for_each(|(name, text)| self.slot_script(name, text));
    }

    /// Release `rel-2` with these scripts.
    fn artifact(&self, scripts: &[(String, String)]) -> Vec<u8> {
        let script = |(name, text): &(String, String)| Script {
            name: name.clone(),
            bytes: format!("#!/bin/sh\n{text}\n").into_bytes(),
        };
        let scripts = scripts.iter().map(script).collect();
        Artifact { scripts, ..Artifact::new("rel-2", &self.image) }.bytes()
    }

    fn deploy(&self, scripts: &[(String, String)]) {
        self.server.deploy("rel-2", self.artifact(scripts));
    }

    fn fail(&self, edges: &str) {
        edges.split_whitespace().for_each(|edge| fs::write(self.path(&format!("fail.{edge}")), "").unwrap());
    }

    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        calls.lines().collect::<Vec<_>>().join(" ")
    }

    /// The scripts of updates that ran, `Artifact` left out.
    fn update_calls(&self) -> String {
        let calls = self.calls();
        let calls = calls.split(' ').filter(|call| !call.starts_with("Idle") && !call.starts_with("Sync"));
        calls.map(|call| call.trim_start_matches("Artifact")).collect::<Vec<_>>().join(" ")
    }

    /// Runs the daemon through all restarts to its report; returns the reason if it is one of a failure, and the log.
    fn run(&self) -> (String, String) {
        self.server.forget_events();
        for _ in 0..4 {
            if self.machine.run_to_report(&self.server) == Exit::Stopped {
                return self.server.failure();
            }
            self.machine.power_on();
        }
        panic!("there is no end");
    }

    /// Deploys `rel-2` with one script, and runs to the report.
    fn run_with(&self, name: &str, text: &str) -> (String, String) {
        self.deploy(&[(name.into(), text.into())]);
        self.run()
    }

    fn by_hand(&self) -> Engine {
        Engine::new(self.machine.device(), Signals::default())
    }
}

/// What has failed, the scripts that run then, and the name that the device reports at the end.
const DAEMON: &[(&str, &str, &str)] = &[
    (
        "",
        "Download_Enter Download_Leave Install_Enter Install_Leave Reboot_Enter Reboot_Leave Commit_Enter Commit_Leave",
        "rel-2",
    ),
    ("Download_Enter", "Download_Enter Download_Error", "rel-1"),
    ("Download_Leave Download_Error", "Download_Enter Download_Leave Download_Error", "rel-1"),
    (
        "ArtifactInstall_Enter ArtifactInstall_Error ArtifactRollback_Enter ArtifactRollback_Leave",
        "Download_Enter Download_Leave Install_Enter Install_Error Rollback_Enter Rollback_Leave Failure_Enter Failure_Leave",
        "rel-1",
    ),
    (
        "ArtifactInstall_Leave ArtifactFailure_Enter ArtifactFailure_Leave",
        "Download_Enter Download_Leave Install_Enter Install_Leave Install_Error Rollback_Enter Rollback_Leave \
         Failure_Enter Failure_Leave",
        "rel-1",
    ),
    (
        "ArtifactReboot_Enter ArtifactReboot_Error",
        "Download_Enter Download_Leave Install_Enter Install_Leave Reboot_Enter Reboot_Error \
         Rollback_Enter Rollback_Leave Failure_Enter Failure_Leave",
        "rel-1",
    ),
    (
        "ArtifactReboot_Leave",
        "Download_Enter Download_Leave Install_Enter Install_Leave Reboot_Enter Reboot_Leave Reboot_Error \
         Rollback_Enter Rollback_Leave RollbackReboot_Enter RollbackReboot_Leave Failure_Enter Failure_Leave",
        "rel-1",
    ),
    (
        "ArtifactCommit_Enter ArtifactCommit_Error ArtifactRollbackReboot_Enter",
        "Download_Enter Download_Leave Install_Enter Install_Leave Reboot_Enter Reboot_Leave Commit_Enter Commit_Error \
         Rollback_Enter Rollback_Leave RollbackReboot_Enter RollbackReboot_Leave Failure_Enter Failure_Leave",
        "rel-1",
    ),
    (
        "ArtifactCommit_Leave",
        "Download_Enter Download_Leave Install_Enter Install_Leave Reboot_Enter Reboot_Leave \
         Commit_Enter Commit_Leave Commit_Error",
        "rel-2_INCONSISTENT",
    ),
    (
        "ArtifactCommit_Enter ArtifactRollbackReboot_Leave ArtifactRollbackReboot_Error",
        "Download_Enter Download_Leave Install_Enter Install_Leave Reboot_Enter Reboot_Leave Commit_Enter Commit_Error \
         Rollback_Enter Rollback_Leave RollbackReboot_Enter RollbackReboot_Leave RollbackReboot_Error \
         Failure_Enter Failure_Leave",
        "rel-2_INCONSISTENT",
    ),
];

#[test]
fn the_daemon_runs_them_at_every_edge_and_each_failure_goes_its_way() {
    for (failing, calls, name) in DAEMON {
        let scripted = Scripted::new();
        scripted.slot_scripts();
        scripted.fail(failing);
        scripted.deploy(&scripted.telling(&SCRIPT_STATES));
        let (reason, log) = scripted.run();
        assert_eq!(scripted.update_calls(), *calls, "{failing}");
        assert_eq!(scripted.machine.artifact_name(), *name, "{failing}");
        let first = failing.split(' ').next().unwrap_or_default();
        let expected = match first {
            "" => String::new(),
            first => format!("state script {first}_00 exited with code 1"),
        };
        assert!(
            reason.starts_with(&expected) && reason.is_empty() == first.is_empty(),
            "{failing}: {reason}"
        );
        assert!(log.contains(&expected), "{failing}: {log}");
        let committed =
            if name.starts_with("rel-2") && !calls.contains("Rollback") { Slot::B } else { Slot::A };
        assert_eq!(scripted.machine.boot_state().committed, committed, "{failing}");
        let left = fs::read_dir(scripted.machine.paths.data.join("scripts")).into_iter().flatten();
        assert_eq!(left.count(), 0, "scripts are left behind");
    }
}

#[test]
fn idle_and_sync_frame_what_the_daemon_asks_the_server() {
    let scripted = Scripted::new();
    scripted.slot_scripts();
    scripted.fail("Idle_Enter Idle_Leave Sync_Error");
    let polls = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Polled(_))).count();
    scripted.machine.run(&scripted.server, |events| polls(events) == 2);
    let calls = scripted.calls();
    let expected = "Idle_Enter Idle_Leave Sync_Enter Sync_Leave Idle_Enter Idle_Leave Sync_Enter Sync_Leave Idle_Leave Sync_Enter";
    assert!(calls.starts_with(expected), "{calls}");
}

#[test]
fn a_sync_that_is_not_wanted_is_put_off() {
    let scripted = Scripted::new();
    scripted.slot_scripts();
    scripted.deploy(&[]);
    // The first two times, nothing may be asked: once for the inventory, once for a deployment.
    let folder = scripted.machine.folder.display();
    let not_yet = format!(
        "echo Sync_Enter >>{folder}/calls; echo >>{folder}/tries; [ $(wc -l <{folder}/tries) -gt 2 ]"
    );
    scripted.slot_script("Sync_Enter_00", &not_yet);
    scripted.machine.run(&scripted.server, |events| !events.is_empty());
    let calls = scripted.calls();
    let expected = "Idle_Enter Idle_Leave Sync_Enter Sync_Error Idle_Enter Idle_Leave Sync_Enter Sync_Error Idle_Enter Idle_Leave Sync_Enter";
    assert!(calls.starts_with(expected), "{calls}");
}

#[test]
fn a_deployment_that_sync_leave_puts_off_is_offered_again() {
    let scripted = Scripted::new();
    scripted.slot_scripts();
    scripted.deploy(&[]);
    // The first is of the inventory, the second of the deployment.
    let folder = scripted.machine.folder.display();
    let not_yet = format!("echo >>{folder}/tries; [ $(wc -l <{folder}/tries) -ne 2 ]");
    scripted.slot_script("Sync_Leave_00", &not_yet);
    assert_eq!(scripted.run().0, "");
    assert_eq!(scripted.machine.artifact_name(), "rel-2");
    let told: Vec<_> = scripted.server.events().into_iter().collect();
    let polls = told.iter().filter(|event| matches!(event, Event::Polled(_))).count();
    assert!(polls >= 2, "{told:?}");
    assert_eq!(
        scripted.server.statuses(),
        ["downloading", "installing", "rebooting", "installing", "success"]
    );
}

#[test]
fn a_script_that_asks_for_it_is_run_again_but_not_for_ever() {
    let mut scripted = Scripted::new();
    let folder = scripted.machine.folder.display().to_string();
    let thrice = format!("echo x >>{folder}/calls; [ $(wc -l <{folder}/calls) -ge 3 ] || exit 21");
    assert_eq!(scripted.run_with("ArtifactInstall_Enter_00", &thrice).0, "");
    assert_eq!((scripted.calls().as_str(), scripted.machine.artifact_name().as_str()), ("x x x", "rel-2"));

    scripted.machine.config.script_retry_timeout = Duration::from_millis(100);
    let (reason, _) = scripted.run_with("ArtifactInstall_Enter_00_user", "echo no user; exit 21");
    assert_eq!(reason, "state script ArtifactInstall_Enter_00_user asked for more than 0 s: no user");
}

#[test]
fn a_script_that_takes_too_long_is_killed_with_all_it_started() {
    let mut scripted = Scripted::new();
    let pid = scripted.path("pid");
    let hangs = format!("sleep 1000 & echo $! >{}; wait", pid.display());
    scripted.machine.config.script_timeout = Duration::from_secs(2);
    let (reason, _) = scripted.run_with("ArtifactInstall_Leave_00", &hangs);
    assert_eq!(reason, "state script ArtifactInstall_Leave_00 took too long and was killed");
    let pid = fs::read_to_string(pid).unwrap();
    let since = Instant::now();
    let lives = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    while lives() {
        assert!(since.elapsed() < Duration::from_secs(60), "what the script started lives");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_log_has_what_they_print_within_bounds() {
    let scripted = Scripted::new();
    let talks = "echo out; seq 1 9999 >&2; echo at the end >&2; exit 3";
    let (reason, log) = scripted.run_with("ArtifactInstall_Enter_07_talks", talks);
    assert_eq!(reason, "state script ArtifactInstall_Enter_07_talks exited with code 3: at the end");
    let printed: usize = log
        .lines()
        .filter_map(|line| line.strip_prefix("ArtifactInstall_Enter_07_talks: "))
        .map(str::len)
        .sum();
    assert!(log.contains("ArtifactInstall_Enter_07_talks: out\n") && log.contains(": 1000\n"), "{log}");
    assert!(log.contains("what else it prints there is left out") && printed < 11 << 10, "{printed}");
}

#[test]
fn scripts_run_in_order_up_to_the_first_that_fails_and_other_names_are_left_alone() {
    let scripted = Scripted::new();
    let folder = scripted.machine.folder.display().to_string();
    let tells = |text: &str| format!("echo {text} $# >>{folder}/calls");
    for (name, text) in [
        ("Download_Enter_01", tells("01")),
        ("Download_Enter_00_b", tells("00_b")),
        ("Download_Enter_02", tells("02") + "; exit 1"),
        ("Download_Enter_03", tells("03")),
        ("Download_Enter_1", tells("1")),
        ("Download_Enter_00_a.orig x", tells("x")),
        ("Download_Enter", tells("bare")),
    ] {
        scripted.slot_script(name, &text);
    }
    scripted.deploy(&[]);
    assert_eq!(scripted.run().0, "state script Download_Enter_02 exited with code 1");
    assert_eq!(scripted.calls(), "00_b 0 01 0 02 0");

    // What cannot be run is not passed over: it may be the one that asks somebody.
    let file = scripted.machine.paths.conf.join("scripts/Download_Enter_01");
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    scripted.deploy(&[]);
    let (reason, _) = scripted.run();
    assert!(
        reason.starts_with("state script Download_Enter_01 cannot be run: Permission denied"),
        "{reason}"
    );
}

#[test]
fn an_unknown_version_of_scripts_is_refused_before_an_update_and_at_its_commit() {
    let scripted = Scripted::new();
    scripted.slot_script("version", "");
    let version = scripted.machine.paths.conf.join("scripts/version");
    fs::write(&version, "4\n").unwrap();
    scripted.deploy(&[]);
    let (reason, _) = scripted.run();
    assert!(reason.ends_with("expected version 2 or 3 of state scripts, found \"4\""), "{reason}");
    assert_eq!(scripted.machine.journal().attempts[0].slot, None, "a slot was written");

    // The new slot brings such scripts.
    fs::write(&version, "2").unwrap();
    let spoils = format!("echo 5 >{}", version.display());
    let (reason, _) = scripted.run_with("ArtifactReboot_Leave_00", &spoils);
    assert!(reason.ends_with("found \"5\""), "{reason}");
    assert_eq!(
        (scripted.machine.boot_state().committed, scripted.machine.artifact_name().as_str()),
        (Slot::A, "rel-1")
    );
}

/// Stops the client as soon as the script has left its mark; returns how it ended.
fn stopped_at_the_mark(scripted: &Scripted) -> Exit {
    let mark = scripted.path("mark");
    let exit = scripted.machine.run(&scripted.server, |_| mark.exists());
    fs::remove_file(&mark).unwrap();
    exit
}

#[test]
fn a_stop_ends_a_script_and_the_wait_for_one() {
    let mut scripted = Scripted::new();
    scripted.machine.config.script_retry_interval = Duration::from_secs(1000);
    let folder = scripted.machine.folder.display().to_string();
    for lasting in ["sleep 1000", "exit 21"] {
        let once = format!("[ -e {folder}/seen ] || {{ touch {folder}/seen {folder}/mark; {lasting}; }}");
        scripted.deploy(&[("ArtifactReboot_Leave_00".into(), once)]);
        assert_eq!(scripted.machine.run(&scripted.server, |_| false), Exit::Restarting);
        scripted.machine.power_on();
        let since = Instant::now();
        assert_eq!(stopped_at_the_mark(&scripted), Exit::Stopped);
        assert!(since.elapsed() < Duration::from_secs(90));
        // The client is started anew in the same trial, which goes on.
        assert_eq!(scripted.run().0, "", "{lasting}");
        assert_eq!(scripted.machine.artifact_name(), "rel-2");
        fs::remove_file(scripted.path("seen")).unwrap();
    }
}

/// What has failed, what installing by hand ran, and what committing it ran.
const BY_HAND: &[(&str, &str, &str)] = &[
    ("", "Download_Enter Download_Leave Install_Enter Install_Leave", "Commit_Enter Commit_Leave"),
    ("Download_Enter", "Download_Enter Download_Error", ""),
    ("Download_Leave", "Download_Enter Download_Leave Download_Error", ""),
    (
        "ArtifactInstall_Enter",
        "Download_Enter Download_Leave Install_Enter Install_Error Rollback_Enter Rollback_Leave Failure_Enter Failure_Leave",
        "",
    ),
    (
        "ArtifactInstall_Leave",
        "Download_Enter Download_Leave Install_Enter Install_Leave Install_Error Rollback_Enter Rollback_Leave \
         Failure_Enter Failure_Leave",
        "",
    ),
    (
        "ArtifactCommit_Enter",
        "Download_Enter Download_Leave Install_Enter Install_Leave",
        "Commit_Enter Commit_Error Rollback_Enter Rollback_Leave Failure_Enter Failure_Leave",
    ),
    (
        "ArtifactCommit_Leave",
        "Download_Enter Download_Leave Install_Enter Install_Leave",
        "Commit_Enter Commit_Leave Commit_Error",
    ),
];

#[test]
fn by_hand_neither_idle_nor_sync_nor_reboot_scripts_run() {
    for (failing, installing, committing) in BY_HAND {
        let scripted = Scripted::new();
        scripted.slot_scripts();
        scripted.fail(failing);
        let file = scripted.path("rel-2.mender");
        fs::write(&file, scripted.artifact(&scripted.telling(&SCRIPT_STATES))).unwrap();
        let installed = scripted.by_hand().install(file.to_str().unwrap());
        assert_eq!(scripted.calls().replace("Artifact", ""), *installing, "{failing}");
        if committing.is_empty() {
            let reason = installed.unwrap_err();
            assert!(reason.contains(&format!("{failing}_00 exited with code 1")), "{reason}");
            continue;
        }
        assert_eq!(installed, Ok(Done::Installed { reboot: true }));
        scripted.machine.power_on();
        let committed = scripted.by_hand().commit();
        assert_eq!(scripted.calls().replace("Artifact", ""), *committing, "{failing}");
        assert_eq!(committed.is_ok(), failing.is_empty(), "{failing}: {committed:?}");
    }
}

#[test]
fn rolling_back_by_hand_is_no_failure() {
    let scripted = Scripted::new();
    let file = scripted.path("rel-2.mender");
    fs::write(&file, scripted.artifact(&scripted.telling(&SCRIPT_STATES))).unwrap();
    scripted.by_hand().install(file.to_str().unwrap()).unwrap();
    scripted.calls();
    assert_eq!(scripted.by_hand().rollback(), Ok(Done::RolledBack { reboot: false }));
    assert_eq!(scripted.calls(), "ArtifactRollback_Enter ArtifactRollback_Leave");
    assert_eq!(scripted.machine.artifact_name(), "rel-1");
}
