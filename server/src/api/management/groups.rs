//! Tags and groups of devices.
use super::settings::if_match;
use crate::api::device::inventory::{check, too_many};
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User};
use crate::app::{App, Shared};
use crate::store::inventory::Attribute;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most tags of a device.
const TAGS: usize = 20;

/// Replace a device's tags
#[utoipa::path(put, path = "/v1/inventory/devices/{id}/tags", tag = "inventory", params(("id" = String, Path,),
        ("If-Match" = Option<String>, Header,)), request_body = Vec<Attribute>,
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 412, body = ErrorBody)))]
pub async fn put_tags(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(tags): Json<Vec<Attribute>>,
) -> Result<StatusCode> {
    write_tags(&app, &user, &id, &headers, &tags, true).await
}

/// Change some of a device's tags
#[utoipa::path(patch, path = "/v1/inventory/devices/{id}/tags", tag = "inventory", params(("id" = String, Path,),
        ("If-Match" = Option<String>, Header,)), request_body = Vec<Attribute>,
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 412, body = ErrorBody)))]
pub async fn patch_tags(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(tags): Json<Vec<Attribute>>,
) -> Result<StatusCode> {
    write_tags(&app, &user, &id, &headers, &tags, false).await
}

async fn write_tags(
    app: &App,
    user: &User,
    id: &str,
    headers: &HeaderMap,
    tags: &[Attribute],
    replace: bool,
) -> Result<StatusCode> {
    check(tags, TAGS)?;
    let etag = if_match(headers);
    let written = app.store.write_tags(&user.tenant, id, tags, replace, TAGS as i64, etag.as_deref());
    if !written.await.map_err(too_many)? {
        return Err(Fault::changed());
    }
    Ok(StatusCode::OK)
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct Group {
    group: Option<String>,
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 256 || !name.bytes().all(plain) {
        return Err(Fault::bad_request("group: expected 1 to 256 letters, digits, hyphens and underscores"));
    }
    Ok(())
}

/// Read a device's group
#[utoipa::path(get, path = "/v1/inventory/devices/{id}/group", tag = "inventory", params(("id" = String, Path,)),
    responses((status = 200, body = Group), (status = 404, body = ErrorBody)))]
pub async fn get_group(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Group>> {
    let group = app.store.group_of(&user.tenant, &id).await?;
    let group = group.ok_or_else(|| Fault::not_found("device"))?;
    Ok(axum::Json(Group { group }))
}

/// Put a device into a group
///
/// It leaves the one it was in.
#[utoipa::path(put, path = "/v1/inventory/devices/{id}/group", tag = "inventory", params(("id" = String, Path,)),
    request_body = Group,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn put_group(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    Json(body): Json<Group>,
) -> Result<StatusCode> {
    let group = body.group.unwrap_or_default();
    check_name(&group)?;
    let (matched, _) = app.store.join_group(&user.tenant, &[id], &group).await?;
    if matched == 0 {
        return Err(Fault::not_found("device"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Take a device out of its group
#[utoipa::path(delete, path = "/v1/inventory/devices/{id}/group/{name}", tag = "inventory",
    params(("id" = String, Path,), ("name" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn leave_group(
    State(app): State<Shared>,
    user: User,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode> {
    if app.store.leave_group(&user.tenant, Some(&[id]), &name).await? == 0 {
        return Err(Fault::not_found("device in this group"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// List groups
#[utoipa::path(get, path = "/v1/inventory/groups", tag = "inventory",
    params(("status" = Option<String>, Query, description = "Of the devices")),
    responses((status = 200, body = Vec<String>)))]
pub async fn groups(
    State(app): State<Shared>,
    user: User,
    params: Params,
) -> Result<axum::Json<Vec<String>>> {
    Ok(axum::Json(app.store.groups(&user.tenant, params.one("status")).await?))
}

/// How many devices changed.
#[derive(Serialize, ToSchema)]
pub struct Changed {
    updated_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_count: Option<u64>,
}

/// Dissolve a group
#[utoipa::path(delete, path = "/v1/inventory/groups/{name}", tag = "inventory", params(("name" = String, Path,)),
    responses((status = 200, body = Changed), (status = 404, body = ErrorBody)))]
pub async fn dissolve(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
) -> Result<axum::Json<Changed>> {
    let updated_count = app.store.leave_group(&user.tenant, None, &name).await?;
    if updated_count == 0 {
        return Err(Fault::not_found("group"));
    }
    Ok(axum::Json(Changed { updated_count, matched_count: None }))
}

/// List the ids of a group's devices
#[utoipa::path(get, path = "/v1/inventory/groups/{name}/devices", tag = "inventory",
    params(("name" = String, Path,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<String>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn members(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let found = app.store.group_devices(&user.tenant, &name, page.window()).await?;
    if found.total == 0 {
        return Err(Fault::not_found("group"));
    }
    Ok(page.respond(&uri, found))
}

/// Put devices into a group
#[utoipa::path(patch, path = "/v1/inventory/groups/{name}/devices", tag = "inventory",
    params(("name" = String, Path,)), request_body = Vec<String>,
    responses((status = 200, body = Changed), (status = 400, body = ErrorBody)))]
pub async fn join(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
    Json(ids): Json<Vec<String>>,
) -> Result<axum::Json<Changed>> {
    check_name(&name)?;
    if ids.is_empty() {
        return Err(Fault::bad_request("expected at least one id"));
    }
    let (matched, updated_count) = app.store.join_group(&user.tenant, &ids, &name).await?;
    Ok(axum::Json(Changed { updated_count, matched_count: Some(matched) }))
}

/// Take devices out of a group
#[utoipa::path(delete, path = "/v1/inventory/groups/{name}/devices", tag = "inventory",
    params(("name" = String, Path,)), request_body = Vec<String>,
    responses((status = 200, body = Changed), (status = 400, body = ErrorBody)))]
pub async fn leave(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
    Json(ids): Json<Vec<String>>,
) -> Result<axum::Json<Changed>> {
    if ids.is_empty() {
        return Err(Fault::bad_request("expected at least one id"));
    }
    let updated_count = app.store.leave_group(&user.tenant, Some(&ids), &name).await?;
    Ok(axum::Json(Changed { updated_count, matched_count: None }))
}
