//! Deployments: one release, or one configuration, sent to a set of devices.
use super::{Error, Paged, Result, Store, Tenant, Window, Write};
use crate::clock::{self, Millis};
use serde::Serialize;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use std::collections::{BTreeMap, HashMap, HashSet};
use utoipa::ToSchema;

/// How many devices of a deployment stand where.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Statistics {
    /// Every state, also those with no device.
    pub status: BTreeMap<&'static str, i64>,
    /// Bytes that devices were told to download.
    pub total_size: i64,
}

/// The states that are counted.
pub const COUNTED: [&str; 12] = [
    "success",
    "pending",
    "downloading",
    "rebooting",
    "installing",
    "failure",
    "noartifact",
    "already-installed",
    "aborted",
    "pause_before_installing",
    "pause_before_rebooting",
    "pause_before_committing",
];

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Deployment {
    pub id: String,
    pub name: String,
    pub artifact_name: String,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub created: Millis,
    #[serde(serialize_with = "clock::text::option::serialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<Millis>,
    /// `pending`, `inprogress`, `finished`.
    pub status: String,
    pub device_count: i64,
    pub max_devices: i64,
    pub initial_device_count: i64,
    /// Ids of the release's artifacts.
    pub artifacts: Vec<String>,
    pub groups: Vec<String>,
    /// `software`, `configuration`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Value>,
    pub force_installation: bool,
    pub retries: i64,
    pub statistics: Statistics,
}

/// Which devices a new deployment is for.
pub enum Target {
    Devices(Vec<String>),
    /// Accepted devices of a group.
    Group(String),
    /// All accepted devices.
    All,
}

pub struct NewDeployment {
    pub name: String,
    pub artifact_name: String,
    pub target: Target,
    pub force_installation: bool,
    pub retries: i64,
    /// For a configuration deployment.
    pub configuration: Option<Value>,
}

pub enum Created {
    Done(String),
    /// No device is in the target.
    NoDevices,
    UnknownDevices(Vec<String>),
    /// One with the same name, release and devices is not finished.
    Duplicate(String),
}

#[derive(Debug, Default)]
pub struct DeploymentFilter {
    pub statuses: Vec<String>,
    pub kind: Option<String>,
    pub ids: Vec<String>,
    pub names: Vec<String>,
    /// Part of the deployment's or the release's name.
    pub search: Option<String>,
    pub created_after: Option<Millis>,
    pub created_before: Option<Millis>,
    /// Those that one of these devices is in.
    pub devices: Option<Vec<String>>,
    pub oldest_first: bool,
}

fn read(row: &SqliteRow) -> Result<Deployment> {
    let configuration: Option<String> = row.get("configuration");
    let device_count = row.get("device_count");
    Ok(Deployment {
        id: row.get("id"),
        name: row.get("name"),
        artifact_name: row.get("artifact_name"),
        created: row.get("created"),
        finished: row.get("finished"),
        status: row.get("status"),
        device_count,
        max_devices: device_count,
        initial_device_count: device_count,
        artifacts: Vec::new(),
        groups: super::from_json("a deployment's groups", row.get("groups"))?,
        kind: row.get("type"),
        configuration: configuration
            .map(|text| super::from_json("a deployment's configuration", &text))
            .transpose()?,
        force_installation: row.get("force_installation"),
        retries: row.get("retries"),
        statistics: Statistics { status: BTreeMap::new(), total_size: row.get("total_size") },
    })
}

fn push_filter(query: &mut QueryBuilder<'_, Sqlite>, tenant: &Tenant, filter: &DeploymentFilter) {
    query.push(" WHERE tenant_id = ").push_bind(tenant.id().to_owned());
    for (column, values) in [("status", &filter.statuses), ("id", &filter.ids), ("name", &filter.names)] {
        if !values.is_empty() {
            query.push(format!(" AND {column} IN (SELECT value FROM json_each("));
            query.push_bind(super::json(values)).push("))");
        }
    }
    if let Some(kind) = &filter.kind {
        query.push(" AND type = ").push_bind(kind.clone());
    }
    if let Some(text) = &filter.search {
        let pattern = super::containing(text);
        query.push(" AND (name LIKE ").push_bind(pattern.clone()).push(" ESCAPE '\\' OR artifact_name LIKE ");
        query.push_bind(pattern).push(" ESCAPE '\\')");
    }
    if let Some(after) = filter.created_after {
        query.push(" AND created >= ").push_bind(after);
    }
    if let Some(before) = filter.created_before {
        query.push(" AND created <= ").push_bind(before);
    }
    if let Some(devices) = &filter.devices {
        query
            .push(" AND id IN (SELECT deployment_id FROM device_deployments WHERE device_deployments.tenant_id = ")
            .push_bind(tenant.id().to_owned())
            .push(" AND device_id IN (SELECT value FROM json_each(")
            .push_bind(super::json(devices))
            .push(")))");
    }
}

