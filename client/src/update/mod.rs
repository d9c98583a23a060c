//! Carrying out updates: the state machine, its actions, its journal, and finding back into it after a restart.

mod actions;
pub mod bootstrap;
mod budget;
mod download;
pub mod handler;
mod health;
mod hold;
pub mod journal;
mod module;
mod recover;
mod report;
mod rootfs;
mod scripts;
pub mod standalone;
pub mod state;
mod timers;

use std::path::Path;
use std::time::Duration;

use crate::config::Paths;
use crate::device::{Device, Standing};
use crate::epoch::Epoch;
use crate::identity::Identity;
use crate::net::api::Deployment;
use crate::net::Server;
use crate::provides::Provides;
use crate::signals::Signals;
use crate::sys::lock::Lock;
use handler::{AnyHandler, Context};
use journal::{Journal, Update, SAVES};
use state::{Outcome, State};
use timers::Timers;

pub(crate) use health::executables;

/// How long the client waits for another process that works on an update.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Why an action did not come to an outcome.
#[derive(Debug, PartialEq, Eq)]
enum Halt {
    /// It failed, and why.
    Failed(String),
    /// The client is to end.
    Stopped,
    /// The machine is about to restart.
    Restarting,
}

impl From<String> for Halt {
    fn from(why: String) -> Halt {
        Halt::Failed(why)
    }
}

type Act = Result<Outcome, Halt>;

/// Why the engine returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A signal asked for it.
    Stopped,
    /// The machine is about to restart: wait for the end.
    Restarting,
}

/// Everything that an update needs, and the state machine over it.
pub struct Engine {
    /// The machine.
    pub device: Device,
    /// What the client is doing, and did.
    pub journal: Journal,
    /// The facts that installed artifacts set.
    pub provides: Provides,
    /// Where updates by hand stop (`standalone::STOPS`).
    pub stop_before: Vec<State>,
    /// The floor for releases.
    pub epoch: Epoch,
    server: Server,
    signals: Signals,
    timers: Timers,
    deployment: Option<Deployment>,
    boot_faults: Vec<String>,
    /// What came of the bootstrap artifact, until somebody asks.
    bootstrapped: Option<Result<Option<String>, String>>,
    lock: Option<Lock>,
}

impl Engine {
    /// Opens everything. Nothing is changed yet but files that are missing.
    pub fn new(device: Device, signals: Signals) -> Engine {
        let (paths, key) = (device.paths.clone(), device.config.device_key.clone());
        let server = Server::new(&device.config, Box::new(move || Identity::load(&paths, key.as_deref())));
        Engine::with(device, server, signals)
    }

    /// The same with this server.
    pub fn with(device: Device, server: Server, signals: Signals) -> Engine {
        let paths = device.paths.clone();
        for folder in [&paths.data, &paths.run] {
            if let Err(why) = make_folder(folder) {
                log::error!("{why}");
            }
        }
        let journal = Journal::open(&paths.data);
        let provides = Provides::open(&paths);
        let epoch = Epoch::open(&paths);
        let timers = Timers::new(&device.config);
        Engine {
            device,
            journal,
            provides,
            stop_before: Vec::new(),
            epoch,
            server,
            signals,
            timers,
            deployment: None,
            boot_faults: Vec::new(),
            bootstrapped: None,
            lock: None,
        }
    }

    /// Runs until a signal or a restart ends it.
    pub fn run(&mut self) -> Exit {
        let mut state = match self.start() {
            Ok(state) => state,
            Err(exit) => return exit,
        };
        loop {
            state = match self.advance(state) {
                Ok(next) => next,
                Err(exit) => return exit,
            };
        }
    }

    /// One state: its action, and what follows from its outcome.
    fn advance(&mut self, state: State) -> Result<State, Exit> {
        let outcome = match self.step(state) {
            Ok(outcome) => outcome,
            Err(Halt::Failed(why)) => {
                self.failed(state, &why);
                Outcome::Failed
            }
            Err(Halt::Stopped) => return Err(Exit::Stopped),
            Err(Halt::Restarting) => return Err(Exit::Restarting),
        };
        if outcome == Outcome::Aborted {
            self.failed(state, "the deployment was aborted on the server");
        }
        Ok(self.limited(state.next(outcome)))
    }

    /// Makes the state durable where that is asked, then acts.
    fn step(&mut self, state: State) -> Act {
        if self.signals.stopped() {
            return Err(Halt::Stopped);
        }
        log::debug!("{}", state.words());
        if state.is_saved() {
            self.save_state(state)?;
        }
        self.act(state)
    }

