//! Bad artifacts, bad servers, bad disks: the running slot stays, the reason is told, the next deployment works.

mod support;

use std::fs;
use std::time::Duration;

use rota::boot;
use rota::slot::{Slot, FRONT};
use rota::update::state::State;
use rota::update::Exit;
use support::artifact::{image, Artifact};
use support::machine::{Machine, SLOT};
use support::server::{Event, Reply, Server};

const SETTLED: boot::State = boot::State { committed: Slot::A, trial: None, attempts_left: 0 };

/// Deploys an artifact that must fail; returns why it did. Then a good one is deployed and must work.
fn fails(name: &str, artifact: Vec<u8>, prepare: impl FnOnce(&mut Machine, &Server)) -> String {
    let server = Server::start();
    let mut machine = Machine::new(&server);
    let running = machine.slot(Slot::A);
    server.deploy(name, artifact);
    prepare(&mut machine, &server);
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    let reason = server.failure().0;
    assert_eq!(machine.boot_state(), SETTLED, "{reason}");
    assert_eq!(machine.artifact_name(), "rel-1");
    works(&server, &machine);
    assert_eq!(machine.slot(Slot::A), running, "the running slot was written to");
    reason
}

/// The next deployment works.
fn works(server: &Server, machine: &Machine) {
    server.no_trick();
    server.forget_events();
    let good = image(9, 100_000);
    server.deploy("good", Artifact::new("good", &good).bytes());
    assert_eq!(machine.run_to_report(server), Exit::Restarting);
    machine.power_on();
    machine.run_to_report(server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("good", Slot::B));
}

#[test]
fn a_truncated_artifact() {
    let mut artifact = Artifact::new("rel-2", &image(3, 1 << 20)).bytes();
    artifact.truncate(700_000);
    let reason = fails("rel-2", artifact, |_, _| ());
    assert!(reason.contains("end") || reason.contains("truncated"), "{reason}");
}

#[test]
fn a_wrong_checksum() {
    let mut artifact = Artifact::new("rel-2", &image(3, 1 << 20)).bytes();
    let middle = artifact.len() / 2;
    artifact[middle] ^= 1;
    let reason = fails("rel-2", artifact, |_, _| ());
    assert!(reason.contains("data/0000/rootfs.ext4") && reason.contains("checksum"), "{reason}");
}

#[test]
fn a_wrong_device_type_leaves_the_other_slot_as_it_is() {
    let artifact = Artifact { device_type: "other-board", ..Artifact::new("rel-2", b"x") }.bytes();
    let reason = fails("rel-2", artifact, |machine, _| assert_eq!(machine.slot(Slot::B), image(2, SLOT)));
    assert!(reason.contains("other-board") && reason.contains("test-board"), "{reason}");
}

#[test]
fn an_image_that_is_larger_than_the_slot() {
    let reason = fails("rel-2", Artifact::new("rel-2", &image(3, SLOT + 1)).bytes(), |_, _| ());
    assert!(reason.contains(&format!("{} bytes is larger than slot B", SLOT + 1)), "{reason}");
    assert!(reason.contains(&format!("of {SLOT} bytes")), "{reason}");
}

#[test]
fn artifacts_that_this_client_does_not_install() {
    let odd = Artifact { payload_type: "single-file", ..Artifact::new("rel-2", b"x") }.bytes();
    assert!(fails("rel-2", odd, |_, _| ()).contains("payload type \"single-file\" is not supported"));

    let reason = fails("rel-3", Artifact::new("rel-2", b"x").bytes(), |_, _| ());
    assert_eq!(reason, "the artifact is called rel-2, the server announced rel-3");
    let reason = fails("rel-2", b"<html>".repeat(1000), |_, _| ());
    assert!(reason.contains("tar"), "{reason}");
}

