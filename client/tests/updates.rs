//! Whole updates, from the deployment to the report, through the restarts between.

mod support;

use std::collections::BTreeMap;

use rota::boot;
use rota::provides::Provides;
use rota::signals::Signals;
use rota::slot::Slot;
use rota::update::journal::{Journal, SAVES};
use rota::update::standalone::Done;
use rota::update::{Engine, Exit};
use serde_json::Value;
use support::artifact::{image, Artifact};
use support::machine::{Machine, SLOT};
use support::server::{Event, Reply, Server};

/// A server with a deployment of `rel-2`, a machine with `rel-1`, and the image of `rel-2`.
fn deployed() -> (Server, Machine, Vec<u8>) {
    let server = Server::start();
    let machine = Machine::new(&server);
    let image = image(7, SLOT - 4096);
    server.deploy("rel-2", Artifact::new("rel-2", &image).bytes());
    (server, machine, image)
}

#[test]
fn an_update_is_tried_found_healthy_committed_and_reported() {
    let (server, machine, image) = deployed();
    let running = machine.slot(Slot::A);
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(machine.slot(Slot::B)[..image.len()], image);
    assert_eq!(
        machine.boot_state(),
        boot::State { committed: Slot::A, trial: Some(Slot::B), attempts_left: 1 }
    );
    assert_eq!(machine.artifact_name(), "rel-1");

    assert_eq!(machine.power_on(), Slot::B);
    assert!(!machine.paths.run.join("committed").exists());
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert_eq!(machine.boot_state(), boot::State { committed: Slot::B, trial: None, attempts_left: 0 });
    assert_eq!(server.statuses(), ["downloading", "installing", "rebooting", "installing", "success"]);
    assert_eq!(machine.artifact_name(), "rel-2");
    assert!(machine.paths.run.join("committed").exists());
    assert_eq!(machine.slot(Slot::A), running, "the running slot was written to");

    let events = &machine.journal().attempts[0].events;
    assert!(events[0].starts_with(&format!("wrote {} bytes to slot B, SHA-256 ", image.len())), "{events:?}");
    assert_eq!(
        events[1..],
        ["armed a trial of slot B", "the client started in the trial of slot B", "committed slot B"]
    );
    // The next deployment goes into the other slot.
    server.forget_events();
    server.deploy("rel-3", Artifact::new("rel-3", b"small").bytes());
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::A);
    machine.run_to_report(&server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-3", Slot::A));
}

#[test]
fn what_the_device_tells_of_itself() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let script = machine.paths.lib.join("inventory/ips");
    std::fs::create_dir_all(script.parent().unwrap()).unwrap();
    std::fs::write(&script, "#!/bin/sh\necho ip=1\necho ip=2\necho hostname=mine\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    machine.run(&server, |events| events.iter().any(|event| matches!(event, Event::Inventory(_))));
    let inventory = server.inventory();
    for (name, value) in [
        ("artifact_name", "rel-1"),
        ("device_type", "test-board"),
        ("bootloader", "fake"),
        ("booted_slot", "A"),
        ("committed_slot", "A"),
        ("state", "committed"),
        ("rota_version", env!("CARGO_PKG_VERSION")),
        ("mender_client_version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(inventory[name], value, "{name}");
    }
    assert_eq!(inventory["ip"], serde_json::json!(["1", "2"]));
    assert_ne!(inventory["hostname"], "mine");
    assert!(!inventory.contains_key("faults"), "{:?}", inventory["faults"]);
}

#[test]
fn a_device_that_is_not_admitted_asks_again_with_the_same_key() {
    let server = Server::start();
    server.refuse(4);
    let machine = Machine::new(&server);
    machine.run(&server, |events| events.iter().any(|event| matches!(event, Event::Polled(_))));
    let refused = server.events().iter().filter(|event| **event == Event::Refused).count();
    assert_eq!(refused, 4);
}

#[test]
fn servers_that_lack_the_newer_ways_of_asking() {
    let (server, machine, _) = deployed();
    server.be_old();
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::B);
    machine.run_to_report(&server);
    assert_eq!(machine.artifact_name(), "rel-2");
    let query = serde_json::json!({ "query": "artifact_name=rel-1&device_type=test-board" });
    assert!(server.events().contains(&Event::Polled(query)));
}

