//! A device reports where it is in a deployment, and sends its log.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Device, Json};
use crate::app::Shared;
use crate::store::device_deployments::{Reported, REPORTABLE};
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// Most characters of a substate.
const SUBSTATE: usize = 200;

#[derive(Deserialize, ToSchema)]
pub struct Report {
    status: String,
    #[serde(default)]
    substate: Option<String>,
}

/// Report the status of a deployment
#[utoipa::path(put, path = "/v1/deployments/device/deployments/{id}/status", tag = "device: deployments",
    params(("id" = String, Path,)), request_body = Report,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "Aborted", body = ErrorBody)))]
pub async fn put(
    State(app): State<Shared>,
    Device(device): Device,
    Path(id): Path<String>,
    Json(report): Json<Report>,
) -> Result<StatusCode> {
    if !REPORTABLE.contains(&report.status.as_str()) {
        return Err(Fault::bad_request(format!("status: expected one of {}", REPORTABLE.join(", "))));
    }
    if report.substate.as_ref().is_some_and(|text| text.chars().count() > SUBSTATE) {
        return Err(Fault::bad_request(format!("substate: expected at most {SUBSTATE} characters")));
    }
    let substate = report.substate.as_deref();
    match app.store.report(&device.tenant, &id, &device.id, &report.status, substate).await? {
        Reported::Aborted => Err(Fault::conflict("the deployment was aborted")),
        Reported::Taken { status, changed } => {
            if changed {
                tracing::info!(device = device.id, deployment = id, status = report.status, "device reports");
                let data = json!({ "id": id, "device_id": device.id, "device_status": status });
                app.events.tell(&device.tenant, "deployment", data);
            }
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

#[derive(Deserialize, ToSchema)]
pub struct Log {
    messages: Vec<Message>,
}

#[derive(Deserialize, Serialize, ToSchema)]
pub struct Message {
    timestamp: String,
    level: String,
    message: String,
}

/// Send the log of a failed deployment
#[utoipa::path(put, path = "/v1/deployments/device/deployments/{id}/log", tag = "device: deployments",
    params(("id" = String, Path,)), request_body = Log,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody)))]
pub async fn put_log(
    State(app): State<Shared>,
    Device(device): Device,
    Path(id): Path<String>,
    Json(log): Json<Log>,
) -> Result<StatusCode> {
    if log.messages.is_empty() {
        return Err(Fault::bad_request("messages: expected at least one"));
    }
    let lines = log.messages.iter().map(|one| format!("{} {}: {}\n", one.timestamp, one.level, one.message));
    let text: String = lines.collect();
    let errors = log.messages.iter().rev().find(|one| one.level.eq_ignore_ascii_case("error"));
    let why = errors.or(log.messages.last()).map(|one| one.message.chars().take(500).collect::<String>());
    app.store.write_log(&device.tenant, &id, &device.id, &text, why.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
