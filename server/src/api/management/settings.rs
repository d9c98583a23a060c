//! Free-form settings, and personal access tokens.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, User};
use crate::app::{App, Shared};
use crate::clock::{self, SECOND};
use crate::store::tokens::PersonalToken;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Most personal tokens of a user.
const TOKENS: usize = 10;
/// Longest life of a personal token, in seconds.
const LONGEST: i64 = 31_536_000;

/// Read the tenant's settings
#[utoipa::path(get, path = "/v1/useradm/settings", tag = "settings",
    responses((status = 200, body = Object, headers(("ETag" = String,)))))]
pub async fn get(State(app): State<Shared>, user: User) -> Result<Response> {
    read(&app, &user, "").await
}

/// Write the tenant's settings
#[utoipa::path(post, path = "/v1/useradm/settings", tag = "settings", request_body = Object,
    params(("If-Match" = Option<String>, Header,)),
    responses((status = 201), (status = 400, body = ErrorBody), (status = 412, body = ErrorBody)))]
pub async fn post(
    State(app): State<Shared>,
    user: User,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode> {
    write(&app, &user, "", &headers, &body).await
}

/// Read one's own settings
#[utoipa::path(get, path = "/v1/useradm/settings/me", tag = "settings",
    responses((status = 200, body = Object, headers(("ETag" = String,)))))]
pub async fn get_me(State(app): State<Shared>, user: User) -> Result<Response> {
    read(&app, &user, &user.id).await
}

/// Write one's own settings
#[utoipa::path(post, path = "/v1/useradm/settings/me", tag = "settings", request_body = Object,
    params(("If-Match" = Option<String>, Header,)),
    responses((status = 201), (status = 400, body = ErrorBody), (status = 412, body = ErrorBody)))]
pub async fn post_me(
    State(app): State<Shared>,
    user: User,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode> {
    write(&app, &user, &user.id, &headers, &body).await
}

async fn read(app: &App, user: &User, of: &str) -> Result<Response> {
    let found = app.store.settings(&user.tenant, of).await?;
    let (body, etag) = found.unwrap_or_else(|| ("{}".into(), String::new()));
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, format!("\"{etag}\""))];
    Ok((headers, body).into_response())
}

async fn write(
    app: &App,
    user: &User,
    of: &str,
    headers: &HeaderMap,
    body: &Map<String, Value>,
) -> Result<StatusCode> {
    let text = serde_json::to_string(body).map_err(|error| Fault::bad_request(error.to_string()))?;
    if !app.store.write_settings(&user.tenant, of, &text, if_match(headers).as_deref()).await? {
        return Err(Fault::changed());
    }
    Ok(StatusCode::CREATED)
}

/// The tag of `If-Match`, without its quotes; `*` asks for nothing.
pub fn if_match(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
    (tag != "*").then(|| tag.trim_start_matches("W/").trim_matches('"').to_owned())
}

/// List one's personal access tokens
#[utoipa::path(get, path = "/v1/useradm/settings/tokens", tag = "settings",
    responses((status = 200, body = Vec<PersonalToken>)))]
pub async fn tokens(State(app): State<Shared>, user: User) -> Result<axum::Json<Vec<PersonalToken>>> {
    Ok(axum::Json(app.store.personal_tokens(&user.tenant, &user.id).await?))
}

#[derive(Deserialize, ToSchema)]
pub struct NewToken {
    name: String,
    /// Seconds, at most a year; 0 or nothing: a year.
    #[serde(default)]
    expires_in: i64,
}

/// Make a personal access token
///
/// It is shown this once.
#[utoipa::path(post, path = "/v1/useradm/settings/tokens", tag = "settings", request_body = NewToken,
    responses((status = 200, body = String, content_type = "application/jwt"), (status = 400, body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 422, description = "Too many", body = ErrorBody)))]
pub async fn make_token(
    State(app): State<Shared>,
    user: User,
    Json(new): Json<NewToken>,
) -> Result<Response> {
    if new.name.is_empty() || new.name.len() > 256 {
        return Err(Fault::bad_request("name: expected 1 to 256 bytes"));
    }
    if !(0..=LONGEST).contains(&new.expires_in) {
        return Err(Fault::bad_request(format!("expires_in: expected at most {LONGEST} seconds")));
    }
    let known = app.store.personal_tokens(&user.tenant, &user.id).await?;
    if known.iter().any(|token| token.name == new.name) {
        return Err(Fault::conflict("a token with this name exists"));
    }
    if known.len() >= TOKENS {
        return Err(Fault::unprocessable(format!("{TOKENS} tokens exist; remove one first")));
    }
    let life = if new.expires_in == 0 { LONGEST } else { new.expires_in };
    let (id, expires) = (clock::new_id(), Some(clock::now() + life * SECOND));
    app.store.add_user_token(&user.tenant, &user.id, &id, Some(&new.name), expires).await?;
    let token = app.tokens.for_user(&user.tenant, &user.id, &id, expires);
    Ok(([(header::CONTENT_TYPE, "application/jwt")], token).into_response())
}

/// Revoke a personal access token
#[utoipa::path(delete, path = "/v1/useradm/settings/tokens/{id}", tag = "settings",
    params(("id" = String, Path,)), responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn remove_token(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    if !app.store.remove_user_token(&user.tenant, &user.id, &id).await? {
        return Err(Fault::not_found("token"));
    }
    Ok(StatusCode::NO_CONTENT)
}
