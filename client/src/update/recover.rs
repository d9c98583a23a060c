//! The start of the client: what kernel, boot loader and journal say is laid side by side, and the way goes on from there.

use std::time::{Duration, Instant};

use super::handler;
use super::journal::{Attempt, Verdict};
use super::state::State;
use super::{Context, Engine, Exit, Halt};
use crate::device::Standing;
use crate::slot::Slot;

impl Engine {
    /// Finds the state to go on with.
    pub(super) fn start(&mut self) -> Result<State, Exit> {
        while let Err(Halt::Failed(why)) = self.take_lock() {
            log::info!("{why}; waiting");
            if self.signals.sleep(Duration::from_secs(1)) {
                return Err(Exit::Stopped);
            }
        }
        self.device.tell_held(None);
        for fault in self.faults() {
            log::error!("{fault}");
        }
        self.repair();
        let Some(update) = &self.journal.record.update else { return self.settle() };
        match update.attempt.deployment.clone() {
            Some(id) => {
                crate::log::begin_deployment(&self.device.deployment_logs(), &id);
                Ok(self.resume_update())
            }
            None if self.waits_to_be_tried() => {
                log::info!("an update that was installed by hand waits to be committed or rolled back");
                Ok(State::Init)
            }
            // Nobody can commit it any more: it was interrupted, or its trial is over.
            None => Ok(self.resume_update()),
        }
    }

    /// Whether an update by hand is still a person's affair: it was stopped, or its trial is to come, or runs. A module's has no
    /// trial that the boot loader knows of.
    fn waits_to_be_tried(&mut self) -> bool {
        let Some(update) = &self.journal.record.update else { return false };
        if update.stopped_before.is_some() {
            return true;
        }
        if update.by_module {
            return update.state == Some(State::ArtifactReboot);
        }
        self.device.view().map_or(true, |view| match view.standing() {
            Standing::Trial => true,
            Standing::Armed => view.boot.attempts_left > 0,
            Standing::Committed | Standing::Fallback => false,
        })
    }

    /// Brings the copies of the boot loader's records to agree, and rebuilds them when all are lost.
    fn repair(&mut self) {
        let origin = self
            .journal
            .record
            .update
            .as_ref()
            .filter(|update| !update.committed)
            .and_then(|update| update.origin);
        let repaired = match self.device.view().map(|view| view.standing()) {
            Ok(Standing::Armed | Standing::Trial) => return,
            _ => self.device.booted().and_then(|booted| {
                let repaired = self.device.boot()?.repair(origin.unwrap_or(booted));
                repaired.map_err(|error| error.to_string())
            }),
        };
        match repaired {
            Ok(None) => {}
            Ok(Some(what)) => self.note_repair(&what),
            Err(why) => {
                log::error!("{why}");
                self.boot_faults.push(why);
            }
        }
    }

    /// What was repaired is told with the next inventory. Records that were lost may have named a newer slot.
    fn note_repair(&mut self, what: &str) {
        let mut fault = format!("repaired the boot loader's records: {what}");
        let committed = self.device.view().ok().map(|view| view.boot.committed);
        match (self.journal.record.last_success(), committed) {
            (Some(last), Some(committed)) if last != committed => {
                fault += &format!("; the last update was committed in slot {last}, so that slot {committed} may hold an older release");
                log::error!("{fault}");
            }
            _ => log::warn!("{fault}"),
        }
        self.journal.record.repaired = Some(fault);
        self.save_note();
    }

    /// What the device provides is what the running slot does, whichever ran before.
    fn provide_what_runs(&mut self, booted: Slot) {
        let committed_elsewhere = self.journal.record.last_success().is_some_and(|slot| slot != booted);
        if self.provides.remembers(booted) || committed_elsewhere {
            let facts = self.provides.of_running(booted).clone();
            if let Err(error) = self.provides.save(facts, Some(booted)) {
                log::error!(
                    "{error}; the device goes on to report {}",
                    self.provides.facts()["artifact_name"]
                );
            }
        }
    }

