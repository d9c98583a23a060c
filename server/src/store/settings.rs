//! Free-form settings of the user interface: a tenant's, and each user's.
use super::{Result, Store, Tenant};
use crate::clock;

impl Store {
    /// The settings of a user (`''`: the tenant's) as JSON text, with their etag.
    pub async fn settings(&self, tenant: &Tenant, user: &str) -> Result<Option<(String, String)>> {
        Ok(sqlx::query_as("SELECT body, etag FROM settings WHERE tenant_id = ? AND user_id = ?")
            .bind(tenant.id())
            .bind(user)
            .fetch_optional(&self.read)
            .await?)
    }

    /// Writes settings, when they are still those of `etag` (`None`: whatever they are). Returns whether it did.
    pub async fn write_settings(
        &self,
        tenant: &Tenant,
        user: &str,
        body: &str,
        etag: Option<&str>,
    ) -> Result<bool> {
        let done = sqlx::query(
            "INSERT INTO settings (tenant_id, user_id, body, etag) SELECT ?1, ?2, ?3, ?4
             WHERE ?5 IS NULL OR EXISTS
               (SELECT 1 FROM settings WHERE tenant_id = ?1 AND user_id = ?2 AND etag = ?5)
             ON CONFLICT (tenant_id, user_id) DO UPDATE SET body = ?3, etag = ?4",
        )
        .bind(tenant.id())
        .bind(user)
        .bind(body)
        .bind(clock::new_id())
        .bind(etag)
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