#[test]
fn with_keys_configured_nothing_is_touched_without_a_signature() {
    let server = Server::start();
    let mut machine = Machine::new(&server);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let file = machine.paths.conf.join("verify.pem");
    fs::write(&file, key.public_key_pem()).unwrap();
    for keys in [vec![], vec![machine.paths.conf.join("absent.pem")], vec![file]] {
        machine.config.verify_keys = Some(keys);
        server.forget_events();
        server.deploy("rel-2", Artifact::new("rel-2", &image(3, 1 << 20)).bytes());
        machine.run_to_report(&server);
        let reason = server.failure().0;
        assert!(reason.contains("not signed") || reason.contains("no usable key"), "{reason}");
        assert_eq!(machine.slot(Slot::B), image(2, SLOT));
    }
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let image = image(5, 2 << 20);
    let artifact = Artifact::new("rel-2", &image).bytes();
    server.deploy("rel-2", artifact.clone());
    let mut cuts = vec![1_500_000, 900_000, 10];
    let bytes = artifact.clone();
    server.trick(move |request| {
        let from = request.headers.get("range").map(|range| range[6..range.len() - 1].parse().unwrap());
        if !request.path.starts_with("/artifact") {
            return None;
        }
        let cut = Some(cuts.pop()?);
        Some(match from {
            None => Reply { body: bytes.clone(), cut, ..Reply::code(200) },
            Some(from) => {
                let range = format!("bytes {from}-{}/*", bytes.len() - 1);
                Reply { body: bytes[from..].to_vec(), cut, ..Reply::code(206) }.with("Content-Range", range)
            }
        })
    });
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(machine.slot(Slot::B)[..image.len()], image);
    let from: Vec<usize> = server
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Download { from } => Some(*from),
            _ => None,
        })
        .collect();
    assert_eq!(from, [0, 10, 900_010, 2_400_010.min(artifact.len())].map(|from| from)[..from.len()]);
    assert_eq!(from.len(), if artifact.len() > 2_400_010 { 4 } else { 3 });
}

/// An answer, made for an artifact of this length.
type Lie = fn(usize) -> Reply;

/// What a server may lie when a download is resumed, and what the device says to it.
#[test]
fn a_download_that_goes_on_as_something_else_is_over() {
    let cases: [(Lie, &str); 6] = [
        (|_| Reply { body: vec![0; 100], ..Reply::code(200) }, "the whole artifact again (200)"),
        (
            |total| {
                Reply { body: vec![0; total - 500], ..Reply::code(206) }
                    .with("Content-Range", format!("bytes 500-{}/{}", total, total + 1))
            },
            "expected Content-Range bytes 500-",
        ),
        (
            |total| {
                Reply { body: vec![0; total - 499], ..Reply::code(206) }
                    .with("Content-Range", format!("bytes 499-{}/{total}", total - 1))
            },
            "expected Content-Range bytes 500-",
        ),
        (|_| Reply { body: vec![0; 9], ..Reply::code(206) }, "found nothing"),
        (|_| Reply::code(403), "answered 403; the address may have expired"),
        (|_| Reply::code(302).with("Location", "https://elsewhere/"), "a redirect to https://elsewhere/"),
    ];
    for (lie, expected) in cases {
        let artifact = Artifact::new("rel-2", &image(3, 1 << 20)).bytes();
        let reason = fails("rel-2", artifact.clone(), |_, server| {
            server.trick(move |request| {
                match (request.path.starts_with("/artifact"), request.headers.contains_key("range")) {
                    (true, true) => Some(lie(artifact.len())),
                    (true, false) => {
                        Some(Reply { body: artifact.clone(), cut: Some(500), ..Reply::code(200) })
                    }
                    _ => None,
                }
            });
        });
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_download_that_never_gets_on_is_given_up() {
    let artifact = Artifact::new("rel-2", &image(3, 1 << 20)).bytes();
    let reason = fails("rel-2", artifact, |machine, server| {
        machine.config.download_retries = 3;
        server.trick(|request| request.path.starts_with("/artifact").then(|| Reply::code(503)));
    });
    assert!(reason.contains("gave up after 3 retries") && reason.contains("answered 503"), "{reason}");
}

#[test]
fn a_deployment_that_is_aborted_ends_there() {
    for status in ["downloading", "installing", "rebooting"] {
        let reason = fails("rel-2", Artifact::new("rel-2", b"x").bytes(), |_, server| {
            server.trick(move |request| request.reports(status).then(|| Reply::code(409)));
        });
        assert_eq!(reason, "the deployment was aborted on the server");
    }
}

/// A machine on trial of `rel-2`.
fn on_trial() -> (Server, Machine) {
    let server = Server::start();
    let machine = Machine::new(&server);
    server.deploy("rel-2", Artifact::new("rel-2", b"x").bytes());
    machine.run_to_report(&server);
    assert_eq!(machine.power_on(), Slot::B);
    server.forget_events();
    (server, machine)
}

/// The trial is rolled back, for this reason.
fn rolls_back(server: &Server, machine: &Machine) -> String {
    assert_eq!(machine.run_to_report(server), Exit::Restarting);
    assert_eq!(machine.boot_state(), SETTLED);
    assert_eq!(machine.power_on(), Slot::A);
    server.no_trick();
    machine.run_to_report(server);
    assert_eq!(machine.artifact_name(), "rel-1");
    server.failure().0
}

#[test]
fn a_server_with_troubles_of_its_own_rolls_nobody_back() {
    for code in [503, 429] {
        let (server, mut machine) = on_trial();
        machine.config.health_timeout = Duration::from_secs(1);
        server.trick(move |request| request.reports("installing").then(|| Reply::code(code)));
        machine.run_to_report(&server);
        assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::B));
        let remark = remark(&server);
        assert!(remark.starts_with("committed although") && remark.contains(&code.to_string()), "{remark}");
    }
}

