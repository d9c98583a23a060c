//! Updates without a server: `rota install`, `commit`, `rollback` and `resume` (protocol: standalone mode).
//!
//! The same states as in the daemon, but without the restarts between: a person, or a script, does those.

use std::fs::File;

use super::handler::{Handler, Source};
use super::journal::{Reboot, Rollback, Update, Verdict};
use super::state::{Outcome, State};
use super::{Engine, Halt};
use crate::net::download::Download;

/// Why an update failed that a person undid.
const BY_HAND: &str = "rolled back by hand";

/// Where a person can have an update stopped: the name of the place, and the state that comes next there.
pub const STOPS: &[(&str, State)] = &[
    ("ArtifactInstall_Enter", State::ArtifactInstallEnter),
    ("ArtifactCommit_Enter", State::ArtifactCommitEnter),
    ("ArtifactCommit_Leave", State::ArtifactCommitLeave),
    ("ArtifactRollback_Enter", State::ArtifactRollbackEnter),
    ("ArtifactFailure_Enter", State::ArtifactFailureEnter),
    ("Cleanup", State::Cleanup),
];

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
    /// The update was given up before anything was installed.
    NotModified,
    /// It stopped where that was asked; the name of the place.
    Stopped(&'static str),
    /// There is no update to commit, roll back or resume.
    NothingInProgress,
}

/// What was found of an update by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// There is none.
    Nothing,
    /// It waits to be committed or rolled back, and would go on here.
    Waits(State),
    /// It stopped before this state.
    Stopped(State),
    /// It was interrupted, and goes on here to its end.
    Interrupted(State),
}

