//! Devices, with their auth sets: who asked to be admitted, and where they stand.
use super::{tokens, Error, Paged, Result, Store, Tenant, Window, Write};
use crate::clock::{self, Millis};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use std::collections::HashMap;
use utoipa::ToSchema;

/// Where an auth set stands. A device stands where the highest of its sets stands, or at `noauth` without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pending,
    Accepted,
    Rejected,
    Preauthorized,
    Noauth,
}

impl Status {
    pub const ALL: [Status; 5] =
        [Status::Accepted, Status::Preauthorized, Status::Pending, Status::Rejected, Status::Noauth];

    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Accepted => "accepted",
            Status::Rejected => "rejected",
            Status::Preauthorized => "preauthorized",
            Status::Noauth => "noauth",
        }
    }
    pub fn parse(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.name() == name)
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuthSet {
    pub id: String,
    pub device_id: String,
    pub identity_data: serde_json::Value,
    pub pubkey: String,
    pub status: Status,
    #[serde(rename = "ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub created: Millis,
    /// Of its tokens.
    #[serde(skip)]
    pub generation: i64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Device {
    pub id: String,
    pub identity_data: serde_json::Value,
    pub status: Status,
    #[serde(rename = "created_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub created: Millis,
    #[serde(rename = "updated_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub updated: Millis,
    #[serde(
        rename = "check_in_time",
        serialize_with = "clock::text::option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub check_in: Option<Millis>,
    pub decommissioning: bool,
    pub auth_sets: Vec<AuthSet>,
}

/// What a device says it is: canonical JSON, its sha256, and the attributes in it.
pub struct Identity {
    pub canonical: String,
    pub hash: String,
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default)]
pub struct DeviceFilter {
    pub statuses: Vec<Status>,
    pub ids: Vec<String>,
}

pub(super) fn read_auth_set(row: &SqliteRow) -> Result<AuthSet> {
    Ok(AuthSet {
        id: row.get("id"),
        device_id: row.get("device_id"),
        identity_data: super::from_json("a device's identity", row.get("identity"))?,
        pubkey: row.get("pubkey"),
        status: Status::parse(row.get("status")).unwrap_or(Status::Rejected),
        created: row.get("created"),
        generation: row.get("generation"),
    })
}

fn read_device(row: &SqliteRow) -> Result<Device> {
    Ok(Device {
        id: row.get("id"),
        identity_data: super::from_json("a device's identity", row.get("identity"))?,
        status: Status::parse(row.get("status")).unwrap_or(Status::Noauth),
        created: row.get("created"),
        updated: row.get("updated"),
        check_in: row.get("check_in"),
        decommissioning: row.get("decommissioning"),
        auth_sets: Vec::new(),
    })
}

fn push_filter(query: &mut QueryBuilder<'_, Sqlite>, tenant: &Tenant, filter: &DeviceFilter) {
    query.push(" WHERE tenant_id = ").push_bind(tenant.id().to_owned());
    if !filter.statuses.is_empty() {
        query.push(" AND status IN (");
        let mut list = query.separated(", ");
        filter.statuses.iter().for_each(|status| {
            list.push_bind(status.name());
        });
        query.push(")");
    }
    if !filter.ids.is_empty() {
        query.push(" AND id IN (SELECT value FROM json_each(").push_bind(super::json(&filter.ids)).push("))");
    }
}

pub(super) const AUTH_SETS: &str = "SELECT auth_sets.*, devices.identity FROM auth_sets
    JOIN devices ON devices.tenant_id = auth_sets.tenant_id AND devices.id = auth_sets.device_id
    WHERE auth_sets.tenant_id = ";

