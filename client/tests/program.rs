//! The program as a person, a script and an init system use it.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rota::slot::Slot;
use rota::sys::lock::Lock;
use support::artifact::{image, Artifact};
use support::machine::{Machine, SLOT};
use support::program::{complaint, output, rota, text};
use support::server::{Event, Reply, Server};

/// A daemon that does not outlive its test.
struct Daemon(Child);

impl Daemon {
    fn start(machine: &Machine) -> Daemon {
        Daemon(rota(machine, &["daemon", "-l", "debug"]).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Asks it to end, and returns its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(server: &Server, what: impl Fn(&[Event]) -> bool) {
    let since = Instant::now();
    while !what(&server.events()) {
        assert!(server.wait(since), "the server saw {:#?}", server.events());
    }
}

fn count(events: &[Event], of: fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| of(event)).count()
}

fn polled(event: &Event) -> bool {
    matches!(event, Event::Polled(_))
}

fn told(event: &Event) -> bool {
    matches!(event, Event::Inventory(_))
}

#[test]
fn the_daemon_wakes_when_asked_and_stops_cleanly() {
    let server = Server::start();
    let machine = Machine::new(&server);
    assert!(complaint(&machine, &["check-update"]).1.contains("the daemon is not running"));
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, polled) == 1 && count(events, told) == 1);
    text(&machine, &["check-update"]);
    wait_for(&server, |events| count(events, polled) == 2);
    text(&machine, &["send-inventory"]);
    wait_for(&server, |events| count(events, told) == 2);
    assert!(complaint(&machine, &["daemon"]).1.contains("the daemon is running already"));
    assert_eq!(daemon.stop(), Some(0));
    assert!(complaint(&machine, &["send-inventory"]).1.contains("the daemon is not running"));
}

#[test]
fn the_daemon_starts_whatever_its_configuration_and_tells_what_is_wrong() {
    let server = Server::start();
    let machine = Machine::new(&server);
    fs::write(machine.paths.data.join("rota.toml"), "[server]\npol_interval = 5\nretry_count = \"x\"\n")
        .unwrap();
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, told) == 1);
    let faults = server.inventory()["faults"].to_string();
    assert!(faults.contains("server.pol_interval: there is no such key"), "{faults}");
    assert!(faults.contains("server.retry_count: expected a number from 0, found"), "{faults}");
    assert_eq!(daemon.stop(), Some(0));
    let status = text(&machine, &["status"]);
    assert!(status.contains("the nearest known one is server.poll_interval"), "{status}");
    let (code, why) = complaint(&machine, &["install", "/nowhere"]);
    assert!(code == 1 && why.contains("server.pol_interval"), "{why}");
}

#[test]
fn status_and_show() {
    let server = Server::start();
    let machine = Machine::new(&server);
    assert_eq!(text(&machine, &["show-artifact"]), "rel-1\n");
    assert_eq!(text(&machine, &["show-provides"]), "artifact_name=rel-1\n");
    let status = text(&machine, &["status"]);
    for line in [
        "artifact     rel-1",
        "booted       slot A",
        "state        committed",
        "update       none in progress",
    ] {
        assert!(status.lines().any(|found| found == line), "{status}");
    }
    let status: serde_json::Value = serde_json::from_str(&text(&machine, &["status", "--json"])).unwrap();
    assert_eq!((&status["booted"], &status["committed"]), (&"A".into(), &"A".into()));
    assert_eq!(
        complaint(&machine, &["conquer"]),
        (1, "rota: there is no command conquer; see rota --help\n".into())
    );
    assert!(text(&machine, &["--version"]).starts_with("rota "));
}

/// A machine, and a file with release `rel-2` for it.
fn with_artifact(server: &Server) -> (Machine, String, Vec<u8>) {
    let machine = Machine::new(server);
    let image = image(8, SLOT / 2);
    let file = machine.folder.join("rel-2.mender");
    fs::write(&file, Artifact::new("rel-2", &image).bytes()).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (machine, file, image)
}

