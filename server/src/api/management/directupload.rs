//! Upload by a signed link, without a token: asked for, sent, completed.
use super::artifacts::{publish, to_the_end, turn, Guarded};
use crate::api::device::download::check_link;
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Params, User};
use crate::api::form::{stalled, CHUNK_WITHIN};
use crate::api::origin::Origin;
use crate::app::Shared;
use crate::clock::{self, Millis};
use crate::links;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use futures_util::StreamExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Where to send an artifact.
#[derive(Serialize, ToSchema)]
pub struct UploadLink {
    id: String,
    uri: String,
    /// `PUT`
    method: &'static str,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    expire: Millis,
    #[schema(value_type = Object)]
    header: serde_json::Map<String, serde_json::Value>,
}

/// Ask for a link to upload an artifact
#[utoipa::path(post, path = "/v1/deployments/artifacts/directupload", tag = "artifacts",
    responses((status = 200, body = UploadLink)))]
pub async fn ask(State(app): State<Shared>, user: User, origin: Origin) -> Result<axum::Json<UploadLink>> {
    let id = clock::new_id();
    let path = format!("/api/management/v1/deployments/artifacts/directupload/{id}");
    let (link, expire) = links::sign(&app.keys.links, "PUT", &path, user.tenant.id(), links::USER_LIFE);
    let uri = format!("{}{link}", origin.0);
    Ok(axum::Json(UploadLink { id, uri, method: "PUT", expire, header: Default::default() }))
}

/// Send an artifact to such a link
///
/// It is checked and stored, and not shown before it is completed.
#[utoipa::path(put, path = "/v1/deployments/artifacts/directupload/{id}", tag = "artifacts",
    params(("id" = String, Path,), ("x-men-expire" = String, Query,), ("tenant_id" = String, Query,),
        ("x-men-signature" = String, Query,)),
    request_body(content = String, content_type = "application/vnd.mender-artifact"),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "Sent already", body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub async fn send(
    State(app): State<Shared>,
    Path(id): Path<String>,
    uri: OriginalUri,
    params: Params,
    body: Body,
) -> Result<StatusCode> {
    let tenant = check_link(&app, "PUT", &uri, &params)?;
    let _turn = turn(&app)?;
    // Held until what comes is kept: of two who send at once, the second must not replace what the first has sent.
    let claim = app.receiving.claim(&tenant, &id);
    let claim = claim.ok_or_else(|| Fault::conflict("somebody sends to this link just now"))?;
    if app.store.is_upload_known(&tenant, &id).await? {
        return Err(Fault::conflict("an artifact was sent to this link already"));
    }
    let mut upload = Guarded::start(&app, &tenant, &id).await?;
    let mut body = body.into_data_stream();
    while let Some(chunk) = tokio::time::timeout(CHUNK_WITHIN, body.next()).await.map_err(|_| stalled())? {
        let chunk = chunk.map_err(|error| Fault::bad_request(format!("the body was cut: {error}")))?;
        upload.write(chunk).await?;
    }
    let app = app.clone();
    to_the_end(async move {
        let received = upload.finish().await?;
        app.store.keep_upload(&tenant, &id, &received).await?;
        drop(claim);
        Ok(StatusCode::OK)
    })
    .await
}

/// Complete an upload by link
///
/// The artifact appears.
#[utoipa::path(post, path = "/v1/deployments/artifacts/directupload/{id}/complete", tag = "artifacts",
    params(("id" = String, Path,)),
    responses((status = 202), (status = 404, description = "Nothing was sent", body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn complete(State(app): State<Shared>, user: User, Path(id): Path<String>) -> Result<StatusCode> {
    to_the_end(async move {
        let received = app.store.take_upload(&user.tenant, &id).await?;
        let received = received.ok_or_else(|| Fault::not_found("upload"))?;
        publish(&app, &user.tenant, id, received, String::new()).await?;
        Ok(StatusCode::ACCEPTED)
    })
    .await
}
