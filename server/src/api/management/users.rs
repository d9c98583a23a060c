//! Users.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User as Me};
use crate::app::{App, Shared};
use crate::password;
use crate::store::users::{User, UserFilter};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// List users
#[utoipa::path(get, path = "/v1/useradm/users", tag = "users",
    params(("id" = Option<Vec<String>>, Query,), ("email" = Option<Vec<String>>, Query,),
        ("created_after" = Option<i64>, Query,), ("created_before" = Option<i64>, Query,),
        ("updated_after" = Option<i64>, Query,), ("updated_before" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<User>), (status = 400, body = ErrorBody)))]
pub async fn list(State(app): State<Shared>, me: Me, params: Params) -> Result<axum::Json<Vec<User>>> {
    let filter = UserFilter {
        ids: params.all("id"),
        emails: params.all("email").iter().map(|email| email.to_lowercase()).collect(),
        created_after: params.time("created_after")?,
        created_before: params.time("created_before")?,
        updated_after: params.time("updated_after")?,
        updated_before: params.time("updated_before")?,
    };
    Ok(axum::Json(app.store.users(&me.tenant, &filter).await?))
}

#[derive(Deserialize, ToSchema)]
pub struct NewUser {
    email: String,
    password: String,
}

/// Add a user
#[utoipa::path(post, path = "/v1/useradm/users", tag = "users", request_body = NewUser,
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 422, description = "Address taken, or password too short", body = ErrorBody)))]
pub async fn add(State(app): State<Shared>, me: Me, Json(new): Json<NewUser>) -> Result<Response> {
    let email = checked_email(&new.email)?;
    check_password(&new.password)?;
    let hash = password::hash(&new.password).await;
    let id = app.store.add_user(&me.tenant, &email, &hash).await.map_err(taken)?;
    tracing::info!(user = id, by = me.id, "user added");
    let location = format!("/api/management/v1/useradm/users/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// An address in the form it is kept in.
pub fn checked_email(email: &str) -> Result<String> {
    let email = email.trim().to_lowercase();
    let parts = email.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty());
    if parts.is_none() || email.len() > 256 || email.contains(char::is_whitespace) || email.contains(':') {
        return Err(Fault::bad_request(format!("email: expected an address, found {email}")));
    }
    Ok(email)
}

fn check_password(password: &str) -> Result<()> {
    if !password::LENGTHS.contains(&password.chars().count()) {
        let (least, most) = (password::LENGTHS.start(), password::LENGTHS.end());
        return Err(Fault::unprocessable(format!("password: expected {least} to {most} characters")));
    }
    Ok(())
}

fn taken(error: crate::store::Error) -> Fault {
    if error.is_duplicate() {
        return Fault::unprocessable("a user with this address exists");
    }
    error.into()
}

async fn find(app: &App, me: &Me, id: &str) -> Result<User> {
    app.store.user(&me.tenant, id).await?.ok_or_else(|| Fault::not_found("user"))
}

/// Read a user
#[utoipa::path(get, path = "/v1/useradm/users/{id}", tag = "users", params(("id" = String, Path,)),
    responses((status = 200, body = User), (status = 404, body = ErrorBody)))]
pub async fn get(State(app): State<Shared>, me: Me, Path(id): Path<String>) -> Result<axum::Json<User>> {
    Ok(axum::Json(find(&app, &me, &id).await?))
}

/// Read oneself
#[utoipa::path(get, path = "/v1/useradm/users/me", tag = "users", responses((status = 200, body = User)))]
pub async fn get_me(State(app): State<Shared>, me: Me) -> Result<axum::Json<User>> {
    Ok(axum::Json(find(&app, &me, &me.id).await?))
}

#[derive(Deserialize, ToSchema)]
pub struct UserChange {
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    password: Option<String>,
    /// Needed to change one's own.
    #[serde(default)]
    current_password: Option<String>,
}

