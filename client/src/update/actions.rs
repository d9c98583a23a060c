//! What is done in each state.

use std::time::Duration;

use super::handler::{AnyHandler, Context, Handler};
use super::hold::Step;
use super::journal::{Reboot, Rollback, Update};
use super::scripts;
use super::state::{Outcome, State};
use super::timers::Due;
use super::{Act, Engine, Halt};
use crate::device::Standing;
use crate::net::api::Status;
use crate::net::Error;
use crate::sys::power;

impl Engine {
    /// The action of `state`, which is durable by now where that is asked.
    pub(super) fn act(&mut self, state: State) -> Act {
        use State::*;
        match state {
            Idle => self.idle(),
            PollForDeployment => self.poll(),
            SubmitInventory => self.submit_inventory(),
            ReportDownloading => self.tell(Status::Downloading, None),
            Download => self.download(),
            RollbackNotNeeded => self.rolled_back(Rollback::NotNeeded),
            ReportInstalling => {
                self.tell_when_open(state, Step::Install, Status::Downloading, Status::Installing)
            }
            ArtifactInstall => self.call(Handler::install),
            CheckReboot => self.check_reboot(),
            ReportRebooting => {
                self.tell_when_open(state, Step::Reboot, Status::Installing, Status::Rebooting)
            }
            ArtifactReboot => self.reboot(),
            ArtifactVerifyReboot => self.verify_reboot(),
            BeforeCommit => {
                self.server.forget_token();
                Ok(Outcome::Done)
            }
            CheckHealth => self.check_health(),
            ArtifactCommit => {
                // A slot whose scripts this client cannot run could never be updated again.
                scripts::check_slot(&self.device.paths)?;
                self.call(Handler::commit)
            }
            CheckRollback => Ok(yes_or_no(self.with_handler(false, Handler::supports_rollback)?)),
            ArtifactRollback => self.roll_back(),
            CheckRollbackReboot => Ok(yes_or_no(self.with_handler(false, Handler::needs_rollback_reboot)?)),
            ArtifactRollbackReboot => self.rollback_reboot(),
            ArtifactVerifyRollbackReboot => self.call(Handler::verify_rollback_reboot),
            RollbackSuccessful => self.rolled_back(Rollback::Done),
            ArtifactFailure => self.ignoring(Handler::failure),
            SaveProvides => self.save_provides(),
            Cleanup => self.ignoring(Handler::cleanup),
            StateLoop => self.state_loop(),
            ReportFinal => self.report_final(),
            ClearArtifactData => self.close(),
            EndOfDeployment => {
                // One that a script at the end of Sync put off: it is offered again.
                self.journal.record.update = None;
                self.deployment = None;
                crate::log::end_deployment();
                self.server.deployment_is_over();
                self.timers.now(Due::Inventory);
                Ok(Outcome::Done)
            }
            state => self.run_scripts(state),
        }
    }

