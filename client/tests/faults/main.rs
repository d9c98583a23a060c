//! The power-cut sweep: whole updates are stopped at every durable operation, and every time the machine boots, comes to an end,
//! and tells the truth about it.

#[path = "../support/mod.rs"]
mod support;

mod flow;
mod foreign;
mod machine;
mod module;
mod server;
mod sweep;
mod truth;
mod world;

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use flow::{Flow, Hand, Payload, Trial, EARLIER, GOOD, LATER};
use rota::sys::fault::Fault;
use sweep::Tally;
use world::{World, BOOTS};

/// Every way that an update can go.
const FLOWS: &[Flow] = &[
    GOOD,
    Flow { name: "first start", is_first_start: true, ..GOOD },
    Flow { name: "fallback", is_fallback: true, ..GOOD },
    Flow { name: "provides only", payload: Payload::Nothing, ..GOOD },
    Flow { name: "spoilt payload", payload: Payload::Spoilt, fails: "checksum", ..GOOD },
    Flow { name: "offline", trial: Trial::Offline, fails: "was not reached", ..GOOD },
    Flow { name: "unwell", trial: Trial::Unwell, fails: "health check", ..GOOD },
    Flow { name: "silent", trial: Trial::Silent, fails: "never reported", ..GOOD },
    Flow { name: "aborted", aborts_at: "rebooting", fails: "aborted", ..GOOD },
    Flow { name: "aborted in the trial", aborts_at: "installing", fails: "aborted", ..GOOD },
    Flow { name: "journal lost", loses_journal: true, ..GOOD },
    Flow { name: "held", is_held: true, ..GOOD },
    Flow { name: "held, aborted", is_held: true, aborts_at: "rebooting", fails: "aborted", ..GOOD },
    SCRIPTS,
    Flow { name: "script: install", scripts: (&[], "ArtifactInstall_Enter"), ..SCRIPT_FAILS },
    Flow { name: "script: reboot", scripts: (&[], "ArtifactReboot_Enter"), ..SCRIPT_FAILS },
    Flow { name: "script: rebooted", scripts: (&[], "ArtifactReboot_Leave"), ..SCRIPT_FAILS },
    Flow {
        name: "script: commit",
        scripts: (&["ArtifactRollback_Enter", "ArtifactFailure_Leave"], "ArtifactCommit_Enter"),
        ..SCRIPT_FAILS
    },
    Flow { name: "bootstrap", bootstraps: true, is_first_start: true, ..GOOD },
    Flow { name: "resume", by_hand: Some(Hand::Resumes), ..BY_HAND },
    BY_HAND,
    Flow { name: "rollback by hand", by_hand: Some(Hand::RollsBack), fails: "by hand", ..BY_HAND },
    Flow { name: "rollback at once", by_hand: Some(Hand::RollsBackAtOnce), fails: "by hand", ..BY_HAND },
    Flow { name: "commit, no daemon", has_daemon: false, ..BY_HAND },
    Flow {
        name: "rollback, no daemon",
        by_hand: Some(Hand::RollsBack),
        has_daemon: false,
        fails: "by hand",
        ..BY_HAND
    },
];

const SCRIPTS: Flow =
    Flow { name: "scripts", scripts: (&["ArtifactReboot_Leave", "ArtifactCommit_Leave"], ""), ..GOOD };
const SCRIPT_FAILS: Flow = Flow { fails: "state script", ..GOOD };
const BY_HAND: Flow = Flow { name: "commit by hand", by_hand: Some(Hand::Commits), ..GOOD };

/// Those in which boot loaders differ.
const LOADER_FLOWS: &[Flow] = &[
    GOOD,
    Flow { name: "fallback", is_fallback: true, ..GOOD },
    Flow { name: "offline", trial: Trial::Offline, fails: "was not reached", ..GOOD },
    Flow { name: "silent", trial: Trial::Silent, fails: "never reported", ..GOOD },
    BY_HAND,
];

/// Two versions of the client share the data partition: the later one comes with the image, or the earlier one.
const VERSION_FLOWS: &[Flow] = &[
    TO_LATER,
    Flow { name: "later, offline", trial: Trial::Offline, fails: "was not reached", ..TO_LATER },
    Flow { name: "later, unwell", trial: Trial::Unwell, fails: "health check", ..TO_LATER },
    Flow { name: "later, silent", trial: Trial::Silent, fails: "never reported", ..TO_LATER },
    Flow { name: "later, aborted", aborts_at: "installing", fails: "aborted", ..TO_LATER },
    Flow { name: "later, journal lost", loses_journal: true, ..TO_LATER },
    Flow { name: "later, first start", is_first_start: true, ..TO_LATER },
    Flow { name: "later, fallback", is_fallback: true, ..TO_LATER },
    Flow { name: "later, by hand", by_hand: Some(Hand::Commits), ..TO_LATER },
    Flow {
        name: "later, back by hand",
        by_hand: Some(Hand::RollsBack),
        has_daemon: false,
        fails: "by hand",
        ..TO_LATER
    },
    Flow { name: "both later", clients: [LATER; 2], ..GOOD },
    TO_EARLIER,
    Flow { name: "earlier, silent", trial: Trial::Silent, ..TO_EARLIER },
    Flow { name: "earlier, fallback", is_fallback: true, ..TO_EARLIER },
];