    /// An update that has saved too many states is in a loop: it goes to its end.
    fn limited(&self, next: State) -> State {
        let Some(update) = &self.journal.record.update else { return next };
        // However many steps led there: what is committed has not failed, and has room to come to its end.
        let limit = if update.committed || next == State::AfterCommit { 2 * SAVES } else { SAVES };
        match next.is_saved() && update.saves >= limit {
            true => State::StateLoop,
            false => next,
        }
    }

    fn save_state(&mut self, state: State) -> Result<(), Halt> {
        if let Some(update) = &mut self.journal.record.update {
            update.state = Some(state);
            update.saves += 1;
            update.stopped_before = None;
            update.installed |= state == State::ArtifactInstall;
            update.committed |= state == State::AfterCommit;
        }
        match self.journal.save() {
            Ok(()) => Ok(()),
            Err(error) if state.must_go_on() => {
                log::error!("{error}; going on to the end of the update all the same");
                Ok(())
            }
            Err(error) => Err(Halt::Failed(error.to_string())),
        }
    }

    /// Saves what is good to know, but not needed.
    fn save_note(&mut self) {
        if let Err(error) = self.journal.save() {
            log::warn!("{error}");
        }
    }

    fn failed(&mut self, state: State, why: &str) {
        let whose = match &mut self.journal.record.update {
            Some(update) => {
                update.fail(why);
                update.attempt.artifact.clone()
            }
            None => String::new(),
        };
        match whose.as_str() {
            "" => log::error!("{} failed: {why}", state.words()),
            artifact => log::error!("{artifact}: {} failed: {why}", state.words()),
        }
    }

    fn update(&mut self) -> Result<&mut Update, Halt> {
        self.journal.record.update.as_mut().ok_or_else(|| Halt::Failed("no update is in progress".into()))
    }

    /// Asks the payload's handler. An update without payload has nothing to be asked.
    fn with_handler<T>(
        &mut self,
        without: T,
        ask: impl FnOnce(&AnyHandler, &mut Context<'_>) -> Result<T, String>,
    ) -> Result<T, Halt> {
        let Engine { device, journal, signals, .. } = self;
        let update =
            journal.record.update.as_mut().ok_or_else(|| Halt::Failed("no update is in progress".into()))?;
        let Some(handler) = handler::of(update, &device.paths)? else { return Ok(without) };
        ask(handler.as_ref(), &mut Context { device, update, signals }).map_err(|why| {
            match signals.stopped() {
                true => Halt::Stopped,
                false => Halt::Failed(why),
            }
        })
    }

    /// What is wrong with this device, one sentence each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.device.faults();
        faults.extend(self.boot_faults.iter().cloned());
        faults.extend(self.journal.fault().map(|why| format!("{why}; updates are refused until it can")));
        faults.extend(crate::epoch::of_image(&self.device.paths).err());
        faults.extend(clock_fault());
        faults.extend(self.journal.record.faults());
        faults
    }

    /// Takes the lock that keeps two processes from working on updates, and reads anew what another one may have written.
    fn take_lock(&mut self) -> Result<(), Halt> {
        if self.lock.is_some() {
            return Ok(());
        }
        let Paths { data, run, .. } = &self.device.paths;
        match Lock::take(&run.join("lock"), LOCK_WAIT) {
            Ok(Some(lock)) => self.lock = Some(lock),
            Ok(None) => return Err(Halt::Failed("another rota is working on an update".into())),
            Err(error) => log::warn!("{}: {error}; going on without a lock", run.join("lock").display()),
        }
        self.journal.refresh(data);
        self.provides = Provides::open(&self.device.paths);
        self.epoch = Epoch::open(&self.device.paths);
        if !self.device.view().is_ok_and(|view| view.standing() == Standing::Trial) {
            self.journal.adopt();
            self.provides.adopt();
        }
        let bootstrapped = self.take_bootstrap();
        if let Err(why) = &bootstrapped {
            log::error!("{why}");
        }
        self.bootstrapped = Some(bootstrapped);
        Ok(())
    }
}

/// Makes a folder, unless it is a link to where nothing is: then what should be mounted there is not.
fn make_folder(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| match std::fs::read_link(folder) {
        Ok(to) => {
            format!("{} leads to {}, which is not there; is it mounted?", folder.display(), to.display())
        }
        Err(_) => format!("{}: {error}", folder.display()),
    })
}

/// What is wrong with the system's clock.
pub fn clock_fault() -> Option<String> {
    let reading = crate::date::reading();
    let behind = reading.behind()?;
    let system = reading.system.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Some(format!(
        "the system clock says {}, {} s before {}; certificates are checked by the latter",
        crate::date::rfc3339(system),
        behind.as_secs(),
        reading.source
    ))
}
