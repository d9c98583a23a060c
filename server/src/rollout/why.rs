//! Why a device of a deployment is where it is, in a sentence.
use crate::clock::{self, Millis};
use crate::store::device_deployments::{Part, FINAL};
use crate::store::devices::Status;
use serde::Serialize;
use utoipa::ToSchema;

/// The answer, for programs (`code`) and people (`reason`).
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Why {
    pub device_id: String,
    pub status: String,
    /// `not_accepted`, `behind_another`, `not_seen`, `not_asked`, `told`, `again`, `waiting`, `under_way`, `paused`,
    /// `done`, `failed`, `skipped`, `aborted`, `decommissioned`
    pub code: &'static str,
    pub reason: String,
    /// Since when it is so.
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub since: Millis,
}

/// What besides its part in the deployment says where a device is.
pub struct Surroundings {
    /// `None`: the device is gone.
    pub status: Option<Status>,
    pub check_in: Option<Millis>,
    /// The deployment it has to finish first.
    pub ahead: Option<String>,
}

pub fn why(part: &Part, around: &Surroundings) -> Why {
    let (code, reason) = explain(part, around);
    Why {
        device_id: part.device_id.clone(),
        status: part.status.clone(),
        code,
        reason,
        since: part.finished.or(part.started).unwrap_or(part.created),
    }
}

fn explain(part: &Part, around: &Surroundings) -> (&'static str, String) {
    let said = |fallback: &str| match part.reason.as_str() {
        "" => fallback.to_owned(),
        reason => reason.to_owned(),
    };
    let doing = match part.substate.as_str() {
        "" => String::new(),
        substate => format!(": {substate}"),
    };
    let under_way = !FINAL.contains(&part.status.as_str()) && part.status != "pending";
    if under_way && part.substate.to_lowercase().starts_with("waiting") {
        return ("waiting", format!("the device is {}", part.substate));
    }
    match part.status.as_str() {
        "pending" => waiting(part, around),
        "success" => ("done", format!("{} is installed", part.artifact_name)),
        "already-installed" => ("skipped", said("the device runs the release already")),
        "noartifact" => ("skipped", said("the release has no artifact for the device")),
        "failure" if part.has_log => ("failed", said("the device reported a failure; its log says more")),
        "failure" => ("failed", said("the device reported a failure and gave no reason")),
        "aborted" => ("aborted", said("the deployment was aborted")),
        "decommissioned" => ("decommissioned", "the device was decommissioned".to_owned()),
        "pause_before_installing" => ("paused", format!("the device waits before it installs{doing}")),
        "pause_before_rebooting" => ("paused", format!("the device waits before it reboots{doing}")),
        "pause_before_committing" => ("paused", format!("the device waits before it commits{doing}")),
        status => ("under_way", format!("the device is {status}{doing}")),
    }
}

fn waiting(part: &Part, around: &Surroundings) -> (&'static str, String) {
    match around.status {
        Some(Status::Accepted) => {}
        Some(status) => {
            return ("not_accepted", format!("the device is {} and cannot ask for updates", status.name()))
        }
        None => return ("decommissioned", "the device is not known any more".to_owned()),
    }
    if let Some(ahead) = &around.ahead {
        return ("behind_another", format!("the device has to finish deployment {ahead} first"));
    }
    if part.request.is_some() {
        return ("told", "the device was told to install and has not begun to download".to_owned());
    }
    let seen = match around.check_in {
        Some(at) => format!("it was last seen {}", clock::rfc3339(at)),
        None => "it was never seen".to_owned(),
    };
    if part.attempts > 0 {
        let failed = match part.reason.as_str() {
            "" => String::new(),
            reason => format!(" (it failed: {reason})"),
        };
        let tries = format!("{} of {}", part.attempts, part.retries);
        return ("again", format!("the device is to try again, retry {tries}{failed}; {seen}"));
    }
    match around.check_in {
        Some(at) if at >= part.created => {
            ("not_asked", format!("the device has not asked for updates since; {seen}"))
        }
        _ => ("not_seen", format!("the device has not been seen since the deployment was made; {seen}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(status: &str, substate: &str) -> Part {
        Part {
            deployment_id: "x".into(),
            device_id: "d".into(),
            status: status.into(),
            substate: substate.into(),
            reason: String::new(),
            created: 10,
            started: None,
            finished: None,
            artifact_id: None,
            request: None,
            attempts: 0,
            has_log: false,
            deployment_name: "n".into(),
            artifact_name: "rel-2".into(),
            kind: "software".into(),
            force_installation: false,
            retries: 0,
            configuration: None,
            seq: 1,
        }
    }

    fn around(status: Option<Status>, check_in: Option<Millis>) -> Surroundings {
        Surroundings { status, check_in, ahead: None }
    }

    #[test]
    fn a_pending_device_says_what_it_waits_for() {
        let accepted = Some(Status::Accepted);
        for (around, code) in [
            (around(None, None), "decommissioned"),
            (around(Some(Status::Rejected), None), "not_accepted"),
            (around(accepted, None), "not_seen"),
            (around(accepted, Some(9)), "not_seen"),
            (around(accepted, Some(11)), "not_asked"),
            (Surroundings { ahead: Some("m".into()), ..around(accepted, None) }, "behind_another"),
        ] {
            assert_eq!(why(&part("pending", ""), &around).code, code);
        }
        let failed = Part { attempts: 1, retries: 3, reason: "no room".into(), ..part("pending", "") };
        let again = why(&failed, &around(accepted, None));
        assert_eq!(again.code, "again");
        assert!(again.reason.contains("retry 1 of 3 (it failed: no room)"), "{}", again.reason);
    }

    #[test]
    fn a_device_at_work_says_what_it_does() {
        let around = around(Some(Status::Accepted), None);
        let window = why(&part("downloading", "waiting for its download window, 02:00 to 04:00"), &around);
        assert_eq!(window.code, "waiting");
        assert_eq!(window.reason, "the device is waiting for its download window, 02:00 to 04:00");
        assert_eq!(why(&part("rebooting", ""), &around).reason, "the device is rebooting");
        assert_eq!(why(&part("pause_before_committing", "asks a person"), &around).code, "paused");
        assert!(why(&part("failure", ""), &around).reason.contains("gave no reason"));
    }
}