#[test]
fn a_token_that_is_worth_nothing_any_more_is_renewed_once() {
    let (server, machine, _) = deployed();
    let mut once = true;
    server.trick(move |request| {
        (request.reports("installing") && std::mem::take(&mut once)).then(|| Reply::code(401))
    });
    machine.run_to_report(&server);
    let authorised = server.events().iter().filter(|event| **event == Event::Authorised).count();
    assert_eq!(authorised, 2);
}

#[test]
fn a_trial_that_never_ran_is_reported_by_the_slot_that_comes_back() {
    let (server, machine, _) = deployed();
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::B);
    // Nothing runs there; the machine is reset.
    assert_eq!(machine.power_on(), Slot::A);
    machine.run_to_report(&server);
    let (reason, log) = server.failure();
    assert_eq!(
        reason,
        "trial of slot B was booted once and not committed; the fake boot loader fell back to slot A; the trial's client never reported"
    );
    assert!(log.contains("writing rootfs.ext4") && log.contains(&reason), "{log}");
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-1", Slot::A));
    assert_eq!(machine.journal().attempts.len(), 1);
    assert!(is_unusable(&machine, Slot::B), "a boot loader that loses its records must not start it");
}

fn is_unusable(machine: &Machine, slot: Slot) -> bool {
    machine.slot(slot)[..4096].iter().all(|byte| *byte == 0)
}

#[test]
fn what_comes_back_by_a_watchdog_says_so() {
    let (server, machine, _) = deployed();
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::B);
    assert_eq!(machine.power_on(), Slot::A);
    let dog = machine.folder.join("system/sys/class/watchdog/watchdog0");
    std::fs::create_dir_all(&dog).unwrap();
    std::fs::write(dog.join("bootstatus"), "32\n").unwrap();
    machine.run_to_report(&server);
    let (reason, _) = server.failure();
    assert!(reason.ends_with("never reported; a watchdog caused the last restart"), "{reason}");
}

#[test]
fn a_trial_that_does_not_reach_the_server_rolls_back_and_tells_why() {
    let (server, mut machine, _) = deployed();
    machine.run_to_report(&server);
    let stranger = Server::start();
    let (ca, timeout) = (machine.config.ca.replace(stranger.ca.clone()), machine.config.health_timeout);
    machine.config.health_timeout = std::time::Duration::from_secs(1);
    assert_eq!(machine.power_on(), Slot::B);
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(machine.boot_state(), boot::State { committed: Slot::A, trial: None, attempts_left: 0 });
    assert_eq!(machine.power_on(), Slot::A);
    (machine.config.ca, machine.config.health_timeout) = (ca, timeout);
    machine.run_to_report(&server);
    let (reason, log) = server.failure();
    let expected = format!(
        "trial of slot B: the trial's client ran and rolled back: the server was not reached within 1 s: {}: TLS: unknown issuer",
        server.url
    );
    assert_eq!(reason, expected);
    assert!(log.contains("rolling back"), "{log}");
    assert_eq!(machine.artifact_name(), "rel-1");
    assert!(is_unusable(&machine, Slot::B));
    let inventory = server.inventory();
    assert!(inventory["last_attempt"].as_str().unwrap().contains("TLS: unknown issuer"));
}

#[test]
fn a_client_that_is_restarted_in_the_trial_goes_on_with_it() {
    let (server, machine, _) = deployed();
    machine.run_to_report(&server);
    machine.power_on();
    server.trick(|request| request.reports("installing").then(|| Reply::code(503)));
    server.forget_events();
    assert_eq!(machine.run(&server, |events| events.len() > 1), Exit::Stopped);
    assert_eq!(machine.boot_state().trial, Some(Slot::B));
    server.no_trick();
    machine.run_to_report(&server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::B));
}