impl Engine {
    /// Installs the artifact from a file, an address, or with `-` from standard input.
    pub fn install(&mut self, from: &str) -> Result<Done, String> {
        match self.find()? {
            Found::Nothing => {}
            Found::Interrupted(next) => match self.go_on(next, Done::Committed) {
                Ok(Done::Stopped(_)) => return in_progress(),
                Ok(_) => {}
                Err(why) => log::info!("{why}"),
            },
            Found::Waits(_) | Found::Stopped(_) => return in_progress(),
        }
        // An update is the way out, also for a device that has no server.
        self.heal(true);
        let (config, signals) = (self.device.config.clone(), self.signals.clone());
        let cannot = |error: std::io::Error| format!("cannot read {from}: {error}");
        let source: Source<'_> = match from {
            "-" => Box::new(std::io::stdin().lock()),
            url if url.contains("://") => {
                let gate = self.gate(None);
                Box::new(Download::start_by_hand(&self.server, &config, url, gate, &signals).map_err(cannot)?)
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
        self.go_on(next, Done::InstalledAndCommitted { reboot: false })
    }

    /// The artifact is installed: without a way back it is committed at once.
    fn installed(&mut self) -> Result<Done, String> {
        match self.arm_by_hand() {
            Ok((reboot, true)) => Ok(Done::Installed { reboot }),
            Ok((_, false)) if self.stop_before.contains(&State::ArtifactCommitEnter) => {
                self.stop(State::ArtifactCommitEnter)
            }
            Ok((reboot, false)) => {
                println!("Update Module doesn't support rollback. Committing immediately.");
                self.go_on(State::ArtifactCommitEnter, Done::InstalledAndCommitted { reboot })
            }
            Err(Halt::Failed(why)) => {
                self.failed(State::ArtifactReboot, &why);
                self.go_on(State::CheckRollback, Done::NothingInProgress)
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
        match self.find()? {
            Found::Nothing => Ok(Done::NothingInProgress),
            Found::Interrupted(next) | Found::Stopped(next @ State::ArtifactCommitEnter) => {
                self.go_on(next, Done::Committed)
            }
            Found::Stopped(state) => has_stopped(state),
            Found::Waits(state) => self.commit_waiting(state),
        }
    }

    fn commit_waiting(&mut self, next: State) -> Result<Done, String> {
        if next == State::ArtifactReboot {
            return Err("the trial has not been booted yet; restart the machine, then commit".into());
        }
        if self.update().map_err(why_halted)?.reboot == Reboot::Automatic {
            match self.with_handler((), Handler::verify_reboot) {
                Ok(()) => {}
                Err(Halt::Failed(why)) => {
                    self.failed(State::ArtifactVerifyReboot, &why);
                    return self.go_on(State::CheckRollback, Done::Committed);
                }
                Err(halt) => return Err(why_halted(halt)),
            }
        }
        self.go_on(State::ArtifactCommitEnter, Done::Committed)
    }

    /// Undoes what `install` left.
    pub fn rollback(&mut self) -> Result<Done, String> {
        let next = match self.find()? {
            Found::Nothing => return Ok(Done::NothingInProgress),
            Found::Interrupted(next) => return self.roll_back_interrupted(next),
            Found::Stopped(State::ArtifactInstallEnter) => State::RollbackNotNeeded,
            Found::Waits(_) => State::CheckRollback,
            Found::Stopped(State::ArtifactCommitEnter) => {
                if !self.with_handler(false, Handler::supports_rollback).map_err(why_halted)? {
                    return Err("what was installed cannot be rolled back; commit it".into());
                }
                State::CheckRollback
            }
            Found::Stopped(state) => return has_stopped(state),
        };
        let reboot = match next {
            State::CheckRollback => self.with_handler(false, Handler::needs_rollback_reboot).unwrap_or(false),
            _ => false,
        };
        self.update().map_err(why_halted)?.fail(BY_HAND);
        let done = self.go_on(next, Done::Committed)?;
        Ok(match done {
            Done::RolledBack { .. } => Done::RolledBack { reboot },
            done => done,
        })
    }

    fn roll_back_interrupted(&mut self, next: State) -> Result<Done, String> {
        match self.go_on(next, Done::Committed) {
            Ok(done @ (Done::Stopped(_) | Done::RolledBack { .. } | Done::NotModified)) => Ok(done),
            Ok(_) => Err("the update had been committed already".into()),
            Err(why) => {
                log::info!("{why}");
                Ok(self.rolled_back_now())
            }
        }
    }

    /// Goes on with what was stopped or interrupted, and commits what waits for that.
    pub fn resume(&mut self) -> Result<Done, String> {
        match self.find()? {
            Found::Nothing => Ok(Done::NothingInProgress),
            Found::Stopped(next) | Found::Interrupted(next) => self.go_on(next, Done::Committed),
            Found::Waits(state) => self.commit_waiting(state),
        }
    }

    /// Takes up what a command left.
    fn find(&mut self) -> Result<Found, String> {
        self.take_lock().map_err(why_halted)?;
        match &self.journal.record.update {
            None => return Ok(Found::Nothing),
            Some(update) if update.attempt.deployment.is_some() => {
                return Err("the update in progress is a deployment's; the daemon carries it out".into())
            }
            Some(Update { stopped_before: Some(state), .. }) => return Ok(Found::Stopped(*state)),
            Some(_) => {}
        }
        Ok(match self.resume_update() {
            next @ (State::ArtifactReboot | State::ArtifactVerifyReboot) => Found::Waits(next),
            next => Found::Interrupted(next),
        })
    }

    /// Goes from state to state until a person's part begins, a stop that was asked for, or the end; `good` is what is said at a good one.
    /// Restarts are left out.
    fn go_on(&mut self, from: State, good: Done) -> Result<Done, String> {
        let (mut state, mut left) = (from, Left::Nothing);
        loop {
            state = match state {
                State::CheckRollbackReboot => State::RollbackSuccessful,
                // What a person wanted is no failure.
                State::ArtifactFailureEnter if self.is_undone_by_hand() => State::SaveProvides,
                state => state,
            };
            if state != from && self.stop_before.contains(&state) {
                return self.stop(state);
            }
            match state {
                State::CheckReboot => return self.installed(),
                State::EndOfDeployment => return self.verdict(good, left),
                State::ReportFinal => left = self.left(),
                _ => {}
            }
            state = self.advance(state).map_err(|_| "stopped".to_owned())?;
        }
    }

    fn stop(&mut self, before: State) -> Result<Done, String> {
        self.update().map_err(why_halted)?.stopped_before = Some(before);
        self.must_save().map_err(why_halted)?;
        Ok(Done::Stopped(name(before)))
    }

    fn is_undone_by_hand(&self) -> bool {
        let undone =
            |update: &Update| update.rollback == Rollback::Done && update.failure.as_deref() == Some(BY_HAND);
        self.journal.record.update.as_ref().is_some_and(undone)
    }

    fn left(&self) -> Left {
        match &self.journal.record.update {
            Some(update) if update.failure.is_none() => Left::Nothing,
            Some(update) if update.inconsistent => Left::Inconsistent,
            Some(update) if update.installed => Left::RolledBack,
            _ => Left::NotModified,
        }
    }

    /// What came of the update that has just ended.
    fn verdict(&mut self, good: Done, left: Left) -> Result<Done, String> {
        let verdict = self.journal.record.attempts.last().and_then(|attempt| attempt.verdict.clone());
        match verdict {
            Some(Verdict::Failure(why)) if why == BY_HAND && left == Left::NotModified => {
                Ok(Done::NotModified)
            }
            Some(Verdict::Failure(why)) if why == BY_HAND => Ok(self.rolled_back_now()),
            Some(Verdict::Failure(why)) => Err(format!("{why}{}", left.words())),
            _ => Ok(good),
        }
    }

    fn rolled_back_now(&mut self) -> Done {
        Done::RolledBack { reboot: self.device.view().is_ok_and(|view| view.booted != view.boot.committed) }
    }
}

/// What a failed update left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    NotModified,
    RolledBack,
    Inconsistent,
}

impl Left {
    /// To be told after the reason.
    fn words(self) -> &'static str {
        match self {
            Left::Nothing => "",
            Left::NotModified => "\nSystem not modified.",
            Left::RolledBack => "\nRolled back.",
            Left::Inconsistent => "\nThe system may be in an inconsistent state.",
        }
    }
}

fn in_progress<T>() -> Result<T, String> {
    Err("Update already in progress. Please commit or roll back first".into())
}

fn has_stopped<T>(before: State) -> Result<T, String> {
    Err(format!("the update stopped before {}; rota resume goes on with it", name(before)))
}

fn name(stop: State) -> &'static str {
    STOPS.iter().find(|(_, state)| *state == stop).map_or("", |(name, _)| name)
}

fn why_halted(halt: Halt) -> String {
    match halt {
        Halt::Failed(why) => why,
        Halt::Stopped => "stopped".into(),
        Halt::Restarting => "the machine is about to restart".into(),
    }
}
