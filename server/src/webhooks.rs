//! Tells integrations what becomes of devices (management API: webhooks).
use crate::app::{App, Shared};
use crate::clock::{self, Millis, HOUR, MINUTE, SECOND};
use crate::keys;
use crate::store::webhooks::Delivery;
use crate::store::Tenant;
use ring::hmac;
use serde_json::{json, Value};
use std::time::Duration;

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// When to try again, after the first, second … failure; then it is given up.
const AGAIN: [Millis; 6] = [10 * SECOND, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 8 * HOUR];
/// How often to look for what is due, when nobody says that something is.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What became of a device.
#[derive(Debug, Clone, Copy)]
pub enum What {
    Provisioned,
    Decommissioned,
    StatusChanged,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Provisioned => "device-provisioned",
            What::Decommissioned => "device-decommissioned",
            What::StatusChanged => "device-status-changed",
        }
    }
}

/// Tells everybody who listens what became of a device.
pub async fn tell(app: &App, tenant: &Tenant, id: &str, what: What) {
    let device = app.store.device(tenant, id).await.ok().flatten();
    let status = device.as_ref().map_or("noauth", |device| device.status.name());
    app.events.tell(tenant, "device", json!({ "id": id, "type": what.name(), "status": status }));
    let data = match &device {
        Some(device) => json!({
            "id": id,
            "status": status,
            "auth_sets": device.auth_sets,
            "created_ts": clock::rfc3339(device.created),
        }),
        None => json!({ "id": id }),
    };
    match app.store.add_webhook_event(tenant, what.name(), &data).await {
        Ok(true) => app.webhooks_due.notify_one(),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, device = id, "an event for the webhooks is lost"),
    }
}

/// Delivers what is due, until the server stops.
pub async fn deliver(app: Shared) {
    loop {
        let due = app.store.due_deliveries(20).await.unwrap_or_default();
        let idle = due.is_empty();
        for delivery in due {
            send(&app, delivery).await;
        }
        if idle {
            tokio::select! {
                () = app.stop.cancelled() => return,
                () = app.webhooks_due.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        if app.stop.is_cancelled() {
            return;
        }
    }
}

async fn send(app: &App, delivery: Delivery) {
    let event = &delivery.event;
    let body = json!({
        "id": event.id,
        "type": event.kind,
        "time": clock::rfc3339(event.created),
        "data": event.data,
    });
    let http = delivery.credentials.http.clone();
    let posted = tokio::task::spawn_blocking(move || post(&http.url, http.secret.as_deref(), &body)).await;
    let outcome = posted.unwrap_or_else(|_| Err("it was stopped".into()));
    let retry = AGAIN.get(usize::try_from(delivery.attempts).unwrap_or(usize::MAX));
    let due = match outcome {
        Ok(200..=299) => None,
        _ => retry.map(|wait| clock::now() + wait),
    };
    if let Err(error) = &outcome {
        tracing::warn!(integration = delivery.integration_id, error, "a webhook could not be told");
    }
    if let Err(error) = app.store.delivery_went(&delivery, &outcome, due).await {
        tracing::error!(%error, "how a webhook went could not be written down");
    }
}

/// The answer's status, whatever it is.
fn post(url: &str, secret: Option<&str>, body: &Value) -> Result<u16, String> {
    let body = body.to_string();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(secret) = secret {
        request = request
            .header("X-Men-Algorithm", "MEN-HMAC-SHA256-Payload")
            .header("X-Men-Signature", signature(secret, body.as_bytes()));
    }
    let response = request.send(body.as_bytes()).map_err(|error| error.to_string())?;
    Ok(response.status().as_u16())
}

/// Hexadecimal HMAC-SHA256. A secret that is hexadecimal stands for its bytes.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let key = keys::unhex(secret).unwrap_or_else(|| secret.as_bytes().to_vec());
    keys::hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), body).as_ref())
}