/// The remark that the report of the success carries.
fn remark(server: &Server) -> String {
    let remark = server.events().into_iter().find_map(|event| match event {
        Event::Status(status, remark) if status == "success" => Some(remark.unwrap_or_default()),
        _ => None,
    });
    remark.expect("a success")
}

/// It was reached over verified TLS; it is asked once more with a new token, and then no longer.
#[test]
fn a_server_that_refuses_the_token_commits_after_one_more_authorisation() {
    let (server, machine) = on_trial();
    server.trick(|request| request.reports("installing").then(|| Reply::code(401)));
    let since = std::time::Instant::now();
    machine.run_to_report(&server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::B));
    assert!(since.elapsed() < machine.config.health_timeout, "it waited for the limit");
    let remark = remark(&server);
    assert!(remark.starts_with("committed although") && remark.contains("401"), "{remark}");
    let first = server
        .events()
        .into_iter()
        .take_while(|event| *event != Event::Status("success".into(), Some(remark.clone())));
    let first: Vec<Event> = first.collect();
    let count = |what: fn(&Event) -> bool| first.iter().filter(|event| what(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Status(status, _) if status == "installing")), 2);
    assert_eq!(count(|event| *event == Event::Authorised), 2, "{first:?}");
}

#[test]
fn a_server_that_does_not_admit_the_device_in_the_trial_commits_and_is_told_later() {
    let (server, machine) = on_trial();
    server.refuse(5);
    let told = |_: &[Event]| machine.journal().attempts.iter().any(|attempt| !attempt.unreported);
    machine.run(&server, told);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("rel-2", Slot::B));
    let remark = remark(&server);
    assert_eq!(
        remark,
        "committed although the server does not admit this device (401 dev auth: unauthorized)"
    );
    let attempts = machine.journal().attempts;
    assert!(
        !attempts[0].unreported && format!("{:?}", attempts[0].verdict).contains(&remark),
        "{attempts:?}"
    );
}

#[test]
fn a_server_that_vanishes_in_the_trial_for_a_while_rolls_nobody_back() {
    let (server, mut machine) = on_trial();
    machine.config.health_timeout = Duration::from_secs(40);
    let mut broken = 3;
    server.trick(move |request| {
        let vanishes = request.reports("installing") && broken > 0;
        vanishes.then(|| {
            broken -= 1;
            Reply::code(0)
        })
    });
    machine.run_to_report(&server);
    assert_eq!((machine.artifact_name().as_str(), remark(&server).as_str()), ("rel-2", ""));
    let events = &machine.journal().attempts[0].events;
    assert!(events.iter().any(|event| event.contains("the server is not reached")), "{events:?}");
}

#[test]
fn a_server_that_vanishes_in_the_trial_for_good_rolls_back() {
    let (server, mut machine) = on_trial();
    machine.config.health_timeout = Duration::from_secs(2);
    server.trick(|request| {
        let vanishes = request.reports("installing") || request.path.ends_with("auth_requests");
        vanishes.then(|| Reply::code(0))
    });
    let reason = rolls_back(&server, &machine);
    assert!(reason.contains("the server was not reached within 2 s"), "{reason}");
}

