//! The devices of a deployment: where each is, why, and its log; and a device's history.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Params, User};
use crate::app::{App, Shared};
use crate::clock::{self, Millis};
use crate::rollout::why::{self, Surroundings, Why};
use crate::store::artifacts::Artifact;
use crate::store::deployments::Deployment;
use crate::store::device_deployments::{states_of, Part};
use crate::store::{Paged, Tenant, Window};
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};
use serde::Serialize;
use serde_json::{json, Value};
use std::collections::HashMap;
use utoipa::ToSchema;

/// A device's part in a deployment.
#[derive(Serialize, ToSchema)]
pub struct DeviceDeployment {
    /// Of the device.
    id: String,
    status: String,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    created: Millis,
    #[serde(serialize_with = "clock::text::option::serialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started: Option<Millis>,
    #[serde(serialize_with = "clock::text::option::serialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished: Option<Millis>,
    #[serde(skip_serializing_if = "String::is_empty")]
    device_type: String,
    /// There is a log to read.
    log: bool,
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    substate: String,
    /// Why it ended as it did, where the status does not say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    attempts: i64,
    retries: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    image: Option<Value>,
}

/// One entry of a device's history.
#[derive(Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Of the device's part in the deployment.
    id: String,
    deployment: Deployment,
    device: DeviceDeployment,
}

fn image(artifact: &Artifact) -> Value {
    json!({
        "id": artifact.id,
        "meta": { "description": artifact.description },
        "meta_artifact": {
            "name": artifact.name,
            "device_types_compatible": artifact.detail.device_types_compatible,
            "info": artifact.detail.info,
            "signed": artifact.detail.signed,
            "updates": artifact.detail.updates,
        },
        "size": artifact.size,
        "modified": clock::rfc3339(artifact.modified),
    })
}

fn show(part: Part, images: &HashMap<String, Value>) -> DeviceDeployment {
    let device_type = part.request.as_ref().and_then(|request| request["device_type"].as_str());
    DeviceDeployment {
        device_type: device_type.unwrap_or_default().to_owned(),
        image: part.artifact_id.as_ref().and_then(|id| images.get(id).cloned()),
        id: part.device_id,
        state: part.status.clone(),
        status: part.status,
        created: part.created,
        started: part.started,
        finished: part.finished,
        log: part.has_log,
        substate: part.substate,
        reason: part.reason,
        attempts: part.attempts,
        retries: part.retries,
    }
}

async fn images(app: &App, tenant: &Tenant, parts: &[Part]) -> Result<HashMap<String, Value>> {
    let mut images = HashMap::new();
    for id in parts.iter().filter_map(|part| part.artifact_id.as_ref()) {
        if !images.contains_key(id) {
            if let Some(artifact) = app.store.artifact(tenant, id).await? {
                images.insert(id.clone(), image(&artifact));
            }
        }
    }
    Ok(images)
}

fn states(params: &Params) -> Result<Vec<&'static str>> {
    let mut states = Vec::new();
    for word in params.all("status") {
        states.extend(
            states_of(&word).ok_or_else(|| Fault::bad_request(format!("status: {word} is not a state")))?,
        );
    }
    Ok(states)
}

async fn known(app: &App, tenant: &Tenant, id: &str) -> Result<Deployment> {
    app.store.deployment(tenant, id).await?.ok_or_else(|| Fault::not_found("deployment"))
}

