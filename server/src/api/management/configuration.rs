//! Device configurations: what is wanted, and bringing it to the device.
use crate::api::device::configuration::check;
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, OptionalJson, User};
use crate::app::{App, Shared};
use crate::clock;
use crate::store::configurations::Configuration;
use crate::store::deployments::{Created, NewDeployment, Target};
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};
use utoipa::ToSchema;

async fn known(app: &App, user: &User, id: &str) -> Result<()> {
    app.store.device(&user.tenant, id).await?.map(|_| ()).ok_or_else(|| Fault::not_found("device"))
}

/// Read a device's configuration
#[utoipa::path(get, path = "/v1/deviceconfig/configurations/device/{id}", tag = "configuration",
    params(("id" = String, Path,)),
    responses((status = 200, body = Configuration), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Configuration>> {
    known(&app, &user, &id).await?;
    Ok(axum::Json(app.store.configuration(&user.tenant, &id).await?))
}

/// Set the configuration that a device should have
///
/// It is brought to the device by a deployment.
#[utoipa::path(put, path = "/v1/deviceconfig/configurations/device/{id}", tag = "configuration",
    params(("id" = String, Path,)), request_body = Object,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn put(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    Json(map): Json<Map<String, Value>>,
) -> Result<StatusCode> {
    check(&map)?;
    known(&app, &user, &id).await?;
    app.store.configure(&user.tenant, &id, &map).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default, Deserialize, ToSchema)]
pub struct Deploy {
    /// How often the device is told again when it failed.
    #[serde(default)]
    retries: u32,
}

#[derive(Serialize, ToSchema)]
pub struct Deployed {
    deployment_id: String,
}

/// Bring a configuration to its device
#[utoipa::path(post, path = "/v1/deviceconfig/configurations/device/{id}/deploy", tag = "configuration",
    params(("id" = String, Path,)), request_body = Option<Deploy>,
    responses((status = 200, body = Deployed), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn deploy(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    OptionalJson(body): OptionalJson<Deploy>,
) -> Result<axum::Json<Deployed>> {
    known(&app, &user, &id).await?;
    let retries = body.unwrap_or_default().retries;
    if retries > 100 {
        return Err(Fault::bad_request("retries: expected at most 100"));
    }
    let wanted = app.store.configuration(&user.tenant, &id).await?.configured;
    let name = format!("configuration-{}", clock::new_id());
    let new = NewDeployment {
        artifact_name: name.clone(),
        name,
        target: Target::Devices(vec![id.clone()]),
        force_installation: true,
        retries: retries.into(),
        configuration: Some(Value::Object(wanted)),
    };
    match app.store.create_deployment(&user.tenant, new).await? {
        Created::Done(deployment_id) => {
            app.store.configuration_deployed(&user.tenant, &id, &deployment_id).await?;
            app.events.tell(&user.tenant, "deployment", json!({ "id": deployment_id, "status": "pending" }));
            Ok(axum::Json(Deployed { deployment_id }))
        }
        _ => Err(Fault::not_found("device")),
    }
}