#[test]
fn a_server_that_comes_back_in_time_leaves_no_remark() {
    let (server, machine) = on_trial();
    let mut troubles = 2;
    server.trick(move |request| {
        let trouble = request.reports("installing") && troubles > 0;
        trouble.then(|| {
            troubles -= 1;
            Reply::code(503).with("Retry-After", "1")
        })
    });
    machine.run_to_report(&server);
    assert_eq!(machine.artifact_name(), "rel-2");
    assert!(server.events().contains(&Event::Status("success".into(), None)));
}

#[test]
fn an_abortion_in_the_trial_rolls_back() {
    let (server, machine) = on_trial();
    server.trick(|request| request.reports("installing").then(|| Reply::code(409)));
    assert_eq!(rolls_back(&server, &machine), "the deployment was aborted on the server");
}

#[test]
fn a_check_of_the_product_that_fails_rolls_back() {
    let (server, machine) = on_trial();
    machine.health_check("echo the display is dark\nexit 3\n");
    let reason = rolls_back(&server, &machine);
    assert!(
        reason.starts_with("trial of slot B: the trial's client ran and rolled back: health check"),
        "{reason}"
    );
    assert!(reason.ends_with("10-display exited with code 3: the display is dark"), "{reason}");
}

#[test]
fn a_faulty_configuration_runs_but_is_not_committed() {
    let (server, mut machine) = on_trial();
    machine.config.faults = vec!["rota.toml: helth: there is no such key".into()];
    let reason = rolls_back(&server, &machine);
    assert!(reason.contains("the configuration has faults: rota.toml: helth"), "{reason}");
    assert!(server.inventory()["faults"].to_string().contains("helth"));
}

#[test]
fn a_wrong_ca_is_told_once_the_server_is_reached() {
    let (server, stranger) = (Server::start(), Server::start());
    let mut machine = Machine::new(&server);
    let ca = machine.config.ca.replace(stranger.ca.clone());
    assert_eq!(machine.run(&server, |_| machine.journal().connection_fault.is_some()), Exit::Stopped);
    assert_eq!(server.events(), []);
    machine.config.ca = ca;
    machine.config.inventory_interval = Duration::from_millis(50);
    let inventories =
        |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Inventory(_))).count();
    machine.run(&server, |events| inventories(events) > 1);
    let told: Vec<bool> = server
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Inventory(attributes) => Some(attributes.contains_key("faults")),
            _ => None,
        })
        .collect();
    assert_eq!(told[..2], [true, false]);
}

/// From any moment on, the data partition takes no new file: once journal and key are there, that stops nothing.
#[test]
fn a_full_data_partition_stops_no_update() {
    let server = Server::start();
    let machine = Machine::new(&server);
    machine.run(&server, |events| events.iter().any(|event| matches!(event, Event::Polled(_))));
    server.deploy("rel-2", Artifact::new("rel-2", &image(4, 1 << 20)).bytes());
    // The fake boot loader's own file is replaced, which a full disk refuses: the records of real ones are not on that disk.
    let full = |machine: &Machine| {
        for file in ["deployments", "x"] {
            let _ = fs::remove_dir_all(machine.paths.data.join(file));
        }
        fs::write(machine.paths.data.join("deployments"), "no folder: nothing can be written here").unwrap();
    };
    full(&machine);
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    machine.power_on();
    machine.run_to_report(&server);
    assert_eq!(machine.artifact_name(), "rel-2");
    assert!(machine.paths.data.join("deployments").is_file());
}

#[test]
fn without_room_for_the_journal_nothing_is_armed() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let in_the_way = ["journal.0", "journal.1", "journal.0.aside", "journal.1.aside"];
    for file in in_the_way {
        fs::create_dir_all(machine.paths.data.join(file).join("inside")).unwrap();
    }
    server.deploy("rel-2", Artifact::new("rel-2", b"x").bytes());
    machine.run_to_report(&server);
    assert_eq!(machine.boot_state(), SETTLED);
    assert!(server.failure().0.contains("journal"), "{}", server.failure().0);
    assert!(server.inventory()["faults"].to_string().contains("the journal cannot be written"));
    for file in in_the_way {
        fs::remove_dir_all(machine.paths.data.join(file)).unwrap();
    }
    works(&server, &machine);
}

