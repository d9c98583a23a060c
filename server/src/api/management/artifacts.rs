//! Artifacts: upload, list, read, describe, delete.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Json, Params, User};
use crate::api::form::{chunk, text, Form};
use crate::api::origin::Origin;
use crate::app::{App, Shared};
use crate::clock::{self, Millis};
use crate::links;
use crate::store::artifacts::{Artifact, ArtifactFilter};
use crate::store::Tenant;
use crate::upload::{Received, Upload};
use axum::extract::multipart::Field;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{header, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::future::Future;
use tracing::Instrument;
use utoipa::ToSchema;

/// Most characters of a description.
const DESCRIPTION: usize = 4096;

fn filter(params: &Params) -> Result<ArtifactFilter> {
    Ok(ArtifactFilter {
        names: params.all("name"),
        description: params.one("description").map(str::to_owned),
        device_type: params.one("device_type").map(str::to_owned),
        sort: params.sort(&["name", "modified"])?,
    })
}

/// List all artifacts
#[utoipa::path(get, path = "/v1/deployments/artifacts", tag = "artifacts",
    params(("name" = Option<String>, Query,), ("description" = Option<String>, Query,),
        ("device_type" = Option<String>, Query,)),
    responses((status = 200, body = Vec<Artifact>)))]
pub async fn all(State(app): State<Shared>, user: User, params: Params) -> Result<axum::Json<Vec<Artifact>>> {
    Ok(axum::Json(app.store.artifacts(&user.tenant, &filter(&params)?, None).await?.items))
}

/// List artifacts
#[utoipa::path(get, path = "/v1/deployments/artifacts/list", tag = "artifacts",
    params(("name" = Option<String>, Query,), ("description" = Option<String>, Query,),
        ("device_type" = Option<String>, Query,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("sort" = Option<String>, Query, description = "name or modified, with :asc or :desc")),
    responses((status = 200, body = Vec<Artifact>), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let found = app.store.artifacts(&user.tenant, &filter(&params)?, Some(page.window())).await?;
    Ok(page.respond(&uri, found))
}

/// What an upload brings besides the artifact.
#[derive(Default)]
struct Fields {
    description: String,
    /// Bytes of the artifact, as the sender says.
    size: Option<u64>,
}

/// The fields of an upload. The artifact comes last.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; it is read as a stream")]
pub struct UploadForm {
    size: Option<u64>,
    description: Option<String>,
    #[schema(value_type = String, format = Binary)]
    artifact: String,
}

/// Upload an artifact
///
/// It is checked, hashed and stored as it comes, and appears once it is complete.
#[utoipa::path(post, path = "/v1/deployments/artifacts", tag = "artifacts",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 409, description = "One with the same name, device types and depends exists", body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 429, body = ErrorBody), (status = 507, body = ErrorBody)))]
pub async fn upload(State(app): State<Shared>, user: User, mut form: Form) -> Result<Response> {
    let _turn = turn(&app)?;
    let mut fields = Fields::default();
    loop {
        let field = form.next("artifact").await?;
        let Some(field) = field else {
            return Err(Fault::bad_request("the form has no field artifact"));
        };
        match field.name().unwrap_or_default() {
            "description" => {
                fields.description = text(field, "description", DESCRIPTION * 4).await?;
                check_description(&fields.description)?;
            }
            "size" => fields.size = text(field, "size", 32).await?.trim().parse().ok(),
            "artifact" => {
                let id = take(&app, &user.tenant, field, fields).await?;
                let location = format!("/api/management/v1/deployments/artifacts/{id}");
                return Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response());
            }
            // Fields of other servers, such as artifact_id.
            name => {
                let name = name.to_owned();
                text(field, &name, DESCRIPTION).await?;
            }
        }
    }
}

/// One upload at a time for each permit, so that disk and memory stay bounded.
pub fn turn(app: &App) -> Result<tokio::sync::SemaphorePermit<'_>> {
    app.uploads.try_acquire().map_err(|_| {
        Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many uploads at a time; try again").retry_after(10)
    })
}

pub fn check_description(text: &str) -> Result<()> {
    if text.chars().count() > DESCRIPTION {
        return Err(Fault::bad_request(format!("description: expected at most {DESCRIPTION} characters")));
    }
    Ok(())
}

/// An upload that leaves nothing behind when it is dropped before it is finished, as when the client goes away.
pub struct Guarded(Option<Upload>);

impl Guarded {
    pub async fn start(app: &App, tenant: &Tenant, id: &str) -> Result<Guarded> {
        let limit = room(app, tenant).await?;
        Ok(Guarded(Some(Upload::start(&app.blobs, tenant, id, limit).await?)))
    }

    pub async fn write(&mut self, chunk: bytes::Bytes) -> Result<()> {
        match &mut self.0 {
            Some(upload) => Ok(upload.write(chunk).await?),
            None => Ok(()),
        }
    }

    pub async fn finish(mut self) -> Result<Received> {
        match self.0.take() {
            Some(upload) => Ok(upload.finish().await?),
            None => Err(crate::upload::Error::Stopped.into()),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(upload) = self.0.take() {
            tokio::spawn(upload.abort());
        }
    }
}

/// Most bytes of an artifact now.
async fn room(app: &App, tenant: &Tenant) -> Result<u64> {
    let limit = app.config.artifact_limit;
    if app.config.storage_limit == 0 {
        return Ok(limit);
    }
    let used = u64::try_from(app.store.storage_used(tenant).await?).unwrap_or_default();
    Ok(limit.min(app.config.storage_limit.saturating_sub(used)))
}

/// Does the rest of an upload to its end, also when the client goes away meanwhile: a file of which nobody knows would stay.
pub async fn to_the_end<T: Send + 'static>(
    rest: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let rest = tokio::spawn(rest.in_current_span()).await;
    rest.unwrap_or_else(|_| Err(crate::upload::Error::Stopped.into()))
}

