//! A form that ends with a file. What comes before the file is bounded like every other body, the file by who takes it.
use super::error::{Fault, Result};
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures_util::stream::{poll_fn, StreamExt};
use http::StatusCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{ready, Poll};
use std::time::Duration;

/// A client that sends nothing for so long has gone away.
pub const CHUNK_WITHIN: Duration = Duration::from_secs(60);

/// A form as it comes in.
pub struct Form {
    fields: Multipart,
    /// Bytes that may still come before the file.
    left: Arc<AtomicUsize>,
}

impl<S: Sync + Send> FromRequest<S> for Form {
    type Rejection = Fault;
    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let left = Arc::new(AtomicUsize::new(super::BODY));
        let counter = left.clone();
        let request = request.map(|body| {
            let (mut chunks, mut pause) = (body.into_data_stream(), false);
            let bounded = poll_fn(move |context| {
                // The parser keeps all that is ready, however much it is: one chunk at a time is.
                if std::mem::take(&mut pause) {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let chunk = ready!(chunks.poll_next_unpin(context));
                pause = chunk.is_some();
                Poll::Ready(chunk.map(|chunk| bound(&counter, chunk?)))
            });
            Body::from_stream(bounded)
        });
        let fields = Multipart::from_request(request, state)
            .await
            .map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
        Ok(Form { fields, left })
    }
}

/// Takes a chunk from what is left.
fn bound(left: &AtomicUsize, chunk: Bytes) -> std::result::Result<Bytes, axum::Error> {
    let before = left.load(Ordering::Relaxed);
    left.store(before.saturating_sub(chunk.len()), Ordering::Relaxed);
    if before <= chunk.len() {
        return Err(axum::Error::new("too much comes before the file"));
    }
    Ok(chunk)
}

impl Form {
    /// The next field. From the one named `file` on, nothing is bounded any more.
    pub async fn next(&mut self, file: &str) -> Result<Option<Field<'_>>> {
        let next = tokio::time::timeout(CHUNK_WITHIN, self.fields.next_field());
        match next.await.map_err(|_| stalled())? {
            Ok(Some(field)) => {
                if field.name() == Some(file) {
                    self.left.store(usize::MAX, Ordering::Relaxed);
                }
                Ok(Some(field))
            }
            Ok(None) => Ok(None),
            Err(_) if self.left.load(Ordering::Relaxed) == 0 => {
                let message = format!("more than {} bytes come before the file", super::BODY);
                Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Err(error) => Err(bad_form(error)),
        }
    }
}

fn bad_form(error: MultipartError) -> Fault {
    Fault::new(error.status(), format!("the form could not be read: {}", error.body_text()))
}

/// The next part of a field.
pub async fn chunk(field: &mut Field<'_>) -> Result<Option<bytes::Bytes>> {
    match tokio::time::timeout(CHUNK_WITHIN, field.chunk()).await {
        Ok(chunk) => chunk.map_err(bad_form),
        Err(_) => Err(stalled()),
    }
}

pub fn stalled() -> Fault {
    Fault::new(StatusCode::REQUEST_TIMEOUT, "the upload stood still for too long")
}

/// A field that is a short text.
pub async fn text(mut field: Field<'_>, name: &str, most: usize) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunk(&mut field).await? {
        if bytes.len() + chunk.len() > most {
            return Err(Fault::bad_request(format!("{name}: expected at most {most} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Fault::bad_request(format!("{name}: expected UTF-8")))
}