    fn call(&mut self, ask: fn(&AnyHandler, &mut Context<'_>) -> Result<(), String>) -> Act {
        self.with_handler((), ask)?;
        Ok(Outcome::Done)
    }

    /// A call whose failure changes nothing.
    fn ignoring(&mut self, ask: fn(&AnyHandler, &mut Context<'_>) -> Result<(), String>) -> Act {
        if let Err(Halt::Failed(why)) = self.call(ask) {
            log::warn!("{why}");
        }
        Ok(Outcome::Done)
    }

    fn idle(&mut self) -> Act {
        self.lock = None;
        self.device.tell_waits(self.timers.left());
        match self.timers.wait(&self.signals) {
            None => Err(Halt::Stopped),
            Some(Due::Poll) => Ok(Outcome::Poll),
            Some(Due::Inventory) => Ok(Outcome::Inventory),
        }
    }

    fn poll(&mut self) -> Act {
        let result = self.ask();
        match &result {
            Ok((_, again)) => {
                self.timers.succeeded(Due::Poll);
                if let Some(wait) = again {
                    self.timers.no_later(Due::Poll, *wait);
                }
            }
            Err((_, asked)) => self.timers.failed(Due::Poll, *asked),
        }
        result.map(|(outcome, _)| outcome).map_err(|(halt, _)| halt)
    }

    /// The outcome, and when to ask again at the latest; or the failure, and how long the server asked to wait.
    fn ask(&mut self) -> Result<(Outcome, Option<Duration>), (Halt, Option<Duration>)> {
        let nothing = |again| Ok((Outcome::Nothing, again));
        self.take_lock().map_err(|halt| (halt, None))?;
        if let Some(update) = &self.journal.record.update {
            if update.attempt.deployment.is_some() {
                // The data partition was not there when this client started.
                log::warn!("the journal has come back, with an update under way; starting anew");
                return Err((Halt::Stopped, None));
            }
            log::info!(
                "an update that was installed by hand waits to be committed or rolled back; not polling"
            );
            return nothing(None);
        }
        if self.device.was_trial()
            && self.device.view().is_ok_and(|view| view.standing() == Standing::Fallback)
        {
            log::info!("the trial was called off, and the machine waits to be restarted; not polling");
            return nothing(None);
        }
        let asked =
            self.deliver_reports().and_then(|()| self.server.next_deployment(&self.reported_provides()));
        let found = asked.map_err(|error| {
            self.note_connection(&error);
            (Halt::Failed(error.to_string()), error.retry_after())
        })?;
        let again = found.as_ref().and_then(|deployment| self.put_off(&deployment.id));
        self.heal(found.is_some() && again.is_none());
        let Some(deployment) = found else {
            log::info!("no deployment");
            self.device.tell_held(None);
            return nothing(None);
        };
        if again.is_some() {
            return nothing(again);
        }
        crate::log::begin_deployment(&self.device.deployment_logs(), &deployment.id);
        log::info!(
            "deployment {} of {}",
            deployment.id,
            deployment.artifact_name.as_deref().unwrap_or("an artifact")
        );
        let mut update = Update::default();
        update.attempt.deployment = Some(deployment.id.clone());
        update.attempt.began = crate::date::now();
        self.journal.record.update = Some(update);
        self.deployment = Some(deployment);
        Ok((Outcome::Done, None))
    }

    /// Keeps in mind why the server cannot be reached, to tell it once it can.
    pub(super) fn note_connection(&mut self, error: &Error) {
        if !error.reached() {
            let fault = Some(format!("the server could not be reached: {error}"));
            if self.journal.record.connection_fault != fault {
                self.journal.record.connection_fault = fault;
                self.save_note();
            }
        }
    }

    fn check_reboot(&mut self) -> Act {
        let reboot = self.with_handler(Reboot::No, Handler::needs_reboot)?;
        self.update()?.reboot = reboot;
        Ok(yes_or_no(reboot != Reboot::No))
    }

    fn reboot(&mut self) -> Act {
        if self.update()?.reboot == Reboot::Custom {
            self.update()?.rebooted = true;
            self.must_save()?;
            return self.call(Handler::reboot);
        }
        self.arm()?;
        log::info!("restarting into the trial");
        self.restart()
    }

    /// Makes the next boot the trial, and records that.
    pub(super) fn arm(&mut self) -> Result<(), Halt> {
        if let Some(why) = self.journal.fault() {
            return Err(Halt::Failed(format!("{why}; no trial is armed without it")));
        }
        self.with_handler((), Handler::arm)?;
        let boot = self.device.system.boot_id();
        let update = self.update()?;
        update.armed = Some(boot);
        update.rebooted = true;
        self.must_save()
    }

    /// A record without which the next step may not be taken.
    pub(super) fn must_save(&mut self) -> Result<(), Halt> {
        self.journal.save().map_err(|error| Halt::Failed(error.to_string()))
    }

    /// Restarts the machine; returns `Restarting` when that is under way.
    pub(super) fn restart(&mut self) -> Act {
        let restarted = match self.device.boot() {
            Ok(boot) => boot.reboot().map_err(|error| error.to_string()),
            Err(_) => power::restart().map_err(|error| format!("cannot restart the machine: {error}")),
        };
        restarted?;
        Err(Halt::Restarting)
    }

    fn verify_reboot(&mut self) -> Act {
        self.with_handler((), Handler::verify_reboot)?;
        let update = self.update()?;
        if let Some(origin) = update.origin {
            update.attempt.event(format!("the client started in the trial of slot {}", origin.other()));
            self.save_note();
        }
        Ok(Outcome::Done)
    }

    fn roll_back(&mut self) -> Act {
        log::info!("rolling back");
        let result = self.call(Handler::rollback);
        if matches!(result, Err(Halt::Failed(_))) {
            self.update()?.rollback = Rollback::Failed;
        }
        result
    }

    fn rollback_reboot(&mut self) -> Act {
        if self.update()?.reboot == Reboot::Custom {
            self.ignoring(Handler::rollback_reboot)?;
            return Ok(Outcome::Done);
        }
        log::info!("restarting back into the committed slot");
        match self.restart() {
            Err(Halt::Failed(why)) => {
                // What comes next finds that the machine is not back, and tries again.
                log::error!("{why}");
                Ok(Outcome::Done)
            }
            act => act,
        }
    }

    fn rolled_back(&mut self, rollback: Rollback) -> Act {
        self.update()?.rollback = rollback;
        Ok(Outcome::Done)
    }

    /// What the device provides from now on. Nothing changes when a failed update was undone.
    fn save_provides(&mut self) -> Act {
        let old = self.provides.facts().clone();
        let update = self.update()?;
        let undone = matches!(update.rollback, Rollback::Done | Rollback::NotNeeded) || !update.installed;
        let failed = update.failure.is_some();
        if failed && undone && !update.committed {
            return Ok(Outcome::Done);
        }
        let (committed, epoch) = (update.committed || !failed, update.epoch);
        let mut facts = if committed { update.provides.clone() } else { old };
        if failed {
            update.inconsistent = true;
            facts.insert("artifact_name".into(), format!("{}_INCONSISTENT", update.attempt.artifact));
            facts.extend(
                update.provides.get("artifact_group").map(|group| ("artifact_group".into(), group.clone())),
            );
        }
        if committed {
            self.epoch.committed(epoch, &self.device.paths);
        }
        let running = self.device.booted().ok();
        if let Err(error) = self.provides.save(facts, running) {
            log::error!("{error}; the device goes on to report {}", self.provides.facts()["artifact_name"]);
        }
        Ok(Outcome::Done)
    }

    fn state_loop(&mut self) -> Act {
        let update = self.update()?;
        update.fail("the update went in circles and was given up");
        update.installed = true;
        update.rollback = Rollback::Failed;
        self.save_provides()
    }

    /// The update is over: what is told of it afterwards remains.
    fn close(&mut self) -> Act {
        let (mut by_server, mut by_module) = (false, false);
        if let Some(mut update) = self.journal.record.update.take() {
            by_server = update.attempt.deployment.is_some();
            by_module = update.by_module;
            update.attempt.ended = crate::date::now();
            self.journal.record.attempts.push(update.attempt);
        }
        self.journal.record.server_time = crate::date::last_told();
        self.save_note();
        if let Err(error) = scripts::remove(&self.device.paths.data) {
            log::warn!("cannot remove the artifact's state scripts: {error}");
        }
        // Nothing but an update that was given up leaves a trial behind: it may not go on without one.
        match self.device.view().map(|view| view.standing()) {
            Ok(Standing::Trial) if by_server => {
                self.cancel();
                return self.restart();
            }
            // A module may have a trial of its own, which is its own affair.
            Ok(Standing::Armed) if !by_module => self.cancel(),
            _ => {}
        }
        Ok(Outcome::Done)
    }
}

fn yes_or_no(yes: bool) -> Outcome {
    match yes {
        true => Outcome::Yes,
        false => Outcome::No,
    }
}
