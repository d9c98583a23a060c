//! Releases: all artifacts of one name, with notes and tags.
use super::{artifacts, Error, Paged, Result, Store, Tenant, Window, Write};
use crate::clock::{self, Millis};
use serde::Serialize;
use sqlx::{QueryBuilder, Row, Sqlite};
use std::collections::HashMap;
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Release {
    pub name: String,
    #[serde(serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub modified: Millis,
    pub artifacts: Vec<artifacts::Artifact>,
    pub artifacts_count: usize,
    pub tags: Vec<String>,
    pub notes: String,
}

#[derive(Debug, Default)]
pub struct ReleaseFilter {
    /// Beginning of the name.
    pub name: Option<String>,
    pub exact_name: Option<String>,
    pub description: Option<String>,
    pub device_type: Option<String>,
    pub update_type: Option<String>,
    /// Any of these.
    pub tags: Vec<String>,
    /// `(column, descending)`; columns: name, modified, artifacts_count, tags.
    pub sort: Option<(&'static str, bool)>,
}

fn push_filter(query: &mut QueryBuilder<'_, Sqlite>, tenant: &Tenant, filter: &ReleaseFilter) {
    query.push(" WHERE releases.tenant_id = ").push_bind(tenant.id().to_owned());
    if let Some(name) = &filter.name {
        query.push(" AND releases.name LIKE ").push_bind(super::prefix(name)).push(" ESCAPE '\\'");
    }
    if let Some(name) = &filter.exact_name {
        query.push(" AND releases.name = ").push_bind(name.clone());
    }
    let artifacts = " AND releases.name IN (SELECT name FROM artifacts WHERE artifacts.tenant_id = ";
    if let Some(text) = &filter.description {
        query.push(artifacts).push_bind(tenant.id().to_owned());
        query.push(" AND description LIKE ").push_bind(super::containing(text)).push(" ESCAPE '\\')");
    }
    if let Some(kind) = &filter.device_type {
        query
            .push(" AND releases.name IN (SELECT name FROM artifact_keys WHERE artifact_keys.tenant_id = ")
            .push_bind(tenant.id().to_owned())
            .push(" AND device_type = ")
            .push_bind(kind.clone())
            .push(")");
    }
    if let Some(kind) = &filter.update_type {
        query.push(artifacts).push_bind(tenant.id().to_owned());
        query
            .push(
                " AND EXISTS (SELECT 1 FROM json_each(artifacts.detail -> 'updates') AS payload
                  WHERE payload.value -> 'type_info' ->> 'type' = ",
            )
            .push_bind(kind.clone())
            .push("))");
    }
    if !filter.tags.is_empty() {
        query
            .push(" AND releases.name IN (SELECT name FROM release_tags WHERE release_tags.tenant_id = ")
            .push_bind(tenant.id().to_owned())
            .push(" AND tag IN (SELECT value FROM json_each(")
            .push_bind(super::json(&filter.tags))
            .push(")))");
    }
}

fn order(filter: &ReleaseFilter) -> String {
    let (column, descending) = filter.sort.unwrap_or(("name", false));
    let by = match column {
        "artifacts_count" => {
            "(SELECT count(*) FROM artifacts
              WHERE artifacts.tenant_id = releases.tenant_id AND artifacts.name = releases.name)"
        }
        "tags" => {
            "(SELECT min(tag) FROM release_tags
              WHERE release_tags.tenant_id = releases.tenant_id AND release_tags.name = releases.name)"
        }
        column => column,
    };
    format!(" ORDER BY {by} {}, name", if descending { "DESC" } else { "ASC" })
}

impl Store {
    pub async fn releases(
        &self,
        tenant: &Tenant,
        filter: &ReleaseFilter,
        window: Option<Window>,
    ) -> Result<Paged<Release>> {
        let mut query = QueryBuilder::new("SELECT name, notes, modified FROM releases");
        push_filter(&mut query, tenant, filter);
        query.push(order(filter));
        if let Some(window) = window {
            query.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
        }
        let rows = query.build().fetch_all(&self.read).await?;
        let names: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
        let list = artifacts::ArtifactFilter {
            names: names.clone(),
            sort: Some(("created", false)),
            ..Default::default()
        };
        let mut by_name: HashMap<String, Vec<artifacts::Artifact>> = HashMap::new();
        if !names.is_empty() {
            for artifact in self.artifacts(tenant, &list, None).await?.items {
                by_name.entry(artifact.name.clone()).or_default().push(artifact);
            }
        }
        let mut tags = self.tags_of(tenant, &names).await?;
        let items = rows.iter().map(|row| {
            let name: String = row.get("name");
            let artifacts = by_name.remove(&name).unwrap_or_default();
            Release {
                tags: tags.remove(&name).unwrap_or_default(),
                notes: row.get("notes"),
                modified: row.get("modified"),
                artifacts_count: artifacts.len(),
                artifacts,
                name,
            }
        });
        let items = items.collect();
        let mut count = QueryBuilder::new("SELECT count(*) FROM releases");
        push_filter(&mut count, tenant, filter);
        Ok(Paged { items, total: count.build().fetch_one(&self.read).await?.get(0) })
    }

