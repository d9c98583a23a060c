//! Which devices may take part: accept, reject, preauthorise, decommission.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User};
use crate::app::{App, Shared};
use crate::identity;
use crate::pubkey::PublicKey;
use crate::store::auth_sets::Changed;
use crate::store::devices::{Device, DeviceFilter, Status};
use crate::store::Tenant;
use crate::webhooks::{tell, What};
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

fn statuses(names: &[String]) -> Result<Vec<Status>> {
    let parse = |name: &String| {
        Status::parse(name)
            .ok_or_else(|| Fault::bad_request(format!("status: {name} is not a device's status")))
    };
    names.iter().map(parse).collect()
}

/// List devices
#[utoipa::path(get, path = "/v2/devauth/devices", tag = "devices",
    params(("status" = Option<Vec<Status>>, Query,), ("id" = Option<Vec<String>>, Query,),
        ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<Device>), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let filter = DeviceFilter { statuses: statuses(&params.all("status"))?, ids: params.all("id") };
    respond(&app, &user.tenant, &uri, &params, &filter).await
}

#[derive(Deserialize, ToSchema)]
pub struct DeviceSearch {
    #[serde(default)]
    status: OneOrMany,
    #[serde(default)]
    id: OneOrMany,
}

/// A text, or a list of texts.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// List devices, with the query in the body
#[utoipa::path(post, path = "/v2/devauth/devices/search", tag = "devices",
    params(("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,)), request_body = DeviceSearch,
    responses((status = 200, body = Vec<Device>), (status = 400, body = ErrorBody)))]
pub async fn search(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
    Json(body): Json<DeviceSearch>,
) -> Result<Response> {
    let filter = DeviceFilter { statuses: statuses(&body.status.into_vec())?, ids: body.id.into_vec() };
    respond(&app, &user.tenant, &uri, &params, &filter).await
}

async fn respond(
    app: &App,
    tenant: &Tenant,
    uri: &OriginalUri,
    params: &Params,
    filter: &DeviceFilter,
) -> Result<Response> {
    let page = params.page()?;
    app.flush_check_ins().await;
    Ok(page.respond(uri, app.store.devices(tenant, filter, page.window()).await?))
}

#[derive(Serialize, ToSchema)]
pub struct Count {
    count: i64,
}

/// Count devices
#[utoipa::path(get, path = "/v2/devauth/devices/count", tag = "devices",
    params(("status" = Option<Vec<Status>>, Query,)),
    responses((status = 200, body = Count), (status = 400, body = ErrorBody)))]
pub async fn count(State(app): State<Shared>, user: User, params: Params) -> Result<axum::Json<Count>> {
    let filter = DeviceFilter { statuses: statuses(&params.all("status"))?, ids: Vec::new() };
    Ok(axum::Json(Count { count: app.store.device_count(&user.tenant, &filter).await? }))
}

#[derive(Deserialize, ToSchema)]
pub struct Preauthorization {
    #[schema(value_type = Object)]
    identity_data: Map<String, Value>,
    /// PEM block `PUBLIC KEY`.
    pubkey: String,
    /// Also when a device with this identity exists: it is decommissioned.
    #[serde(default)]
    force: bool,
}

