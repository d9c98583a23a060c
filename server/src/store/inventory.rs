//! What devices say about themselves, what people tag them with, and their groups.
use super::{Error, Paged, Result, Store, Tenant, Window, Write};
use crate::clock::{self, Millis};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::Row;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// One attribute as devices and people write it. The value is a text, a number, or a list of these.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attribute {
    pub name: String,
    pub value: Value,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// One attribute of a device as it is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScopedAttribute {
    pub name: String,
    pub value: Value,
    pub scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(
        rename = "timestamp",
        serialize_with = "clock::text::option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub updated: Option<Millis>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeviceInventory {
    pub id: String,
    #[serde(rename = "updated_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub updated: Millis,
    pub attributes: Vec<ScopedAttribute>,
    #[serde(skip)]
    pub etag: String,
}

/// Adds a device's attributes in one scope, from a JSON object.
pub(super) async fn insert(
    write: &mut Write<'_>,
    tenant: &Tenant,
    device: &str,
    scope: &str,
    attributes: &Map<String, Value>,
) -> Result<()> {
    let list: Vec<_> = attributes
        .iter()
        .map(|(name, value)| Attribute {
            name: name.clone(),
            value: value.clone(),
            description: String::new(),
        })
        .collect();
    insert_list(write, tenant, device, scope, &list).await
}

async fn insert_list(
    write: &mut Write<'_>,
    tenant: &Tenant,
    device: &str,
    scope: &str,
    attributes: &[Attribute],
) -> Result<()> {
    let rows: Vec<_> = attributes.iter().flat_map(rows_of).collect();
    sqlx::query(
        "INSERT INTO attributes (tenant_id, device_id, scope, name, idx, text, number, description, updated)
         SELECT ?, ?, ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ? FROM json_each(?)
         WHERE true ON CONFLICT (tenant_id, device_id, scope, name, idx) DO UPDATE
         SET text = excluded.text, number = excluded.number, description = excluded.description,
             updated = excluded.updated",
    )
    .bind(tenant.id())
    .bind(device)
    .bind(scope)
    .bind(clock::now())
    .bind(super::json(&rows))
    .execute(&mut **write)
    .await?;
    Ok(())
}

type AttributeRow = (String, i64, Option<String>, Option<f64>, String);

fn rows_of(attribute: &Attribute) -> Vec<AttributeRow> {
    let row = |index: i64, value: &Value| {
        let (text, number) = match value {
            Value::Number(number) => (None, number.as_f64()),
            Value::String(text) => (Some(text.clone()), None),
            other => (Some(other.to_string()), None),
        };
        (attribute.name.clone(), index, text, number, attribute.description.clone())
    };
    match &attribute.value {
        Value::Array(values) if values.is_empty() => vec![row(0, &Value::String(String::new()))],
        Value::Array(values) => {
            values.iter().enumerate().map(|(index, value)| row(index as i64, value)).collect()
        }
        value => vec![row(-1, value)],
    }
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Value::from(value as i64);
    }
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

impl Store {
    /// Writes what the device reports: all of it (`replace`), or over what is there. Marks the device as updated.
    /// `Conflict` when there would be more than `most`.
    pub async fn write_inventory(
        &self,
        tenant: &Tenant,
        device: &str,
        attributes: &[Attribute],
        replace: bool,
        most: i64,
    ) -> Result<()> {
        let mut write = self.begin().await?;
        clear(&mut write, tenant, device, "inventory", if replace { None } else { Some(attributes) }).await?;
        insert_list(&mut write, tenant, device, "inventory", attributes).await?;
        check_count(&mut write, tenant, device, "inventory", most).await?;
        sqlx::query("UPDATE devices SET inventory_updated = ? WHERE tenant_id = ? AND id = ?")
            .bind(clock::now())
            .bind(tenant.id())
            .bind(device)
            .execute(&mut *write)
            .await?;
        Ok(write.commit().await?)
    }

    /// Writes tags, all of them (`replace`) or over what is there, when the tags are still those of `etag`
    /// (`None`: whatever they are). Returns whether it did. `Conflict` when there would be more than `most`.
    pub async fn write_tags(
        &self,
        tenant: &Tenant,
        device: &str,
        tags: &[Attribute],
        replace: bool,
        most: i64,
        etag: Option<&str>,
    ) -> Result<bool> {
        let mut write = self.begin().await?;
        let row: Option<(String,)> =
            sqlx::query_as("SELECT tags_etag FROM devices WHERE tenant_id = ? AND id = ?")
                .bind(tenant.id())
                .bind(device)
                .fetch_optional(&mut *write)
                .await?;
        let current = row.ok_or(Error::NotFound("device"))?.0;
        if etag.is_some_and(|etag| etag != current) {
            return Ok(false);
        }
        clear(&mut write, tenant, device, "tags", if replace { None } else { Some(tags) }).await?;
        insert_list(&mut write, tenant, device, "tags", tags).await?;
        check_count(&mut write, tenant, device, "tags", most).await?;
        sqlx::query("UPDATE devices SET tags_etag = ? WHERE tenant_id = ? AND id = ?")
            .bind(clock::new_id())
            .bind(tenant.id())
            .bind(device)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(true)
    }

