//! The data base behind plain functions. Each takes the tenant first and binds every query to it.
//!
//! SQLite in WAL mode: one connection writes, several read. No caller sees SQL, a pool or a row, so that another
//! data base is a change of this room only.
pub mod artifacts;
pub mod auth_sets;
pub mod configurations;
pub mod deployments;
pub mod device_deployments;
pub mod devices;
pub mod inventory;
mod migrate;
pub mod releases;
pub mod search;
pub mod settings;
pub mod tenants;
pub mod tokens;
pub mod uploads;
pub mod users;
pub mod webhooks;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous, SqliteTransactionManager,
};
use sqlx::TransactionManager;
use sqlx::{Sqlite, SqlitePool, Transaction};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Whose data a call is about. Made only from a verified token, a tenant's row, or the command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    pub fn new(id: &str) -> Self {
        Tenant(id.into())
    }
    pub fn id(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the data base {act}: {source}")]
    Sql { act: &'static str, source: sqlx::Error },
    #[error("the data base's schema is version {found}, made by a newer rota-server; this one knows up to {known}. Run the newer one")]
    TooNew { found: i64, known: i64 },
    #[error("the data base holds something unreadable in {what}: {source}")]
    Stored { what: &'static str, source: serde_json::Error },
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("{0}")]
    Conflict(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        Error::Sql { act: "refused a query", source }
    }
}

impl Error {
    /// The disk that holds the data base has no room left.
    pub fn is_full(&self) -> bool {
        let Error::Sql { source: sqlx::Error::Database(inner), .. } = self else { return false };
        inner.code().is_some_and(|code| code == "13") // SQLITE_FULL
    }

    /// Two rows with one key.
    pub fn is_duplicate(&self) -> bool {
        let Error::Sql { source: sqlx::Error::Database(inner), .. } = self else { return false };
        inner.is_unique_violation()
    }
}

/// A page of a list and how many there are in all.
pub struct Paged<T> {
    pub items: Vec<T>,
    pub total: i64,
}

/// Which part of a list: `limit` items after the first `offset`.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub offset: i64,
    pub limit: i64,
}

pub struct Store {
    read: SqlitePool,
    write: SqlitePool,
}

type Write<'a> = Transaction<'a, Sqlite>;

impl Store {
    /// Opens the data base at `path`, making it when there is none, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Store> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .before_acquire(|connection, _| {
                // A full disk ends a transaction behind the driver's back; such a connection is given up.
                let at_rest = SqliteTransactionManager::get_transaction_depth(connection) == 0;
                Box::pin(async move { Ok(at_rest) })
            })
            .connect_with(options.clone())
            .await
            .map_err(|source| Error::Sql { act: "cannot be opened", source })?;
        migrate::run(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await
            .map_err(|source| Error::Sql { act: "cannot be opened", source })?;
        Ok(Store { read, write })
    }

    /// Whether a query is answered.
    pub async fn ready(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// What the data base finds wrong with itself.
    pub async fn integrity(&self) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check").fetch_all(&self.read).await?;
        Ok(rows.into_iter().map(|row| row.0).filter(|line| line != "ok").collect())
    }

    /// Writes the data base as it is now to another file.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        sqlx::query("VACUUM INTO ?").bind(path.to_string_lossy()).execute(&self.write).await?;
        Ok(())
    }

    /// Finishes what is under way and closes every connection.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    async fn begin(&self) -> Result<Write<'_>> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| Error::Stored { what, source })
}

/// `LIKE` pattern of what begins with `text`; use with `ESCAPE '\'`.
fn prefix(text: &str) -> String {
    format!("{}%", escape_like(text))
}

/// `LIKE` pattern of what contains `text`; use with `ESCAPE '\'`.
fn containing(text: &str) -> String {
    format!("%{}%", escape_like(text))
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