#[test]
fn installing_by_hand_and_committing() {
    let server = Server::start();
    let (machine, file, image) = with_artifact(&server);
    let (code, _) = complaint(&machine, &["commit"]);
    assert_eq!(code, 2);
    let installed = output(&machine, &["install", "--reboot-exit-code", &file]);
    assert_eq!(installed.status.code(), Some(4), "{}", String::from_utf8_lossy(&installed.stderr));
    assert_eq!(
        String::from_utf8_lossy(&installed.stdout),
        "Installing artifact...\nInstalled, but not committed.\nUse 'commit' to update, or 'rollback' to roll back the update.\n\
         At least one payload requested a reboot of the device it updated.\n"
    );
    assert_eq!(machine.slot(Slot::B)[..image.len()], image);
    assert!(complaint(&machine, &["install", &file])
        .1
        .contains("Update already in progress. Please commit or roll back first"));
    assert!(complaint(&machine, &["commit"]).1.contains("the trial has not been booted yet"));

    assert_eq!(machine.power_on(), Slot::B);
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, told) == 1);
    assert_eq!(server.inventory()["state"], "trial");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(text(&machine, &["commit"]), "Committed.\n");
    assert_eq!((machine.boot_state().committed, machine.artifact_name().as_str()), (Slot::B, "rel-2"));
    assert_eq!(complaint(&machine, &["rollback"]).0, 2);
    let why = text(&machine, &["status", "--why"]);
    assert!(why.contains("rel-2: installed and committed") && why.contains("  committed slot B"), "{why}");
}

#[test]
fn installing_by_hand_beside_the_daemon() {
    let server = Server::start();
    let (machine, file, _) = with_artifact(&server);
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, polled) == 1 && count(events, told) == 1);
    text(&machine, &["install", &file]);
    // What the daemon writes and asks for afterwards leaves the update alone.
    text(&machine, &["send-inventory"]);
    wait_for(&server, |events| count(events, told) == 2);
    text(&machine, &["check-update"]);
    assert_eq!(text(&machine, &["rollback"]), "Rolled back.\n");
    text(&machine, &["check-update"]);
    wait_for(&server, |events| count(events, polled) == 2);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn installing_by_hand_and_rolling_back() {
    let server = Server::start();
    let (machine, file, _) = with_artifact(&server);
    // Before the trial, and in it.
    text(&machine, &["install", &file]);
    assert_eq!(text(&machine, &["rollback"]), "Rolled back.\n");
    assert_eq!((machine.boot_state().trial, machine.artifact_name().as_str()), (None, "rel-1"));
    text(&machine, &["install", &file]);
    machine.power_on();
    assert!(
        text(&machine, &["rollback"]).starts_with("Rolled back.\nAt least one payload requested a reboot")
    );
    assert_eq!(machine.power_on(), Slot::A);
    // A trial that fell back cannot be committed.
    text(&machine, &["install", &file]);
    machine.power_on();
    assert_eq!(machine.power_on(), Slot::A);
    let (code, why) = complaint(&machine, &["commit"]);
    assert!(code == 1 && why.contains("fell back to slot A"), "{why}");
    assert_eq!(complaint(&machine, &["commit"]).0, 2);
    assert_eq!(machine.artifact_name(), "rel-1");
}

#[test]
fn installing_by_hand_from_standard_input_and_from_an_address() {
    let server = Server::start();
    let (machine, file, image) = with_artifact(&server);
    let input = fs::File::open(&file).unwrap();
    assert!(rota(&machine, &["install", "-"]).stdin(input).status().unwrap().success());
    assert_eq!(machine.slot(Slot::B)[..image.len()], image);
    text(&machine, &["rollback"]);
    server.deploy("rel-2", fs::read(&file).unwrap());
    text(&machine, &["install", &format!("{}/artifact", server.url)]);
    text(&machine, &["rollback"]);
    let (code, why) = complaint(&machine, &["install", "/nowhere.mender"]);
    assert!(code == 1 && why.contains("cannot read /nowhere.mender"), "{why}");
}

