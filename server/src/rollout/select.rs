//! What a device that asks is told to do (device API: next deployment, selection rules).
use crate::api::error::{Fault, Result};
use crate::app::App;
use crate::store::artifacts::Artifact;
use crate::store::device_deployments::Part;
use crate::token::DeviceId;
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// What a device says when it asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    pub device_type: String,
    pub artifact_name: String,
    /// Everything it provides, with the two above.
    pub provides: BTreeMap<String, String>,
    /// `provides` is all there is, so that a depends on something else is unmet.
    pub complete: bool,
}

impl Poll {
    /// As it is kept: the first poll of a deployment must be equal to the later ones.
    fn record(&self) -> Value {
        json!({ "device_type": self.device_type, "artifact_name": self.artifact_name, "provides": self.provides })
    }
}

/// What to install.
pub enum Task {
    Artifact {
        part: Part,
        artifact: Box<Artifact>,
    },
    /// The artifact is made for this device, from the deployment's configuration.
    Configuration {
        part: Part,
    },
}

/// The device's next task. Deployments that have nothing for it end on the way. `None`: nothing to do.
pub async fn next(app: &App, device: &DeviceId, poll: &Poll) -> Result<Option<Task>> {
    let tenant = &device.tenant;
    let Some(part) = app.store.next_part(tenant, &device.id).await? else { return Ok(None) };
    let record = poll.record();
    if part.request.as_ref().is_some_and(|first| *first != record) {
        let reason = "what the device says of itself changed while the deployment was under way";
        app.store.end_part(tenant, &part, "failure", reason).await?;
        tell(app, device, &part, "failure");
        return Err(Fault::conflict(reason));
    }
    if part.kind == "configuration" {
        app.store.assign(tenant, &part, None, &record).await?;
        return Ok(Some(Task::Configuration { part }));
    }
    match choose(app, device, &part, poll).await? {
        Ok(artifact) => {
            if part.request.is_none() {
                app.store.assign(tenant, &part, Some((&artifact.id, artifact.size)), &record).await?;
            }
            Ok(Some(Task::Artifact { part, artifact: Box::new(artifact) }))
        }
        Err((status, reason)) => {
            app.store.end_part(tenant, &part, status, &reason).await?;
            tell(app, device, &part, status);
            Ok(None)
        }
    }
}

/// The artifact for this device, or the status that ends its part, and why.
async fn choose(
    app: &App,
    device: &DeviceId,
    part: &Part,
    poll: &Poll,
) -> Result<std::result::Result<Artifact, (&'static str, String)>> {
    if let Some(id) = &part.artifact_id {
        if let (Some(artifact), true) =
            (app.store.artifact(&device.tenant, id).await?, part.request.is_some())
        {
            return Ok(Ok(artifact));
        }
    }
    let all = app.store.artifacts_named(&device.tenant, &part.artifact_name).await?;
    let chosen = best(all, part, poll);
    let installed = poll.artifact_name == part.artifact_name;
    if chosen.is_ok() && installed && part.status == "pending" && !part.force_installation {
        let reason = format!("the device runs {} already", part.artifact_name);
        return Ok(Err(("already-installed", reason)));
    }
    Ok(chosen)
}

/// The artifact that asks for the most of what the device has; among equals, the smallest.
fn best(
    all: Vec<Artifact>,
    part: &Part,
    poll: &Poll,
) -> std::result::Result<Artifact, (&'static str, String)> {
    let release = &part.artifact_name;
    if all.is_empty() {
        return Err(("noartifact", format!("release {release} has no artifact any more")));
    }
    let types: Vec<_> = all.iter().flat_map(|one| one.detail.device_types_compatible.clone()).collect();
    let (mut fitting, mut unmet) = (Vec::new(), None);
    for artifact in all {
        if !artifact.detail.device_types_compatible.contains(&poll.device_type) {
            continue;
        }
        match artifact.detail.unmet(&poll.provides, !poll.complete) {
            None => fitting.push(artifact),
            Some(reason) => unmet = Some(reason),
        }
    }
    fitting.sort_by_key(|one| (std::cmp::Reverse(one.detail.artifact_depends.len()), one.size));
    fitting.into_iter().next().ok_or_else(|| {
        let reason = match unmet {
            Some(reason) => format!("release {release} does not fit the device: {reason}"),
            None => format!(
                "release {release} has no artifact for device type {}; it has {}",
                poll.device_type,
                types.join(", ")
            ),
        };
        ("noartifact", reason)
    })
}

/// Tells listeners where a device of a deployment is now.
pub fn tell(app: &App, device: &DeviceId, part: &Part, status: &str) {
    let data = json!({ "id": part.deployment_id, "device_id": device.id, "device_status": status });
    app.events.tell(&device.tenant, "deployment", data);
}
