//! Integrations: webhooks that are told what becomes of devices.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User};
use crate::app::Shared;
use crate::store::webhooks::{Credentials, Integration, WebhookEvent};
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};
use serde::Deserialize;
use serde_json::{json, Value};
use utoipa::ToSchema;

/// Most integrations of a tenant.
const INTEGRATIONS: usize = 20;

/// List integrations
#[utoipa::path(get, path = "/v1/iot-manager/integrations", tag = "integrations",
    responses((status = 200, body = Vec<Integration>)))]
pub async fn list(State(app): State<Shared>, user: User) -> Result<axum::Json<Vec<Integration>>> {
    let mut list = app.store.integrations(&user.tenant).await?;
    for one in &mut list {
        one.credentials.http.secret = None;
    }
    Ok(axum::Json(list))
}

#[derive(Deserialize, ToSchema)]
pub struct NewIntegration {
    /// `webhook`
    provider: String,
    #[serde(default)]
    description: String,
    credentials: Credentials,
}

fn check(credentials: &Credentials) -> Result<()> {
    if credentials.kind != "http" {
        return Err(Fault::bad_request(format!(
            "credentials.type: expected http, found {}",
            credentials.kind
        )));
    }
    let url = &credentials.http.url;
    let web = url.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if web.is_none() || url.len() > 2048 {
        return Err(Fault::bad_request("credentials.http.url: expected a URL with http or https"));
    }
    if credentials.http.secret.as_ref().is_some_and(|secret| secret.is_empty() || secret.len() > 1024) {
        return Err(Fault::bad_request("credentials.http.secret: expected 1 to 1024 bytes"));
    }
    Ok(())
}

/// Add an integration
#[utoipa::path(post, path = "/v1/iot-manager/integrations", tag = "integrations", request_body = NewIntegration,
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 409, description = "Too many", body = ErrorBody)))]
pub async fn add(State(app): State<Shared>, user: User, Json(new): Json<NewIntegration>) -> Result<Response> {
    if new.provider != "webhook" {
        let message = format!("provider: this server has webhook, not {}", new.provider);
        return Err(Fault::bad_request(message));
    }
    if new.description.len() > 1024 {
        return Err(Fault::bad_request("description: expected at most 1024 bytes"));
    }
    check(&new.credentials)?;
    if app.store.integrations(&user.tenant).await?.len() >= INTEGRATIONS {
        return Err(Fault::conflict(format!("{INTEGRATIONS} integrations exist; remove one first")));
    }
    let id =
        app.store.add_integration(&user.tenant, &new.provider, &new.description, &new.credentials).await?;
    let location = format!("/api/management/v1/iot-manager/integrations/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// Remove an integration
#[utoipa::path(delete, path = "/v1/iot-manager/integrations/{id}", tag = "integrations",
    params(("id" = String, Path,)), responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn remove(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    if !app.store.remove_integration(&user.tenant, &id).await? {
        return Err(Fault::not_found("integration"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Replace an integration's credentials
#[utoipa::path(put, path = "/v1/iot-manager/integrations/{id}/credentials", tag = "integrations",
    params(("id" = String, Path,)), request_body = Credentials,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn credentials(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    Json(credentials): Json<Credentials>,
) -> Result<StatusCode> {
    check(&credentials)?;
    if !app.store.change_credentials(&user.tenant, &id, &credentials).await? {
        return Err(Fault::not_found("integration"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// List what was told
#[utoipa::path(get, path = "/v1/iot-manager/events", tag = "integrations",
    params(("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("integration_id" = Option<String>, Query,)),
    responses((status = 200, body = Vec<WebhookEvent>), (status = 400, body = ErrorBody)))]
pub async fn events(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let integration = params.one("integration_id");
    Ok(page.respond(&uri, app.store.webhook_events(&user.tenant, integration, page.window()).await?))
}

/// Take a device out of all integrations
///
/// Webhooks hold nothing of a device.
#[utoipa::path(delete, path = "/v1/iot-manager/devices/{id}", tag = "integrations",
    params(("id" = String, Path,)), responses((status = 204)))]
pub async fn forget_device(_user: User, Path(_id): Path<String>) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Read a device's state in every integration
///
/// Webhooks hold none.
#[utoipa::path(get, path = "/v1/iot-manager/devices/{id}/state", tag = "integrations",
    params(("id" = String, Path,)), responses((status = 200, body = Object)))]
pub async fn states(_user: User, Path(_id): Path<String>) -> axum::Json<Value> {
    axum::Json(json!({}))
}

/// Read a device's state in an integration
#[utoipa::path(get, path = "/v1/iot-manager/devices/{id}/state/{integration}", tag = "integrations",
    params(("id" = String, Path,), ("integration" = String, Path,)),
    responses((status = 404, body = ErrorBody), (status = 409, description = "A webhook has none", body = ErrorBody)))]
pub async fn state(
    State(app): State<Shared>,
    user: User,
    Path((_id, integration)): Path<(String, String)>,
) -> Result<StatusCode> {
    app.store.has_integration(&user.tenant, &integration).await?;
    Err(Fault::conflict("a webhook holds no state of devices"))
}

/// Set a device's state in an integration
#[utoipa::path(put, path = "/v1/iot-manager/devices/{id}/state/{integration}", tag = "integrations",
    params(("id" = String, Path,), ("integration" = String, Path,)), request_body = Object,
    responses((status = 404, body = ErrorBody), (status = 409, description = "A webhook has none", body = ErrorBody)))]
pub async fn set_state(
    State(app): State<Shared>,
    user: User,
    Path((_id, integration)): Path<(String, String)>,
) -> Result<StatusCode> {
    app.store.has_integration(&user.tenant, &integration).await?;
    Err(Fault::conflict("a webhook holds no state of devices"))
}