#[test]
fn a_journal_that_comes_back_goes_on() {
    let server = Server::start();
    let machine = Machine::new(&server);
    server.deploy("rel-2", Artifact::new("rel-2", b"x").bytes());
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    let data = machine.paths.data.clone();
    let away = ["journal.0", "journal.1"].map(|name| (data.join(name), data.join(format!("{name}.away"))));
    for (here, there) in &away {
        fs::rename(here, there).unwrap();
    }
    assert_eq!(machine.power_on(), Slot::B);
    assert_eq!(machine.power_on(), Slot::A);
    server.trick(move |request| {
        if request.path.ends_with("/attributes") {
            away.iter().for_each(|(here, there)| drop(fs::rename(there, here)));
        }
        None
    });
    // Whoever started the client starts it again.
    assert_eq!(machine.run(&server, |_| false), Exit::Stopped);
    server.no_trick();
    machine.run_to_report(&server);
    // What the client noted meanwhile took the place of the newest record; the one before is true, too.
    let (reason, _) = server.failure();
    assert!(reason.contains("trial of slot B was being armed; it may have been booted"), "{reason}");
}

#[test]
fn a_client_that_is_stopped_while_it_downloads_reports_that_afterwards() {
    let server = Server::start();
    let machine = Machine::new(&server);
    server.deploy("rel-2", Artifact::new("rel-2", &image(4, 1 << 20)).bytes());
    server.trick(|request| {
        request.path.starts_with("/artifact").then(|| {
            let body = Artifact::new("rel-2", &image(4, 1 << 20)).bytes();
            Reply { body, cut: Some(200_000), ..Reply::code(200) }
        })
    });
    let mut machine = machine;
    machine.config.download_retry_interval = Duration::from_secs(600);
    let downloading =
        |_: &[Event]| machine.journal().update.is_some_and(|update| update.state == Some(State::Download));
    assert_eq!(machine.run(&server, downloading), Exit::Stopped);
    server.no_trick();
    machine.run_to_report(&server);
    let reason = server.failure().0;
    assert!(reason.contains("stopped"), "{reason}");
    works(&server, &machine);
}

#[test]
fn garbage_on_the_data_partition_stops_nothing() {
    let server = Server::start();
    let machine = Machine::new(&server);
    for file in ["journal.0", "journal.1", "provides.0", "provides.1", "rota.lock", "deployments"] {
        fs::write(machine.paths.data.join(file), image(6, 70_000)).unwrap();
    }
    works(&server, &machine);
}

#[test]
fn a_report_that_the_server_never_takes_does_not_stop_the_polling() {
    for code in [422, 410, 500] {
        let server = Server::start();
        let machine = Machine::new(&server);
        server.deploy("rel-2", b"no artifact".repeat(1000));
        server.trick(move |request| {
            let refused = match code {
                500 => request.path.ends_with("/log"),
                _ => request.reports("failure") || request.path.ends_with("/log"),
            };
            refused.then(|| Reply::code(code))
        });
        let over = |_: &[Event]| {
            let attempts = machine.journal().attempts;
            attempts.first().is_some_and(|attempt| !attempt.unreported)
        };
        assert_eq!(machine.run(&server, over), Exit::Stopped);
        works(&server, &machine);
    }
}

#[test]
fn an_artifact_that_is_cut_after_its_image_leaves_no_slot_that_boots() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let mut artifact = Artifact::new("rel-2", &image(3, 1 << 20)).bytes();
    artifact.truncate(artifact.len() - 700);
    server.deploy("rel-2", artifact);
    machine.run_to_report(&server);
    assert!(!server.failure().0.is_empty());
    assert!(machine.slot(Slot::B)[..FRONT].iter().all(|byte| *byte == 0), "slot B could boot");
    works(&server, &machine);
}

#[test]
fn a_promise_to_the_guard_is_made_once_a_boot() {
    let server = Server::start();
    let machine = Machine::new(&server);
    let device = machine.device();
    let file = machine.paths.run.join("verdict-by");
    assert_eq!(device.promise_verdict(Duration::from_secs(500)), Duration::from_secs(500));
    let first = fs::read_to_string(&file).unwrap();
    let left = device.promise_verdict(Duration::from_secs(900));
    assert!(left <= Duration::from_secs(500) && left > Duration::from_secs(300), "{left:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
    fs::write(&file, "17\nanother boot\n").unwrap();
    assert_eq!(device.promise_verdict(Duration::from_secs(500)), Duration::from_secs(500));
}
