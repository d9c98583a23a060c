//! The schema's versions. A version that was released never changes; what comes after it is a new file.
use super::{Error, Result};
use sqlx::{Row, SqlitePool};

const VERSIONS: &[&str] = &[
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_webhooks_and_uploads.sql"),
];

/// Brings the schema up to the newest version, each step whole or not at all.
pub async fn run(pool: &SqlitePool) -> Result<()> {
    up_to(pool, VERSIONS.len()).await
}

async fn up_to(pool: &SqlitePool, newest: usize) -> Result<()> {
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)").execute(pool).await?;
    let found: i64 =
        sqlx::query("SELECT coalesce(max(version), 0) FROM schema_version").fetch_one(pool).await?.get(0);
    if found > VERSIONS.len() as i64 {
        return Err(Error::TooNew { found, known: VERSIONS.len() as i64 });
    }
    for (index, sql) in VERSIONS.iter().enumerate().take(newest).skip(found as usize) {
        let mut step = pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(sql).execute(&mut *step).await?;
        sqlx::query("INSERT INTO schema_version VALUES (?)")
            .bind(index as i64 + 1)
            .execute(&mut *step)
            .await?;
        step.commit().await?;
        tracing::info!(version = index + 1, "schema brought up to date");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Store, Tenant};
    use super::*;
    use sqlx::sqlite::SqliteConnectOptions;

    async fn pool(path: &std::path::Path) -> SqlitePool {
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(path).create_if_missing(true))
            .await
            .unwrap()
    }

    /// What a schema is made of, in words that do not depend on how it came about.
    async fn schema(pool: &SqlitePool) -> Vec<(String, String)> {
        let query = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
        sqlx::query_as(query).fetch_all(pool).await.unwrap()
    }

    #[tokio::test]
    async fn every_earlier_schema_becomes_the_newest_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let fresh = pool(&folder.path().join("fresh")).await;
        run(&fresh).await.unwrap();
        let newest = schema(&fresh).await;
        for version in 1..=VERSIONS.len() {
            let path = folder.path().join(version.to_string());
            let old = pool(&path).await;
            up_to(&old, version).await.unwrap();
            fill(&old).await;
            run(&old).await.unwrap();
            run(&old).await.unwrap();
            assert_eq!(schema(&old).await, newest, "from version {version}");
            old.close().await;
            let store = Store::open(&path).await.unwrap();
            let tenant = Tenant::new("t");
            assert_eq!(store.tenants().await.unwrap(), std::slice::from_ref(&tenant));
            assert!(store.user(&tenant, "u").await.unwrap().is_some());
            assert_eq!(store.device(&tenant, "d").await.unwrap().unwrap().auth_sets.len(), 1);
            assert_eq!(
                store.inventories(&tenant, &["d".into()]).await.unwrap()[0].attributes[0].value,
                "6.1"
            );
            assert_eq!(store.artifacts_named(&tenant, "r").await.unwrap().len(), 1);
            let part = store.next_part(&tenant, "d").await.unwrap().unwrap();
            assert_eq!((part.deployment_id.as_str(), part.artifact_name.as_str()), ("x", "r"));
        }
    }

    /// Rows as version 1 has them.
    async fn fill(pool: &SqlitePool) {
        let detail = r#"{"device_types_compatible":["a"],"info":{"format":"mender","version":3},"signed":false,
            "updates":[],"artifact_provides":{},"artifact_depends":{},"clears_artifact_provides":[]}"#;
        for row in [
            "tenants (tenant_id, name, token, created) VALUES ('t', 't', 'k', 1)",
            "users (tenant_id, id, email, password, created, updated) VALUES ('t', 'u', 'e', 'p', 1, 1)",
            "devices (tenant_id, id, identity, identity_hash, status, created, updated)
               VALUES ('t', 'd', '{\"mac\":\"m\"}', 'h', 'accepted', 1, 1)",
            "auth_sets (tenant_id, id, device_id, pubkey, status, created) VALUES ('t', 's', 'd', 'k', 'accepted', 1)",
            "attributes (tenant_id, device_id, scope, name, idx, text, updated)
               VALUES ('t', 'd', 'inventory', 'kernel', -1, '6.1', 1)",
            &format!(
                "artifacts (tenant_id, id, name, description, detail, size, sha256, created, modified)
                   VALUES ('t', 'i', 'r', '', '{detail}', 1, 's', 1, 1)"
            ),
            "deployments (tenant_id, id, seq, name, artifact_name, type, status, created, device_count)
               VALUES ('t', 'x', 1, 'n', 'r', 'software', 'pending', 1, 1)",
            "device_deployments (tenant_id, deployment_id, device_id, seq, status, created)
               VALUES ('t', 'x', 'd', 1, 'pending', 1)",
        ] {
            sqlx::raw_sql(&format!("INSERT INTO {row}")).execute(pool).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_newer_schema_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder.path().join("db")).await;
        run(&pool).await.unwrap();
        sqlx::query("INSERT INTO schema_version VALUES (99)").execute(&pool).await.unwrap();
        assert!(matches!(run(&pool).await, Err(Error::TooNew { found: 99, .. })));
    }

    /// Tenants are kept apart by keys, not by good will.
    #[tokio::test]
    async fn every_table_has_its_tenant_first_in_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder.path().join("db")).await;
        run(&pool).await.unwrap();
        let tables: Vec<(String,)> = sqlx::query_as(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'schema_version'",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        assert!(tables.len() > 15);
        for (table,) in tables {
            let first: (String,) =
                sqlx::query_as(&format!("SELECT name FROM pragma_table_info('{table}') WHERE pk = 1"))
                    .fetch_one(&pool)
                    .await
                    .unwrap();
            assert_eq!(first.0, "tenant_id", "{table}");
        }
    }
}