/// List all devices of a deployment
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}/devices", tag = "deployments",
    params(("id" = String, Path,), ("status" = Option<Vec<String>>, Query,)),
    responses((status = 200, body = Vec<DeviceDeployment>), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn all(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    params: Params,
) -> Result<axum::Json<Vec<DeviceDeployment>>> {
    known(&app, &user.tenant, &id).await?;
    let window = Window { offset: 0, limit: i64::MAX };
    let parts = app.store.parts(&user.tenant, &id, &states(&params)?, window).await?.items;
    let images = images(&app, &user.tenant, &parts).await?;
    Ok(axum::Json(parts.into_iter().map(|part| show(part, &images)).collect()))
}

/// List devices of a deployment
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}/devices/list", tag = "deployments",
    params(("id" = String, Path,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("status" = Option<Vec<String>>, Query, description = "States, or pause, active, finished")),
    responses((status = 200, body = Vec<DeviceDeployment>), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn list(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    known(&app, &user.tenant, &id).await?;
    let found = app.store.parts(&user.tenant, &id, &states(&params)?, page.window()).await?;
    let images = images(&app, &user.tenant, &found.items).await?;
    let items: Vec<_> = found.items.into_iter().map(|part| show(part, &images)).collect();
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}

/// List the ids of all devices of a deployment
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}/device_list", tag = "deployments",
    params(("id" = String, Path,)), responses((status = 200, body = Vec<String>), (status = 404, body = ErrorBody)))]
pub async fn ids(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Vec<String>>> {
    known(&app, &user.tenant, &id).await?;
    Ok(axum::Json(app.store.deployment_devices(&user.tenant, &id).await?))
}

/// Read the log of a device in a deployment
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}/devices/{device}/log", tag = "deployments",
    params(("id" = String, Path,), ("device" = String, Path,)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = ErrorBody)))]
pub async fn log(
    State(app): State<Shared>,
    user: User,
    Path((id, device)): Path<(String, String)>,
) -> Result<Response> {
    let text = app.store.log(&user.tenant, &id, &device).await?.ok_or_else(|| Fault::not_found("log"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Ask why a device of a deployment is where it is
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}/devices/{device}/why", tag = "deployments",
    params(("id" = String, Path,), ("device" = String, Path,)),
    responses((status = 200, body = Why), (status = 404, body = ErrorBody)))]
pub async fn why(
    State(app): State<Shared>,
    user: User,
    Path((id, device)): Path<(String, String)>,
) -> Result<axum::Json<Why>> {
    app.flush_check_ins().await;
    let part = app.store.part(&user.tenant, &id, &device).await?;
    let part = part.ok_or_else(|| Fault::not_found("device of the deployment"))?;
    let known = app.store.device(&user.tenant, &device).await?;
    let next = app.store.next_part(&user.tenant, &device).await?;
    let ahead = next.filter(|next| next.deployment_id != part.deployment_id);
    let around = Surroundings {
        status: known.as_ref().map(|device| device.status),
        check_in: known.and_then(|device| device.check_in),
        ahead: ahead.map(|next| format!("{} ({})", next.deployment_name, next.deployment_id)),
    };
    Ok(axum::Json(why::why(&part, &around)))
}

/// List what a device took part in
#[utoipa::path(get, path = "/v1/deployments/deployments/devices/{id}", tag = "deployments",
    params(("id" = String, Path,), ("status" = Option<Vec<String>>, Query,), ("page" = Option<i64>, Query,),
        ("per_page" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<HistoryEntry>), (status = 400, body = ErrorBody)))]
pub async fn history(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page_of(20, 20)?;
    let found = app.store.history(&user.tenant, &id, &states(&params)?, page.window()).await?;
    let images = images(&app, &user.tenant, &found.items).await?;
    let mut items = Vec::new();
    for part in found.items {
        if let Some(deployment) = app.store.deployment(&user.tenant, &part.deployment_id).await? {
            let id = format!("{}.{}", part.deployment_id, part.device_id);
            items.push(HistoryEntry { id, deployment, device: show(part, &images) });
        }
    }
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}

/// Abort everything that a device has still to do
#[utoipa::path(delete, path = "/v1/deployments/deployments/devices/{id}", tag = "deployments",
    params(("id" = String, Path,)), responses((status = 204)))]
pub async fn abort_device(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    app.store.abort_device(&user.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget what a device took part in
#[utoipa::path(delete, path = "/v1/deployments/deployments/devices/{id}/history", tag = "deployments",
    params(("id" = String, Path,)), responses((status = 204)))]
pub async fn forget(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    app.store.forget_history(&user.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