impl Store {
    pub async fn create_deployment(&self, tenant: &Tenant, new: NewDeployment) -> Result<Created> {
        let mut write = self.begin().await?;
        let (devices, groups) = resolve(&mut write, tenant, &new.target).await?;
        if let Target::Devices(wanted) = &new.target {
            let known: HashSet<_> = devices.iter().collect();
            let unknown: Vec<_> = wanted.iter().filter(|id| !known.contains(id)).cloned().collect();
            if !unknown.is_empty() {
                return Ok(Created::UnknownDevices(unknown));
            }
        }
        if devices.is_empty() {
            return Ok(Created::NoDevices);
        }
        if let Some(twin) = twin(&mut write, tenant, &new, &devices).await? {
            return Ok(Created::Duplicate(twin));
        }
        let id = clock::new_id();
        insert(&mut write, tenant, &id, &new, &devices, &groups).await?;
        write.commit().await?;
        Ok(Created::Done(id))
    }

    pub async fn deployment(&self, tenant: &Tenant, id: &str) -> Result<Option<Deployment>> {
        let filter = DeploymentFilter { ids: vec![id.to_owned()], ..Default::default() };
        Ok(self.deployments(tenant, &filter, Window { offset: 0, limit: 1 }).await?.items.pop())
    }

    /// Newest first, unless the filter says otherwise.
    pub async fn deployments(
        &self,
        tenant: &Tenant,
        filter: &DeploymentFilter,
        window: Window,
    ) -> Result<Paged<Deployment>> {
        let mut query = QueryBuilder::new("SELECT * FROM deployments");
        push_filter(&mut query, tenant, filter);
        query.push(if filter.oldest_first { " ORDER BY seq" } else { " ORDER BY seq DESC" });
        query.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
        let rows = query.build().fetch_all(&self.read).await?;
        let mut items = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        let ids: Vec<_> = items.iter().map(|item| item.id.clone()).collect();
        let mut statistics = self.statistics(tenant, &ids).await?;
        let names: Vec<_> = items.iter().map(|item| item.artifact_name.clone()).collect();
        let artifacts = self.artifact_ids(tenant, &names).await?;
        for item in &mut items {
            let counted = statistics.remove(&item.id).unwrap_or_else(no_devices);
            item.statistics.status = counted;
            if item.kind == "software" {
                item.artifacts = artifacts.get(&item.artifact_name).cloned().unwrap_or_default();
            }
        }
        let mut count = QueryBuilder::new("SELECT count(*) FROM deployments");
        push_filter(&mut count, tenant, filter);
        Ok(Paged { items, total: count.build().fetch_one(&self.read).await?.get(0) })
    }

    /// Counts of every state by deployment; a deployment that is not known is left out.
    pub async fn statistics(
        &self,
        tenant: &Tenant,
        ids: &[String],
    ) -> Result<HashMap<String, BTreeMap<&'static str, i64>>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT deployment_id, status, count(*) FROM device_deployments
             WHERE tenant_id = ? AND deployment_id IN (SELECT value FROM json_each(?))
             GROUP BY deployment_id, status",
        )
        .bind(tenant.id())
        .bind(super::json(&ids))
        .fetch_all(&self.read)
        .await?;
        let mut all: HashMap<String, BTreeMap<&'static str, i64>> = HashMap::new();
        for (id, status, count) in rows {
            let counts = all.entry(id).or_insert_with(no_devices);
            if let Some(known) = COUNTED.into_iter().find(|known| *known == status) {
                counts.insert(known, count);
            } else {
                counts.insert("decommissioned", count);
            }
        }
        Ok(all)
    }

    async fn artifact_ids(&self, tenant: &Tenant, names: &[String]) -> Result<HashMap<String, Vec<String>>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, id FROM artifacts WHERE tenant_id = ? AND name IN (SELECT value FROM json_each(?))
             ORDER BY created, id",
        )
        .bind(tenant.id())
        .bind(super::json(&names))
        .fetch_all(&self.read)
        .await?;
        let mut ids: HashMap<String, Vec<String>> = HashMap::new();
        for (name, id) in rows {
            ids.entry(name).or_default().push(id);
        }
        Ok(ids)
    }

    /// Aborts what is not finished. `Conflict` when the whole deployment is.
    pub async fn abort_deployment(&self, tenant: &Tenant, id: &str) -> Result<()> {
        let mut write = self.begin().await?;
        let row: Option<(String,)> =
            sqlx::query_as("SELECT status FROM deployments WHERE tenant_id = ? AND id = ?")
                .bind(tenant.id())
                .bind(id)
                .fetch_optional(&mut *write)
                .await?;
        if row.ok_or(Error::NotFound("deployment"))?.0 == "finished" {
            return Err(Error::Conflict("the deployment is already finished".into()));
        }
        sqlx::query(
            "UPDATE device_deployments SET status = 'aborted', finished = ?
             WHERE tenant_id = ? AND deployment_id = ? AND finished IS NULL",
        )
        .bind(clock::now())
        .bind(tenant.id())
        .bind(id)
        .execute(&mut *write)
        .await?;
        settle(&mut write, tenant, id).await?;
        Ok(write.commit().await?)
    }
}