/// Preauthorise a device
///
/// It is accepted as soon as it asks with this identity and key.
#[utoipa::path(post, path = "/v2/devauth/devices", tag = "devices", request_body = Preauthorization,
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 409, description = "The device that exists", body = Device)))]
pub async fn preauthorize(
    State(app): State<Shared>,
    user: User,
    Json(body): Json<Preauthorization>,
) -> Result<Response> {
    let bad = |error: String| Fault::bad_request(error);
    let identity = identity::from_map(body.identity_data).map_err(|error| bad(error.to_string()))?;
    let key = PublicKey::parse(&body.pubkey).map_err(|error| bad(error.to_string()))?;
    if let Some(device) = app.store.device_by_identity(&user.tenant, &identity.hash).await? {
        if !body.force {
            return Ok((StatusCode::CONFLICT, axum::Json(device)).into_response());
        }
        remove(&app, &user.tenant, &device.id).await?;
    }
    let id = app.store.add_auth_set(&user.tenant, &identity, &key.to_pem(), Status::Preauthorized).await?;
    tell(&app, &user.tenant, &id, What::StatusChanged).await;
    let location = format!("/api/management/v2/devauth/devices/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// Read a device
#[utoipa::path(get, path = "/v2/devauth/devices/{id}", tag = "devices", params(("id" = String, Path,)),
    responses((status = 200, body = Device), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Device>> {
    app.flush_check_ins().await;
    let device = app.store.device(&user.tenant, &id).await?;
    device.map(axum::Json).ok_or_else(|| Fault::not_found("device"))
}

/// Decommission a device
///
/// Its keys, inventory and configuration are gone; it would have to be accepted anew.
#[utoipa::path(delete, path = "/v2/devauth/devices/{id}", tag = "devices", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn decommission(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    remove(&app, &user.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(app: &App, tenant: &Tenant, id: &str) -> Result<()> {
    let revoked = app.store.remove_device(tenant, id, app.tokens.life()).await?;
    app.tokens.revoke(revoked);
    tell(app, tenant, id, What::Decommissioned).await;
    Ok(())
}

/// Forget an auth set
#[utoipa::path(delete, path = "/v2/devauth/devices/{id}/auth/{aid}", tag = "devices",
    params(("id" = String, Path,), ("aid" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn dismiss(
    State(app): State<Shared>,
    user: User,
    Path((id, aid)): Path<(String, String)>,
) -> Result<StatusCode> {
    let revoked = app.store.dismiss_auth_set(&user.tenant, &id, &aid, app.tokens.life()).await?;
    app.tokens.revoke(revoked);
    tell(&app, &user.tenant, &id, What::StatusChanged).await;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct StatusBody {
    status: Status,
}

/// Read an auth set's status
#[utoipa::path(get, path = "/v2/devauth/devices/{id}/auth/{aid}/status", tag = "devices",
    params(("id" = String, Path,), ("aid" = String, Path,)),
    responses((status = 200, body = StatusBody), (status = 404, body = ErrorBody)))]
pub async fn get_status(
    State(app): State<Shared>,
    user: User,
    Path((id, aid)): Path<(String, String)>,
) -> Result<axum::Json<StatusBody>> {
    let set = app.store.auth_set(&user.tenant, &id, &aid).await?;
    let set = set.ok_or_else(|| Fault::not_found("auth set"))?;
    Ok(axum::Json(StatusBody { status: set.status }))
}

/// Accept, reject or set back an auth set
#[utoipa::path(put, path = "/v2/devauth/devices/{id}/auth/{aid}/status", tag = "devices",
    params(("id" = String, Path,), ("aid" = String, Path,)), request_body = StatusBody,
    responses((status = 204), (status = 400, description = "Not a change that is allowed", body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 422, description = "Device limit reached", body = ErrorBody)))]
pub async fn put_status(
    State(app): State<Shared>,
    user: User,
    Path((id, aid)): Path<(String, String)>,
    Json(body): Json<StatusBody>,
) -> Result<StatusCode> {
    let (limit, life) = (app.config.max_devices, app.tokens.life());
    match app.store.set_auth_status(&user.tenant, &id, &aid, body.status, limit, life).await? {
        Changed::Refused { from } => Err(Fault::bad_request(format!(
            "an auth set cannot go from {} to {}",
            from.name(),
            body.status.name()
        ))),
        Changed::LimitReached => {
            Err(Fault::unprocessable(format!("the limit of {limit} accepted devices is reached")))
        }
        Changed::Done { device, revoked } => {
            app.tokens.revoke(revoked);
            if let Some(status) = device {
                tracing::info!(device = id, user = user.id, status = status.name(), "device decided on");
                if status == Status::Accepted {
                    tell(&app, &user.tenant, &id, What::Provisioned).await;
                }
                tell(&app, &user.tenant, &id, What::StatusChanged).await;
            }
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// Revoke a device's token
///
/// A token's id is the id of its auth set. The device can get another one while it is accepted.
#[utoipa::path(delete, path = "/v2/devauth/tokens/{id}", tag = "devices", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn revoke(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    let revoked = app.store.revoke_device_tokens(&user.tenant, &id, app.tokens.life()).await?;
    app.tokens.revoke([revoked]);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub struct Limit {
    /// 0: none.
    limit: i64,
}

/// Read how many devices may be accepted
#[utoipa::path(get, path = "/v2/devauth/limits/max_devices", tag = "devices",
    responses((status = 200, body = Limit)))]
pub async fn limit(State(app): State<Shared>, _user: User) -> axum::Json<Limit> {
    axum::Json(Limit { limit: app.config.max_devices })
}
