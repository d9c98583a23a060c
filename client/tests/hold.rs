//! What holds updates back: maintenance windows, the day's budget, the rate. Why is told, and nothing is lost by waiting.

mod support;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rota::signals::Signals;
use rota::slot::Slot;
use rota::update::standalone::Done;
use rota::update::Exit;
use support::artifact::{image, Artifact};
use support::machine::{reported, weekend, Machine, SATURDAY, SLOT, WEDNESDAY};
use support::program::{rota, text};
use support::server::{Event, Reply, Server};

/// A server with a deployment of `rel-2`, a machine with `rel-1` on a Wednesday, and the artifact.
fn deployed() -> (Server, Machine, Vec<u8>) {
    let server = Server::start();
    let mut machine = Machine::new(&server);
    machine.clock = Some(WEDNESDAY);
    let artifact = Artifact::new("rel-2", &image(7, SLOT - 4096)).bytes();
    server.deploy("rel-2", artifact.clone());
    (server, machine, artifact)
}

/// Whether the server was told this status, and that the device waits to do this.
fn waits(events: &[Event], status: &str, to: &str) -> bool {
    events.iter().any(|event| match event {
        Event::Status(told, Some(why)) => {
            told == status && why.starts_with(&format!("waiting to {to} until "))
        }
        _ => false,
    })
}

fn downloads(events: &[Event]) -> Vec<usize> {
    let from = |event: &Event| match event {
        Event::Download { from } => Some(*from),
        _ => None,
    };
    events.iter().filter_map(from).collect()
}

#[test]
fn every_step_waits_for_its_own_windows_through_a_restart_and_the_trial_for_none() {
    for (step, status) in [("download", "downloading"), ("install", "downloading"), ("restart", "installing")]
    {
        let (server, mut machine, _) = deployed();
        let windows = match step {
            "download" => &mut machine.config.download_windows,
            "install" => &mut machine.config.install_windows,
            _ => &mut machine.config.reboot_windows,
        };
        *windows = Some(weekend());
        let before = machine.slot(Slot::B);
        let exit = machine.run(&server, |events| waits(events, status, step));
        assert_eq!(exit, Exit::Stopped, "{step}");
        assert_eq!(downloads(&server.events()).is_empty(), step == "download");
        assert_eq!(machine.slot(Slot::B) == before, step == "download");
        assert_eq!(machine.boot_state().trial, None);
        // The power is cut, and it goes on waiting; then the window opens.
        assert_eq!(machine.power_on(), Slot::A);
        server.forget_events();
        machine.run(&server, |events| waits(events, status, step));
        assert_eq!(machine.power_on(), Slot::A);
        server.forget_events();
        machine.clock = Some(SATURDAY);
        assert_eq!(machine.run(&server, reported), Exit::Restarting, "{:?}", server.failure());
        assert_eq!(downloads(&server.events()).is_empty(), step != "download");

        machine.clock = Some(WEDNESDAY);
        machine.config.windows = weekend();
        assert_eq!(machine.power_on(), Slot::B);
        machine.run_to_report(&server);
        assert_eq!(server.statuses().last().map(String::as_str), Some("success"), "{step}");
        assert_eq!(machine.boot_state().committed, Slot::B);
    }
}

#[test]
fn the_inventory_goes_on_and_an_update_that_waits_can_be_aborted() {
    let (server, mut machine, _) = deployed();
    machine.config.windows = weekend();
    machine.config.download_windows = Some(Vec::new());
    machine.config.inventory_interval = Duration::from_millis(300);
    let inventories = |events: &[Event]| {
        let waiting =
            events.iter().skip_while(|event| !waits(std::slice::from_ref(event), "downloading", "install"));
        waiting.filter(|event| matches!(event, Event::Inventory(_))).count()
    };
    machine.run(&server, |events| inventories(events) > 1);
    let held = fs::read_to_string(machine.paths.run.join("held")).unwrap();
    assert!(held.contains(": outside update.windows"), "{held}");
    server.trick(|request| {
        let waits = request.json()["substate"].as_str().is_some_and(|why| why.starts_with("waiting"));
        waits.then(|| Reply::code(409))
    });
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert_eq!(server.failure().0, "the deployment was aborted on the server");
    assert!(!machine.paths.run.join("held").exists());
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().trial), ("rel-1", None));
}