impl Store {
    /// The device with this identity.
    pub async fn device_by_identity(&self, tenant: &Tenant, hash: &str) -> Result<Option<Device>> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT id FROM devices WHERE tenant_id = ? AND identity_hash = ?")
                .bind(tenant.id())
                .bind(hash)
                .fetch_optional(&self.read)
                .await?;
        match row {
            Some((id,)) => self.device(tenant, &id).await,
            None => Ok(None),
        }
    }

    pub async fn device(&self, tenant: &Tenant, id: &str) -> Result<Option<Device>> {
        let filter = DeviceFilter { ids: vec![id.to_owned()], ..Default::default() };
        Ok(self.devices(tenant, &filter, Window { offset: 0, limit: 1 }).await?.items.pop())
    }

    /// Devices with their auth sets, oldest first.
    pub async fn devices(
        &self,
        tenant: &Tenant,
        filter: &DeviceFilter,
        window: Window,
    ) -> Result<Paged<Device>> {
        let mut query = QueryBuilder::new("SELECT * FROM devices");
        push_filter(&mut query, tenant, filter);
        query.push(" ORDER BY created, id LIMIT ").push_bind(window.limit);
        query.push(" OFFSET ").push_bind(window.offset);
        let rows = query.build().fetch_all(&self.read).await?;
        let mut items = rows.iter().map(read_device).collect::<Result<Vec<_>>>()?;
        let mut sets =
            self.auth_sets_of(tenant, items.iter().map(|device| device.id.as_str()).collect()).await?;
        for device in &mut items {
            device.auth_sets = sets.remove(&device.id).unwrap_or_default();
        }
        Ok(Paged { items, total: self.device_count(tenant, filter).await? })
    }

    async fn auth_sets_of(
        &self,
        tenant: &Tenant,
        devices: Vec<&str>,
    ) -> Result<HashMap<String, Vec<AuthSet>>> {
        let rows = QueryBuilder::new(AUTH_SETS)
            .push_bind(tenant.id())
            .push(" AND auth_sets.device_id IN (SELECT value FROM json_each(")
            .push_bind(super::json(&devices))
            .push(")) ORDER BY auth_sets.created, auth_sets.id")
            .build()
            .fetch_all(&self.read)
            .await?;
        let mut sets: HashMap<String, Vec<AuthSet>> = HashMap::new();
        for row in &rows {
            let set = read_auth_set(row)?;
            sets.entry(set.device_id.clone()).or_default().push(set);
        }
        Ok(sets)
    }

    pub async fn device_count(&self, tenant: &Tenant, filter: &DeviceFilter) -> Result<i64> {
        let mut query = QueryBuilder::new("SELECT count(*) FROM devices");
        push_filter(&mut query, tenant, filter);
        Ok(query.build().fetch_one(&self.read).await?.get(0))
    }

    /// Decommissions a device: it, its auth sets, inventory, configuration and history are gone, its tokens void,
    /// and what it had still to do in deployments ends as `decommissioned`.
    pub async fn remove_device(
        &self,
        tenant: &Tenant,
        id: &str,
        life: Millis,
    ) -> Result<Vec<tokens::Revocation>> {
        let mut write = self.begin().await?;
        let sets: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM auth_sets WHERE tenant_id = ? AND device_id = ?")
                .bind(tenant.id())
                .bind(id)
                .fetch_all(&mut *write)
                .await?;
        let mut revoked = Vec::new();
        for (set,) in sets {
            revoked.extend(tokens::revoke(&mut write, tenant, &set, life).await?);
        }
        if !remove_rows(&mut write, tenant, id).await? {
            return Err(Error::NotFound("device"));
        }
        write.commit().await?;
        Ok(revoked)
    }

    /// Notes when devices were last seen.
    pub async fn check_in(&self, seen: &[(Tenant, String, Millis)]) -> Result<()> {
        let mut write = self.begin().await?;
        for chunk in seen.chunks(1000) {
            let rows: Vec<_> = chunk.iter().map(|(tenant, id, at)| (tenant.id(), id, at)).collect();
            sqlx::query(
                "UPDATE devices SET check_in = seen.at FROM
                   (SELECT value ->> 0 AS tenant, value ->> 1 AS id, value ->> 2 AS at FROM json_each(?)) AS seen
                 WHERE devices.tenant_id = seen.tenant AND devices.id = seen.id",
            )
            .bind(super::json(&rows))
            .execute(&mut *write)
            .await?;
        }
        Ok(write.commit().await?)
    }
}

pub(super) async fn remove_rows(write: &mut Write<'_>, tenant: &Tenant, device: &str) -> Result<bool> {
    super::device_deployments::end_for_device(write, tenant, device, "decommissioned").await?;
    for table in ["auth_sets", "attributes", "configurations"] {
        sqlx::query(&format!("DELETE FROM {table} WHERE tenant_id = ? AND device_id = ?"))
            .bind(tenant.id())
            .bind(device)
            .execute(&mut **write)
            .await?;
    }
    let gone = sqlx::query("DELETE FROM devices WHERE tenant_id = ? AND id = ?")
        .bind(tenant.id())
        .bind(device)
        .execute(&mut **write)
        .await?;
    Ok(gone.rows_affected() > 0)
}
