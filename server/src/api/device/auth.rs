//! Asking to be admitted: a signed request with identity and key, answered with a token once a person accepted.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::parse_json;
use crate::app::{App, Shared};
use crate::identity;
use crate::pubkey::PublicKey;
use crate::store::auth_sets::Admitted;
use crate::store::devices::Status;
use crate::webhooks::{tell, What};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use bytes::Bytes;
use http::{header, HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
pub struct AuthRequest {
    /// A JSON object, as text.
    id_data: String,
    /// PEM block `PUBLIC KEY`.
    pubkey: String,
    #[serde(default)]
    tenant_token: Option<String>,
}

/// What a device is told that has no token to get.
fn unauthorized() -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, "dev auth: unauthorized")
}

/// Ask to be admitted
#[utoipa::path(post, path = "/v1/authentication/auth_requests", tag = "device: authentication",
    params(("X-MEN-Signature" = String, Header, description = "Signature of the body by the key in it, base64")),
    request_body = AuthRequest,
    responses((status = 200, description = "A token", body = String, content_type = "application/jwt"),
        (status = 400, body = ErrorBody), (status = 401, description = "Not accepted (yet)", body = ErrorBody)))]
pub async fn post(State(app): State<Shared>, headers: HeaderMap, body: Bytes) -> Result<Response> {
    let signature = headers.get("x-men-signature").and_then(|value| value.to_str().ok());
    let signature = signature.ok_or_else(|| Fault::bad_request("missing request signature header"))?;
    let request: AuthRequest = parse_json(&body)?;
    let key = PublicKey::parse(&request.pubkey).map_err(|error| Fault::bad_request(error.to_string()))?;
    // Over the bytes as they came: a client's JSON is its own.
    let signature = base64::engine::general_purpose::STANDARD.decode(signature.trim());
    if !signature.is_ok_and(|signature| key.verifies(&body, &signature)) {
        return Err(unauthorized());
    }
    let identity =
        identity::parse(&request.id_data).map_err(|error| Fault::bad_request(error.to_string()))?;
    admit(&app, &identity, &key.to_pem(), request.tenant_token.as_deref().unwrap_or_default()).await
}

async fn admit(
    app: &App,
    identity: &crate::store::devices::Identity,
    pubkey: &str,
    tenant_token: &str,
) -> Result<Response> {
    let tenant = app.store.tenant_of_token(tenant_token).await?.ok_or_else(unauthorized)?;
    let (limit, life) = (app.config.max_devices, app.tokens.life());
    let Admitted { set, changed, revoked } = app.store.admit(&tenant, identity, pubkey, limit, life).await?;
    app.tokens.revoke(revoked);
    if changed {
        tracing::info!(device = set.device_id, status = set.status.name(), "device asks to be admitted");
        tell(app, &tenant, &set.device_id, What::StatusChanged).await;
    }
    if set.status != Status::Accepted {
        return Err(unauthorized());
    }
    app.check_ins.note(&tenant, &set.device_id);
    let token = app.tokens.for_device(&tenant, &set.device_id, &set.id, set.generation);
    Ok(([(header::CONTENT_TYPE, "application/jwt")], token).into_response())
}
