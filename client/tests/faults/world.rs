//! A machine and a server, boot after boot, with the rules that hold at every moment.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use rota::boot;
use rota::provides::Provides;
use rota::record::{self, Formats};
use rota::signals::Signals;
use rota::slot::Slot;
use rota::sys::fault::{self, Fault, Kind};
use rota::update::journal::Verdict;
use rota::update::standalone::Done;
use rota::update::{Engine, Exit};

use super::flow::{new_image, old_image, signed, Flow, Hand, Payload, Trial, GOOD, LATER};
use super::machine::{Files, Machine, BOARD};
use super::server::{Server, State};
use super::truth::Told;

/// More boots than any update takes, cut or not.
pub const BOOTS: usize = 14;

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There is nothing more to do.
    Idle,
    /// The machine restarts.
    Restart,
    /// The power went.
    Cut,
}

/// The points that were passed, in order.
pub type Points = Vec<(Kind, PathBuf)>;

pub struct World {
    flow: Flow,
    machine: Machine,
    server: Server,
    artifact: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
    /// The version of the client in each slot.
    clients: [Formats; 2],
    /// A cut ends the client only: the machine goes on.
    pub kills: bool,
    /// The client was killed, so that the next one starts in the same boot.
    is_on: Cell<bool>,
}

/// A world between two boots.
pub struct Saved {
    files: Files,
    state: State,
    clients: [Formats; 2],
}

impl World {
    /// The update is about to begin.
    pub fn new(flow: &Flow) -> World {
        let server = Server::start(*flow);
        let machine = Machine::new(flow);
        let artifact = machine.save_artifact(&flow.artifact());
        let clients = Slot::BOTH.map(|slot| flow.client_in(slot));
        let (old, new) = (old_image(), new_image());
        let mut world = World {
            flow: *flow,
            machine,
            server,
            artifact,
            old,
            new,
            clients,
            kills: false,
            is_on: Cell::default(),
        };
        if !flow.is_new() {
            world.server.state().flow.by_hand = None;
            assert_eq!(world.boot(Fault::Never).0, End::Idle);
            world.server.state().flow.by_hand = flow.by_hand;
        }
        if flow.by_hand.is_none() {
            world.server.state().deployment = Some(("rel-2", Arc::new(flow.artifact())));
        }
        world
    }

    pub fn save(&self) -> Saved {
        Saved { files: self.machine.files(), state: self.server.state().clone(), clients: self.clients }
    }

    pub fn put_back(&mut self, saved: &Saved) {
        self.machine.put_back(&saved.files);
        *self.server.state() = saved.state.clone();
        self.clients = saved.clients;
        self.is_on.set(false);
    }

    /// Something happens to the machine while it is switched off.
    pub fn disturb(&mut self, how: impl FnOnce(&Machine)) {
        how(&self.machine);
        self.server.state().truth.faults += 1;
    }

    /// The device's private key, when it has one.
    pub fn key(&self) -> Option<Vec<u8>> {
        std::fs::read(self.machine.paths.data.join("device-key.pem")).ok()
    }

    /// From one switching on to the next switching off.
    pub fn boot(&mut self, fault: Fault) -> (End, Points) {
        if fault != Fault::Never {
            self.server.state().truth.faults += 1;
        }
        let outcome = fault::run(fault, || self.start(fault));
        self.is_on.set(self.is_on.get() && self.kills && outcome.result.is_none());
        self.observe();
        let (slot, _) = self.server.state().booted;
        let root = self.machine.layout.path(slot);
        let written = outcome.points.iter().any(|(kind, path)| *kind == Kind::Write && path == root);
        assert!(!written, "slot {slot} is root and was written");
        (outcome.result.unwrap_or(End::Cut), outcome.points)
    }

    /// Boots until there is nothing more to do, then checks what came of it. `faults` hit the first boots; after
    /// the last of them there is always one more.
    pub fn finish(&mut self, faults: &[Fault]) -> Told {
        for number in 0..BOOTS {
            let fault = faults.get(number).copied().unwrap_or(Fault::Never);
            if self.boot(fault).0 == End::Idle && number + 1 != faults.len() {
                return self.check_end();
            }
        }
        panic!("there is no end: {:?}", self.machine.journal());
    }

