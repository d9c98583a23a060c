//! The start of the client: what kernel, boot loader and journal say is laid side by side, and the way goes on from there.

use std::time::Duration;

use super::handler;
use super::journal::{Attempt, Verdict};
use super::state::State;
use super::{Context, Engine, Exit, Halt};
use crate::device::Standing;

impl Engine {
    /// Finds the state to go on with.
    pub(super) fn start(&mut self) -> Result<State, Exit> {
        while let Err(Halt::Failed(why)) = self.take_lock() {
            log::info!("{why}; waiting");
            if self.signals.sleep(Duration::from_secs(1)) {
                return Err(Exit::Stopped);
            }
        }
        for fault in self.faults() {
            log::error!("{fault}");
        }
        self.repair();
        let Some(update) = &self.journal.record.update else { return self.settle() };
        match update.attempt.deployment.clone() {
            Some(id) => {
                crate::log::begin_deployment(&self.device.paths.data, &id);
                Ok(self.resume_update())
            }
            None => {
                log::info!("an update that was installed by hand waits to be committed or rolled back");
                Ok(State::Init)
            }
        }
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
            Ok(Some(what)) => log::warn!("repaired the boot loader's records: {what}"),
            Err(why) => {
                log::error!("{why}");
                self.boot_faults.push(why);
            }
        }
    }

    /// No update is in progress: what does not fit that is put right.
    fn settle(&mut self) -> Result<State, Exit> {
        let Ok(view) = self.device.view() else { return Ok(State::Init) };
        let (booted, committed) = (view.booted, view.boot.committed);
        match view.standing() {
            Standing::Committed => self.device.mark_committed(),
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
            Standing::Fallback => {
                let loader = self.device.loader();
                let why = format!("slot {committed} is the committed one, but slot {booted} runs: {loader} could not start slot {committed}");
                log::error!("{why}; slot {booted} becomes the committed one once the server is reached");
                if self.journal.record.fallback.as_ref() != Some(&why) {
                    self.journal.record.fallback = Some(why);
                    self.save_note();
                }
            }
        }
        Ok(State::Init)
    }

    fn cancel(&mut self) {
        let cancelled = self.device.boot().and_then(|boot| boot.cancel().map_err(|error| error.to_string()));
        if let Err(why) = cancelled {
            log::error!("{why}");
        }
    }

    /// In the state `fallback`, a running slot that reaches the server is healthy: it becomes the committed one.
    pub(super) fn heal(&mut self) {
        let Ok(view) = self.device.view() else { return };
        if view.standing() != Standing::Fallback {
            return;
        }
        match self.device.boot().and_then(|boot| boot.commit(view.booted).map_err(|error| error.to_string()))
        {
            Ok(()) => {
                log::info!("slot {} is the committed one now", view.booted);
                self.healed = true;
                self.device.mark_committed();
            }
            Err(why) => log::error!("{why}"),
        }
    }

    /// The update in the journal goes on.
    fn resume_update(&mut self) -> State {
        let Engine { device, journal, .. } = self;
        let Some(update) = journal.record.update.as_mut() else { return State::Init };
        let state = update.state.unwrap_or(State::Unknown);
        let handler = update.payload_type.as_deref().map(handler::for_type);
        let (next, failure) = match handler {
            Some(Ok(handler)) => handler.recover(&mut Context { device, update }, state),
            _ => {
                let (next, failed) = state.recovered();
                (next, failed.then(|| format!("the client was stopped in {}", state.words())))
            }
        };
        log::info!("the client was stopped in {}; going on with {}", state.words(), next.words());
        if let Some(why) = failure {
            self.failed(state, &why);
        }
        if next == State::AfterCommit {
            self.device.mark_committed();
        }
        self.limited(next)
    }
}
