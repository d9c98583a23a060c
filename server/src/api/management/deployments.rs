//! Deployments: create, list, read, abort, count.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User};
use crate::app::{App, Shared};
use crate::store::deployments::{Created, Deployment, DeploymentFilter, NewDeployment, Target};
use crate::store::Paged;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most bytes of a deployment's or release's name.
const NAME: usize = 4096;

#[derive(Deserialize, ToSchema)]
pub struct NewDeploymentBody {
    name: String,
    artifact_name: String,
    /// Ids.
    #[serde(default)]
    devices: Vec<String>,
    /// All accepted ones.
    #[serde(default)]
    all_devices: bool,
    /// Also on devices that run the release already.
    #[serde(default)]
    force_installation: bool,
    /// How often a device that failed is told again.
    #[serde(default)]
    retries: u32,
}

/// Create a deployment
#[utoipa::path(post, path = "/v1/deployments/deployments", tag = "deployments", request_body = NewDeploymentBody,
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 409, description = "The same one is under way", body = ErrorBody),
        (status = 422, description = "No artifact of that name", body = ErrorBody)))]
pub async fn create(
    State(app): State<Shared>,
    user: User,
    Json(body): Json<NewDeploymentBody>,
) -> Result<Response> {
    let target = match (body.all_devices, body.devices.is_empty()) {
        (true, true) => Target::All,
        (false, false) => Target::Devices(body.devices.clone()),
        (true, false) => return Err(Fault::bad_request("expected devices or all_devices, found both")),
        (false, true) => return Err(Fault::bad_request("expected devices or all_devices, found neither")),
    };
    make(&app, &user, body, target).await
}

/// Create a deployment for a group
#[utoipa::path(post, path = "/v1/deployments/deployments/group/{name}", tag = "deployments",
    params(("name" = String, Path,)), request_body = NewDeploymentBody,
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 409, description = "The same one is under way", body = ErrorBody),
        (status = 422, description = "No artifact of that name", body = ErrorBody)))]
pub async fn create_for_group(
    State(app): State<Shared>,
    user: User,
    Path(group): Path<String>,
    Json(body): Json<NewDeploymentBody>,
) -> Result<Response> {
    if body.all_devices || !body.devices.is_empty() {
        return Err(Fault::bad_request("a deployment for a group names no devices"));
    }
    make(&app, &user, body, Target::Group(group)).await
}

async fn make(app: &App, user: &User, body: NewDeploymentBody, target: Target) -> Result<Response> {
    for (key, value) in [("name", &body.name), ("artifact_name", &body.artifact_name)] {
        if value.is_empty() || value.len() > NAME {
            return Err(Fault::bad_request(format!("{key}: expected 1 to {NAME} bytes")));
        }
    }
    if body.retries > 100 {
        return Err(Fault::bad_request("retries: expected at most 100"));
    }
    if app.store.artifacts_named(&user.tenant, &body.artifact_name).await?.is_empty() {
        let message = format!("no artifact of the name {} exists; upload it first", body.artifact_name);
        return Err(Fault::unprocessable(message));
    }
    let new = NewDeployment {
        name: body.name,
        artifact_name: body.artifact_name,
        target,
        force_installation: body.force_installation,
        retries: body.retries.into(),
        configuration: None,
    };
    let id = match app.store.create_deployment(&user.tenant, new).await? {
        Created::Done(id) => id,
        Created::NoDevices => return Err(Fault::bad_request("no accepted device is in the target")),
        Created::UnknownDevices(ids) => {
            return Err(Fault::bad_request(format!("no device has the id {}", ids.join(", "))))
        }
        Created::Duplicate(id) => {
            return Err(Fault::conflict(format!("deployment {id} with the same parameters is not finished")))
        }
    };
    tracing::info!(deployment = id, user = user.id, "deployment created");
    app.events.tell(&user.tenant, "deployment", json!({ "id": id, "status": "pending" }));
    let location = format!("/api/management/v1/deployments/deployments/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// The query of both versions' lists.
pub(super) fn filter(params: &Params) -> Result<DeploymentFilter> {
    let known = |key: &str, words: &[&str]| -> Result<Vec<String>> {
        let values = params.all(key);
        match values.iter().find(|value| !words.contains(&value.as_str())) {
            Some(other) => {
                Err(Fault::bad_request(format!("{key}: expected one of {}, found {other}", words.join(", "))))
            }
            None => Ok(values),
        }
    };
    Ok(DeploymentFilter {
        statuses: known("status", &["pending", "inprogress", "finished", "scheduled"])?,
        kind: known("type", &["software", "configuration"])?.pop(),
        search: params.one("search").map(str::to_owned),
        created_after: params.time("created_after")?,
        created_before: params.time("created_before")?,
        oldest_first: match params.one("sort") {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => {
                return Err(Fault::bad_request(format!("sort: expected asc or desc, found {other}")))
            }
        },
        ..Default::default()
    })
}

/// List deployments
#[utoipa::path(get, path = "/v1/deployments/deployments", tag = "deployments",
    params(("status" = Option<String>, Query, description = "pending, inprogress, finished"),
        ("type" = Option<String>, Query, description = "software, configuration"),
        ("search" = Option<String>, Query, description = "Part of its or the release's name"),
        ("created_after" = Option<f64>, Query,), ("created_before" = Option<f64>, Query,),
        ("sort" = Option<String>, Query, description = "asc, desc"), ("page" = Option<i64>, Query,),
        ("per_page" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<Deployment>), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    Ok(page.respond(&uri, app.store.deployments(&user.tenant, &filter(&params)?, page.window()).await?))
}

/// Read a deployment
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}", tag = "deployments",
    params(("id" = String, Path,)), responses((status = 200, body = Deployment), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Deployment>> {
    let found = app.store.deployment(&user.tenant, &id).await?;
    found.map(axum::Json).ok_or_else(|| Fault::not_found("deployment"))
}

#[derive(Deserialize, ToSchema)]
pub struct NewStatus {
    /// `aborted`
    status: String,
}

/// Abort a deployment
///
/// Devices that are done stay as they are.
#[utoipa::path(put, path = "/v1/deployments/deployments/{id}/status", tag = "deployments",
    params(("id" = String, Path,)), request_body = NewStatus,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "It is finished", body = ErrorBody)))]
