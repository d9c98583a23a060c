//! What happens, as it happens: server-sent events, so that a page need not poll.
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::{Params, User};
use crate::app::Shared;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::BroadcastStream;

/// How often a token is looked at again while its stream is open.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Listen to what happens
///
/// Events `device` and `deployment` carry JSON with the `id` and what changed: read it anew if it is on show. `missed` says
/// that events were lost: read everything anew.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(("topic" = Option<Vec<String>>, Query, description = "device, deployment; none: both")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody)))]
pub async fn listen(
    State(app): State<Shared>,
    user: User,
    params: Params,
) -> Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let topics = params.all("topic");
    if let Some(other) = topics.iter().find(|topic| !matches!(topic.as_str(), "device" | "deployment")) {
        return Err(Fault::bad_request(format!("topic: expected device or deployment, found {other}")));
    }
    let tenant = user.tenant.clone();
    let happened = BroadcastStream::new(app.events.listen()).filter_map(move |event| {
        let shown = match event {
            Ok(event) if event.tenant != tenant => None,
            Ok(event) if !topics.is_empty() && !topics.iter().any(|topic| topic == event.topic) => None,
            Ok(event) => Some(Event::default().event(event.topic).data(event.data.to_string())),
            Err(BroadcastStreamRecvError::Lagged(count)) => {
                Some(Event::default().event("missed").data(json!({ "count": count }).to_string()))
            }
        };
        std::future::ready(shown)
    });
    let begun = stream::once(std::future::ready(Event::default().event("ready").data("{}")));
    let events = begun.chain(happened).take_until(over(app.clone(), user)).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// Resolves when the user's token is not valid any more, or the server stops.
async fn over(app: Shared, user: User) {
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(CHECK_EVERY) => {}
        }
        if !matches!(app.store.user_token(&user.tenant, &user.id, &user.token_id).await, Ok(Some(_))) {
            return;
        }
    }
}
