//! `rota status`: how the device stands, for a person or a program, and why it stands so.

use std::fmt::Write;

use serde_json::{json, Value};

use crate::boot::Capabilities;
use crate::device::Device;
use crate::inventory::summary;
use crate::provides::Provides;
use crate::slot::Slot;
use crate::update::clock_fault;
use crate::update::journal::{Attempt, Journal, Reboot, Record, Verdict};
use crate::{daemon, date, epoch};

/// All that is known without changing anything.
pub struct Status {
    artifact: String,
    device_type: Option<String>,
    servers: Vec<String>,
    booted: Result<String, String>,
    committed: Option<String>,
    state: String,
    /// The back end in words, and as it is.
    boot: Option<(String, Capabilities)>,
    /// The slot that is armed or on trial, and how many boots it has left.
    trial: Option<(Slot, u32)>,
    epoch: u64,
    daemon_runs: bool,
    waits: Option<[u64; 2]>,
    /// Why a deployment waits.
    held: Option<String>,
    record: Record,
    faults: Vec<String>,
}

impl Status {
    /// Looks around.
    pub fn of(device: &mut Device) -> Status {
        let record = Journal::peek(&device.paths.data);
        if let Some(time) = record.server_time {
            date::told(time);
        }
        let mut faults = device.faults();
        faults.extend(Journal::fault_in(&device.paths.data));
        faults.extend(clock_fault());
        faults.extend(record.faults());
        let view = device.view();
        faults.extend(view.as_ref().err().cloned());
        faults.extend(epoch::of_image(&device.paths).err());
        let trial = view.as_ref().ok().and_then(|view| Some((view.boot.trial?, view.boot.attempts_left)));
        let daemon_runs = daemon::running(&device.paths).is_ok();
        Status {
            artifact: Provides::peek(&device.paths).remove("artifact_name").unwrap_or_default(),
            device_type: device.config.device_type.clone(),
            servers: device.config.urls.clone(),
            booted: device.booted().map(|slot| slot.to_string()),
            committed: view.as_ref().ok().map(|view| view.boot.committed.to_string()),
            state: view.map_or_else(|_| "unknown".into(), |view| view.standing().name().to_owned()),
            boot: device.boot().ok().map(|boot| (boot.capabilities().words(), boot.capabilities())),
            trial,
            epoch: epoch::peek(&device.paths),
            daemon_runs,
            waits: device.waits(),
            held: device.held().filter(|_| daemon_runs),
            record,
            faults,
        }
    }

