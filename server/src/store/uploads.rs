//! Artifacts that were sent by link and not completed yet.
use super::{Result, Store, Tenant};
use crate::clock::{self, Millis};
use crate::upload::Received;

impl Store {
    /// Keeps what was received until it is completed.
    pub async fn keep_upload(&self, tenant: &Tenant, id: &str, received: &Received) -> Result<()> {
        sqlx::query("INSERT INTO uploads (tenant_id, id, received, created) VALUES (?, ?, ?, ?)")
            .bind(tenant.id())
            .bind(id)
            .bind(super::json(received))
            .bind(clock::now())
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Whether the link was used, also when what was sent is an artifact by now.
    pub async fn is_upload_known(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT 1 FROM uploads WHERE tenant_id = ?1 AND id = ?2
             UNION ALL SELECT 1 FROM artifacts WHERE tenant_id = ?1 AND id = ?2",
        )
        .bind(tenant.id())
        .bind(id)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// Takes what was received, to publish it.
    pub async fn take_upload(&self, tenant: &Tenant, id: &str) -> Result<Option<Received>> {
        let row: Option<(String,)> =
            sqlx::query_as("DELETE FROM uploads WHERE tenant_id = ? AND id = ? RETURNING received")
                .bind(tenant.id())
                .bind(id)
                .fetch_optional(&self.write)
                .await?;
        row.map(|row| super::from_json("an upload", &row.0)).transpose()
    }

    /// Forgets uploads that were made before `before`; their files are the caller's to remove.
    pub async fn forget_uploads(&self, before: Millis) -> Result<Vec<(Tenant, String)>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("DELETE FROM uploads WHERE created < ? RETURNING tenant_id, id")
                .bind(before)
                .fetch_all(&self.write)
                .await?;
        Ok(rows.into_iter().map(|(tenant, id)| (Tenant::new(&tenant), id)).collect())
    }

    /// `(tenant, id)` of every upload that waits.
    pub async fn waiting_uploads(&self) -> Result<Vec<(String, String)>> {
        Ok(sqlx::query_as("SELECT tenant_id, id FROM uploads").fetch_all(&self.read).await?)
    }
}
