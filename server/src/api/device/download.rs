//! Signed links to artifacts, with ranges (device API: download).
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::Params;
use crate::app::Shared;
use crate::links;
use crate::store::Tenant;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use http::{header, HeaderMap, StatusCode};
use std::ops::Range;

pub const MIME: &str = "application/vnd.mender-artifact";

/// Download an artifact
#[utoipa::path(get, path = "/v1/deployments/download/artifact/{id}", tag = "device: deployments",
    params(("id" = String, Path,), ("x-men-expire" = String, Query,), ("tenant_id" = String, Query,),
        ("x-men-signature" = String, Query,), ("Range" = Option<String>, Header,), ("If-Range" = Option<String>, Header,)),
    responses((status = 200, content_type = "application/vnd.mender-artifact"),
        (status = 206, content_type = "application/vnd.mender-artifact"), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 416, body = ErrorBody)))]
pub async fn artifact(
    State(app): State<Shared>,
    Path(id): Path<String>,
    uri: OriginalUri,
    params: Params,
    headers: HeaderMap,
) -> Result<Response> {
    let tenant = check_link(&app, "GET", &uri, &params)?;
    let artifact = app.store.artifact(&tenant, &id).await?.ok_or_else(|| Fault::not_found("artifact"))?;
    let size = artifact.size as u64;
    let etag = format!("\"{}\"", artifact.sha256);
    let (status, range) = choose(&headers, &etag, size)?;
    let stream = app.blobs.read(&tenant, &id, range.clone()).await?;
    respond(status, range, size, &etag, &format!("{}.mender", artifact.id), Body::from_stream(stream))
}

/// The tenant of a signed link, when it is good.
pub fn check_link(app: &Shared, method: &str, uri: &OriginalUri, params: &Params) -> Result<Tenant> {
    let part = |key: &str| params.one(key).unwrap_or_default();
    let (expire, tenant) = (part("x-men-expire"), part("tenant_id"));
    let good = links::is_valid(&app.keys.links, method, uri.path(), expire, tenant, part("x-men-signature"));
    if !good {
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "the link is not valid, or not any more; ask for a new one",
        ));
    }
    Ok(Tenant::new(tenant))
}

/// Which bytes to send, and with which status.
pub fn choose(headers: &HeaderMap, etag: &str, size: u64) -> Result<(StatusCode, Range<u64>)> {
    let whole = (StatusCode::OK, 0..size);
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(whole);
    };
    // The client holds the beginning of another file.
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Ok(whole);
    }
    match parse_range(range, size) {
        Wanted::All => Ok(whole),
        Wanted::Some(range) => Ok((StatusCode::PARTIAL_CONTENT, range)),
        Wanted::None => Err(Fault::not_satisfiable(size)),
    }
}

/// A response with a part of a file, or all of it.
pub fn respond(
    status: StatusCode,
    range: Range<u64>,
    size: u64,
    etag: &str,
    name: &str,
    body: Body,
) -> Result<Response> {
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, MIME)
        .header(header::CONTENT_LENGTH, range.end - range.start)
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, etag);
    if status == StatusCode::PARTIAL_CONTENT {
        response =
            response.header(header::CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    response.body(body).map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    Some(Range<u64>),
    None,
}

/// Reads a header `Range`. Units that are not bytes, several ranges and nonsense are as if it was not there.
fn parse_range(text: &str, size: u64) -> Wanted {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::All;
    };
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u64>().ok().map(Some),
        _ => None,
    };
    let range = match (number(first), number(last)) {
        (Some(Some(first)), Some(None)) => first..size,
        (Some(Some(first)), Some(Some(last))) if first <= last => first..size.min(last.saturating_add(1)),
        (Some(None), Some(Some(last))) => size.saturating_sub(last)..size,
        _ => return Wanted::All,
    };
    if range.start >= range.end {
        return Wanted::None;
    }
    Wanted::Some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ranges() {
        for (text, wanted) in [
            ("bytes=0-", Wanted::Some(0..10)),
            ("bytes=3-", Wanted::Some(3..10)),
            ("bytes=3-4", Wanted::Some(3..5)),
            ("bytes=3-99999999999999999", Wanted::Some(3..10)),
            ("bytes=-4", Wanted::Some(6..10)),
            ("bytes=-40", Wanted::Some(0..10)),
            ("bytes=10-", Wanted::None),
            ("bytes=-0", Wanted::None),
            ("bytes=4-3", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("items=0-1", Wanted::All),
            ("bytes=-", Wanted::All),
        ] {
            assert_eq!(parse_range(text, 10), wanted, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::None);
    }
}
