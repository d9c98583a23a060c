//! A device reads the configuration that is wanted, and tells the one it has.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Device, Json};
use crate::app::Shared;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Map, Value};

/// Read the wanted configuration
#[utoipa::path(get, path = "/v1/deviceconfig/configuration", tag = "device: configuration",
    responses((status = 200, body = Object)))]
pub async fn get(
    State(app): State<Shared>,
    Device(device): Device,
) -> Result<axum::Json<Map<String, Value>>> {
    Ok(axum::Json(app.store.configuration(&device.tenant, &device.id).await?.configured))
}

/// Tell the configuration that the device has
#[utoipa::path(put, path = "/v1/deviceconfig/configuration", tag = "device: configuration",
    request_body = Object, responses((status = 204), (status = 400, body = ErrorBody)))]
pub async fn put(
    State(app): State<Shared>,
    Device(device): Device,
    Json(map): Json<Map<String, Value>>,
) -> Result<StatusCode> {
    check(&map)?;
    app.store.report_configuration(&device.tenant, &device.id, &map).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the artifact of a configuration deployment is.
pub fn download_path(deployment: &str, device_type: &str, device: &str) -> String {
    let device_type: String = form_urlencoded::byte_serialize(device_type.as_bytes()).collect();
    let device_type = device_type.replace('+', "%20");
    format!("/api/devices/v1/deployments/download/configuration/{deployment}/{device_type}/{device}")
}

/// Refuses a configuration that is not as the API has it.
pub fn check(map: &Map<String, Value>) -> Result<()> {
    if map.len() > 100 {
        return Err(Fault::bad_request(format!("expected at most 100 keys, found {}", map.len())));
    }
    for (key, value) in map {
        if key.is_empty() || key.len() > 256 {
            return Err(Fault::bad_request("key: expected 1 to 256 bytes"));
        }
        if !value.as_str().is_some_and(|text| text.len() <= 4096) {
            return Err(Fault::bad_request(format!("{key}: expected a text of at most 4096 bytes")));
        }
    }
    Ok(())
}
