//! Tenants: whose devices, users and releases these are. There is one, `default`, until more are made.
use super::{Result, Store, Tenant};
use crate::{clock, keys};

/// The tenant that `init` makes, and that devices without a tenant token belong to.
pub const DEFAULT: &str = "default";

impl Store {
    pub async fn add_tenant(&self, id: &str, name: &str, token: &str) -> Result<Tenant> {
        sqlx::query("INSERT INTO tenants (tenant_id, name, token, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(name)
            .bind(token)
            .bind(clock::now())
            .execute(&self.write)
            .await?;
        Ok(Tenant::new(id))
    }

    /// The tenant with this id.
    pub async fn tenant(&self, id: &str) -> Result<Option<Tenant>> {
        let row: Option<(String,)> = sqlx::query_as("SELECT tenant_id FROM tenants WHERE tenant_id = ?")
            .bind(id)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(|row| Tenant::new(&row.0)))
    }

    /// The tenant that a device's token names. Without a token it is the default one; so it is with an unknown token
    /// while there is no other tenant, because devices that come from another server still carry that server's.
    pub async fn tenant_of_token(&self, token: &str) -> Result<Option<Tenant>> {
        if token.is_empty() {
            return Ok(Some(Tenant::new(DEFAULT)));
        }
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT tenant_id, token FROM tenants").fetch_all(&self.read).await?;
        if let Some((id, _)) = rows.iter().find(|(_, known)| keys::equal(known, token)) {
            return Ok(Some(Tenant::new(id)));
        }
        Ok((rows.len() == 1).then(|| Tenant::new(DEFAULT)))
    }

    /// Every tenant's id.
    pub async fn tenants(&self) -> Result<Vec<Tenant>> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT tenant_id FROM tenants ORDER BY tenant_id").fetch_all(&self.read).await?;
        Ok(rows.iter().map(|row| Tenant::new(&row.0)).collect())
    }
}
