//! What happens around every request: its id, its log line, and the shape of every refusal.
use super::drain;
use super::error::{of_status, Fault};
use crate::app::Shared;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{header, HeaderMap, HeaderName, HeaderValue};
use hyper::body::Body;
use std::time::Instant;
use tracing::Instrument;

const REQUEST_ID: &str = "x-men-requestid";

/// Wraps a request.
pub async fn request(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id, %method, path);
    let response = run(request, next).instrument(span.clone()).await;
    let mut response = shape(response, &id);
    let (status, took) = (response.status().as_u16(), began.elapsed());
    app.metrics.answered(method.as_str(), route.as_ref().map_or("", MatchedPath::as_str), status, took);
    span.in_scope(|| tracing::debug!(status, ms = took.as_millis() as u64, "answered"));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    secure(headers, app.config.tls.is_some());
    response
}

/// Answers, and hears a client out that is refused.
async fn run(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let (body, rest) = drain::divide(body);
    let response = next.run(Request::from_parts(head, body)).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        rest.drain().await;
    }
    response
}

/// Headers that keep browsers from doing what no page of ours wants.
fn secure(headers: &mut HeaderMap, own_certificate: bool) {
    let mut add = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(header::X_FRAME_OPTIONS, "DENY");
    add(header::REFERRER_POLICY, "no-referrer");
    add(header::CACHE_CONTROL, "no-store");
    add(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    if own_certificate {
        add(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
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
