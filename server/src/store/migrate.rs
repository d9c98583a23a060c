//! The schema's versions. A version that was released never changes; what comes after it is a new file.
use super::{Error, Result};
use sqlx::{Row, SqlitePool};

const VERSIONS: &[&str] = &[include_str!("../../migrations/0001_first.sql")];

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
