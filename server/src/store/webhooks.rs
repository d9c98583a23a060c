//! Who is told when something becomes of a device, what was told, and what still has to be.
use super::{Error, Paged, Result, Store, Tenant, Window};
use crate::clock::{self, Millis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use utoipa::ToSchema;

/// Most events kept for a tenant.
const KEPT: i64 = 1000;

/// Where and how to tell.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    /// `http`
    #[serde(rename = "type")]
    pub kind: String,
    pub http: Http,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Http {
    pub url: String,
    /// Signs what is sent. Hexadecimal, or any text. Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Integration {
    pub id: String,
    pub provider: String,
    pub description: String,
    pub credentials: Credentials,
}

/// How telling one integration went.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryStatus {
    pub integration_id: String,
    pub success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookEvent {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "time", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub created: Millis,
    #[schema(value_type = Object)]
    pub data: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delivery_statuses: Vec<DeliveryStatus>,
}

/// An event that has to be told to somebody now.
pub struct Delivery {
    pub tenant: Tenant,
    pub event: WebhookEvent,
    pub integration_id: String,
    pub credentials: Credentials,
    pub attempts: i64,
}

impl Store {
    pub async fn integrations(&self, tenant: &Tenant) -> Result<Vec<Integration>> {
        let rows = sqlx::query("SELECT * FROM integrations WHERE tenant_id = ? ORDER BY created, id")
            .bind(tenant.id())
            .fetch_all(&self.read)
            .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Integration {
                id: row.get("id"),
                provider: row.get("provider"),
                description: row.get("description"),
                credentials: super::from_json("an integration", row.get("credentials"))?,
            })
        };
        rows.iter().map(read).collect()
    }

    pub async fn add_integration(
        &self,
        tenant: &Tenant,
        provider: &str,
        description: &str,
        credentials: &Credentials,
    ) -> Result<String> {
        let id = clock::new_id();
        sqlx::query(
            "INSERT INTO integrations (tenant_id, id, provider, description, credentials, created)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant.id())
        .bind(&id)
        .bind(provider)
        .bind(description)
        .bind(super::json(credentials))
        .bind(clock::now())
        .execute(&self.write)
        .await?;
        Ok(id)
    }

    pub async fn change_credentials(
        &self,
        tenant: &Tenant,
        id: &str,
        credentials: &Credentials,
    ) -> Result<bool> {
        let done = sqlx::query("UPDATE integrations SET credentials = ? WHERE tenant_id = ? AND id = ?")
            .bind(super::json(credentials))
            .bind(tenant.id())
            .bind(id)
            .execute(&self.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    pub async fn remove_integration(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        let mut write = self.begin().await?;
        sqlx::query("DELETE FROM webhook_deliveries WHERE tenant_id = ? AND integration_id = ?")
            .bind(tenant.id())
            .bind(id)
            .execute(&mut *write)
            .await?;
        let gone = sqlx::query("DELETE FROM integrations WHERE tenant_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(id)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(gone.rows_affected() > 0)
    }

    /// Keeps an event and what has to be told of it. Returns whether there is anybody to tell; without, nothing is kept.
    pub async fn add_webhook_event(&self, tenant: &Tenant, kind: &str, data: &Value) -> Result<bool> {
        let ids: Vec<(String,)> = sqlx::query_as("SELECT id FROM integrations WHERE tenant_id = ?")
            .bind(tenant.id())
            .fetch_all(&self.read)
            .await?;
        if ids.is_empty() {
            return Ok(false);
        }
        let (id, now) = (clock::new_id(), clock::now());
        let mut write = self.begin().await?;
        sqlx::query(
            "INSERT INTO webhook_events (tenant_id, id, seq, type, data, created)
             SELECT ?1, ?2, coalesce(max(seq), 0) + 1, ?3, ?4, ?5 FROM webhook_events WHERE tenant_id = ?1",
        )
        .bind(tenant.id())
        .bind(&id)
        .bind(kind)
        .bind(super::json(data))
        .bind(now)
        .execute(&mut *write)
        .await?;
        for (integration,) in ids {
            sqlx::query(
                "INSERT INTO webhook_deliveries (tenant_id, event_id, integration_id, due) VALUES (?, ?, ?, ?)",
            )
            .bind(tenant.id())
            .bind(&id)
            .bind(&integration)
            .bind(now)
            .execute(&mut *write)
            .await?;
        }
        for sql in [
            "DELETE FROM webhook_events WHERE tenant_id = ?1
             AND seq <= (SELECT max(seq) FROM webhook_events WHERE tenant_id = ?1) - ?2",
            "DELETE FROM webhook_deliveries WHERE tenant_id = ?1 AND ?2 > 0
             AND event_id NOT IN (SELECT id FROM webhook_events WHERE tenant_id = ?1)",
        ] {
            sqlx::query(sql).bind(tenant.id()).bind(KEPT).execute(&mut *write).await?;
        }
        write.commit().await?;
        Ok(true)
    }

    /// Events, newest first, with how telling went; those of one integration, if one is named.
    pub async fn webhook_events(
        &self,
        tenant: &Tenant,
        integration: Option<&str>,
        window: Window,
    ) -> Result<Paged<WebhookEvent>> {
        let filter = "FROM webhook_events AS event WHERE event.tenant_id = ?1 AND (?2 IS NULL OR EXISTS
            (SELECT 1 FROM webhook_deliveries AS one WHERE one.tenant_id = ?1 AND one.event_id = event.id
             AND one.integration_id = ?2))";
        let rows =
            sqlx::query(&format!("SELECT event.* {filter} ORDER BY event.seq DESC LIMIT ?3 OFFSET ?4"))
                .bind(tenant.id())
                .bind(integration)
                .bind(window.limit)
                .bind(window.offset)
                .fetch_all(&self.read)
                .await?;
        let mut items = Vec::new();
        for row in &rows {
            let mut event = read_event(row)?;
            event.delivery_statuses = self.delivery_statuses(tenant, &event.id).await?;
            items.push(event);
        }
        let total: (i64,) = sqlx::query_as(&format!("SELECT count(*) {filter}"))
            .bind(tenant.id())
            .bind(integration)
            .fetch_one(&self.read)
            .await?;
        Ok(Paged { items, total: total.0 })
    }

    async fn delivery_statuses(&self, tenant: &Tenant, event: &str) -> Result<Vec<DeliveryStatus>> {
        let rows = sqlx::query(
            "SELECT * FROM webhook_deliveries WHERE tenant_id = ? AND event_id = ? AND attempts > 0
             ORDER BY integration_id",
        )
        .bind(tenant.id())
        .bind(event)
        .fetch_all(&self.read)
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| DeliveryStatus {
            integration_id: row.get("integration_id"),
            success: row.get("delivered"),
            status_code: row.get("status_code"),
            error: row.get("error"),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// What has to be told now, of all tenants, oldest first.
    pub async fn due_deliveries(&self, most: i64) -> Result<Vec<Delivery>> {
        let rows = sqlx::query(
            "SELECT event.*, delivery.integration_id, delivery.attempts, integrations.credentials
             FROM webhook_deliveries AS delivery
             JOIN webhook_events AS event ON event.tenant_id = delivery.tenant_id AND event.id = delivery.event_id
             JOIN integrations ON integrations.tenant_id = delivery.tenant_id
               AND integrations.id = delivery.integration_id
             WHERE delivery.due <= ? ORDER BY delivery.due LIMIT ?",
        )
        .bind(clock::now())
        .bind(most)
        .fetch_all(&self.read)
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Delivery {
                tenant: Tenant::new(row.get("tenant_id")),
                event: read_event(row)?,
                integration_id: row.get("integration_id"),
                credentials: super::from_json("an integration", row.get("credentials"))?,
                attempts: row.get("attempts"),
            })
        };
        rows.iter().map(read).collect()
    }

    /// Notes how telling went: `due` is when to try again.
    pub async fn delivery_went(
        &self,
        delivery: &Delivery,
        outcome: &std::result::Result<u16, String>,
        due: Option<Millis>,
    ) -> Result<()> {
        let delivered = matches!(outcome, Ok(200..=299));
        sqlx::query(
            "UPDATE webhook_deliveries SET attempts = attempts + 1, due = ?, delivered = ?, status_code = ?, error = ?
             WHERE tenant_id = ? AND event_id = ? AND integration_id = ?",
        )
        .bind(due)
        .bind(delivered)
        .bind(outcome.as_ref().ok().map(|code| i64::from(*code)))
        .bind(outcome.as_ref().err())
        .bind(delivery.tenant.id())
        .bind(&delivery.event.id)
        .bind(&delivery.integration_id)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Whether an integration exists.
    pub async fn has_integration(&self, tenant: &Tenant, id: &str) -> Result<()> {
        let found = self.integrations(tenant).await?.iter().any(|one| one.id == id);
        found.then_some(()).ok_or(Error::NotFound("integration"))
    }
}

fn read_event(row: &sqlx::sqlite::SqliteRow) -> Result<WebhookEvent> {
    Ok(WebhookEvent {
        id: row.get("id"),
        kind: row.get("type"),
        created: row.get("created"),
        data: super::from_json("an event", row.get("data"))?,
        delivery_statuses: Vec::new(),
    })
}