/// A file in the place of the watchdog's device: what it is fed stands in it.
fn with_watchdog(machine: &Machine) -> std::path::PathBuf {
    let device = machine.folder.join("watchdog");
    fs::write(&device, "").unwrap();
    let text = format!("[watchdog]\ndevice = {device:?}\ntimeout = 1\n");
    fs::write(machine.paths.data.join("rota.toml"), text).unwrap();
    device
}

#[test]
fn the_watchdog_is_fed_and_stopped_when_the_daemon_is() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let device = with_watchdog(&machine);
    let daemon = Daemon::start(&machine);
    wait_for(&server, |_| fs::read(&device).unwrap().len() > 3);
    assert_eq!(daemon.stop(), Some(0));
    let fed = fs::read(&device).unwrap();
    assert!(fed.ends_with(b"\0V"), "{fed:?}");

    // Systemd's is left alone.
    let system = machine.folder.join("system");
    fs::create_dir_all(system.join("run/systemd/system")).unwrap();
    fs::create_dir_all(system.join("etc/systemd")).unwrap();
    fs::write(system.join("etc/systemd/system.conf"), "[Manager]\nRuntimeWatchdogSec=1min\n").unwrap();
    fs::write(&device, "").unwrap();
    server.forget_events();
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, told) == 1);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(fs::read(&device).unwrap(), b"");
}

#[test]
fn the_watchdog_is_not_stopped_with_the_daemon_of_a_trial() {
    let server = Server::start();
    let (machine, file, _) = with_artifact(&server);
    text(&machine, &["install", &file]);
    assert_eq!(machine.power_on(), Slot::B);
    let device = with_watchdog(&machine);
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, told) == 1);
    assert_eq!(daemon.stop(), Some(0));
    let fed = fs::read(&device).unwrap();
    assert!(!fed.is_empty() && !fed.contains(&b'V'), "{fed:?}");
}

#[test]
fn status_tells_what_is_waited_for() {
    let server = Server::start();
    let (machine, file, _) = with_artifact(&server);
    fs::write(machine.paths.lib.join("epoch"), "7\n").unwrap();
    let has = |lines: &[&str]| {
        let status = text(&machine, &["status"]);
        for line in lines {
            assert!(status.lines().any(|found| found.starts_with(line)), "{line}: {status}");
        }
    };
    let json =
        || -> serde_json::Value { serde_json::from_str(&text(&machine, &["status", "--json"])).unwrap() };
    has(&[
        "boot         fake (the fake boot loader); the boot loader counts, 1 boot a trial",
        "epoch        7; releases of earlier ones are refused",
        "daemon       not running",
    ]);
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| count(events, polled) == 1 && count(events, told) == 1);
    let waits = machine.paths.run.join("waits");
    // Both are over when it waits for an hour, and for eight.
    wait_for(&server, |_| waits.exists() && json()["daemon"]["poll_in"].as_u64().unwrap_or(0) > 3000);
    has(&["daemon       runs; asks for a deployment in ", "update       none in progress"]);
    assert!(json()["daemon"]["inventory_in"].as_u64().unwrap() > 7 * 3600 - 60);
    assert_eq!(daemon.stop(), Some(0));
    text(&machine, &["install", &file]);
    has(&[
        "state        armed",
        "trial        slot B, 1 boot left",
        "waits for    installed by hand: a restart into its trial",
    ]);
    machine.power_on();
    has(&[
        "state        trial",
        "trial        slot B, 0 boots left",
        "waits for    installed by hand: `rota commit` or",
    ]);
    let status = json();
    assert_eq!(
        (&status["trial"], &status["attempts_left"], &status["epoch"]),
        (&"B".into(), &0.into(), &7.into())
    );
    assert_eq!((&status["boot"]["backend"], &status["boot"]["tries"]), (&"fake".into(), &1.into()));
    assert!(status["waits_for"].is_string() && status["daemon"]["poll_in"].is_null());
    machine.power_on();
    has(&[
        "state        committed",
        "waits for    installed by hand: its trial is over; `rota commit` says why",
    ]);
    assert_eq!(complaint(&machine, &["commit"]).0, 1);
    let status = json();
    assert!(
        status["waits_for"].is_null()
            && status["attempts"][0]["reason"].as_str().unwrap().contains("fell back")
    );
    has(&["last         rel-2: failed: trial of slot B"]);
}