    /// No update is in progress: what does not fit that is put right.
    fn settle(&mut self) -> Result<State, Exit> {
        let Ok(view) = self.device.view() else { return Ok(State::Init) };
        let (booted, committed) = (view.booted, view.boot.committed);
        if matches!(view.standing(), Standing::Committed | Standing::Fallback) {
            self.provide_what_runs(booted);
        }
        match view.standing() {
            Standing::Committed => {
                self.device.mark_committed();
                self.epoch.committed(None, &self.device.paths);
            }
            Standing::Armed => {
                log::warn!(
                    "slot {} is armed for a trial of which the journal knows nothing; it is called off",
                    booted.other()
                );
                self.cancel();
            }
            Standing::Trial => {
                let why = format!("slot {booted} was on trial, but the journal knew nothing of it; rolled back to slot {committed}");
                log::error!("{why}");
                let now = crate::date::now();
                let verdict = Some(Verdict::Failure(why));
                self.journal.record.attempts.push(Attempt {
                    slot: Some(booted),
                    began: now,
                    ended: now,
                    verdict,
                    ..Attempt::default()
                });
                self.save_note();
                self.cancel();
                match self.restart() {
                    Err(Halt::Restarting) => return Err(Exit::Restarting),
                    Err(Halt::Failed(why)) => log::error!("{why}"),
                    _ => {}
                }
            }
            Standing::Fallback if self.device.was_trial() => {
                log::error!("the trial of slot {booted} was called off; back to slot {committed}");
                match self.restart() {
                    Err(Halt::Restarting) => return Err(Exit::Restarting),
                    Err(Halt::Failed(why)) => log::error!("{why}"),
                    _ => {}
                }
            }
            Standing::Fallback => {
                let loader = self.device.loader();
                let why = format!("slot {committed} is the committed one, but slot {booted} runs: {loader} could not start slot {committed}");
                log::error!("{why}; slot {booted} becomes the committed one once it is healthy");
                if self.journal.record.fallback.as_ref() != Some(&why) {
                    self.journal.record.fallback = Some(why);
                    self.save_note();
                }
            }
        }
        Ok(State::Init)
    }

    pub(super) fn cancel(&mut self) {
        let cancelled = self.device.boot().and_then(|boot| boot.cancel().map_err(|error| error.to_string()));
        if let Err(why) = cancelled {
            log::error!("{why}");
        }
    }

    /// In the state `fallback`, a running slot that reaches the server and passes the product's checks is healthy: it becomes
    /// the committed one. With a deployment at hand it does so in any case: an update is the way out.
    pub(super) fn heal(&mut self, deployment: bool) {
        let Ok(view) = self.device.view() else { return };
        if view.standing() != Standing::Fallback || self.device.was_trial() {
            return;
        }
        let limit = Instant::now() + self.device.config.health_timeout;
        if let Err(Halt::Failed(why)) = self.run_checks(limit) {
            log::error!("slot {} runs, but is not healthy: {why}", view.booted);
            if !deployment {
                return;
            }
        }
        match self.device.boot().and_then(|boot| boot.commit(view.booted).map_err(|error| error.to_string()))
        {
            Ok(()) => {
                log::info!("slot {} is the committed one now", view.booted);
                self.device.mark_committed();
                if self.device.config.urls.is_empty() {
                    // There is no inventory that tells it.
                    self.journal.record.fallback = None;
                    self.save_note();
                }
            }
            Err(why) => log::error!("{why}"),
        }
    }

    /// The update in the journal goes on.
    pub(super) fn resume_update(&mut self) -> State {
        let Engine { device, journal, signals, .. } = self;
        let Some(update) = journal.record.update.as_mut() else { return State::Init };
        let state = update.state.unwrap_or(State::Unknown);
        let handler = handler::of(update, &device.paths);
        let (next, failure) = match handler {
            Ok(Some(handler)) => handler.recover(&mut Context { device, update, signals }, state),
            _ => {
                let (next, failed) = state.recovered();
                (next, failed.then(|| format!("the client was stopped in {}", state.words())))
            }
        };
        log::info!("the client was stopped in {}; going on with {}", state.words(), next.words());
        if let Some(mut why) = failure {
            if crate::watchdog::any_has_restarted(&self.device.system) {
                why += "; a watchdog caused the last restart";
            }
            // Then the trial's client may have known more than it could write down.
            if let Some(fault) = self.journal.fault() {
                why += &format!("; {fault}");
            }
            self.failed(state, &why);
        }
        if next == State::AfterCommit {
            self.device.mark_committed();
        }
        self.limited(next)
    }
}