#[test]
fn a_trial_without_its_journal_is_never_committed() {
    let (server, machine, _) = deployed();
    machine.run_to_report(&server);
    machine.power_on();
    for file in ["journal.0", "journal.1"] {
        std::fs::write(machine.paths.data.join(file), "garbage").unwrap();
    }
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(machine.boot_state(), boot::State { committed: Slot::A, trial: None, attempts_left: 0 });
    assert_eq!(machine.power_on(), Slot::A);
    // The server still has the deployment under way: it is carried out anew.
    server.forget_events();
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert!(server.inventory()["last_attempt"].as_str().unwrap().contains("the journal knew nothing of it"));
    machine.power_on();
    machine.run_to_report(&server);
    assert_eq!(machine.artifact_name(), "rel-2");
}

#[test]
fn a_fallback_is_a_state_that_is_told_healed_and_updated_from() {
    let (server, machine, _) = deployed();
    machine.start_in(Slot::B);
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    let inventories: Vec<_> = server
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Inventory(attributes) => Some(attributes),
            _ => None,
        })
        .collect();
    assert_eq!(inventories[0]["state"], "fallback");
    assert_eq!(inventories[0]["artifact_name"], "rel-1");
    let faults = inventories[0]["faults"].to_string();
    assert!(
        faults.contains(
            "slot A is the committed one, but slot B runs: the fake boot loader could not start slot A"
        ),
        "{faults}"
    );
    assert_eq!(
        machine.boot_state(),
        boot::State { committed: Slot::B, trial: Some(Slot::A), attempts_left: 1 }
    );
    assert_eq!(machine.power_on(), Slot::A);
    machine.run_to_report(&server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::A));
}

/// A machine that has committed `rel-2` in slot B.
fn updated() -> (Server, Machine) {
    let (server, machine, _) = deployed();
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::B);
    machine.run_to_report(&server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::B));
    server.forget_events();
    (server, machine)
}

fn inventories(events: &[Event]) -> Vec<&BTreeMap<String, Value>> {
    let mut found = Vec::new();
    for event in events {
        if let Event::Inventory(attributes) = event {
            found.push(attributes);
        }
    }
    found
}

fn polled(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Polled(_)))
}

#[test]
fn a_fallback_is_left_by_an_update_by_hand_too() {
    let (server, mut machine, image) = deployed();
    let file = machine.folder.join("rel-2.mender");
    std::fs::write(&file, Artifact::new("rel-2", &image).bytes()).unwrap();
    machine.config.urls.clear();
    machine.start_in(Slot::B);
    let mut engine = Engine::new(machine.device(), Signals::default());
    engine.journal.record.fallback = Some("slot A is the committed one, but slot B runs".into());
    engine.journal.save().unwrap();
    assert_eq!(engine.install(file.to_str().unwrap()), Ok(Done::Installed { reboot: true }));
    assert_eq!(
        machine.boot_state(),
        boot::State { committed: Slot::B, trial: Some(Slot::A), attempts_left: 1 }
    );
    assert_eq!(machine.journal().fallback, None);
    drop(server);
}

/// The journal, as if so many states had been saved.
fn has_saved(machine: &Machine, saves: u32) {
    let mut journal = Journal::open(&machine.paths.data);
    journal.record.update.as_mut().unwrap().saves = saves;
    journal.save().unwrap();
}

#[test]
fn what_is_committed_does_not_fail_because_of_the_steps_that_led_there() {
    let (server, machine, _) = deployed();
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::B);
    // One more for the check of the restart, one for the commit.
    has_saved(&machine, SAVES - 2);
    machine.run_to_report(&server);
    assert_eq!(server.statuses().last().unwrap(), "success");
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::B));
}

