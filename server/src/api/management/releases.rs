//! Releases: all artifacts of one name.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User};
use crate::app::Shared;
use crate::clock::{self, Millis};
use crate::store::artifacts::Artifact;
use crate::store::releases::{Release, ReleaseFilter};
use crate::store::Paged;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// Most different tags of a tenant's releases.
const UNIQUE_TAGS: i64 = 100;

/// A release as version 1 of the API writes it: with capital letters.
#[derive(Serialize, ToSchema)]
pub struct ReleaseV1 {
    #[serde(rename = "Name")]
    name: String,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    modified: Millis,
    #[serde(rename = "Artifacts")]
    artifacts: Vec<Artifact>,
    #[serde(rename = "ArtifactsCount")]
    artifacts_count: usize,
    tags: Vec<String>,
    notes: String,
}

impl From<Release> for ReleaseV1 {
    fn from(release: Release) -> Self {
        ReleaseV1 {
            name: release.name,
            modified: release.modified,
            artifacts: release.artifacts,
            artifacts_count: release.artifacts_count,
            tags: release.tags,
            notes: release.notes,
        }
    }
}

pub(super) fn filter(params: &Params) -> Result<ReleaseFilter> {
    let one = |key: &str| params.one(key).map(str::to_owned);
    Ok(ReleaseFilter {
        name: one("name"),
        exact_name: None,
        description: one("description"),
        device_type: one("device_type"),
        update_type: one("update_type"),
        tags: params.all("tag").iter().map(|tag| tag.to_lowercase()).collect(),
        sort: params.sort(&["name", "modified", "artifacts_count", "tags"])?,
    })
}

/// List all releases
#[utoipa::path(get, path = "/v1/deployments/deployments/releases", tag = "releases",
    params(("name" = Option<String>, Query, description = "Its beginning"), ("description" = Option<String>, Query,),
        ("device_type" = Option<String>, Query,), ("update_type" = Option<String>, Query,)),
    responses((status = 200, body = Vec<ReleaseV1>)))]
pub async fn all_v1(
    State(app): State<Shared>,
    user: User,
    params: Params,
) -> Result<axum::Json<Vec<ReleaseV1>>> {
    let found = app.store.releases(&user.tenant, &filter(&params)?, None).await?;
    Ok(axum::Json(found.items.into_iter().map(ReleaseV1::from).collect()))
}

/// List releases
#[utoipa::path(get, path = "/v1/deployments/deployments/releases/list", tag = "releases",
    params(("name" = Option<String>, Query, description = "Its beginning"), ("description" = Option<String>, Query,),
        ("device_type" = Option<String>, Query,), ("update_type" = Option<String>, Query,),
        ("tag" = Option<Vec<String>>, Query,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("sort" = Option<String>, Query, description = "name, modified, artifacts_count or tags, with :asc or :desc")),
    responses((status = 200, body = Vec<ReleaseV1>), (status = 400, body = ErrorBody)))]
pub async fn list_v1(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let found = app.store.releases(&user.tenant, &filter(&params)?, Some(page.window())).await?;
    let items: Vec<_> = found.items.into_iter().map(ReleaseV1::from).collect();
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}

/// List releases
#[utoipa::path(get, path = "/v2/deployments/deployments/releases", tag = "releases",
    params(("name" = Option<String>, Query, description = "Its beginning"), ("tag" = Option<Vec<String>>, Query,),
        ("update_type" = Option<String>, Query,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("sort" = Option<String>, Query, description = "name, modified, artifacts_count or tags, with :asc or :desc")),
    responses((status = 200, body = Vec<Release>), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    Ok(page.respond(&uri, app.store.releases(&user.tenant, &filter(&params)?, Some(page.window())).await?))
}

/// Delete releases
///
/// With all their artifacts: all of them, or none when a deployment needs one.
#[utoipa::path(delete, path = "/v2/deployments/deployments/releases", tag = "releases",
    params(("name" = Vec<String>, Query,)),
    responses((status = 204), (status = 400, body = ErrorBody),
        (status = 409, description = "In use, and by what", body = ErrorBody)))]
pub async fn delete(State(app): State<Shared>, user: User, params: Params) -> Result<StatusCode> {
    let names = params.all("name");
    if names.is_empty() {
        return Err(Fault::bad_request("name: missing"));
    }
    match app.store.remove_releases(&user.tenant, &names).await? {
        Ok(artifacts) => {
            for id in artifacts {
                app.blobs.remove(&user.tenant, &id).await?;
            }
            Ok(StatusCode::NO_CONTENT)
        }
        Err(users) => {
            let shown: Vec<_> = users.iter().map(|(id, name)| format!("{name} ({id})")).collect();
            let message = format!("in use by deployment {}; abort it first", shown.join(", "));
            let ids: Vec<_> = users.into_iter().map(|(id, _)| id).collect();
            Err(Fault::conflict(message).with("active_deployments", json!(ids)))
        }
    }
}