    /// Devices by id with all their attributes, in the order given; unknown ids are left out.
    pub async fn inventories(&self, tenant: &Tenant, ids: &[String]) -> Result<Vec<DeviceInventory>> {
        let rows = sqlx::query(
            "SELECT * FROM devices WHERE tenant_id = ? AND id IN (SELECT value FROM json_each(?))",
        )
        .bind(tenant.id())
        .bind(super::json(&ids))
        .fetch_all(&self.read)
        .await?;
        let mut attributes = self.attributes_of(tenant, ids).await?;
        let mut devices: HashMap<String, DeviceInventory> = HashMap::new();
        for row in &rows {
            let id: String = row.get("id");
            let mut list = attributes.remove(&id).unwrap_or_default();
            list.extend(own_attributes(row));
            let updated: Option<Millis> = row.get("inventory_updated");
            let device = DeviceInventory {
                id: id.clone(),
                updated: updated.unwrap_or(row.get("updated")),
                attributes: list,
                etag: row.get("tags_etag"),
            };
            devices.insert(id, device);
        }
        Ok(ids.iter().filter_map(|id| devices.remove(id)).collect())
    }

    async fn attributes_of(
        &self,
        tenant: &Tenant,
        ids: &[String],
    ) -> Result<HashMap<String, Vec<ScopedAttribute>>> {
        let rows = sqlx::query(
            "SELECT * FROM attributes WHERE tenant_id = ? AND device_id IN (SELECT value FROM json_each(?))
             ORDER BY device_id, scope, name, idx",
        )
        .bind(tenant.id())
        .bind(super::json(&ids))
        .fetch_all(&self.read)
        .await?;
        let mut devices: HashMap<String, Vec<ScopedAttribute>> = HashMap::new();
        for row in &rows {
            let list = devices.entry(row.get("device_id")).or_default();
            let (name, scope, index): (String, String, i64) =
                (row.get("name"), row.get("scope"), row.get("idx"));
            let value = match row.get::<Option<f64>, _>("number") {
                Some(value) => number(value),
                None => Value::String(row.get("text")),
            };
            match list.last_mut() {
                Some(ScopedAttribute { name: last, scope: of, value: Value::Array(values), .. })
                    if index > 0 && *last == name && *of == scope =>
                {
                    values.push(value)
                }
                _ => list.push(ScopedAttribute {
                    name,
                    scope,
                    value: if index < 0 { value } else { Value::Array(vec![value]) },
                    description: row.get::<Option<String>, _>("description").unwrap_or_default(),
                    updated: row.get("updated"),
                }),
            }
        }
        Ok(devices)
    }

    /// Forgets what the device reported and how it was tagged.
    pub async fn remove_inventory(&self, tenant: &Tenant, device: &str) -> Result<bool> {
        let mut write = self.begin().await?;
        let known = sqlx::query(
            "UPDATE devices SET inventory_updated = NULL, group_name = NULL WHERE tenant_id = ? AND id = ?",
        )
        .bind(tenant.id())
        .bind(device)
        .execute(&mut *write)
        .await?;
        clear(&mut write, tenant, device, "inventory", None).await?;
        clear(&mut write, tenant, device, "tags", None).await?;
        write.commit().await?;
        Ok(known.rows_affected() > 0)
    }

