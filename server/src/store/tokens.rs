//! What makes a token void: user tokens are listed and valid while they are in the list; device tokens are valid
//! unless their auth set's generation was raised.
use super::{Error, Result, Store, Tenant, Write};
use crate::clock::{self, Millis};
use serde::Serialize;
use sqlx::Row;
use utoipa::ToSchema;

/// A personal access token, without the token itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonalToken {
    pub id: String,
    pub name: String,
    #[serde(serialize_with = "clock::text::option::serialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Millis>,
    #[serde(
        rename = "expiration_date",
        serialize_with = "clock::text::option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Millis>,
    #[serde(rename = "created_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub created: Millis,
}

/// How long a revocation is kept beyond the life of the tokens that it ends: a clock that jumps ahead and back again revives none.
const KEPT: Millis = 400 * clock::DAY;

/// A revoked auth set: `(tenant, auth set, first generation that is valid, until when the entry matters)`.
pub type Revocation = (String, String, i64, Millis);

impl Store {
    /// Lists a session (no name) or personal token (a name) as valid; a session also counts as a sign-in.
    pub async fn add_user_token(
        &self,
        tenant: &Tenant,
        user: &str,
        id: &str,
        name: Option<&str>,
        expires: Option<Millis>,
    ) -> Result<()> {
        let now = clock::now();
        let mut write = self.begin().await?;
        sqlx::query("DELETE FROM user_tokens WHERE tenant_id = ? AND user_id = ? AND expires < ?")
            .bind(tenant.id())
            .bind(user)
            .bind(now)
            .execute(&mut *write)
            .await?;
        sqlx::query(
            "INSERT INTO user_tokens (tenant_id, id, user_id, name, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant.id())
        .bind(id)
        .bind(user)
        .bind(name)
        .bind(now)
        .bind(expires)
        .execute(&mut *write)
        .await?;
        if name.is_none() {
            sqlx::query("UPDATE users SET login = ? WHERE tenant_id = ? AND id = ?")
                .bind(now)
                .bind(tenant.id())
                .bind(user)
                .execute(&mut *write)
                .await?;
        }
        Ok(write.commit().await?)
    }

    /// Whether the token is listed for this user; `Some(name)` tells a personal token.
    pub async fn user_token(&self, tenant: &Tenant, user: &str, id: &str) -> Result<Option<Option<String>>> {
        let row = sqlx::query(
            "SELECT name FROM user_tokens
             WHERE tenant_id = ? AND id = ? AND user_id = ? AND (expires IS NULL OR expires > ?)",
        )
        .bind(tenant.id())
        .bind(id)
        .bind(user)
        .bind(clock::now())
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Notes that a personal token was used, at most once a minute.
    pub async fn touch_user_token(&self, tenant: &Tenant, id: &str) -> Result<()> {
        let now = clock::now();
        sqlx::query(
            "UPDATE user_tokens SET last_used = ?
             WHERE tenant_id = ? AND id = ? AND (last_used IS NULL OR last_used < ?)",
        )
        .bind(now)
        .bind(tenant.id())
        .bind(id)
        .bind(now - clock::MINUTE)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    pub async fn personal_tokens(&self, tenant: &Tenant, user: &str) -> Result<Vec<PersonalToken>> {
        let rows = sqlx::query(
            "SELECT * FROM user_tokens WHERE tenant_id = ? AND user_id = ? AND name IS NOT NULL ORDER BY created, id",
        )
        .bind(tenant.id())
        .bind(user)
        .fetch_all(&self.read)
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| PersonalToken {
            id: row.get("id"),
            name: row.get("name"),
            last_used: row.get("last_used"),
            expires: row.get("expires"),
            created: row.get("created"),
        };
        Ok(rows.iter().map(read).collect())
    }

    pub async fn remove_user_token(&self, tenant: &Tenant, user: &str, id: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM user_tokens WHERE tenant_id = ? AND user_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(user)
            .bind(id)
            .execute(&self.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Revokes every token of an auth set.
    pub async fn revoke_device_tokens(
        &self,
        tenant: &Tenant,
        auth_set: &str,
        life: Millis,
    ) -> Result<Revocation> {
        let mut write = self.begin().await?;
        let revocation = revoke(&mut write, tenant, auth_set, life).await?.ok_or(Error::NotFound("token"))?;
        write.commit().await?;
        Ok(revocation)
    }

    /// Every revocation that may still matter; forgets those that have not for long.
    pub async fn revocations(&self) -> Result<Vec<Revocation>> {
        sqlx::query("DELETE FROM revocations WHERE until < ?")
            .bind(clock::now() - KEPT)
            .execute(&self.write)
            .await?;
        Ok(sqlx::query_as("SELECT tenant_id, auth_set_id, generation, until FROM revocations")
            .fetch_all(&self.read)
            .await?)
    }
}

/// Raises the auth set's generation. `None` when there is no such auth set.
pub(super) async fn revoke(
    write: &mut Write<'_>,
    tenant: &Tenant,
    auth_set: &str,
    life: Millis,
) -> Result<Option<Revocation>> {
    let raised = sqlx::query(
        "UPDATE auth_sets SET generation = generation + 1 WHERE tenant_id = ? AND id = ? RETURNING generation",
    )
    .bind(tenant.id())
    .bind(auth_set)
    .fetch_optional(&mut **write)
    .await?;
    let Some(raised) = raised else { return Ok(None) };
    let (generation, until): (i64, Millis) = (raised.get(0), clock::now() + life);
    sqlx::query(
        "INSERT INTO revocations (tenant_id, auth_set_id, generation, until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant_id, auth_set_id) DO UPDATE SET generation = ?3, until = ?4",
    )
    .bind(tenant.id())
    .bind(auth_set)
    .bind(generation)
    .bind(until)
    .execute(&mut **write)
    .await?;
    Ok(Some((tenant.id().to_owned(), auth_set.to_owned(), generation, until)))
}