pub async fn abort(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    Json(body): Json<NewStatus>,
) -> Result<StatusCode> {
    if body.status != "aborted" {
        return Err(Fault::bad_request(format!("status: expected aborted, found {}", body.status)));
    }
    app.store.abort_deployment(&user.tenant, &id).await.map_err(|error| match error {
        crate::store::Error::Conflict(message) => Fault::unprocessable(message),
        other => other.into(),
    })?;
    tracing::info!(deployment = id, user = user.id, "deployment aborted");
    app.events.tell(&user.tenant, "deployment", json!({ "id": id, "status": "finished" }));
    Ok(StatusCode::NO_CONTENT)
}

/// Count a deployment's devices by state
#[utoipa::path(get, path = "/v1/deployments/deployments/{id}/statistics", tag = "deployments",
    params(("id" = String, Path,)), responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn statistics(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<BTreeMap<&'static str, i64>>> {
    let found = app.store.deployment(&user.tenant, &id).await?;
    let found = found.ok_or_else(|| Fault::not_found("deployment"))?;
    Ok(axum::Json(found.statistics.status))
}

#[derive(Deserialize, ToSchema)]
pub struct DeploymentIds {
    deployment_ids: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct StatisticsOf {
    id: String,
    stats: BTreeMap<&'static str, i64>,
}

/// Count several deployments' devices by state
#[utoipa::path(post, path = "/v1/deployments/deployments/statistics/list", tag = "deployments",
    request_body = DeploymentIds,
    responses((status = 200, body = Vec<StatisticsOf>), (status = 400, body = ErrorBody)))]
pub async fn statistics_of_many(
    State(app): State<Shared>,
    user: User,
    Json(body): Json<DeploymentIds>,
) -> Result<axum::Json<Vec<StatisticsOf>>> {
    if body.deployment_ids.is_empty() || body.deployment_ids.len() > 500 {
        return Err(Fault::bad_request("deployment_ids: expected 1 to 500 ids"));
    }
    let mut found = app.store.statistics(&user.tenant, &body.deployment_ids).await?;
    let ids = body.deployment_ids.into_iter();
    let list = ids.filter_map(|id| found.remove(&id).map(|stats| StatisticsOf { id, stats }));
    Ok(axum::Json(list.collect()))
}

/// A deployment as version 2 of the API writes it.
#[derive(Serialize, ToSchema)]
pub struct DeploymentV2 {
    #[serde(flatten)]
    deployment: Deployment,
    dynamic: bool,
    autogenerate_delta: bool,
    /// Beginning, share and count of devices; one when the rollout has no phases.
    phases: Vec<Phase>,
}

#[derive(Serialize, ToSchema)]
struct Phase {
    id: String,
    /// Percent.
    batch_size: i64,
    start_ts: String,
    device_count: i64,
}

impl From<Deployment> for DeploymentV2 {
    fn from(deployment: Deployment) -> Self {
        let phase = Phase {
            id: "1".into(),
            batch_size: 100,
            start_ts: crate::clock::rfc3339(deployment.created),
            device_count: deployment.device_count,
        };
        DeploymentV2 { deployment, dynamic: false, autogenerate_delta: false, phases: vec![phase] }
    }
}

/// List deployments
#[utoipa::path(get, path = "/v2/deployments/deployments", tag = "deployments",
    params(("id" = Option<Vec<String>>, Query,), ("name" = Option<Vec<String>>, Query,),
        ("status" = Option<Vec<String>>, Query, description = "pending, inprogress, finished, scheduled"),
        ("type" = Option<String>, Query, description = "software, configuration"),
        ("created_after" = Option<f64>, Query,), ("created_before" = Option<f64>, Query,),
        ("sort" = Option<String>, Query, description = "asc, desc"), ("page" = Option<i64>, Query,),
        ("per_page" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<DeploymentV2>), (status = 400, body = ErrorBody)))]
pub async fn list_v2(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let filter = DeploymentFilter { ids: params.all("id"), names: params.all("name"), ..filter(&params)? };
    let found = app.store.deployments(&user.tenant, &filter, page.window()).await?;
    let items: Vec<_> = found.items.into_iter().map(DeploymentV2::from).collect();
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}