/// Read a release
#[utoipa::path(get, path = "/v2/deployments/deployments/releases/{name}", tag = "releases",
    params(("name" = String, Path,)), responses((status = 200, body = Release), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
) -> Result<axum::Json<Release>> {
    let release = app.store.release(&user.tenant, &name).await?;
    release.map(axum::Json).ok_or_else(|| Fault::not_found("release"))
}

#[derive(Deserialize, ToSchema)]
pub struct Notes {
    notes: String,
}

/// Write a release's notes
#[utoipa::path(patch, path = "/v2/deployments/deployments/releases/{name}", tag = "releases",
    params(("name" = String, Path,)), request_body = Notes,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn note(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
    Json(body): Json<Notes>,
) -> Result<StatusCode> {
    if body.notes.len() > 16 << 10 {
        return Err(Fault::bad_request("notes: expected at most 16384 bytes"));
    }
    if !app.store.note_release(&user.tenant, &name, &body.notes).await? {
        return Err(Fault::not_found("release"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a release's tags
#[utoipa::path(put, path = "/v2/deployments/deployments/releases/{name}/tags", tag = "releases",
    params(("name" = String, Path,)), request_body = Vec<String>,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "Too many different tags", body = ErrorBody)))]
pub async fn tag(
    State(app): State<Shared>,
    user: User,
    Path(name): Path<String>,
    Json(tags): Json<Vec<String>>,
) -> Result<StatusCode> {
    if tags.len() > 20 {
        return Err(Fault::bad_request(format!("expected at most 20 tags, found {}", tags.len())));
    }
    let tags: Vec<_> = tags.iter().map(|tag| tag.to_lowercase()).collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if let Some(bad) = tags.iter().find(|tag| tag.is_empty() || tag.len() > 256 || !tag.bytes().all(plain)) {
        return Err(Fault::bad_request(format!("tag {bad}: expected 1 to 256 letters, digits and -_.")));
    }
    app.store.tag_release(&user.tenant, &name, &tags, UNIQUE_TAGS).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the tags that releases have
#[utoipa::path(get, path = "/v2/deployments/releases/all/tags", tag = "releases",
    responses((status = 200, body = Vec<String>)))]
pub async fn tags(State(app): State<Shared>, user: User) -> Result<axum::Json<Vec<String>>> {
    Ok(axum::Json(app.store.release_tags(&user.tenant).await?))
}

/// List the payload types that artifacts have
#[utoipa::path(get, path = "/v2/deployments/releases/all/types", tag = "releases",
    responses((status = 200, body = Vec<String>)))]
pub async fn types(State(app): State<Shared>, user: User) -> Result<axum::Json<Vec<String>>> {
    Ok(axum::Json(app.store.update_types(&user.tenant).await?))
}

/// A release as software.
#[derive(Serialize, ToSchema)]
pub struct Software {
    /// `release`
    kind: &'static str,
    #[serde(flatten)]
    release: Release,
}

/// List software
#[utoipa::path(get, path = "/v1alpha1/deployments/software", tag = "releases",
    params(("kind" = Option<String>, Query, description = "release, manifest"), ("name" = Option<String>, Query,),
        ("tag" = Option<Vec<String>>, Query,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,)),
    responses((status = 200, body = Vec<Software>), (status = 400, body = ErrorBody)))]
pub async fn software(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let found = match params.one("kind") {
        None | Some("release") => {
            app.store.releases(&user.tenant, &filter(&params)?, Some(page.window())).await?
        }
        Some("manifest") => Paged { items: Vec::new(), total: 0 },
        Some(other) => {
            return Err(Fault::bad_request(format!("kind: expected release or manifest, found {other}")))
        }
    };
    let items: Vec<_> =
        found.items.into_iter().map(|release| Software { kind: "release", release }).collect();
    Ok(page.respond(&uri, Paged { items, total: found.total }))
}

/// List the tags that software has
#[utoipa::path(get, path = "/v1alpha1/deployments/software/tags", tag = "releases",
    responses((status = 200, body = Vec<String>)))]
pub async fn software_tags(State(app): State<Shared>, user: User) -> Result<axum::Json<Vec<String>>> {
    Ok(axum::Json(app.store.release_tags(&user.tenant).await?))
}
