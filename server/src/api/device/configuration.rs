//! A device reads the configuration that is wanted, and tells the one it has.
use super::download::{check_link, choose, respond};
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Device, Json, Params};
use crate::app::Shared;
use crate::clock::SECOND;
use crate::keys::hex;
use crate::make;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
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
        if value.as_str().is_none_or(|text| text.len() > 4096) {
            return Err(Fault::bad_request(format!("{key}: expected a text of at most 4096 bytes")));
        }
    }
    Ok(())
}

/// Download the artifact of a configuration deployment
#[utoipa::path(get, path = "/v1/deployments/download/configuration/{id}/{device_type}/{device}",
    tag = "device: deployments",
    params(("id" = String, Path,), ("device_type" = String, Path,), ("device" = String, Path,),
        ("x-men-expire" = String, Query,), ("tenant_id" = String, Query,), ("x-men-signature" = String, Query,),
        ("Range" = Option<String>, Header,), ("If-Range" = Option<String>, Header,)),
    responses((status = 200, content_type = "application/vnd.mender-artifact"),
        (status = 206, content_type = "application/vnd.mender-artifact"), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 416, body = ErrorBody)))]
pub async fn download(
    State(app): State<Shared>,
    Path((id, device_type, device)): Path<(String, String, String)>,
    uri: OriginalUri,
    params: Params,
    headers: HeaderMap,
) -> Result<Response> {
    let tenant = check_link(&app, "GET", &uri, &params)?;
    let part = app.store.part(&tenant, &id, &device).await?.ok_or_else(|| Fault::not_found("deployment"))?;
    let Some(Value::Object(map)) = part.configuration else { return Err(Fault::not_found("configuration")) };
    let modified = u64::try_from(part.created / SECOND).unwrap_or_default();
    let bytes = make::configuration(&part.artifact_name, &device_type, &map, modified)
        .map_err(|error| Fault::unprocessable(format!("the configuration makes no artifact: {error}")))?;
    let etag = format!("\"{}\"", hex(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref()));
    let (status, range) = choose(&headers, &etag, bytes.len() as u64)?;
    let size = bytes.len() as u64;
    let body = Bytes::from(bytes).slice(range.start as usize..range.end as usize);
    respond(status, range, size, &etag, "artifact.mender", body.into())
}
