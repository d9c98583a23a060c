//! Device configurations: what is wanted, and what the device says it has.
use super::{Result, Store, Tenant};
use crate::clock::{self, Millis};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::Row;
use utoipa::ToSchema;

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Configuration {
    pub id: String,
    #[schema(value_type = Object)]
    pub configured: Map<String, Value>,
    #[schema(value_type = Object)]
    pub reported: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    #[serde(
        rename = "reported_ts",
        serialize_with = "clock::text::option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reported_at: Option<Millis>,
    #[serde(
        rename = "updated_ts",
        serialize_with = "clock::text::option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub updated: Option<Millis>,
}

impl Store {
    /// A device without any has an empty one.
    pub async fn configuration(&self, tenant: &Tenant, device: &str) -> Result<Configuration> {
        let row = sqlx::query("SELECT * FROM configurations WHERE tenant_id = ? AND device_id = ?")
            .bind(tenant.id())
            .bind(device)
            .fetch_optional(&self.read)
            .await?;
        let Some(row) = row else {
            return Ok(Configuration { id: device.to_owned(), ..Default::default() });
        };
        Ok(Configuration {
            id: device.to_owned(),
            configured: super::from_json("a configuration", row.get("configured"))?,
            reported: super::from_json("a configuration", row.get("reported"))?,
            deployment_id: row.get("deployment_id"),
            reported_at: row.get("reported_at"),
            updated: row.get("updated"),
        })
    }

    pub async fn configure(&self, tenant: &Tenant, device: &str, wanted: &Map<String, Value>) -> Result<()> {
        self.write_configuration(tenant, device, "configured", "updated", wanted).await
    }

    pub async fn report_configuration(
        &self,
        tenant: &Tenant,
        device: &str,
        has: &Map<String, Value>,
    ) -> Result<()> {
        self.write_configuration(tenant, device, "reported", "reported_at", has).await
    }

    async fn write_configuration(
        &self,
        tenant: &Tenant,
        device: &str,
        column: &str,
        time: &str,
        map: &Map<String, Value>,
    ) -> Result<()> {
        sqlx::query(&format!(
            "INSERT INTO configurations (tenant_id, device_id, {column}, {time}) VALUES (?, ?, ?, ?)
             ON CONFLICT (tenant_id, device_id) DO UPDATE SET {column} = excluded.{column}, {time} = excluded.{time}"
        ))
        .bind(tenant.id())
        .bind(device)
        .bind(super::json(map))
        .bind(clock::now())
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Notes which deployment carries the configuration to the device.
    pub async fn configuration_deployed(
        &self,
        tenant: &Tenant,
        device: &str,
        deployment: &str,
    ) -> Result<()> {
        sqlx::query("UPDATE configurations SET deployment_id = ? WHERE tenant_id = ? AND device_id = ?")
            .bind(deployment)
            .bind(tenant.id())
            .bind(device)
            .execute(&self.write)
            .await?;
        Ok(())
    }
}