/// Change a user
#[utoipa::path(put, path = "/v1/useradm/users/{id}", tag = "users", params(("id" = String, Path,)),
    request_body = UserChange,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "Address taken, password too short, or not the current one", body = ErrorBody)))]
pub async fn put(
    State(app): State<Shared>,
    me: Me,
    Path(id): Path<String>,
    Json(change): Json<UserChange>,
) -> Result<StatusCode> {
    update(&app, &me, &id, change).await
}

/// Change oneself
#[utoipa::path(put, path = "/v1/useradm/users/me", tag = "users", request_body = UserChange,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn put_me(State(app): State<Shared>, me: Me, Json(change): Json<UserChange>) -> Result<StatusCode> {
    update(&app, &me, &me.id, change).await
}

/// Change one's own password
#[utoipa::path(put, path = "/v2/useradm/users/me", tag = "users", request_body = UserChange,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn put_me_v2(
    State(app): State<Shared>,
    me: Me,
    Json(change): Json<UserChange>,
) -> Result<StatusCode> {
    update(&app, &me, &me.id, change).await
}

async fn update(app: &App, me: &Me, id: &str, change: UserChange) -> Result<StatusCode> {
    let user = find(app, me, id).await?;
    let email = change.email.as_deref().map(checked_email).transpose()?;
    if email.is_none() && change.password.is_none() {
        return Err(Fault::bad_request("expected email or password, found neither"));
    }
    if let Some(new) = &change.password {
        check_password(new)?;
    }
    if id == me.id {
        let current = change.current_password.unwrap_or_default();
        let account = format!("account {}", user.email);
        app.logins.attempt(&[&account]).map_err(|seconds| {
            Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many tries failed; wait").retry_after(seconds)
        })?;
        if !password::matches(&current, Some(&user.password)).await {
            return Err(Fault::unprocessable("current_password: it is not the current one"));
        }
        app.logins.succeeded(&account, "");
    }
    let hash = match &change.password {
        Some(new) => Some(password::hash(new).await),
        None => None,
    };
    let changed =
        app.store.change_user(&me.tenant, id, email.as_deref(), hash.as_deref(), Some(&me.token_id));
    changed.await.map_err(taken)?;
    tracing::info!(user = id, by = me.id, "user changed");
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a user
#[utoipa::path(delete, path = "/v1/useradm/users/{id}", tag = "users", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody),
        (status = 409, description = "The last user", body = ErrorBody)))]
pub async fn remove(State(app): State<Shared>, me: Me, Path(id): Path<String>) -> Result<StatusCode> {
    find(&app, &me, &id).await?;
    if app.store.user_count(&me.tenant).await? == 1 {
        return Err(Fault::conflict("this is the last user; nobody could sign in any more"));
    }
    app.store.remove_user(&me.tenant, &id).await?;
    tracing::info!(user = id, by = me.id, "user removed");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub struct Plan {
    name: &'static str,
    display_name: &'static str,
    /// Feature to whether it is there. Everything is.
    #[schema(value_type = Object)]
    features: serde_json::Value,
}

fn plan() -> Plan {
    let features = json!({ "configuration": true, "webhooks": true });
    Plan { name: "enterprise", display_name: "rota", features }
}

/// List plans
///
/// There is one, because clients expect one.
#[utoipa::path(get, path = "/v1/useradm/plans", tag = "users", responses((status = 200, body = Vec<Plan>)))]
pub async fn plans(_me: Me) -> axum::Json<Vec<Plan>> {
    axum::Json(vec![plan()])
}

#[derive(Serialize, ToSchema)]
pub struct PlanBinding {
    plan: Plan,
    #[schema(value_type = Object)]
    limits: serde_json::Value,
}

/// Read the tenant's plan
#[utoipa::path(get, path = "/v1/useradm/plan_binding", tag = "users",
    responses((status = 200, body = PlanBinding)))]
pub async fn plan_binding(State(app): State<Shared>, _me: Me) -> axum::Json<PlanBinding> {
    axum::Json(PlanBinding { plan: plan(), limits: json!({ "devices": app.config.max_devices }) })
}