#[test]
fn an_update_by_hand_waits_for_nothing_but_its_rate() {
    let (server, mut machine, artifact) = deployed();
    machine.config.windows = weekend();
    machine.config.daily_budget = 1000;
    machine.config.max_rate = 2 << 20;
    let mut engine = machine.engine(&Signals::default());
    let since = Instant::now();
    let done = engine.install(&format!("{}/artifact", server.url));
    assert_eq!(done, Ok(Done::Installed { reboot: true }));
    let least = (artifact.len() as f64 - (1 << 20) as f64) / (2 << 20) as f64;
    assert!(since.elapsed().as_secs_f64() > least, "{:?} for {} bytes", since.elapsed(), artifact.len());
    assert_eq!(engine.rollback(), Ok(Done::RolledBack { reboot: false }));
    drop(engine);
    // It is counted: nothing is left for the daemon today.
    machine.config.windows = Vec::new();
    server.forget_events();
    machine.run(&server, |events| waits(events, "downloading", "download"));
    assert_eq!(downloads(&server.events()), [0; 0]);
}

#[test]
fn a_budget_lasts_a_day_whatever_is_restarted() {
    let (server, mut machine, artifact) = deployed();
    let size = artifact.len();
    machine.config.daily_budget = size as u64 - 1000;
    machine.run(&server, |events| waits(events, "downloading", "download"));
    assert_eq!(downloads(&server.events()), [0]);
    // A download that was cut off begins anew with another deployment: not today.
    machine.power_on();
    machine.run_to_report(&server);
    server.forget_events();
    server.deploy("rel-2", artifact);
    machine.power_on();
    machine.run(&server, |events| waits(events, "downloading", "download"));
    assert_eq!(downloads(&server.events()), [0; 0]);
    // Tomorrow the budget is enough for the most of it, and a higher one today for the rest.
    machine.clock = Some(WEDNESDAY + 86_400);
    machine.config.daily_budget = 2 * size as u64;
    assert_eq!(machine.run(&server, reported), Exit::Restarting);
}

#[test]
fn a_download_that_pauses_can_be_aborted() {
    let (server, mut machine, artifact) = deployed();
    machine.config.daily_budget = artifact.len() as u64 - 1000;
    server.trick(|request| {
        let waits = request.json()["substate"].as_str().is_some_and(|why| why.starts_with("waiting"));
        waits.then(|| Reply::code(409))
    });
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    let (reason, _) = server.failure();
    assert!(reason.contains("the deployment was aborted on the server"), "{reason}");
    assert_eq!(downloads(&server.events()), [0]);
    assert_eq!(machine.slot(Slot::B)[..4096], [0; 4096], "what was written could be booted");
}

/// A daemon that does not outlive its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program waits for a window in its zone by the server's clock, pauses when the day's budget is used up, and resumes.
#[test]
fn the_program_waits_pauses_resumes_and_says_why() {
    let (server, machine, artifact) = deployed();
    let budget = artifact.len() - 70_000;
    let wait_for = |what: &dyn Fn(&[Event]) -> bool| {
        let since = Instant::now();
        while !what(&server.events()) {
            assert!(server.wait(since), "the server saw {:#?}", server.events());
        }
    };
    let conf =
        format!("[update]\nwindows = [\"Sat,Sun 02:00-05:00\"]\n[download]\ndaily_budget = {budget}\n");
    fs::write(machine.paths.data.join("rota.toml"), conf).unwrap();
    // Five and a half hours east of Greenwich it is Saturday, one o'clock in the night.
    server.set_clock("Fri, 27 Nov 2026 19:30:00 GMT");
    let mut command = rota(&machine, &["daemon"]);
    let daemon = Daemon(command.env("TZ", "IST-05:30").stderr(Stdio::null()).spawn().unwrap());
    wait_for(&|events| waits(events, "downloading", "download"));
    let status = text(&machine, &["status", "--why"]);
    assert!(status.contains("waiting to download until Sat 02:00: outside update.windows\n"), "{status}");

    server.set_clock("Fri, 27 Nov 2026 20:40:00 GMT");
    text(&machine, &["check-update"]);
    wait_for(&|events| downloads(events) == [0]);
    let used_up = format!("until Sun 00:00: the {budget} bytes of download.daily_budget are used up");
    wait_for(&|events| format!("{events:?}").contains(&used_up));
    let status: serde_json::Value = serde_json::from_str(&text(&machine, &["status", "--json"])).unwrap();
    assert!(status["held"].as_str().unwrap().ends_with(&used_up), "{status}");

    // Sunday at two, and the rest comes.
    server.set_clock("Sat, 28 Nov 2026 20:40:00 GMT");
    text(&machine, &["check-update"]);
    wait_for(&|events| events.iter().any(|event| *event == Event::Status("rebooting".into(), None)));
    assert_eq!(downloads(&server.events()), [0, budget]);
    wait_for(&|_| machine.boot_state().trial == Some(Slot::B));
    drop(daemon);
}
