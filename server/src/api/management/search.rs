//! Finding devices.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Page, User};
use crate::app::Shared;
use crate::store::inventory::DeviceInventory;
use crate::store::search::{KnownAttribute, Predicate, Search, Sort, Test};
use crate::store::Paged;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{json, Value};
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
pub struct SearchBody {
    #[serde(default = "one")]
    page: i64,
    #[serde(default = "twenty")]
    per_page: i64,
    /// Anywhere in a device's attributes.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    device_ids: Vec<String>,
    /// All must be true.
    #[serde(default)]
    filters: Vec<FilterBody>,
    #[serde(default)]
    sort: Vec<SortBody>,
    /// Show only these; none: all.
    #[serde(default)]
    attributes: Vec<AttributeName>,
}

#[derive(Deserialize, ToSchema)]
struct FilterBody {
    scope: String,
    attribute: String,
    /// `$eq $ne $gt $gte $lt $lte $in $nin $exists $regex`
    #[serde(rename = "type")]
    kind: String,
    value: Value,
}

#[derive(Deserialize, ToSchema)]
struct SortBody {
    scope: String,
    attribute: String,
    /// `asc`, `desc`
    #[serde(default)]
    order: String,
}

#[derive(Deserialize, ToSchema)]
pub struct AttributeName {
    scope: String,
    attribute: String,
}

fn one() -> i64 {
    1
}

fn twenty() -> i64 {
    20
}

/// A page named in a body, within the same bounds as one in a query.
fn page(number: i64, size: i64) -> Result<Page> {
    if !(1..=i64::from(i32::MAX)).contains(&number) || !(1..=500).contains(&size) {
        return Err(Fault::bad_request("page: expected a number from 1; per_page: expected 1 to 500"));
    }
    Ok(Page::new(number, size))
}

fn predicate(filter: FilterBody) -> Result<Predicate> {
    let FilterBody { scope, attribute, kind, value } = filter;
    let bad =
        |expected: &str| Fault::bad_request(format!("filter on {attribute}, {kind}: expected {expected}"));
    let list = |value: Value| match value {
        Value::Array(values) => Ok(values),
        _ => Err(bad("a list")),
    };
    let single = |value: Value| match value {
        Value::Array(_) | Value::Object(_) | Value::Null => Err(bad("a text or a number")),
        value => Ok(value),
    };
    let test = match kind.as_str() {
        "$eq" => Test::Eq(single(value)?),
        "$ne" => Test::Ne(single(value)?),
        "$gt" => Test::Gt(single(value)?),
        "$gte" => Test::Gte(single(value)?),
        "$lt" => Test::Lt(single(value)?),
        // Mender's description has the second spelling.
        "$lte" | "$ltne" => Test::Lte(single(value)?),
        "$in" => Test::In(list(value)?),
        "$nin" => Test::Nin(list(value)?),
        "$exists" => Test::Exists(value.as_bool().ok_or_else(|| bad("true or false"))?),
        "$regex" => {
            let pattern = value.as_str().ok_or_else(|| bad("a text"))?;
            let built = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
            built.map_err(|error| bad(&format!("a regular expression ({error})")))?;
            Test::Regex(pattern.to_owned())
        }
        _ => return Err(bad("another type: $eq $ne $gt $gte $lt $lte $in $nin $exists $regex")),
    };
    Ok(Predicate { scope, attribute, test })
}

/// Search devices
#[utoipa::path(post, path = "/v2/inventory/filters/search", tag = "inventory", request_body = SearchBody,
    responses((status = 200, body = Vec<DeviceInventory>), (status = 400, body = ErrorBody)))]
pub async fn search(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    Json(body): Json<SearchBody>,
) -> Result<Response> {
    let page = page(body.page, body.per_page)?;
    if body.filters.len() > 50 || body.sort.len() > 10 {
        return Err(Fault::bad_request("expected at most 50 filters and 10 attributes to sort by"));
    }
    let sort = |one: SortBody| match one.order.as_str() {
        "" | "asc" | "desc" => {
            Ok(Sort { scope: one.scope, attribute: one.attribute, descending: one.order == "desc" })
        }
        other => Err(Fault::bad_request(format!("order: expected asc or desc, found {other}"))),
    };
    let search = Search {
        predicates: body.filters.into_iter().map(predicate).collect::<Result<_>>()?,
        ids: body.device_ids,
        text: body.text.filter(|text| !text.is_empty()),
        sort: body.sort.into_iter().map(sort).collect::<Result<_>>()?,
    };
    app.flush_check_ins().await;
    let found = app.store.search(&user.tenant, &search, page.window()).await?;
    let mut items = app.store.inventories(&user.tenant, &found.items).await?;
    select(&mut items, &body.attributes);
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}

/// Leaves only the attributes that were asked for.
fn select(devices: &mut [DeviceInventory], names: &[AttributeName]) {
    if names.is_empty() {
        return;
    }
    for device in devices {
        device
            .attributes
            .retain(|has| names.iter().any(|name| name.scope == has.scope && name.attribute == has.name));
    }
}

/// List the attributes that devices have
#[utoipa::path(get, path = "/v2/inventory/filters/attributes", tag = "inventory",
    responses((status = 200, body = Vec<KnownAttribute>)))]
pub async fn attributes(State(app): State<Shared>, user: User) -> Result<axum::Json<Vec<KnownAttribute>>> {
    Ok(axum::Json(app.store.known_attributes(&user.tenant).await?))
}

/// Count devices by status and tier
#[utoipa::path(get, path = "/v2/inventory/statistics", tag = "inventory", responses((status = 200, body = Object)))]
pub async fn statistics(State(app): State<Shared>, user: User) -> Result<axum::Json<Value>> {
    let counts = app.store.devices_by_status(&user.tenant).await?;
    let mut by_status = json!({});
    for status in ["accepted", "pending", "rejected", "preauthorized", "noauth"] {
        let count = counts.get(status).copied().unwrap_or(0);
        by_status[status] = json!({ "standard": count, "micro": 0, "system": 0 });
    }
    Ok(axum::Json(json!({ "devices_by_status": by_status })))
}

#[derive(Deserialize, ToSchema)]
pub struct IdentitySearch {
    /// `identity`, `tags`
    scope: String,
    name: String,
    /// What the value begins with.
    #[serde(default)]
    value_prefix: String,
    #[serde(default)]
    attributes: Vec<AttributeName>,
    #[serde(default = "one")]
    page: i64,
    #[serde(default = "twenty")]
    per_page: i64,
}

/// Search devices by the beginning of an identity attribute or a tag
#[utoipa::path(post, path = "/v2alpha1/inventory/identities/search", tag = "inventory",
    request_body = IdentitySearch,
    responses((status = 200, body = Vec<DeviceInventory>), (status = 400, body = ErrorBody)))]
pub async fn identities(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    Json(body): Json<IdentitySearch>,
) -> Result<Response> {
    if !matches!(body.scope.as_str(), "identity" | "tags") {
        return Err(Fault::bad_request(format!("scope: expected identity or tags, found {}", body.scope)));
    }
    if body.name.is_empty() {
        return Err(Fault::bad_request("name: missing"));
    }
    let page = page(body.page, body.per_page)?;
    let (scope, name, start) = (&body.scope, &body.name, &body.value_prefix);
    let found = app.store.search_prefix(&user.tenant, scope, name, start, page.window()).await?;
    let mut items = app.store.inventories(&user.tenant, &found.items).await?;
    select(&mut items, &body.attributes);
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}