    /// The device's group; `None` for no such device.
    pub async fn group_of(&self, tenant: &Tenant, device: &str) -> Result<Option<Option<String>>> {
        let row: Option<(Option<String>,)> =
            sqlx::query_as("SELECT group_name FROM devices WHERE tenant_id = ? AND id = ?")
                .bind(tenant.id())
                .bind(device)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|row| row.0))
    }

    /// Puts devices into a group. Returns how many of them there are and how many changed.
    pub async fn join_group(&self, tenant: &Tenant, devices: &[String], group: &str) -> Result<(u64, u64)> {
        let ids = super::json(&devices);
        let mut write = self.begin().await?;
        let matched: (i64,) = sqlx::query_as(
            "SELECT count(*) FROM devices WHERE tenant_id = ? AND id IN (SELECT value FROM json_each(?))",
        )
        .bind(tenant.id())
        .bind(&ids)
        .fetch_one(&mut *write)
        .await?;
        let updated = sqlx::query(
            "UPDATE devices SET group_name = ?1, updated = ?2 WHERE tenant_id = ?3
             AND id IN (SELECT value FROM json_each(?4)) AND group_name IS NOT ?1",
        )
        .bind(group)
        .bind(clock::now())
        .bind(tenant.id())
        .bind(&ids)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok((matched.0 as u64, updated.rows_affected()))
    }

    /// Takes devices (`None`: all) out of a group. Returns how many were in it.
    pub async fn leave_group(&self, tenant: &Tenant, devices: Option<&[String]>, group: &str) -> Result<u64> {
        let done = sqlx::query(
            "UPDATE devices SET group_name = NULL, updated = ?1 WHERE tenant_id = ?2 AND group_name = ?3
             AND (?4 IS NULL OR id IN (SELECT value FROM json_each(?4)))",
        )
        .bind(clock::now())
        .bind(tenant.id())
        .bind(group)
        .bind(devices.map(|ids| super::json(&ids)))
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected())
    }

    pub async fn groups(&self, tenant: &Tenant, status: Option<&str>) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT DISTINCT group_name FROM devices
             WHERE tenant_id = ?1 AND group_name IS NOT NULL AND (?2 IS NULL OR status = ?2) ORDER BY 1",
        )
        .bind(tenant.id())
        .bind(status)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    pub async fn group_devices(&self, tenant: &Tenant, group: &str, window: Window) -> Result<Paged<String>> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM devices WHERE tenant_id = ? AND group_name = ? ORDER BY created, id LIMIT ? OFFSET ?",
        )
        .bind(tenant.id())
        .bind(group)
        .bind(window.limit)
        .bind(window.offset)
        .fetch_all(&self.read)
        .await?;
        let total: (i64,) =
            sqlx::query_as("SELECT count(*) FROM devices WHERE tenant_id = ? AND group_name = ?")
                .bind(tenant.id())
                .bind(group)
                .fetch_one(&self.read)
                .await?;
        Ok(Paged { items: rows.into_iter().map(|row| row.0).collect(), total: total.0 })
    }

    /// How many devices have each status.
    pub async fn devices_by_status(&self, tenant: &Tenant) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT status, count(*) FROM devices WHERE tenant_id = ? GROUP BY status")
                .bind(tenant.id())
                .fetch_all(&self.read)
                .await?;
        Ok(rows.into_iter().collect())
    }
}

/// Removes a scope's attributes: all, or those with the names in `only`.
async fn clear(
    write: &mut Write<'_>,
    tenant: &Tenant,
    device: &str,
    scope: &str,
    only: Option<&[Attribute]>,
) -> Result<()> {
    let names = only.map(|list| super::json(&list.iter().map(|one| &one.name).collect::<Vec<_>>()));
    sqlx::query(
        "DELETE FROM attributes WHERE tenant_id = ?1 AND device_id = ?2 AND scope = ?3
         AND (?4 IS NULL OR name IN (SELECT value FROM json_each(?4)))",
    )
    .bind(tenant.id())
    .bind(device)
    .bind(scope)
    .bind(names)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// The attributes that this server itself gives a device.
fn own_attributes(row: &sqlx::sqlite::SqliteRow) -> Vec<ScopedAttribute> {
    let own = |name: &str, scope: &str, value: String| ScopedAttribute {
        name: name.to_owned(),
        value: Value::String(value),
        scope: scope.to_owned(),
        description: String::new(),
        updated: None,
    };
    let mut list = vec![
        own("status", "identity", row.get("status")),
        own("created_ts", "system", clock::rfc3339(row.get("created"))),
        own("updated_ts", "system", clock::rfc3339(row.get("updated"))),
    ];
    if let Some(group) = row.get::<Option<String>, _>("group_name") {
        list.push(own("group", "system", group));
    }
    if let Some(seen) = row.get::<Option<Millis>, _>("check_in") {
        list.push(own("check_in_time", "system", clock::rfc3339(seen)));
    }
    list
}

async fn check_count(
    write: &mut Write<'_>,
    tenant: &Tenant,
    device: &str,
    scope: &str,
    most: i64,
) -> Result<()> {
    let count: (i64,) = sqlx::query_as(
        "SELECT count(DISTINCT name) FROM attributes WHERE tenant_id = ? AND device_id = ? AND scope = ?",
    )
    .bind(tenant.id())
    .bind(device)
    .bind(scope)
    .fetch_one(&mut **write)
    .await?;
    if count.0 > most {
        return Err(Error::Conflict(format!(
            "the device would have {} attributes; {most} are allowed",
            count.0
        )));
    }
    Ok(())
}
