//! What devices say about themselves.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Params, User};
use crate::app::Shared;
use crate::store::inventory::DeviceInventory;
use crate::store::search::{Predicate, Search, Sort, Test};
use crate::store::Paged;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};

/// List devices with their inventory
///
/// Any other parameter `name=value` asks for an attribute of the inventory.
#[utoipa::path(get, path = "/v1/inventory/devices", tag = "inventory",
    params(("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("sort" = Option<String>, Query, description = "name:asc or name:desc"),
        ("has_group" = Option<bool>, Query,), ("group" = Option<String>, Query,)),
    responses((status = 200, body = Vec<DeviceInventory>), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let mut search = Search::default();
    let mut add = |scope: &str, attribute: &str, test| {
        search.predicates.push(Predicate { scope: scope.into(), attribute: attribute.into(), test });
    };
    if let Some(has) = params.flag("has_group")? {
        add("system", "group", Test::Exists(has));
    }
    for (key, value) in params.pairs() {
        match key {
            "page" | "per_page" | "sort" | "has_group" => {}
            "group" => add("system", "group", Test::Eq(value.into())),
            "status" => add("identity", "status", Test::Eq(value.into())),
            name => add("inventory", name.strip_prefix("inventory/").unwrap_or(name), equals(value)),
        }
    }
    if let Some(sort) = params.one("sort") {
        let (attribute, order) = sort.split_once(':').unwrap_or((sort, "asc"));
        if !matches!(order, "asc" | "desc") {
            return Err(Fault::bad_request(format!("sort: expected name:asc or name:desc, found {sort}")));
        }
        let descending = order == "desc";
        search.sort.push(Sort { scope: "inventory".into(), attribute: attribute.into(), descending });
    }
    app.flush_check_ins().await;
    let found = app.store.search(&user.tenant, &search, page.window()).await?;
    let items = app.store.inventories(&user.tenant, &found.items).await?;
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}

/// A query's value may be meant as a text or as a number.
fn equals(value: &str) -> Test {
    let text = serde_json::Value::from(value);
    match value.parse::<f64>().ok().filter(|number| number.is_finite()) {
        Some(number) => Test::In(vec![text, number.into()]),
        None => Test::Eq(text),
    }
}

/// Read a device with its inventory
#[utoipa::path(get, path = "/v1/inventory/devices/{id}", tag = "inventory", params(("id" = String, Path,)),
    responses((status = 200, body = DeviceInventory, headers(("ETag" = String,))), (status = 404, body = ErrorBody)))]
pub async fn get(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<Response> {
    app.flush_check_ins().await;
    let mut found = app.store.inventories(&user.tenant, &[id]).await?;
    let device = found.pop().ok_or_else(|| Fault::not_found("device"))?;
    let etag = format!("\"{}\"", device.etag);
    Ok(([(header::ETAG, etag)], axum::Json(device)).into_response())
}

/// Forget a device's inventory
#[utoipa::path(delete, path = "/v1/inventory/devices/{id}", tag = "inventory", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn delete(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    if !app.store.remove_inventory(&user.tenant, &id).await? {
        return Err(Fault::not_found("device"));
    }
    Ok(StatusCode::NO_CONTENT)
}
