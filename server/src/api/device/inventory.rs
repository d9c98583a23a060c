//! A device tells its inventory.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Device, Json};
use crate::app::{App, Shared};
use crate::store::inventory::Attribute;
use crate::token::DeviceId;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;

/// Most attributes of a device.
const ATTRIBUTES: usize = 100;

/// Replace the inventory
#[utoipa::path(put, path = "/v1/inventory/device/attributes", tag = "device: inventory",
    request_body = Vec<Attribute>, responses((status = 200), (status = 400, body = ErrorBody)))]
pub async fn put(
    State(app): State<Shared>,
    Device(device): Device,
    Json(list): Json<Vec<Attribute>>,
) -> Result<StatusCode> {
    write(&app, &device, list, true).await
}

/// Change a part of the inventory
#[utoipa::path(patch, path = "/v1/inventory/device/attributes", tag = "device: inventory",
    request_body = Vec<Attribute>, responses((status = 200), (status = 400, body = ErrorBody)))]
pub async fn patch(
    State(app): State<Shared>,
    Device(device): Device,
    Json(list): Json<Vec<Attribute>>,
) -> Result<StatusCode> {
    write(&app, &device, list, false).await
}

async fn write(app: &App, device: &DeviceId, list: Vec<Attribute>, replace: bool) -> Result<StatusCode> {
    check(&list, ATTRIBUTES)?;
    let most = ATTRIBUTES as i64;
    app.store.write_inventory(&device.tenant, &device.id, &list, replace, most).await.map_err(too_many)?;
    app.check_ins.note(&device.tenant, &device.id);
    Ok(StatusCode::OK)
}

/// A list that is too long is the sender's mistake.
pub fn too_many(error: crate::store::Error) -> Fault {
    match error {
        crate::store::Error::Conflict(message) => Fault::bad_request(message),
        other => other.into(),
    }
}

/// Refuses attributes that are not as the API has them.
pub fn check(list: &[Attribute], most: usize) -> Result<()> {
    if list.len() > most {
        return Err(Fault::bad_request(format!("expected at most {most} attributes, found {}", list.len())));
    }
    for attribute in list {
        let name = &attribute.name;
        if name.is_empty() || name.len() > 1024 {
            return Err(Fault::bad_request("attribute name: expected 1 to 1024 bytes"));
        }
        let plain = |value: &Value| value.is_string() || value.is_number();
        let good = match &attribute.value {
            Value::Array(values) => values.iter().all(plain),
            value => plain(value),
        };
        if !good {
            return Err(Fault::bad_request(format!(
                "attribute {name}: expected a text, a number, or a list of these"
            )));
        }
    }
    Ok(())
}
