//! Artifacts: what was uploaded, and what is still in use.
use super::{Error, Paged, Result, Store, Tenant, Window};
use crate::artifact::Detail;
use crate::clock::{self, Millis};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Artifact {
    pub id: String,
    pub name: String,
    pub description: String,
    #[serde(flatten)]
    pub detail: Detail,
    pub size: i64,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub modified: Millis,
    /// Of the whole file, hexadecimal.
    #[serde(skip)]
    pub sha256: String,
}

/// Which artifacts a list shows. Texts match anywhere; names match from the beginning.
#[derive(Debug, Default)]
pub struct ArtifactFilter {
    pub names: Vec<String>,
    pub description: Option<String>,
    pub device_type: Option<String>,
    /// `(column, descending)`; columns: name, modified.
    pub sort: Option<(&'static str, bool)>,
}

/// An artifact that stands in the way of a new one.
#[derive(Debug, Serialize)]
pub struct Clash {
    pub artifact_id: String,
    pub name: String,
    pub device_type: String,
}

pub(super) fn read(row: &SqliteRow) -> Result<Artifact> {
    Ok(Artifact {
        id: row.get("id"),
        name: row.get("name"),
        description: row.get("description"),
        detail: super::from_json("an artifact's detail", row.get("detail"))?,
        size: row.get("size"),
        modified: row.get("modified"),
        sha256: row.get("sha256"),
    })
}

fn push_filter(query: &mut QueryBuilder<'_, Sqlite>, tenant: &Tenant, filter: &ArtifactFilter) {
    query.push(" WHERE tenant_id = ").push_bind(tenant.id().to_owned());
    match filter.names.as_slice() {
        [] => {}
        [name] if name.ends_with('*') => {
            let pattern = super::prefix(name.trim_end_matches('*'));
            query.push(" AND name LIKE ").push_bind(pattern).push(" ESCAPE '\\'");
        }
        names => {
            query
                .push(" AND name IN (SELECT value FROM json_each(")
                .push_bind(super::json(&names))
                .push("))");
        }
    }
    if let Some(text) = &filter.description {
        query.push(" AND description LIKE ").push_bind(super::containing(text)).push(" ESCAPE '\\'");
    }
    if let Some(kind) = &filter.device_type {
        query
            .push(" AND id IN (SELECT artifact_id FROM artifact_keys WHERE artifact_keys.tenant_id = ")
            .push_bind(tenant.id().to_owned())
            .push(" AND device_type = ")
            .push_bind(kind.clone())
            .push(")");
    }
}

impl Store {
    /// Publishes an artifact, and its release. `Err(clashes)` inside when another one has the same name, device types and
    /// depends.
    pub async fn add_artifact(
        &self,
        tenant: &Tenant,
        artifact: &Artifact,
    ) -> Result<std::result::Result<(), Vec<Clash>>> {
        let depends = artifact.detail.depends_key();
        let mut write = self.begin().await?;
        let clashes: Vec<(String, String)> = sqlx::query_as(
            "SELECT artifact_id, device_type FROM artifact_keys WHERE tenant_id = ? AND name = ? AND depends = ?
             AND device_type IN (SELECT value FROM json_each(?)) ORDER BY device_type",
        )
        .bind(tenant.id())
        .bind(&artifact.name)
        .bind(&depends)
        .bind(super::json(&artifact.detail.device_types_compatible))
        .fetch_all(&mut *write)
        .await?;
        if !clashes.is_empty() {
            let name = artifact.name.clone();
            let clash = |(artifact_id, device_type)| Clash { artifact_id, device_type, name: name.clone() };
            return Ok(Err(clashes.into_iter().map(clash).collect()));
        }
        sqlx::query(
            "INSERT INTO artifacts (tenant_id, id, name, description, detail, size, sha256, created, modified)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant.id())
        .bind(&artifact.id)
        .bind(&artifact.name)
        .bind(&artifact.description)
        .bind(super::json(&artifact.detail))
        .bind(artifact.size)
        .bind(&artifact.sha256)
        .bind(artifact.modified)
        .bind(artifact.modified)
        .execute(&mut *write)
        .await?;
        for device_type in &artifact.detail.device_types_compatible {
            sqlx::query(
                "INSERT INTO artifact_keys (tenant_id, name, device_type, depends, artifact_id)
                 VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(tenant.id())
            .bind(&artifact.name)
            .bind(device_type)
            .bind(&depends)
            .bind(&artifact.id)
            .execute(&mut *write)
            .await?;
        }
        super::releases::touch(&mut write, tenant, &artifact.name).await?;
        write.commit().await?;
        Ok(Ok(()))
    }

    pub async fn artifact(&self, tenant: &Tenant, id: &str) -> Result<Option<Artifact>> {
        let row = sqlx::query("SELECT * FROM artifacts WHERE tenant_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(id)
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// `None` as window: all of them.
    pub async fn artifacts(
        &self,
        tenant: &Tenant,
        filter: &ArtifactFilter,
        window: Option<Window>,
    ) -> Result<Paged<Artifact>> {
        let mut query = QueryBuilder::new("SELECT * FROM artifacts");
        push_filter(&mut query, tenant, filter);
        let (column, descending) = filter.sort.unwrap_or(("modified", true));
        query.push(format!(" ORDER BY {column} {}, id", if descending { "DESC" } else { "ASC" }));
        if let Some(window) = window {
            query.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
        }
        let rows = query.build().fetch_all(&self.read).await?;
        let mut count = QueryBuilder::new("SELECT count(*) FROM artifacts");
        push_filter(&mut count, tenant, filter);
        let total = count.build().fetch_one(&self.read).await?.get(0);
        Ok(Paged { items: rows.iter().map(read).collect::<Result<_>>()?, total })
    }

    /// All artifacts of one release.
    pub async fn artifacts_named(&self, tenant: &Tenant, name: &str) -> Result<Vec<Artifact>> {
        let rows =
            sqlx::query("SELECT * FROM artifacts WHERE tenant_id = ? AND name = ? ORDER BY created, id")
                .bind(tenant.id())
                .bind(name)
                .fetch_all(&self.read)
                .await?;
        rows.iter().map(read).collect()
    }

    pub async fn describe_artifact(&self, tenant: &Tenant, id: &str, description: &str) -> Result<bool> {
        let done =
            sqlx::query("UPDATE artifacts SET description = ?, modified = ? WHERE tenant_id = ? AND id = ?")
                .bind(description)
                .bind(clock::now())
                .bind(tenant.id())
                .bind(id)
                .execute(&self.write)
                .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes an artifact from the lists; its file is the caller's to remove after. Refused with the names of the
    /// deployments that need it: those under way with a device that was told to install it, and those that are not
    /// finished and would lose their last artifact.
    pub async fn remove_artifact(&self, tenant: &Tenant, id: &str) -> Result<()> {
        let mut write = self.begin().await?;
        let row: Option<(String,)> =
            sqlx::query_as("SELECT name FROM artifacts WHERE tenant_id = ? AND id = ?")
                .bind(tenant.id())
                .bind(id)
                .fetch_optional(&mut *write)
                .await?;
        let name = row.ok_or(Error::NotFound("artifact"))?.0;
        let users: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, name FROM deployments WHERE tenant_id = ?1 AND status <> 'finished' AND type = 'software'
             AND artifact_name = ?2 AND (
               id IN (SELECT deployment_id FROM device_deployments
                      WHERE tenant_id = ?1 AND artifact_id = ?3 AND finished IS NULL)
               OR NOT EXISTS (SELECT 1 FROM artifacts WHERE tenant_id = ?1 AND name = ?2 AND id <> ?3))
             ORDER BY seq",
        )
        .bind(tenant.id())
        .bind(&name)
        .bind(id)
        .fetch_all(&mut *write)
        .await?;
        if !users.is_empty() {
            return Err(in_use(&format!("artifact {name}"), &users));
        }
        for table in ["artifact_keys WHERE artifact_id", "artifacts WHERE id"] {
            sqlx::query(&format!("DELETE FROM {table} = ? AND tenant_id = ?"))
                .bind(id)
                .bind(tenant.id())
                .execute(&mut *write)
                .await?;
        }
        super::releases::settle(&mut write, tenant, &name).await?;
        Ok(write.commit().await?)
    }

    /// Bytes of all the tenant's artifacts.
    pub async fn storage_used(&self, tenant: &Tenant) -> Result<i64> {
        let row: (i64,) = sqlx::query_as(
            "SELECT CAST(coalesce(sum(size), 0) AS INTEGER) FROM artifacts WHERE tenant_id = ?",
        )
        .bind(tenant.id())
        .fetch_one(&self.read)
        .await?;
        Ok(row.0)
    }

    /// `(tenant, id, size, sha256)` of every artifact, for holding them against the files.
    pub async fn all_artifacts(&self) -> Result<Vec<(String, String, i64, String)>> {
        Ok(sqlx::query_as("SELECT tenant_id, id, size, sha256 FROM artifacts ORDER BY tenant_id, id")
            .fetch_all(&self.read)
            .await?)
    }
}

/// The refusal to delete what deployments `(id, name)` use.
pub(super) fn in_use(what: &str, users: &[(String, String)]) -> Error {
    let names: Vec<_> = users.iter().map(|(id, name)| format!("{name} ({id})")).collect();
    Error::Conflict(format!("{what} is in use by deployment {}; abort it first", names.join(", ")))
}