    async fn tags_of(&self, tenant: &Tenant, names: &[String]) -> Result<HashMap<String, Vec<String>>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, tag FROM release_tags WHERE tenant_id = ? AND name IN (SELECT value FROM json_each(?))
             ORDER BY tag",
        )
        .bind(tenant.id())
        .bind(super::json(&names))
        .fetch_all(&self.read)
        .await?;
        let mut tags: HashMap<String, Vec<String>> = HashMap::new();
        for (name, tag) in rows {
            tags.entry(name).or_default().push(tag);
        }
        Ok(tags)
    }

    pub async fn release(&self, tenant: &Tenant, name: &str) -> Result<Option<Release>> {
        let filter = ReleaseFilter { exact_name: Some(name.to_owned()), ..Default::default() };
        Ok(self.releases(tenant, &filter, None).await?.items.pop())
    }

    pub async fn note_release(&self, tenant: &Tenant, name: &str, notes: &str) -> Result<bool> {
        let done =
            sqlx::query("UPDATE releases SET notes = ?, modified = ? WHERE tenant_id = ? AND name = ?")
                .bind(notes)
                .bind(clock::now())
                .bind(tenant.id())
                .bind(name)
                .execute(&self.write)
                .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Replaces a release's tags, unless the tenant would then have more than `most` different ones.
    pub async fn tag_release(&self, tenant: &Tenant, name: &str, tags: &[String], most: i64) -> Result<()> {
        let mut write = self.begin().await?;
        let known = sqlx::query("UPDATE releases SET modified = ? WHERE tenant_id = ? AND name = ?")
            .bind(clock::now())
            .bind(tenant.id())
            .bind(name)
            .execute(&mut *write)
            .await?;
        if known.rows_affected() == 0 {
            return Err(Error::NotFound("release"));
        }
        sqlx::query("DELETE FROM release_tags WHERE tenant_id = ? AND name = ?")
            .bind(tenant.id())
            .bind(name)
            .execute(&mut *write)
            .await?;
        for tag in tags {
            sqlx::query(
                "INSERT INTO release_tags (tenant_id, name, tag) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(tenant.id())
            .bind(name)
            .bind(tag)
            .execute(&mut *write)
            .await?;
        }
        let unique: (i64,) =
            sqlx::query_as("SELECT count(DISTINCT tag) FROM release_tags WHERE tenant_id = ?")
                .bind(tenant.id())
                .fetch_one(&mut *write)
                .await?;
        if unique.0 > most {
            return Err(Error::Conflict(format!(
                "there would be {} different tags; {most} are allowed",
                unique.0
            )));
        }
        Ok(write.commit().await?)
    }

    pub async fn release_tags(&self, tenant: &Tenant) -> Result<Vec<String>> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT DISTINCT tag FROM release_tags WHERE tenant_id = ? ORDER BY tag")
                .bind(tenant.id())
                .fetch_all(&self.read)
                .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Every payload type that an artifact has.
    pub async fn update_types(&self, tenant: &Tenant) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT DISTINCT payload.value -> 'type_info' ->> 'type' AS kind
             FROM artifacts, json_each(artifacts.detail -> 'updates') AS payload
             WHERE tenant_id = ? AND kind IS NOT NULL ORDER BY 1",
        )
        .bind(tenant.id())
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Removes releases with all their artifacts and returns the artifacts' ids, whose files are the caller's to remove.
    /// Refused, with the deployments `(id, name)`, while one of them needs any.
    pub async fn remove_releases(
        &self,
        tenant: &Tenant,
        names: &[String],
    ) -> Result<std::result::Result<Vec<String>, Vec<(String, String)>>> {
        let list = super::json(&names);
        let mut write = self.begin().await?;
        let users: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, name FROM deployments WHERE tenant_id = ? AND status <> 'finished' AND type = 'software'
             AND artifact_name IN (SELECT value FROM json_each(?)) ORDER BY seq",
        )
        .bind(tenant.id())
        .bind(&list)
        .fetch_all(&mut *write)
        .await?;
        if !users.is_empty() {
            return Ok(Err(users));
        }
        let gone: Vec<(String,)> = sqlx::query_as(
            "DELETE FROM artifacts WHERE tenant_id = ? AND name IN (SELECT value FROM json_each(?)) RETURNING id",
        )
        .bind(tenant.id())
        .bind(&list)
        .fetch_all(&mut *write)
        .await?;
        for table in ["artifact_keys", "releases", "release_tags"] {
            sqlx::query(&format!(
                "DELETE FROM {table} WHERE tenant_id = ? AND name IN (SELECT value FROM json_each(?))"
            ))
            .bind(tenant.id())
            .bind(&list)
            .execute(&mut *write)
            .await?;
        }
        write.commit().await?;
        Ok(Ok(gone.into_iter().map(|row| row.0).collect()))
    }
}

/// Makes the release of this name, or marks it as changed.
pub(super) async fn touch(write: &mut Write<'_>, tenant: &Tenant, name: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO releases (tenant_id, name, modified) VALUES (?, ?, ?)
         ON CONFLICT (tenant_id, name) DO UPDATE SET modified = excluded.modified",
    )
    .bind(tenant.id())
    .bind(name)
    .bind(clock::now())
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Removes the release when its last artifact is gone, and marks it as changed when others are left.
pub(super) async fn settle(write: &mut Write<'_>, tenant: &Tenant, name: &str) -> Result<()> {
    let left: (i64,) = sqlx::query_as("SELECT count(*) FROM artifacts WHERE tenant_id = ? AND name = ?")
        .bind(tenant.id())
        .bind(name)
        .fetch_one(&mut **write)
        .await?;
    if left.0 > 0 {
        return touch(write, tenant, name).await;
    }
    for table in ["releases", "release_tags"] {
        sqlx::query(&format!("DELETE FROM {table} WHERE tenant_id = ? AND name = ?"))
            .bind(tenant.id())
            .bind(name)
            .execute(&mut **write)
            .await?;
    }
    Ok(())
}
