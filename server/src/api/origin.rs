//! How the client reaches this server: what links begin with.
use super::error::Fault;
use crate::app::Shared;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{header, HeaderMap};

/// `https://host:port`
pub struct Origin(pub String);

impl FromRequestParts<Shared> for Origin {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Fault> {
        if let Some(url) = &app.config.public_url {
            return Ok(Origin(url.clone()));
        }
        let text = |name: &str| header_text(&parts.headers, name);
        let host = parts.uri.authority().map(|host| host.as_str()).or_else(|| text(header::HOST.as_str()));
        let host = host.ok_or_else(|| Fault::bad_request("the request has no Host"))?;
        if !app.config.plain_http {
            return Ok(Origin(format!("https://{host}")));
        }
        // A proxy is before us: it knows.
        let host = text("x-forwarded-host").unwrap_or(host);
        let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
        Ok(Origin(format!("{scheme}://{host}")))
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
