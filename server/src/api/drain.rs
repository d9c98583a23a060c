//! A refusal must reach a client that is still sending: what is left of the body is read before it is answered, within limits.
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// Most bytes that are read for nothing.
const MOST: usize = 64 << 20;
/// Longest time that is spent on it.
const WITHIN: Duration = Duration::from_secs(10);

/// The other end of a body that a handler reads.
pub struct Rest(Arc<Mutex<Body>>);

/// Divides a body into one for the handler and a hold on what the handler leaves of it.
pub fn divide(body: Body) -> (Body, Rest) {
    let shared = Arc::new(Mutex::new(body));
    (Body::new(Divided(shared.clone())), Rest(shared))
}

impl Rest {
    /// Reads what is left. The handler must be done.
    pub async fn drain(self) {
        let Some(shared) = Arc::into_inner(self.0) else { return };
        let mut body = shared.into_inner().unwrap_or_else(|lock| lock.into_inner());
        let read = async {
            let mut left = MOST;
            while let Some(Ok(frame)) = body.frame().await {
                let size = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(size) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(WITHIN, read).await;
    }
}

struct Divided(Arc<Mutex<Body>>);

impl HttpBody for Divided {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(|lock| lock.into_inner());
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(|lock| lock.into_inner()).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(|lock| lock.into_inner()).size_hint()
    }
}
