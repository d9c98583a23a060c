//! Updates without a server: `rota install`, `commit` and `rollback` (protocol: standalone mode).
//!
//! The same states as in the daemon, but without the restarts between: a person, or a script, does those.

use std::fs::File;

use super::handler::{AnyHandler, Context, Handler, Source};
use super::journal::{Reboot, Rollback, Update};
use super::state::{Outcome, State};
use super::{Engine, Halt};
use crate::net::download::Download;

/// Why an update failed that a person undid.
const BY_HAND: &str = "rolled back by hand";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// An artifact is installed, and waits for `commit` or `rollback`.
    Installed {
        /// Whether the machine has to be restarted first.
        reboot: bool,
    },
    /// An artifact is installed for good: it cannot be rolled back, or only sets provides.
    InstalledAndCommitted {
        /// Whether the machine has to be restarted.
        reboot: bool,
    },
    /// The installed artifact is committed.
    Committed,
    /// The update was undone.
    RolledBack {
        /// Whether the machine has to be restarted to be back.
        reboot: bool,
    },
    /// There is no update to commit or roll back.
    NothingInProgress,
}

/// What was found of an update by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenUp {
    /// There is none.
    Nothing,
    /// It waits for a person, and would go on here.
    Waits(State),
    /// It had been interrupted, and has been brought to its end.
    Ended,
}