    /// What an update by hand waits for.
    fn waits_for(&self) -> Option<&'static str> {
        let update = self.record.update.as_ref().filter(|update| update.attempt.deployment.is_none())?;
        let needs_restart = update.reboot == Reboot::Automatic;
        Some(match self.state.as_str() {
            "trial" => "installed by hand: `rota commit` or `rota rollback`",
            "armed" => "installed by hand: a restart into its trial, or `rota rollback`",
            _ if needs_restart => "installed by hand: its trial is over; `rota commit` says why",
            _ => "installed by hand: `rota commit` or `rota rollback`",
        })
    }

    /// What the daemon does next.
    fn next(&self) -> String {
        match (self.daemon_runs, self.waits) {
            (false, _) => "not running".into(),
            (true, _)
                if self.record.update.as_ref().is_some_and(|update| update.attempt.deployment.is_some()) =>
            {
                "runs, and works on the update".into()
            }
            (true, Some([poll, inventory])) => {
                format!(
                    "runs; asks for a deployment {}, sends the inventory {}",
                    in_time(poll),
                    in_time(inventory)
                )
            }
            (true, None) => "runs".into(),
        }
    }

    /// For a person; with `why`, every attempt that is remembered.
    pub fn text(&self, why: bool) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line("artifact", &self.artifact);
        line("device type", self.device_type.as_deref().unwrap_or("not set"));
        line(
            "server",
            if self.servers.is_empty() { "not set".into() } else { self.servers.join(", ") }.as_str(),
        );
        line("booted", &self.booted.as_ref().map_or_else(|why| why.clone(), |slot| format!("slot {slot}")));
        line(
            "committed",
            &self.committed.as_ref().map_or_else(|| "not known".into(), |slot| format!("slot {slot}")),
        );
        line("state", &self.state);
        if let Some((slot, left)) = self.trial {
            let boots = if left == 1 { "1 boot".to_owned() } else { format!("{left} boots") };
            line("trial", &format!("slot {slot}, {boots} left"));
        }
        line("boot", self.boot.as_ref().map_or("not known", |(words, _)| words));
        if self.epoch > 0 {
            line("epoch", &format!("{}; releases of earlier ones are refused", self.epoch));
        }
        line("daemon", &self.next());
        if let Some(why) = &self.held {
            line("deployment", why);
        }
        match self.record.update.as_ref().map(|update| (update, update.state)) {
            Some((update, state)) => {
                let words = state.map(|state| state.words()).unwrap_or_default();
                line("update", &format!("{} in {words}", update.attempt.artifact));
                if let Some(what) = self.waits_for() {
                    line("waits for", what);
                }
            }
            None => line("update", "none in progress"),
        }
        if let Some(last) = self.record.attempts.last() {
            line("last", &summary(last));
        }
        for fault in &self.faults {
            line("fault", fault);
        }
        if why {
            for attempt in self.attempts() {
                tell(&mut text, attempt);
            }
        }
        text
    }

    /// Every attempt, the newest first; the one under way is the newest.
    fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.record.update.iter().map(|update| &update.attempt).chain(self.record.attempts.iter().rev())
    }

    /// For a program.
    pub fn json(&self) -> Value {
        let attempt = |attempt: &Attempt| {
            let (result, reason) = match &attempt.verdict {
                Some(Verdict::Success(remark)) => ("success", remark.clone()),
                Some(Verdict::Failure(why)) => ("failure", Some(why.clone())),
                None => ("in progress", None),
            };
            json!({
                "artifact": attempt.artifact, "deployment": attempt.deployment, "slot": attempt.slot,
                "began": date::rfc3339(attempt.began), "events": attempt.events, "result": result,
                "reason": reason, "reported": !attempt.unreported,
            })
        };
        json!({
            "artifact": self.artifact, "device_type": self.device_type, "servers": self.servers,
            "booted": self.booted.as_ref().ok(), "committed": self.committed, "state": self.state,
            "trial": self.trial.map(|(slot, _)| slot), "attempts_left": self.trial.map(|(_, left)| left),
            "boot": self.boot.as_ref().map(|(words, of)| json!({
                "backend": of.name, "loader": of.loader, "tries": of.tries, "words": words,
            })),
            "epoch": self.epoch,
            "daemon": {
                "running": self.daemon_runs,
                "poll_in": self.waits.filter(|_| self.daemon_runs).map(|waits| waits[0]),
                "inventory_in": self.waits.filter(|_| self.daemon_runs).map(|waits| waits[1]),
            },
            "waits_for": self.waits_for(),
            "held": self.held,
            "update": self.record.update.as_ref().and_then(|update| update.state),
            "attempts": self.attempts().map(attempt).collect::<Vec<_>>(), "faults": self.faults,
        })
    }
}

/// A time to come in words.
fn in_time(seconds: u64) -> String {
    match seconds {
        0 => "now".into(),
        1..=119 => format!("in {seconds} s"),
        120..=7199 => format!("in {} min", seconds / 60),
        _ => format!("in {} h", seconds / 3600),
    }
}

fn tell(text: &mut String, attempt: &Attempt) {
    let whose = match &attempt.deployment {
        Some(id) => format!("deployment {id}"),
        None => "not by a deployment".into(),
    };
    let _ = writeln!(text, "\n{} {} ({whose})", date::rfc3339(attempt.began), summary(attempt));
    for event in &attempt.events {
        let _ = writeln!(text, "  {event}");
    }
    if attempt.unreported {
        let _ = writeln!(text, "  not yet reported to the server");
    }
}