/// Every state with no device in it.
fn no_devices() -> BTreeMap<&'static str, i64> {
    COUNTED.into_iter().map(|status| (status, 0)).collect()
}

/// The known devices of a target, and the groups to note with the deployment.
async fn resolve(
    write: &mut Write<'_>,
    tenant: &Tenant,
    target: &Target,
) -> Result<(Vec<String>, Vec<String>)> {
    let (ids, group) = match target {
        Target::Devices(ids) => (Some(super::json(ids)), None),
        Target::Group(group) => (None, Some(group.clone())),
        Target::All => (None, None),
    };
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT id FROM devices WHERE tenant_id = ?1
         AND ((?2 IS NOT NULL AND id IN (SELECT value FROM json_each(?2)))
           OR (?2 IS NULL AND status = 'accepted' AND (?3 IS NULL OR group_name = ?3)))",
    )
    .bind(tenant.id())
    .bind(ids)
    .bind(&group)
    .fetch_all(&mut **write)
    .await?;
    Ok((rows.into_iter().map(|row| row.0).collect(), group.into_iter().collect()))
}

/// A deployment under way with the same name, release and devices.
async fn twin(
    write: &mut Write<'_>,
    tenant: &Tenant,
    new: &NewDeployment,
    devices: &[String],
) -> Result<Option<String>> {
    let row: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM deployments WHERE tenant_id = ?1 AND artifact_name = ?2 AND name = ?3 AND status <> 'finished'
         AND type = 'software' AND ?4 IS NULL AND device_count = ?5
         AND ?5 = (SELECT count(*) FROM device_deployments WHERE tenant_id = ?1 AND deployment_id = deployments.id
                   AND device_id IN (SELECT value FROM json_each(?6)))",
    )
    .bind(tenant.id())
    .bind(&new.artifact_name)
    .bind(&new.name)
    .bind(new.configuration.as_ref().map(super::json))
    .bind(devices.len() as i64)
    .bind(super::json(&devices))
    .fetch_optional(&mut **write)
    .await?;
    Ok(row.map(|row| row.0))
}

async fn insert(
    write: &mut Write<'_>,
    tenant: &Tenant,
    id: &str,
    new: &NewDeployment,
    devices: &[String],
    groups: &[String],
) -> Result<()> {
    let now = clock::now();
    let seq: (i64,) = sqlx::query_as("SELECT coalesce(max(seq), 0) + 1 FROM deployments WHERE tenant_id = ?")
        .bind(tenant.id())
        .fetch_one(&mut **write)
        .await?;
    sqlx::query(
        "INSERT INTO deployments (tenant_id, id, seq, name, artifact_name, type, status, created, force_installation,
           device_count, groups, configuration, retries) VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant.id())
    .bind(id)
    .bind(seq.0)
    .bind(&new.name)
    .bind(&new.artifact_name)
    .bind(if new.configuration.is_some() { "configuration" } else { "software" })
    .bind(now)
    .bind(new.force_installation)
    .bind(devices.len() as i64)
    .bind(super::json(&groups))
    .bind(new.configuration.as_ref().map(super::json))
    .bind(new.retries)
    .execute(&mut **write)
    .await?;
    sqlx::query(
        "INSERT INTO device_deployments (tenant_id, deployment_id, device_id, seq, status, created)
         SELECT ?, ?, value, ?, 'pending', ? FROM json_each(?)",
    )
    .bind(tenant.id())
    .bind(id)
    .bind(seq.0)
    .bind(now)
    .bind(super::json(&devices))
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Brings a deployment's status in line with its devices'. Asked for in ranges of the index, so that it costs the same with
/// one device and with a hundred thousand.
pub(super) async fn settle(write: &mut Write<'_>, tenant: &Tenant, id: &str) -> Result<()> {
    sqlx::query(
        "UPDATE deployments SET status = CASE
           WHEN NOT EXISTS (SELECT 1 FROM device_deployments AS one WHERE one.tenant_id = ?1
             AND one.deployment_id = ?2 AND one.status IN ('pending', 'downloading', 'installing', 'rebooting',
               'pause_before_installing', 'pause_before_rebooting', 'pause_before_committing')) THEN 'finished'
           WHEN EXISTS (SELECT 1 FROM device_deployments AS one WHERE one.tenant_id = ?1
             AND one.deployment_id = ?2 AND one.status < 'pending') THEN 'inprogress'
           WHEN EXISTS (SELECT 1 FROM device_deployments AS one WHERE one.tenant_id = ?1
             AND one.deployment_id = ?2 AND one.status > 'pending') THEN 'inprogress'
           ELSE 'pending' END
         WHERE tenant_id = ?1 AND id = ?2",
    )
    .bind(tenant.id())
    .bind(id)
    .execute(&mut **write)
    .await?;
    sqlx::query(
        "UPDATE deployments SET finished = CASE WHEN status = 'finished' THEN coalesce(finished, ?) END
         WHERE tenant_id = ? AND id = ?",
    )
    .bind(clock::now())
    .bind(tenant.id())
    .bind(id)
    .execute(&mut **write)
    .await?;
    Ok(())
}