    /// The next deployment works.
    pub fn next_works(&mut self) {
        {
            let mut state = self.server.state();
            let Flow { loader, is_held, .. } = self.flow;
            state.flow = Flow { name: "next", loader, is_held, ..GOOD };
            state.deployment = Some(("rel-3", Arc::new(signed("rel-3", b"small"))));
        }
        self.machine.get_well();
        let slot = self.machine.boot_state().committed.other();
        self.clients[usize::from(slot == Slot::B)] = LATER;
        let wanted = boot::State { committed: slot, trial: None, attempts_left: 0 };
        for _ in 0..4 {
            self.is_on.set(false);
            let fresh = fault::run(Fault::Never, || self.start(Fault::Never)).result;
            if fresh == Some(End::Idle) {
                let told = self.server.state().truth.verdicts.last().cloned().expect("the end was told");
                assert!(told.success && told.artifact == "rel-3", "the next deployment fails: {told:?}");
                assert_eq!(
                    (self.machine.boot_state(), self.machine.artifact_name().as_str()),
                    (wanted, "rel-3")
                );
                return;
            }
        }
        panic!("the next deployment does not come to an end");
    }

    fn start(&self, fault: Fault) -> End {
        let was_on = self.is_on.take();
        let power_on = || {
            if was_on {
                let mut state = self.server.state();
                let booted = state.booted;
                state.begin(booted);
                return booted;
            }
            self.server.state().truth.trial_begun |= self.machine.boot_state().trial.is_some();
            let booted = self.machine.power_on();
            let mut state = self.server.state();
            state.begin(booted);
            state.truth.trial_booted |= booted.1;
            booted
        };
        // A disk that is full or broken is the client's; the boot loader has its own way to it.
        let (slot, trial) = match fault {
            Fault::Never | Fault::Cut(..) => power_on(),
            _ => fault::run(Fault::Never, power_on).result.expect("no cut was planned"),
        };
        self.is_on.set(true);
        if !self.is_next() {
            self.check_booted(slot);
        }
        record::pretend(self.clients[usize::from(slot == Slot::B)]);
        let flow = self.server.state().flow;
        flow.set_clock("");
        if trial && flow.trial == Trial::Silent {
            return End::Restart;
        }
        let lost_before = self.server.state().truth.journal_lost;
        let loses = trial && flow.loses_journal && !lost_before;
        if loses {
            self.server.state().truth.journal_lost = true;
            self.machine.lose_journal();
        }
        self.server.state().truth.trial_ran |= trial;
        let end = match flow.by_hand {
            Some(_) if flow.has_daemon && self.daemon() == End::Restart => End::Restart,
            Some(hand) => self.person(hand),
            None => self.daemon(),
        };
        if loses {
            assert_eq!(self.machine.boot_state().committed, flow.home(), "committed without a journal");
        }
        if self.server.state().went_in_circles() {
            // A device without a disk may be at its wits' end; then the guard restarts it, or a person.
            assert!(matches!(fault, Fault::Full(_) | Fault::Broken(_)), "the client goes in circles");
            return End::Restart;
        }
        end
    }

    fn is_next(&self) -> bool {
        self.server.state().flow.name == "next"
    }

    /// Only what is whole boots: what ran before, or what the update brings.
    fn check_booted(&self, slot: Slot) {
        let content = self.machine.slot(slot);
        match slot == self.flow.home() {
            true => assert!(content == self.old, "slot {slot} is not what it was"),
            false => {
                assert!(content.starts_with(&self.new), "slot {slot} boots, and is not whole");
                assert!(self.flow.payload == Payload::Image);
            }
        }
    }

    fn observe(&self) {
        // Whoever looks on can read everything.
        record::pretend(LATER);
        let state = self.machine.boot_state();
        self.server.state().truth.observe(&self.flow, state);
    }

    fn engine(&self) -> Engine {
        let device = self.machine.device();
        let (server, signals) = (self.server.reached_from(&device), self.server.state().signals.clone());
        Engine::with(device, server, signals)
    }