#[test]
fn an_update_that_is_given_up_leaves_no_trial() {
    for next in [Slot::A, Slot::B] {
        let (server, machine, _) = deployed();
        machine.run_to_report(&server);
        if next == Slot::B {
            machine.power_on();
        }
        has_saved(&machine, SAVES);
        // To the restart, or to the inventory that ends a deployment.
        machine.run(&server, |events| {
            let log = events.iter().position(|event| matches!(event, Event::Log(_)));
            log.is_some_and(|at| !inventories(&events[at..]).is_empty())
        });
        assert_eq!(server.statuses().last().unwrap(), "failure");
        assert_eq!((machine.boot_state().committed, machine.boot_state().trial), (Slot::A, None));
    }
}

#[test]
fn a_fallback_reports_what_runs_and_so_does_the_way_back() {
    let (server, machine) = updated();
    machine.start_in(Slot::A);
    let healed = |_: &[Event]| machine.boot_state().committed == Slot::A;
    machine.run(&server, healed);
    let events = server.events();
    assert_eq!(inventories(&events)[0]["artifact_name"], "rel-1");
    let asked = events.iter().find_map(|event| match event {
        Event::Polled(body) => Some(body["artifact_name"].clone()),
        _ => None,
    });
    assert_eq!(asked, Some("rel-1".into()));
    assert_eq!(machine.artifact_name(), "rel-1");
    machine.start_in(Slot::B);
    server.forget_events();
    machine.run(&server, polled);
    assert_eq!(machine.artifact_name(), "rel-2");
}

#[test]
fn a_fallback_that_fails_the_products_checks_is_not_committed_but_can_be_updated() {
    let (server, machine) = updated();
    machine.health_check("echo the display is dark\nexit 3\n");
    machine.start_in(Slot::A);
    let polls = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Polled(_))).count();
    machine.run(&server, |events| polls(events) > 1);
    assert_eq!(machine.boot_state().committed, Slot::B);
    server.forget_events();
    server.deploy("rel-3", Artifact::new("rel-3", b"small").bytes());
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(machine.boot_state().trial, Some(Slot::B));
}

#[test]
fn boot_records_that_were_lost_are_told_of_until_an_inventory_arrives() {
    let (server, mut machine) = updated();
    machine.config.inventory_interval = std::time::Duration::from_millis(50);
    std::fs::write(machine.folder.join("boot/fake-boot"), "garbage").unwrap();
    machine.start_in(Slot::A);
    machine.run(&server, |events| inventories(events).len() > 1);
    let events = server.events();
    let told = inventories(&events);
    let faults = told[0]["faults"].to_string();
    assert!(faults.contains("repaired the boot loader's records") && faults.contains("slot B"), "{faults}");
    assert!(!told[1].contains_key("faults"), "{:?}", told[1]);
    assert_eq!(told[0]["artifact_name"], "rel-1");
}

#[test]
fn an_update_by_hand_that_nobody_committed_ends_and_polling_goes_on() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let file = machine.folder.join("rel-2.mender");
    std::fs::write(&file, Artifact::new("rel-2", b"x").bytes()).unwrap();
    let installed = Engine::new(machine.device(), Signals::default()).install(file.to_str().unwrap());
    assert_eq!(installed, Ok(Done::Installed { reboot: true }));
    // As long as its trial is to come or runs, it is a person's affair.
    let told = |events: &[Event]| inventories(events).len() == 1;
    machine.run(&server, told);
    assert_eq!(machine.power_on(), Slot::B);
    server.forget_events();
    machine.run(&server, told);
    assert_eq!(machine.boot_state().trial, Some(Slot::B));
    assert!(!polled(&server.events()));
    assert_eq!(machine.power_on(), Slot::A);
    server.forget_events();
    machine.run(&server, polled);
    let record = machine.journal();
    assert_eq!(record.update, None);
    let verdict = format!("{:?}", record.attempts[0].verdict);
    assert!(verdict.contains("fell back to slot A"), "{verdict}");
    assert_eq!(machine.artifact_name(), "rel-1");
}

