//! A device asks what to do.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Device, Json, Params};
use crate::api::origin::Origin;
use crate::app::{App, Shared};
use crate::clock::{self, Millis};
use crate::links;
use crate::rollout::select::{self, Poll, Task};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What to install and where to get it.
#[derive(Serialize, ToSchema)]
pub struct Instructions {
    id: String,
    artifact: ArtifactToInstall,
}

#[derive(Serialize, ToSchema)]
struct ArtifactToInstall {
    id: String,
    artifact_name: String,
    device_types_compatible: Vec<String>,
    source: Source,
}

#[derive(Serialize, ToSchema)]
struct Source {
    uri: String,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    expire: Millis,
}

#[derive(Deserialize, ToSchema)]
pub struct PollV1 {
    device_type: String,
    artifact_name: String,
    #[serde(default)]
    artifact_provides: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, ToSchema)]
pub struct PollV2 {
    /// Everything the device provides, `device_type` and `artifact_name` among it.
    device_provides: BTreeMap<String, String>,
}

/// Ask for the next deployment
#[utoipa::path(get, path = "/v1/deployments/device/deployments/next", tag = "device: deployments",
    params(("artifact_name" = String, Query,), ("device_type" = String, Query,)),
    responses((status = 200, body = Instructions), (status = 204, description = "Nothing to do"),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn get_v1(
    State(app): State<Shared>,
    device: Device,
    origin: Origin,
    params: Params,
) -> Result<Response> {
    let need = |key: &str| {
        params.one(key).map(str::to_owned).ok_or_else(|| Fault::bad_request(format!("{key}: missing")))
    };
    let poll = poll_v1(PollV1 {
        device_type: need("device_type")?,
        artifact_name: need("artifact_name")?,
        artifact_provides: None,
    })?;
    answer(&app, &device, &origin, &poll).await
}

/// Ask for the next deployment
#[utoipa::path(post, path = "/v1/deployments/device/deployments/next", tag = "device: deployments",
    request_body = PollV1,
    responses((status = 200, body = Instructions), (status = 204, description = "Nothing to do"),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn post_v1(
    State(app): State<Shared>,
    device: Device,
    origin: Origin,
    Json(body): Json<PollV1>,
) -> Result<Response> {
    answer(&app, &device, &origin, &poll_v1(body)?).await
}

/// Ask for the next deployment, telling everything the device provides
#[utoipa::path(post, path = "/v2/deployments/device/deployments/next", tag = "device: deployments",
    request_body = PollV2,
    responses((status = 200, body = Instructions), (status = 204, description = "Nothing to do"),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn post_v2(
    State(app): State<Shared>,
    device: Device,
    origin: Origin,
    Json(body): Json<PollV2>,
) -> Result<Response> {
    let provides = body.device_provides;
    let need = |key: &str| checked(key, provides.get(key).map(String::as_str));
    let poll = Poll {
        device_type: need("device_type")?,
        artifact_name: need("artifact_name")?,
        complete: true,
        provides,
    };
    answer(&app, &device, &origin, &poll).await
}

fn poll_v1(body: PollV1) -> Result<Poll> {
    let device_type = checked("device_type", Some(&body.device_type))?;
    let artifact_name = checked("artifact_name", Some(&body.artifact_name))?;
    let complete = body.artifact_provides.is_some();
    let mut provides = body.artifact_provides.unwrap_or_default();
    provides.insert("device_type".into(), device_type.clone());
    provides.insert("artifact_name".into(), artifact_name.clone());
    Ok(Poll { device_type, artifact_name, provides, complete })
}

fn checked(key: &str, value: Option<&str>) -> Result<String> {
    match value {
        Some(value) if (1..=4096).contains(&value.len()) => Ok(value.to_owned()),
        Some(_) => Err(Fault::bad_request(format!("{key}: expected 1 to 4096 bytes"))),
        None => Err(Fault::bad_request(format!("{key}: missing"))),
    }
}

async fn answer(app: &App, Device(device): &Device, origin: &Origin, poll: &Poll) -> Result<Response> {
    app.check_ins.note(&device.tenant, &device.id);
    let Some(task) = select::next(app, device, poll).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let link = |path: &str| {
        let (link, expire) =
            links::sign(&app.keys.links, "GET", path, device.tenant.id(), links::DEVICE_LIFE);
        Source { uri: format!("{}{link}", origin.0), expire }
    };
    let (id, artifact) = match task {
        Task::Artifact { part, artifact } => (
            part.deployment_id,
            ArtifactToInstall {
                source: link(&format!("/api/devices/v1/deployments/download/artifact/{}", artifact.id)),
                id: artifact.id,
                artifact_name: artifact.name,
                device_types_compatible: artifact.detail.device_types_compatible,
            },
        ),
        Task::Configuration { part } => (
            part.deployment_id.clone(),
            ArtifactToInstall {
                source: link(&super::configuration::download_path(
                    &part.deployment_id,
                    &poll.device_type,
                    &device.id,
                )),
                id: part.deployment_id,
                artifact_name: part.artifact_name,
                device_types_compatible: vec![poll.device_type.clone()],
            },
        ),
    };
    Ok(axum::Json(Instructions { id, artifact }).into_response())
}
