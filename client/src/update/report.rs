//! What the server is told: where a deployment stands, what came of it, and the inventory.

use super::journal::{Attempt, Verdict};
use super::state::Outcome;
use super::timers::Due;
use super::{Act, Engine};
use crate::device::Standing;
use crate::net::api::{Message, Status};
use crate::net::Error;

/// How often a log is sent that the server refuses.
const LOG_TRIES: u32 = 5;

impl Engine {
    /// Reports a state on the way. Only an abortion changes the way.
    pub(super) fn tell(&mut self, status: Status, substate: Option<&str>) -> Act {
        let Some(id) = self.update()?.attempt.deployment.clone() else { return Ok(Outcome::Done) };
        match self.server.report(&id, status, substate) {
            Ok(()) => Ok(Outcome::Done),
            Err(error) if error.code() == Some(409) => Ok(Outcome::Aborted),
            Err(error) => {
                log::warn!("{error}");
                Ok(Outcome::Done)
            }
        }
    }

    /// Comes to the verdict and reports it. What does not arrive is reported before the next poll.
    pub(super) fn report_final(&mut self) -> Act {
        let update = self.update()?;
        let verdict = match (&update.failure, update.inconsistent) {
            (None, _) => Verdict::Success(update.remark.clone()),
            (Some(why), false) => Verdict::Failure(why.clone()),
            (Some(why), true) => Verdict::Failure(format!("{why} (the device may be inconsistent)")),
        };
        match &verdict {
            Verdict::Success(_) => log::info!("{} is installed and committed", update.attempt.artifact),
            Verdict::Failure(why) if update.attempt.deployment.is_some() => {
                log::error!("the deployment failed: {why}");
            }
            // The person who installed it is told by the command.
            Verdict::Failure(_) => {}
        }
        update.attempt.verdict = Some(verdict);
        update.attempt.unreported = update.attempt.deployment.is_some();
        let mut attempt = update.attempt.clone();
        let delivered = self.deliver(&mut attempt);
        self.update()?.attempt.log_refusals = attempt.log_refusals;
        match delivered {
            Ok(()) => self.update()?.attempt.unreported = false,
            Err(error) => {
                log::warn!("{error}");
                self.note_connection(&error);
                self.timers.failed(Due::Poll, error.retry_after());
            }
        }
        Ok(Outcome::Done)
    }

    /// Reports what could not be reported when it happened.
    pub(super) fn deliver_reports(&mut self) -> Result<(), Error> {
        for at in 0..self.journal.record.attempts.len() {
            let mut attempt = self.journal.record.attempts[at].clone();
            if attempt.unreported {
                if let Some(id) = &attempt.deployment {
                    crate::log::begin_deployment(&self.device.deployment_logs(), id);
                }
                let delivered = self.deliver(&mut attempt);
                crate::log::end_deployment();
                attempt.unreported = delivered.is_err();
                if attempt != self.journal.record.attempts[at] {
                    self.journal.record.attempts[at] = attempt;
                    self.save_note();
                }
                delivered?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, attempt: &mut Attempt) -> Result<(), Error> {
        let (Some(id), Some(verdict)) = (&attempt.deployment, &attempt.verdict) else { return Ok(()) };
        let reported = match verdict {
            Verdict::Success(remark) => self.server.report(id, Status::Success, remark.as_deref()),
            Verdict::Failure(why) => self.server.report(id, Status::Failure, Some(why)),
        };
        settled(reported)?;
        if let Verdict::Failure(why) = verdict {
            let mut messages = crate::log::deployment_messages();
            if messages.is_empty() {
                // The log is lost; the journal still knows.
                let timestamp = crate::date::rfc3339(attempt.ended.max(attempt.began));
                let message = |text: &String| Message {
                    timestamp: timestamp.clone(),
                    level: "info".into(),
                    message: text.clone(),
                };
                messages = attempt.events.iter().chain([why]).map(message).collect();
            }
            if let Err(error) = settled(self.server.send_log(id, &messages)) {
                attempt.log_refusals += u32::from(error.reached());
                if attempt.log_refusals < LOG_TRIES {
                    return Err(error);
                }
                // The verdict is told; its log may not keep the device from ever asking again.
                log::warn!("{error}; the log of deployment {id} stays here");
            }
        }
        log::info!("reported deployment {id} to the server");
        Ok(())
    }

    /// Sends the inventory; with it, what was wrong with the connection or the slots is told and done with.
    pub(super) fn submit_inventory(&mut self) -> Act {
        self.take_lock()?;
        let healed = self.device.view().is_ok_and(|view| view.standing() != Standing::Fallback);
        let attributes = crate::inventory::collect(self);
        match self.server.send_inventory(&attributes) {
            Ok(()) => {
                log::info!("sent the inventory");
                self.timers.succeeded(Due::Inventory);
                let record = &mut self.journal.record;
                record.connection_fault = None;
                record.repaired = None;
                record.server_time = crate::date::last_told();
                if healed {
                    record.fallback = None;
                }
                self.save_note();
                Ok(Outcome::Done)
            }
            Err(error) => {
                self.timers.failed(Due::Inventory, error.retry_after());
                self.note_connection(&error);
                Err(error.to_string().into())
            }
        }
    }
}

/// Whether the status says that this request will never do.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && ![401, 408, 429].contains(&code)
}

/// A refusal that another try cannot change counts as told.
fn settled(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.code().is_some_and(is_final) => {
            log::warn!("{error}");
            Ok(())
        }
        result => result,
    }
}
