//! Errors as the API tells them: `{"error","request_id"}`.
use crate::{blobs, store, upload};
use axum::response::{IntoResponse, Response};
use http::{header, HeaderName, HeaderValue, StatusCode};
use serde_json::{json, Map, Value};

/// A refusal. The request's id is added on the way out.
#[derive(Debug, Clone)]
pub struct Fault {
    pub status: StatusCode,
    pub message: String,
    /// More fields of the body.
    pub more: Map<String, Value>,
    /// A header that goes with it.
    pub header: Option<Box<(HeaderName, HeaderValue)>>,
}

pub type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        Fault { status, message: message.into(), more: Map::new(), header: None }
    }
    pub fn bad_request(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, message)
    }
    pub fn unauthorized() -> Fault {
        Fault::new(StatusCode::UNAUTHORIZED, "unauthorized")
    }
    pub fn not_found(what: &str) -> Fault {
        Fault::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }
    pub fn conflict(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::CONFLICT, message)
    }
    pub fn unprocessable(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }
    pub fn changed() -> Fault {
        Fault::new(StatusCode::PRECONDITION_FAILED, "it was changed by somebody else; read it again")
    }
    pub fn with(mut self, field: &str, value: Value) -> Fault {
        self.more.insert(field.into(), value);
        self
    }
    /// It is worth trying again after so many seconds.
    pub fn retry_after(mut self, seconds: u32) -> Fault {
        self.header = Some(Box::new((header::RETRY_AFTER, HeaderValue::from(seconds))));
        self
    }
    /// The range is outside of a file of this size.
    pub fn not_satisfiable(size: u64) -> Fault {
        let message = format!("the range is outside of the {size} bytes");
        let mut fault = Fault::new(StatusCode::RANGE_NOT_SATISFIABLE, message);
        let all = HeaderValue::from_str(&format!("bytes */{size}")).ok();
        fault.header = all.map(|all| Box::new((header::CONTENT_RANGE, all)));
        fault
    }

    fn internal(error: &dyn std::error::Error, full: bool) -> Fault {
        tracing::error!(%error, "request failed");
        if full {
            return Fault::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full");
        }
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// The response with the request's id in it.
    pub fn respond(self, request_id: &str) -> Response {
        let mut body = self.more;
        body.insert("error".into(), self.message.into());
        body.insert("request_id".into(), request_id.into());
        let mut response = (self.status, axum::Json(Value::Object(body))).into_response();
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Fault {
        match error {
            store::Error::NotFound(what) => Fault::not_found(what),
            store::Error::Conflict(message) => Fault::conflict(message),
            other => Fault::internal(&other, other.is_full()),
        }
    }
}

impl From<blobs::Error> for Fault {
    fn from(error: blobs::Error) -> Fault {
        Fault::internal(&error, error.is_full())
    }
}

impl From<upload::Error> for Fault {
    fn from(error: upload::Error) -> Fault {
        match error {
            upload::Error::Artifact(error) => Fault::bad_request(format!("the artifact is refused: {error}")),
            upload::Error::TooLarge(_) => Fault::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            upload::Error::Store(error) => error.into(),
            upload::Error::Stopped => Fault::internal(&error, false),
        }
    }
}

/// The body of every refusal.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    pub error: String,
    pub request_id: String,
}

/// A refusal made of nothing but a status.
pub fn of_status(status: StatusCode) -> Fault {
    Fault::new(
        status,
        json!(status.canonical_reason().unwrap_or("error").to_lowercase()).as_str().unwrap_or(""),
    )
}
