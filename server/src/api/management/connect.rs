//! Device connections. This server keeps none, and says so in Mender's words; terminal and file transfer need them.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::User;
use crate::app::{App, Shared};
use crate::clock::{self, Millis};
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Connection {
    device_id: String,
    /// `unknown`: no connection was ever made.
    status: &'static str,
    #[serde(rename = "created_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    created: Millis,
    #[serde(rename = "updated_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    updated: Millis,
}

/// Read a device's connection
#[utoipa::path(get, path = "/v1/deviceconnect/devices/{id}", tag = "connection", params(("id" = String, Path,)),
    responses((status = 200, body = Connection), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Connection>> {
    let device = app.store.device(&user.tenant, &id).await?;
    let device = device.ok_or_else(|| Fault::not_found("device"))?;
    let (created, updated) = (device.created, device.updated);
    Ok(axum::Json(Connection { device_id: id, status: "unknown", created, updated }))
}

async fn not_connected(app: &App, user: &User, id: &str) -> Fault {
    match app.store.device(&user.tenant, id).await {
        Ok(Some(_)) => Fault::conflict("device not connected"),
        Ok(None) => Fault::not_found("device"),
        Err(error) => error.into(),
    }
}

/// Download a file from a device
#[utoipa::path(get, path = "/v1/deviceconnect/devices/{id}/download", tag = "connection",
    params(("id" = String, Path,), ("path" = String, Query,)),
    responses((status = 404, body = ErrorBody), (status = 409, description = "Not connected", body = ErrorBody)))]
pub async fn download(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    Err(not_connected(&app, &user, &id).await)
}

/// Upload a file to a device
#[utoipa::path(put, path = "/v1/deviceconnect/devices/{id}/upload", tag = "connection",
    params(("id" = String, Path,)),
    responses((status = 404, body = ErrorBody), (status = 409, description = "Not connected", body = ErrorBody)))]
pub async fn upload(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    Err(not_connected(&app, &user, &id).await)
}

/// Ask a device to look for an update
#[utoipa::path(post, path = "/v1/deviceconnect/devices/{id}/check-update", tag = "connection",
    params(("id" = String, Path,)),
    responses((status = 404, body = ErrorBody), (status = 409, description = "Not connected", body = ErrorBody)))]
pub async fn check_update(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    Err(not_connected(&app, &user, &id).await)
}

/// Ask a device to send its inventory
#[utoipa::path(post, path = "/v1/deviceconnect/devices/{id}/send-inventory", tag = "connection",
    params(("id" = String, Path,)),
    responses((status = 404, body = ErrorBody), (status = 409, description = "Not connected", body = ErrorBody)))]
pub async fn send_inventory(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    Err(not_connected(&app, &user, &id).await)
}
