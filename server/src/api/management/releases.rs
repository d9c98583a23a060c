//! Releases: all artifacts of one name.
use crate::api::error::{ErrorBody, Result};
use crate::api::extract::{Params, User};
use crate::app::Shared;
use crate::clock::{self, Millis};
use crate::store::artifacts::Artifact;
use crate::store::releases::{Release, ReleaseFilter};
use crate::store::Paged;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

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