impl Engine {
    /// Installs the artifact from a file, an address, or with `-` from standard input.
    pub fn install(&mut self, from: &str) -> Result<Done, String> {
        self.take_lock().map_err(why_halted)?;
        if self.journal.record.update.is_some() && self.take_up()? != TakenUp::Ended {
            return Err("an update is in progress already; commit or roll it back first".into());
        }
        let (config, signals) = (self.device.config.clone(), self.signals.clone());
        let cannot = |error: std::io::Error| format!("cannot read {from}: {error}");
        let source: Source<'_> = match from {
            "-" => Box::new(std::io::stdin().lock()),
            url if url.contains("://") => {
                Box::new(Download::start(&self.server, &config, url, None, &signals).map_err(cannot)?)
            }
            file => Box::new(File::open(file).map_err(cannot)?),
        };
        let mut update = Update::default();
        update.attempt.began = crate::date::now();
        self.journal.record.update = Some(update);
        let next = match self.take(source, None) {
            Ok(Outcome::Empty) => State::SaveProvides,
            Ok(outcome) => State::Download.next(outcome),
            Err(Halt::Failed(why)) => {
                self.failed(State::Download, &why);
                match self.update().map_err(why_halted)?.state {
                    Some(_) => State::DownloadError,
                    // It is not for this device, or none at all: nothing has begun.
                    None => State::RollbackNotNeeded,
                }
            }
            Err(halt) => return Err(why_halted(halt)),
        };
        match self.drive(next)? {
            State::CheckReboot => self.installed(),
            _ => self.verdict(Done::InstalledAndCommitted { reboot: false }),
        }
    }

    /// The artifact is installed: without a way back it is committed at once.
    fn installed(&mut self) -> Result<Done, String> {
        match self.arm_by_hand() {
            Ok((reboot, true)) => Ok(Done::Installed { reboot }),
            Ok((reboot, false)) => {
                self.drive(State::ArtifactCommitEnter)?;
                self.verdict(Done::InstalledAndCommitted { reboot })
            }
            Err(Halt::Failed(why)) => {
                self.failed(State::ArtifactReboot, &why);
                self.drive(State::CheckRollback)?;
                self.verdict(Done::NothingInProgress)
            }
            Err(halt) => Err(why_halted(halt)),
        }
    }

    /// Whether it needs a restart, and whether it waits for a person.
    fn arm_by_hand(&mut self) -> Result<(bool, bool), Halt> {
        let waits = self.with_handler(false, Handler::supports_rollback)?;
        let reboot = self.with_handler(Reboot::No, Handler::needs_reboot)?;
        self.update()?.reboot = reboot;
        if waits {
            self.save_state(State::ArtifactReboot)?;
            if reboot == Reboot::Automatic {
                self.arm()?;
            }
        }
        Ok((reboot != Reboot::No, waits))
    }

    /// Commits what `install` left.
    pub fn commit(&mut self) -> Result<Done, String> {
        match self.take_up()? {
            TakenUp::Nothing => Ok(Done::NothingInProgress),
            TakenUp::Ended => self.verdict(Done::Committed),
            TakenUp::Waits(State::ArtifactReboot) => {
                Err("the trial has not been booted yet; restart the machine, then commit".into())
            }
            TakenUp::Waits(_) => {
                let needs_trial = |update: &Update| update.reboot == Reboot::Automatic;
                if let Err(reason) = self.ask_waiting(needs_trial, Handler::verify_reboot)? {
                    self.failed(State::ArtifactVerifyReboot, &reason);
                    self.drive(State::CheckRollback)?;
                    return self.verdict(Done::Committed);
                }
                self.drive(State::ArtifactCommitEnter)?;
                self.verdict(Done::Committed)
            }
        }
    }

    /// Undoes what `install` left.
    pub fn rollback(&mut self) -> Result<Done, String> {
        match self.take_up()? {
            TakenUp::Nothing => return Ok(Done::NothingInProgress),
            TakenUp::Ended => {}
            TakenUp::Waits(_) => {
                let reboot = self.ask_waiting(|_| true, Handler::needs_rollback_reboot)?.unwrap_or(false);
                self.update().map_err(why_halted)?.fail(BY_HAND);
                self.drive(State::CheckRollback)?;
                return match self.verdict(Done::Committed) {
                    Err(why) if why == BY_HAND => Ok(Done::RolledBack { reboot }),
                    other => other,
                };
            }
        }
        match self.verdict(Done::Committed) {
            Ok(_) => Err("the update had been committed already".into()),
            Err(why) => {
                log::info!("{why}");
                let reboot = self.device.view().is_ok_and(|view| view.booted != view.boot.committed);
                Ok(Done::RolledBack { reboot })
            }
        }
    }

    /// Takes up what a command left. One that was interrupted anywhere else than where a person is waited for goes to its end.
    fn take_up(&mut self) -> Result<TakenUp, String> {
        self.take_lock().map_err(why_halted)?;
        match &self.journal.record.update {
            None => return Ok(TakenUp::Nothing),
            Some(update) if update.attempt.deployment.is_some() => {
                return Err("the update in progress is a deployment's; the daemon carries it out".into())
            }
            Some(_) => {}
        }
        match self.resume_update() {
            next @ (State::ArtifactReboot | State::ArtifactVerifyReboot) => Ok(TakenUp::Waits(next)),
            next => {
                self.drive(next)?;
                Ok(TakenUp::Ended)
            }
        }
    }

    fn ask_waiting<T: Default>(
        &mut self,
        when: impl FnOnce(&Update) -> bool,
        ask: fn(&AnyHandler, &mut Context<'_>) -> Result<T, String>,
    ) -> Result<Result<T, String>, String> {
        if !when(self.update().map_err(why_halted)?) {
            return Ok(Ok(T::default()));
        }
        match self.with_handler(T::default(), ask) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Halt::Failed(why)) => Ok(Err(why)),
            Err(halt) => Err(why_halted(halt)),
        }
    }

    /// Goes from state to state until a person's part begins (`CheckReboot`), or to the end. Restarts are left out.
    fn drive(&mut self, from: State) -> Result<State, String> {
        let mut state = from;
        loop {
            state = match state {
                State::CheckReboot | State::EndOfDeployment => return Ok(state),
                State::CheckRollbackReboot => State::RollbackSuccessful,
                // What a person wanted is no failure.
                State::ArtifactFailureEnter if self.is_undone_by_hand() => State::SaveProvides,
                state => self.advance(state).map_err(|_| "stopped".to_owned())?,
            };
        }
    }

    fn is_undone_by_hand(&self) -> bool {
        let undone =
            |update: &Update| update.rollback == Rollback::Done && update.failure.as_deref() == Some(BY_HAND);
        self.journal.record.update.as_ref().is_some_and(undone)
    }

    /// What came of the update that has just ended.
    fn verdict(&self, good: Done) -> Result<Done, String> {
        match self.journal.record.attempts.last().and_then(|attempt| attempt.verdict.as_ref()) {
            Some(super::journal::Verdict::Failure(why)) => Err(why.clone()),
            _ => Ok(good),
        }
    }
}

fn why_halted(halt: Halt) -> String {
    match halt {
        Halt::Failed(why) => why,
        Halt::Stopped => "stopped".into(),
        Halt::Restarting => "the machine is about to restart".into(),
    }
}