    fn daemon(&self) -> End {
        match self.engine().run() {
            Exit::Stopped => End::Idle,
            Exit::Restarting => End::Restart,
        }
    }

    /// A person who looks at the journal (`rota status`) and does what comes next.
    fn person(&self, hand: Hand) -> End {
        self.server.state().signals = Signals::default();
        let record = self.machine.journal();
        let told = match (record.update, record.attempts.last().and_then(|attempt| attempt.verdict.clone())) {
            (Some(_), _) => self.decide(hand),
            (None, Some(verdict)) => Some(verdict),
            (None, None) => self.install(hand),
        };
        if let Some(verdict) = told {
            let (success, reason) = match verdict {
                Verdict::Success(_) => (true, String::new()),
                Verdict::Failure(why) => (false, why),
            };
            self.server.state().truth.verdicts.push(Told { artifact: "rel-2".into(), success, reason });
            if self
                .machine
                .device()
                .view()
                .is_ok_and(|view| view.booted == view.boot.committed && view.boot.trial.is_none())
            {
                return End::Idle;
            }
        }
        End::Restart
    }

    fn install(&self, hand: Hand) -> Option<Verdict> {
        // Another attempt.
        self.server.state().truth.verdicts.clear();
        let mut engine = self.engine();
        if hand == Hand::Resumes {
            engine.stop_before = vec![rota::update::state::State::ArtifactInstallEnter];
        }
        let done = engine.install(&self.artifact.display().to_string());
        // The command has ended: the next one finds no lock.
        drop(engine);
        match done {
            Ok(Done::Stopped(_)) if hand == Hand::Resumes => None,
            Ok(Done::Installed { .. }) if hand == Hand::RollsBackAtOnce => self.decide(hand),
            Ok(Done::Installed { .. }) => None,
            Ok(done) => panic!("after installing: {done:?}"),
            Err(why) => Some(Verdict::Failure(why)),
        }
    }

    fn decide(&self, hand: Hand) -> Option<Verdict> {
        let done = match hand {
            Hand::Commits => self.engine().commit(),
            Hand::RollsBack | Hand::RollsBackAtOnce => self.engine().rollback(),
            Hand::Resumes => self.engine().resume(),
        };
        match done {
            Ok(Done::Installed { .. }) if hand == Hand::Resumes => None,
            Ok(Done::Committed) => Some(Verdict::Success(None)),
            Ok(Done::RolledBack { .. }) => Some(Verdict::Failure("rolled back by hand".into())),
            Ok(done) => panic!("after {hand:?}: {done:?}"),
            Err(why) if why.contains("has not been booted yet") => None,
            Err(why) => Some(Verdict::Failure(why)),
        }
    }

    fn check_end(&self) -> Told {
        let (truth, view) = (self.server.state().truth.clone(), self.machine.device().view().unwrap());
        truth.check_end(&self.flow, view, &self.machine.artifact_name());
        if self.flow.bootstraps {
            assert!(!self.machine.bootstrap().exists(), "the bootstrap artifact is still there");
            let (fact, value) = BOARD;
            assert_eq!(Provides::peek(&self.machine.paths)[fact], value);
        }
        if let Payload::Module(_) = self.flow.payload {
            let success = truth.verdicts.last().is_some_and(|told| told.success);
            assert_eq!(self.machine.placed(), if success { "new\n" } else { "old\n" });
        }
        let record = self.machine.journal();
        assert!(record.update.is_none() && record.attempts.iter().all(|attempt| !attempt.unreported));
        let last = record.attempts.last().and_then(|attempt| attempt.verdict.as_ref());
        let success = truth.verdicts.last().is_some_and(|told| told.success);
        assert_eq!(matches!(last, Some(Verdict::Success(_))), success, "the journal says {last:?}");
        if self.server.state().booted.1 {
            assert!(self.machine.paths.run.join("committed").exists(), "the guard would restart the machine");
        }
        truth.verdicts.into_iter().last().expect("the end was told")
    }
}