/// A machine whose artifacts must be signed, and the key for it.
fn with_key(server: &Server) -> (Machine, rota_artifact::SignKey) {
    let mut machine = Machine::new(server);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let file = machine.paths.conf.join("verify.pem");
    std::fs::write(&file, pair.public_key_pem()).unwrap();
    machine.config.verify_keys = Some(vec![file]);
    (machine, rota_artifact::SignKey::from_pem(pair.serialize_pem().as_bytes()).unwrap())
}

/// Deploys a release with this epoch, and lets the machine try and commit it.
fn release(
    server: &Server,
    machine: &Machine,
    key: Option<&rota_artifact::SignKey>,
    name: &str,
    epoch: &str,
) {
    let provides = if epoch.is_empty() { vec![] } else { vec![("rota.epoch", epoch)] };
    let signer = key.map(|key| key as &dyn rota_artifact::Signer);
    server.forget_events();
    server.deploy(name, Artifact { provides, signer, ..Artifact::new(name, name.as_bytes()) }.bytes());
    if machine.run_to_report(server) == Exit::Restarting {
        machine.power_on();
        machine.run_to_report(server);
    }
}

#[test]
fn no_release_below_the_committed_epoch_is_installed() {
    let server = Server::start();
    let (machine, key) = with_key(&server);
    let slot = machine.slot(Slot::B);
    release(&server, &machine, Some(&key), "garbage", "five");
    assert!(
        server.failure().0.contains("rota.epoch is \"five\", expected a number"),
        "{}",
        server.failure().0
    );
    assert_eq!(machine.slot(Slot::B), slot);
    release(&server, &machine, Some(&key), "rel-5", "5");
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-5", Slot::B));
    let slot = machine.slot(Slot::A);
    for (name, epoch, words) in [
        ("rel-4", "4", "the artifact has epoch 4 (rota.epoch); this device has committed epoch 5"),
        ("older", "", "names no epoch (rota.epoch), which counts as 0; this device has committed epoch 5"),
    ] {
        release(&server, &machine, Some(&key), name, epoch);
        assert!(server.failure().0.contains(words), "{}", server.failure().0);
        assert_eq!((machine.artifact_name().as_str(), machine.slot(Slot::A)), ("rel-5", slot.clone()));
    }
    // What the image holds counts when the data partition is lost, and an equal epoch is good enough.
    for file in ["epoch.0", "epoch.1", "provides.0", "provides.1"] {
        std::fs::write(machine.paths.data.join(file), "garbage").unwrap();
    }
    std::fs::write(machine.paths.lib.join("epoch"), "5\n").unwrap();
    release(&server, &machine, Some(&key), "rel-4", "4");
    assert!(server.failure().0.contains("epoch 4"), "{}", server.failure().0);
    release(&server, &machine, Some(&key), "rel-5b", "5");
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-5b", Slot::A));
    // Going back to a slot is no installation.
    machine.start_in(Slot::B);
    machine.run(&server, |_| machine.boot_state().committed == Slot::B);
}

#[test]
fn a_trial_that_rolls_back_raises_no_floor_and_unsigned_epochs_are_ignored() {
    let server = Server::start();
    let (mut machine, key) = with_key(&server);
    machine.health_check("exit 1\n");
    release(&server, &machine, Some(&key), "rel-9", "9");
    assert_eq!(machine.power_on(), Slot::A);
    machine.run_to_report(&server);
    assert_eq!(rota::epoch::peek(&machine.paths), 0);
    std::fs::remove_dir_all(machine.paths.conf.join("health.d")).unwrap();
    let keys = machine.config.verify_keys.take();
    release(&server, &machine, None, "rel-8", "8");
    assert_eq!((machine.artifact_name().as_str(), rota::epoch::peek(&machine.paths)), ("rel-8", 0));
    assert!(!Provides::peek(&machine.paths).contains_key("rota.epoch"));
    machine.config.verify_keys = keys;
    release(&server, &machine, Some(&key), "rel-1b", "1");
    assert_eq!((machine.artifact_name().as_str(), rota::epoch::peek(&machine.paths)), ("rel-1b", 1));
    assert_eq!(Provides::peek(&machine.paths)["rota.epoch"], "1");
}
