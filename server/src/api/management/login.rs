//! Signing in and out.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{OptionalJson, User};
use crate::api::peer::Peer;
use crate::app::Shared;
use crate::{clock, password};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use http::{header, HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
pub struct Login {
    /// A token that is valid until it is revoked.
    #[serde(default)]
    no_expiry: bool,
}

/// Sign in
///
/// Basic authorization with address and password.
#[utoipa::path(post, path = "/v1/useradm/auth/login", tag = "users", request_body = Option<Login>,
    responses((status = 200, description = "A token", body = String, content_type = "application/jwt"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub async fn login(
    State(app): State<Shared>,
    Peer(peer): Peer,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson<Login>,
) -> Result<Response> {
    let (email, password) = basic(&headers).ok_or_else(Fault::unauthorized)?;
    let (account, address) = (format!("account {email}"), format!("address {peer}"));
    app.logins.attempt(&[&account, &address]).map_err(|seconds| {
        Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many sign-ins failed; wait").retry_after(seconds)
    })?;
    let found = app.store.user_by_email(&email).await?;
    let hash = found.as_ref().map(|(_, user)| user.password.as_str());
    if !password::matches(&password, hash).await {
        tracing::warn!(%peer, "sign-in failed");
        return Err(Fault::unauthorized());
    }
    let (tenant, user) = found.ok_or_else(Fault::unauthorized)?;
    app.logins.succeeded(&account, &address);
    let no_expiry = body.is_some_and(|body| body.no_expiry);
    let expires = (!no_expiry).then(|| clock::now() + app.config.user_token_life);
    let id = clock::new_id();
    app.store.add_user_token(&tenant, &user.id, &id, None, expires).await?;
    tracing::info!(user = user.id, "signed in");
    let token = app.tokens.for_user(&tenant, &user.id, &id, expires);
    Ok(([(header::CONTENT_TYPE, "application/jwt")], token).into_response())
}

/// Sign out
///
/// The token is void from now on.
#[utoipa::path(post, path = "/v1/useradm/auth/logout", tag = "users", responses((status = 202)))]
pub async fn logout(State(app): State<Shared>, user: User) -> Result<StatusCode> {
    app.store.remove_user_token(&user.tenant, &user.id, &user.token_id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Address, in lower case, and password of `Authorization: Basic`.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (email, password) = text.split_once(':')?;
    (password.len() <= 1024).then(|| (email.trim().to_lowercase(), password.to_owned()))
}