const TO_LATER: Flow = Flow { name: "later", clients: [EARLIER, LATER], ..GOOD };

/// The earlier client cannot read what the later one wrote: it returns to that one, and leaves everything to it.
const TO_EARLIER: Flow = Flow { name: "earlier", clients: [LATER, EARLIER], fails: "never reported", ..GOOD };

/// Runs `sweep` over the flows, on all processors. Only those whose name holds `ROTA_FLOW`, when that is set.
fn over(flows: &[Flow], sweep: impl Fn(&Flow) -> Tally + Sync) -> Tally {
    rota::log::init(log::LevelFilter::Info, false, false);
    let wanted = std::env::var("ROTA_FLOW").unwrap_or_default();
    let waiting: Mutex<Vec<&Flow>> =
        Mutex::new(flows.iter().filter(|flow| flow.to_string().contains(&wanted)).collect());
    let total = Mutex::new(Tally::default());
    let work = || {
        while let Some(flow) = {
            let next = waiting.lock().unwrap().pop();
            next
        } {
            let started = Instant::now();
            let tally = sweep(flow);
            let seconds = started.elapsed().as_secs_f32();
            say(&format!("{flow}: {} points, {} runs, {seconds:.1} s", tally.points, tally.runs));
            *total.lock().unwrap() += tally;
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    total.into_inner().unwrap()
}

/// Past the test harness, which keeps what good tests print to itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn with_loader(flows: &[Flow], loader: &'static str) -> Vec<Flow> {
    flows.iter().map(|flow| Flow { loader, ..*flow }).collect()
}

#[test]
fn the_power_is_cut_at_every_durable_operation() {
    let started = Instant::now();
    let flows = [FLOWS.to_vec(), real_loaders()].concat();
    let mut tally = over(&flows, sweep::cuts);
    tally += over(VERSION_FLOWS, sweep::cuts_again_and_again);
    let (updates, seconds) = (flows.len() + VERSION_FLOWS.len(), started.elapsed().as_secs());
    say(&format!(
        "power cuts: {} points of {updates} updates, {} runs, in {seconds} s",
        tally.points, tally.runs
    ));
    assert!(tally.bad == 0 && tally.points >= 1000, "{tally:?}");
}

/// Flows on a boot loader whose records need no room on the client's disk.
fn real_loaders() -> Vec<Flow> {
    ["grub", "uboot"].iter().flat_map(|loader| with_loader(LOADER_FLOWS, loader)).collect()
}

#[test]
fn a_full_disk_stops_no_update_that_has_its_journal() {
    for flow in real_loaders().iter().filter(|flow| !flow.is_new()) {
        let told = World::new(flow).finish(&[Fault::Full(0); BOOTS]);
        assert_eq!(told.success, flow.fails.is_empty(), "{flow}: {told:?}");
        assert!(told.reason.contains(flow.fails), "{flow}: {told:?}");
    }
}

/// A client that has run before needs nothing new; one that has not is filled up on its way.
#[test]
fn a_disk_that_fills_up_at_any_moment() {
    let new: Vec<Flow> = real_loaders().iter().map(|flow| Flow { is_first_start: true, ..*flow }).collect();
    let tally = over(&new, sweep::full_disk);
    assert!(tally.bad == 0 && tally.points > 20, "{tally:?}");
}

#[test]
fn a_disk_that_breaks_at_any_moment() {
    let tally = over(&[LOADER_FLOWS.to_vec(), real_loaders()].concat(), sweep::broken_disk);
    assert!(tally.bad == 0 && tally.points > 400, "{tally:?}");
}

#[test]
fn foreign_files_and_lost_journals_stop_nothing() {
    let by_hand = Flow { name: "commit by hand, no daemon", has_daemon: false, ..BY_HAND };
    let silent = Flow { name: "silent", trial: Trial::Silent, fails: "never reported", ..GOOD };
    let mishaps = foreign::mishaps();
    let tally = over(&[silent, GOOD, by_hand], |flow| sweep::mishaps(flow, &mishaps));
    assert!(tally.bad == 0 && tally.points > 500, "{tally:?}");
}

#[test]
fn the_power_is_cut_while_a_module_installs() {
    let tally = over(module::FLOWS, sweep::cuts_and_losses);
    say(&format!("power cuts with modules: {} points, {} runs", tally.points, tally.runs));
    assert!(tally.bad == 0 && tally.points > 500, "{tally:?}");
}

/// A kill loses nothing that was written, and restarts nothing but the client.
#[test]
fn the_client_is_killed_at_every_durable_operation() {
    let tally = over(FLOWS, sweep::kills);
    say(&format!("kills: {} points", tally.points));
    assert!(tally.bad == 0 && tally.points > 800, "{tally:?}");
}
