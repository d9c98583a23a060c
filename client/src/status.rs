//! `rota status`: how the device stands, for a person or a program, and why it stands so.

use std::fmt::Write;

use serde_json::{json, Value};

use crate::date;
use crate::device::Device;
use crate::inventory::summary;
use crate::provides::Provides;
use crate::update::clock_fault;
use crate::update::journal::{Attempt, Journal, Record, Verdict};

/// All that is known without changing anything.
pub struct Status {
    artifact: String,
    device_type: Option<String>,
    servers: Vec<String>,
    booted: Result<String, String>,
    committed: Option<String>,
    state: String,
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
        faults.extend(clock_fault());
        faults.extend(record.faults());
        let view = device.view();
        faults.extend(view.as_ref().err().cloned());
        Status {
            artifact: Provides::peek(&device.paths).remove("artifact_name").unwrap_or_default(),
            device_type: device.config.device_type.clone(),
            servers: device.config.urls.clone(),
            booted: device.booted().map(|slot| slot.to_string()),
            committed: view.as_ref().ok().map(|view| view.boot.committed.to_string()),
            state: view.map_or_else(|_| "unknown".into(), |view| view.standing().name().to_owned()),
            record,
            faults,
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
        match self.record.update.as_ref().map(|update| (update, update.state)) {
            Some((update, state)) => {
                let words = state.map(|state| state.words()).unwrap_or_default();
                line("update", &format!("{} in {words}", update.attempt.artifact));
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
            "update": self.record.update.as_ref().and_then(|update| update.state),
            "attempts": self.attempts().map(attempt).collect::<Vec<_>>(), "faults": self.faults,
        })
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
