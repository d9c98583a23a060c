//! The power-cut sweep: an update is stopped at every durable operation, and every time it comes to a truthful end.

mod support;

use std::time::Duration;

use rota::boot;
use rota::slot::Slot;
use rota::sys::fault::{Fault, Loss};
use rota::update::Exit;
use support::artifact::{image, Artifact};
use support::machine::{Machine, SLOT};
use support::server::{Event, Server};

/// How the update goes when nothing is cut.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Success,
    /// The trial's client cannot reach the server.
    Unreachable,
    /// The trial is reset before its client runs.
    NeverRuns,
}

/// More boots than any update takes, cut or not.
const BOOTS: usize = 12;

struct Sweep {
    server: Server,
    machine: Machine,
    flow: Flow,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Sweep {
    fn new(flow: Flow) -> Sweep {
        let server = Server::start();
        let mut machine = Machine::new(&server);
        machine.config.poll_interval = Duration::from_millis(20);
        machine.config.retry_interval = Duration::from_millis(20);
        machine.config.health_timeout = match flow {
            Flow::Unreachable => Duration::from_millis(50),
            _ => Duration::from_secs(60),
        };
        let new = image(7, SLOT - 512);
        server.deploy("rel-2", Artifact::new("rel-2", &new).bytes());
        let old = machine.slot(Slot::A);
        Sweep { server, machine, flow, old, new }
    }

    /// Runs the update to its end, with the power cut at the `cut`-th point. Returns whether it came to that point.
    fn run(&mut self, mut cut: usize, loss: Loss) -> bool {
        let mut was_cut = false;
        for _ in 0..BOOTS {
            let slot = self.power_on();
            if self.flow == Flow::NeverRuns && slot == Slot::B {
                continue;
            }
            let fault = if was_cut { Fault::Never } else { Fault::Cut(cut, loss) };
            match self.boot(slot, fault) {
                (None, _) => was_cut = true,
                (Some(Exit::Stopped), _) => {
                    self.check_end();
                    return was_cut;
                }
                (Some(Exit::Restarting), points) => cut = cut.saturating_sub(points),
            }
        }
        panic!("after {BOOTS} boots there is no end; the server saw {:#?}", self.server.events());
    }

    fn power_on(&self) -> Slot {
        let before = self.machine.boot_state();
        let slot = self.machine.power_on();
        let expected = match before {
            boot::State { trial: Some(trial), attempts_left: 1.., .. } => trial,
            state => state.committed,
        };
        assert_eq!(slot, expected);
        assert_eq!(self.machine.slot(Slot::A), self.old, "the slot that was running was written to");
        if slot == Slot::B {
            assert_eq!(self.machine.slot(Slot::B)[..self.new.len()], self.new, "an unfinished slot boots");
        }
        slot
    }

    fn boot(&mut self, slot: Slot, fault: Fault) -> (Option<Exit>, usize) {
        let reachable = self.machine.config.urls.clone();
        if self.flow == Flow::Unreachable && slot == Slot::B {
            self.machine.config.urls = vec!["https://127.0.0.1:9".into()];
        }
        let machine = &self.machine;
        let over = |events: &[Event]| {
            let told = events.iter().any(|event| matches!(event, Event::Status(status, _) if status == "success" || status == "failure"));
            told && machine.journal().update.is_none()
                && machine.journal().attempts.iter().all(|attempt| !attempt.unreported)
        };
        let result = machine.run_under(fault, &self.server, over);
        self.machine.config.urls = reachable;
        result
    }

    /// The end: committed and told so, or as before and told so.
    fn check_end(&self) {
        let state = self.machine.boot_state();
        let name = self.machine.artifact_name();
        let statuses = self.server.statuses();
        assert_eq!(state.trial, None);
        let last = statuses.last().unwrap();
        match state.committed {
            Slot::B => assert_eq!((name.as_str(), last.as_str()), ("rel-2", "success"), "{statuses:?}"),
            Slot::A => assert_eq!((name.as_str(), last.as_str()), ("rel-1", "failure"), "{statuses:?}"),
        }
        if self.flow != Flow::Success {
            assert_eq!(state.committed, Slot::A);
        }
        if last == "failure" {
            assert!(!self.server.failure().0.is_empty());
        }
    }
}

/// Stops `flow` at every point, in turn with all, nothing and a part of what was not synced; returns how many there were.
fn sweep(flow: Flow) -> usize {
    for cut in 0.. {
        let loss = match cut % 3 {
            0 => Loss::Everything,
            1 => Loss::Torn(cut as u64),
            _ => Loss::Nothing,
        };
        let outcome = std::panic::catch_unwind(|| Sweep::new(flow).run(cut, loss));
        match outcome {
            Ok(true) => {}
            Ok(false) => return cut,
            Err(panic) => {
                eprintln!("the cut at point {cut} with {loss:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    unreachable!("the points of an update are not endless");
}

#[test]
fn a_successful_update_is_cut_everywhere() {
    let points = sweep(Flow::Success);
    println!("{points} points");
    assert!(points > 40, "{points}");
}

#[test]
fn an_update_that_is_rolled_back_is_cut_everywhere() {
    let points = sweep(Flow::Unreachable);
    println!("{points} points");
    assert!(points > 40, "{points}");
}

#[test]
fn an_update_whose_trial_never_runs_is_cut_everywhere() {
    let points = sweep(Flow::NeverRuns);
    println!("{points} points");
    assert!(points > 40, "{points}");
}

/// The disk takes no new file from some moment on: the update fails or not, and either is told.
#[test]
fn a_disk_that_is_full_from_any_moment_on() {
    for from in (0..30).step_by(3) {
        let mut sweep = Sweep::new(Flow::Success);
        // Without its key, which is made at the first start, the device is nobody.
        let known = |events: &[Event]| events.contains(&Event::Authorised);
        sweep.machine.run(&sweep.server, known);
        let full = (0..BOOTS).find(|_| {
            let slot = sweep.power_on();
            // The fake boot loader's records are a file that is replaced; those of a real one need no room.
            let fault = if slot == Slot::A { Fault::Full(from) } else { Fault::Never };
            sweep.boot(slot, fault).0 == Some(Exit::Stopped)
        });
        assert!(full.is_some(), "there is no end");
        sweep.check_end();
    }
}