async fn take(app: &Shared, tenant: &Tenant, mut field: Field<'_>, form: Fields) -> Result<String> {
    let limit = app.config.artifact_limit;
    if form.size.is_some_and(|size| size > limit) {
        return Err(crate::upload::Error::TooLarge(limit).into());
    }
    let id = clock::new_id();
    let mut upload = Guarded::start(app, tenant, &id).await?;
    while let Some(chunk) = chunk(&mut field).await? {
        upload.write(chunk).await?;
    }
    let (app, tenant) = (app.clone(), tenant.clone());
    to_the_end(async move {
        let received = upload.finish().await?;
        publish(&app, &tenant, id, received, form.description).await
    })
    .await
}

/// Makes a stored artifact visible; its file is removed when it cannot be.
pub async fn publish(
    app: &App,
    tenant: &Tenant,
    id: String,
    received: Received,
    description: String,
) -> Result<String> {
    let artifact = Artifact {
        id,
        name: received.name,
        description,
        detail: received.detail,
        size: i64::try_from(received.size).unwrap_or(i64::MAX),
        modified: clock::now(),
        sha256: received.sha256,
    };
    let added = app.store.add_artifact(tenant, &artifact).await;
    if !matches!(added, Ok(Ok(()))) {
        app.blobs.remove(tenant, &artifact.id).await?;
    }
    if let Err(clashes) = added? {
        let message = "an artifact with the same name, device types and depends exists";
        return Err(Fault::conflict(message).with("metadata", json!({ "conflicts": clashes })));
    }
    tracing::info!(artifact = artifact.id, name = artifact.name, size = artifact.size, "artifact uploaded");
    Ok(artifact.id)
}

/// Read an artifact
#[utoipa::path(get, path = "/v1/deployments/artifacts/{id}", tag = "artifacts", params(("id" = String, Path,)),
    responses((status = 200, body = Artifact), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
) -> Result<axum::Json<Artifact>> {
    let artifact = app.store.artifact(&user.tenant, &id).await?;
    artifact.map(axum::Json).ok_or_else(|| Fault::not_found("artifact"))
}

#[derive(Deserialize, ToSchema)]
pub struct Description {
    #[serde(default)]
    description: String,
}

/// Describe an artifact
#[utoipa::path(put, path = "/v1/deployments/artifacts/{id}", tag = "artifacts", params(("id" = String, Path,)),
    request_body = Description,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn describe(
    State(app): State<Shared>,
    user: User,
    Path(id): Path<String>,
    Json(body): Json<Description>,
) -> Result<StatusCode> {
    check_description(&body.description)?;
    if !app.store.describe_artifact(&user.tenant, &id, &body.description).await? {
        return Err(Fault::not_found("artifact"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Delete an artifact
#[utoipa::path(delete, path = "/v1/deployments/artifacts/{id}", tag = "artifacts", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = ErrorBody),
        (status = 409, description = "In use, and by what", body = ErrorBody)))]
pub async fn delete(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    app.store.remove_artifact(&user.tenant, &id).await?;
    app.blobs.remove(&user.tenant, &id).await?;
    tracing::info!(artifact = id, user = user.id, "artifact deleted");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub struct Link {
    uri: String,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    expire: Millis,
}

/// Get a link to download an artifact
#[utoipa::path(get, path = "/v1/deployments/artifacts/{id}/download", tag = "artifacts",
    params(("id" = String, Path,)), responses((status = 200, body = Link), (status = 404, body = ErrorBody)))]
pub async fn download(
    State(app): State<Shared>,
    user: User,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<axum::Json<Link>> {
    let artifact = app.store.artifact(&user.tenant, &id).await?;
    let id = artifact.ok_or_else(|| Fault::not_found("artifact"))?.id;
    let path = format!("/api/devices/v1/deployments/download/artifact/{id}");
    let (link, expire) = links::sign(&app.keys.links, "GET", &path, user.tenant.id(), links::USER_LIFE);
    Ok(axum::Json(Link { uri: format!("{}{link}", origin.0), expire }))
}

#[derive(Serialize, ToSchema)]
pub struct Storage {
    /// Bytes; 0: no limit.
    limit: u64,
    usage: i64,
}

/// Read how much artifacts take
#[utoipa::path(get, path = "/v1/deployments/limits/storage", tag = "artifacts",
    responses((status = 200, body = Storage)))]
pub async fn storage(State(app): State<Shared>, user: User) -> Result<axum::Json<Storage>> {
    let usage = app.store.storage_used(&user.tenant).await?;
    Ok(axum::Json(Storage { limit: app.config.storage_limit, usage }))
}

/// List artifacts
#[utoipa::path(get, path = "/v2/deployments/artifacts", tag = "artifacts",
    params(("name" = Option<Vec<String>>, Query,), ("description" = Option<String>, Query,),
        ("device_type" = Option<String>, Query,), ("page" = Option<i64>, Query,), ("per_page" = Option<i64>, Query,),
        ("sort" = Option<String>, Query, description = "name or modified, with :asc or :desc")),
    responses((status = 200, body = Vec<Artifact>), (status = 400, body = ErrorBody)))]
pub async fn list_v2(
    State(app): State<Shared>,
    user: User,
    uri: OriginalUri,
    params: Params,
) -> Result<Response> {
    let page = params.page()?;
    let found = app.store.artifacts(&user.tenant, &filter(&params)?, Some(page.window())).await?;
    Ok(page.respond(&uri, found))
}