/// In the midst of anything: it ends soon with code 0, and the next start goes on. The artifact is none, so that nothing restarts.
#[test]
fn sigterm_is_a_clean_stop_at_any_moment() {
    let late = Reply { late: Duration::from_secs(100), ..Reply::code(204) };
    let dropping = || {
        let drops = Some((1, Duration::from_millis(100)));
        Reply { body: vec![b'x'; 100_000], drops, ..Reply::code(200) }
    };
    std::thread::scope(|scope| {
        for moment in ["/auth_requests", "/next", "/attributes", "/artifact", "/status", "/log"] {
            let late = late.clone();
            scope.spawn(move || stopped_at(moment, late));
        }
        scope.spawn(move || stopped_at("/artifact", dropping()));
        scope.spawn(|| stopped_at("a program of the inventory", Reply::default()));
    });
}

fn stopped_at(moment: &'static str, reply: Reply) {
    let server = Server::start();
    let machine = Machine::new(&server);
    server.deploy("rel-2", b"no artifact".repeat(100));
    let there = Arc::new(AtomicBool::new(false));
    let ours = there.clone();
    server.trick(move |request| {
        let is_it = request.path.split('?').next().unwrap_or_default().ends_with(moment);
        ours.fetch_or(is_it, Ordering::Relaxed);
        is_it.then(|| reply.clone())
    });
    let (program, begun) = (machine.paths.lib.join("inventory/10-slow"), machine.folder.join("begun"));
    if !moment.starts_with('/') {
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, format!("#!/bin/sh\ntouch {}\nexec sleep 50\n", begun.display())).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let daemon = Daemon::start(&machine);
    let since = Instant::now();
    while !there.load(Ordering::Relaxed) && !begun.exists() {
        assert!(server.wait(since), "{moment}: the server saw {:#?}", server.events());
    }
    let since = Instant::now();
    assert_eq!(daemon.stop(), Some(0), "{moment}");
    assert!(since.elapsed() < Duration::from_secs(40), "{moment}: {:?}", since.elapsed());
    let _ = fs::remove_file(&program);
    server.no_trick();
    server.forget_events();
    let daemon = Daemon::start(&machine);
    wait_for(&server, |events| events.iter().any(|event| matches!(event, Event::Log(_))));
    assert_eq!(daemon.stop(), Some(0), "{moment}");
}

#[test]
fn a_command_that_is_ended_does_not_say_that_all_is_well() {
    for signal in ["TERM", "HUP"] {
        let machine = Machine::new(&Server::start());
        let installs = rota(&machine, &["install", "-"]);
        // Under nohup the tests' programs would ignore HUP, too.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP").arg(installs.get_program()).args(installs.get_args());
        command.envs(installs.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "Installing artifact...\n");
        let kill = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        // It waits for its input, and gets none; wait_with_output would end that.
        let _input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "rota: stopped\n");
    }
}

#[test]
fn a_daemon_waits_for_who_looks_for_one() {
    let server = Server::start();
    let machine = Machine::new(&server);
    fs::create_dir_all(&machine.paths.run).unwrap();
    let looking = Lock::take(&machine.paths.run.join("daemon.pid"), Duration::ZERO).unwrap();
    assert!(looking.is_some());
    let daemon = Daemon::start(&machine);
    std::thread::sleep(Duration::from_millis(300));
    drop(looking);
    wait_for(&server, |events| count(events, polled) == 1);
    assert_eq!(daemon.stop(), Some(0));
}
