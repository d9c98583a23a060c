//! Users of the management API.
use super::{Result, Store, Tenant};
use crate::clock::{self, Millis};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    pub id: String,
    pub email: String,
    #[serde(rename = "created_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub created: Millis,
    #[serde(rename = "updated_ts", serialize_with = "clock::text::serialize")]
    #[schema(value_type = String, format = DateTime)]
    pub updated: Millis,
    #[serde(
        rename = "login_ts",
        serialize_with = "clock::text::option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub login: Option<Millis>,
    /// argon2id, never shown.
    #[serde(skip)]
    pub password: String,
}

/// Which users a list shows.
#[derive(Debug, Default)]
pub struct UserFilter {
    pub ids: Vec<String>,
    pub emails: Vec<String>,
    pub created_after: Option<Millis>,
    pub created_before: Option<Millis>,
    pub updated_after: Option<Millis>,
    pub updated_before: Option<Millis>,
}

fn read(row: &SqliteRow) -> User {
    User {
        id: row.get("id"),
        email: row.get("email"),
        created: row.get("created"),
        updated: row.get("updated"),
        login: row.get("login"),
        password: row.get("password"),
    }
}

impl Store {
    /// Adds a user and returns its id. `Error::is_duplicate` when the address is taken.
    pub async fn add_user(&self, tenant: &Tenant, email: &str, password_hash: &str) -> Result<String> {
        let (id, now) = (clock::new_id(), clock::now());
        sqlx::query(
            "INSERT INTO users (tenant_id, id, email, password, created, updated) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant.id())
        .bind(&id)
        .bind(email)
        .bind(password_hash)
        .bind(now)
        .bind(now)
        .execute(&self.write)
        .await?;
        Ok(id)
    }

    /// Finds who signs in: the only query that starts from no tenant, because an address names its tenant.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<(Tenant, User)>> {
        let row =
            sqlx::query("SELECT * FROM users WHERE email = ?").bind(email).fetch_optional(&self.read).await?;
        Ok(row.map(|row| (Tenant::new(row.get("tenant_id")), read(&row))))
    }

    pub async fn user(&self, tenant: &Tenant, id: &str) -> Result<Option<User>> {
        let row = sqlx::query("SELECT * FROM users WHERE tenant_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(id)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.as_ref().map(read))
    }

    pub async fn users(&self, tenant: &Tenant, filter: &UserFilter) -> Result<Vec<User>> {
        let mut query = QueryBuilder::new("SELECT * FROM users WHERE tenant_id = ");
        query.push_bind(tenant.id());
        for (column, values) in [("id", &filter.ids), ("email", &filter.emails)] {
            if !values.is_empty() {
                query.push(format!(" AND {column} IN ("));
                let mut list = query.separated(", ");
                values.iter().for_each(|value| {
                    list.push_bind(value);
                });
                query.push(")");
            }
        }
        for (column, compare, bound) in [
            ("created", ">=", filter.created_after),
            ("created", "<=", filter.created_before),
            ("updated", ">=", filter.updated_after),
            ("updated", "<=", filter.updated_before),
        ] {
            if let Some(bound) = bound {
                query.push(format!(" AND {column} {compare} ")).push_bind(bound);
            }
        }
        query.push(" ORDER BY created, id");
        Ok(query.build().fetch_all(&self.read).await?.iter().map(read).collect())
    }

    /// Changes what is given. A new password signs the user out everywhere, except for `keep_token`.
    pub async fn change_user(
        &self,
        tenant: &Tenant,
        id: &str,
        email: Option<&str>,
        password_hash: Option<&str>,
        keep_token: Option<&str>,
    ) -> Result<()> {
        let mut write = self.begin().await?;
        sqlx::query(
            "UPDATE users SET email = coalesce(?, email), password = coalesce(?, password), updated = ?
             WHERE tenant_id = ? AND id = ?",
        )
        .bind(email)
        .bind(password_hash)
        .bind(clock::now())
        .bind(tenant.id())
        .bind(id)
        .execute(&mut *write)
        .await?;
        if password_hash.is_some() {
            sqlx::query("DELETE FROM user_tokens WHERE tenant_id = ? AND user_id = ? AND id <> ?")
                .bind(tenant.id())
                .bind(id)
                .bind(keep_token.unwrap_or_default())
                .execute(&mut *write)
                .await?;
        }
        Ok(write.commit().await?)
    }

    /// Removes the user, its tokens and its settings.
    pub async fn remove_user(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        let mut write = self.begin().await?;
        for sql in [
            "DELETE FROM user_tokens WHERE tenant_id = ? AND user_id = ?",
            "DELETE FROM settings WHERE tenant_id = ? AND user_id = ?",
        ] {
            sqlx::query(sql).bind(tenant.id()).bind(id).execute(&mut *write).await?;
        }
        let removed = sqlx::query("DELETE FROM users WHERE tenant_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(id)
            .execute(&mut *write)
            .await?
            .rows_affected();
        write.commit().await?;
        Ok(removed > 0)
    }

    pub async fn user_count(&self, tenant: &Tenant) -> Result<i64> {
        let row: (i64,) = sqlx::query_as("SELECT count(*) FROM users WHERE tenant_id = ?")
            .bind(tenant.id())
            .fetch_one(&self.read)
            .await?;
        Ok(row.0)
    }
}
