//! What happens around every request: its id, its log line, and the shape of every refusal.
use super::error::{of_status, Fault};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{header, HeaderMap, HeaderValue};
use std::time::Instant;
use tracing::Instrument;

const REQUEST_ID: &str = "x-men-requestid";

/// Wraps a request.
pub async fn request(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id, %method, path);
    let began = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = shape(response, &id);
    let _in_span = span.enter();
    tracing::debug!(status = response.status().as_u16(), ms = began.elapsed().as_millis() as u64, "answered");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The client's own id for the request, when it is a plain short one, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = [REQUEST_ID, "x-request-id"].iter().find_map(|name| headers.get(*name)?.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    given.filter(plain).map_or_else(crate::clock::new_id, str::to_owned)
}

/// Gives a refusal its body, whoever made it.
fn shape(mut response: Response, id: &str) -> Response {
    let status = response.status();
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        return fault.respond(id);
    }
    let refused = status.is_client_error() || status.is_server_error();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if refused && !json {
        return of_status(status).respond(id);
    }
    response
}
