//! Auth sets: a device's identity with one of its keys, and what was decided about it.
use super::devices::{read_auth_set, remove_rows, AuthSet, Identity, Status, AUTH_SETS};
use super::{tokens, Error, Result, Store, Tenant, Write};
use crate::clock::{self, Millis};
use sqlx::QueryBuilder;

/// What a change of an auth set's status did.
pub enum Changed {
    /// To this device status, with these tokens revoked; `None` for a change that changes nothing.
    Done { device: Option<Status>, revoked: Vec<tokens::Revocation> },
    /// Not allowed from where it stands.
    Refused { from: Status },
    /// The tenant has as many accepted devices as it may have.
    LimitReached,
}

/// A device that asked, as it stands now.
pub struct Admitted {
    pub set: AuthSet,
    pub changed: bool,
    /// Tokens of the key that it had before.
    pub revoked: Vec<tokens::Revocation>,
}

impl Store {
    /// The auth set of this identity and key, made (pending, with its device) when there is none.
    /// `Admitted` says whether the request changed something: a new device, a new key, a preauthorisation that came true.
    pub async fn admit(
        &self,
        tenant: &Tenant,
        identity: &Identity,
        pubkey: &str,
        limit: i64,
        life: Millis,
    ) -> Result<Admitted> {
        let mut revoked = Vec::new();
        if let Some(set) = self.auth_set_of(tenant, &identity.hash, pubkey).await? {
            if set.status != Status::Preauthorized {
                return Ok(Admitted { set, changed: false, revoked });
            }
            let accepted = Status::Accepted;
            if let Changed::Done { revoked: more, .. } =
                self.set_auth_status(tenant, &set.device_id, &set.id, accepted, limit, life).await?
            {
                revoked = more;
            }
        } else {
            self.add_auth_set(tenant, identity, pubkey, Status::Pending).await?;
        }
        let set =
            self.auth_set_of(tenant, &identity.hash, pubkey).await?.ok_or(Error::NotFound("auth set"))?;
        Ok(Admitted { set, changed: true, revoked })
    }

    async fn auth_set_of(&self, tenant: &Tenant, hash: &str, pubkey: &str) -> Result<Option<AuthSet>> {
        let row = QueryBuilder::new(AUTH_SETS)
            .push_bind(tenant.id())
            .push(" AND devices.identity_hash = ")
            .push_bind(hash)
            .push(" AND auth_sets.pubkey = ")
            .push_bind(pubkey)
            .build()
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(read_auth_set).transpose()
    }

    /// Adds an auth set, and its device when the identity is new. Returns the device's id.
    pub async fn add_auth_set(
        &self,
        tenant: &Tenant,
        identity: &Identity,
        pubkey: &str,
        status: Status,
    ) -> Result<String> {
        let mut write = self.begin().await?;
        let known: Option<(String,)> =
            sqlx::query_as("SELECT id FROM devices WHERE tenant_id = ? AND identity_hash = ?")
                .bind(tenant.id())
                .bind(&identity.hash)
                .fetch_optional(&mut *write)
                .await?;
        let device = match known {
            Some((id,)) => id,
            None => insert_device(&mut write, tenant, identity, status).await?,
        };
        sqlx::query(
            "INSERT INTO auth_sets (tenant_id, id, device_id, pubkey, status, created) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(tenant.id())
        .bind(clock::new_id())
        .bind(&device)
        .bind(pubkey)
        .bind(status.name())
        .bind(clock::now())
        .execute(&mut *write)
        .await?;
        settle(&mut write, tenant, &device).await?;
        write.commit().await?;
        Ok(device)
    }

    pub async fn auth_set(&self, tenant: &Tenant, device: &str, id: &str) -> Result<Option<AuthSet>> {
        let row = QueryBuilder::new(AUTH_SETS)
            .push_bind(tenant.id())
            .push(" AND auth_sets.device_id = ")
            .push_bind(device)
            .push(" AND auth_sets.id = ")
            .push_bind(id)
            .build()
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(read_auth_set).transpose()
    }

    /// Accepts, rejects or sets back an auth set. Accepting rejects the device's other accepted set. Leaving
    /// `accepted` revokes the set's tokens, which live `life` at most.
    pub async fn set_auth_status(
        &self,
        tenant: &Tenant,
        device: &str,
        id: &str,
        to: Status,
        limit: i64,
        life: Millis,
    ) -> Result<Changed> {
        let mut write = self.begin().await?;
        // Read where it is changed: what is decided at the same time must see it.
        let from = status_of(&mut write, tenant, device, id).await?;
        if from == to {
            return Ok(Changed::Done { device: None, revoked: Vec::new() });
        }
        let allowed = match to {
            Status::Accepted => true,
            Status::Rejected => matches!(from, Status::Pending | Status::Accepted),
            Status::Pending => from != Status::Preauthorized,
            _ => false,
        };
        if !allowed {
            return Ok(Changed::Refused { from });
        }
        let mut revoked = Vec::new();
        if to == Status::Accepted {
            if limit > 0 && accepted_besides(&mut write, tenant, device).await? >= limit {
                return Ok(Changed::LimitReached);
            }
            let rivals: Vec<(String,)> = sqlx::query_as(
                "UPDATE auth_sets SET status = 'rejected'
                 WHERE tenant_id = ? AND device_id = ? AND status = 'accepted' AND id <> ? RETURNING id",
            )
            .bind(tenant.id())
            .bind(device)
            .bind(id)
            .fetch_all(&mut *write)
            .await?;
            for (rival,) in rivals {
                revoked.extend(tokens::revoke(&mut write, tenant, &rival, life).await?);
            }
        }
        if from == Status::Accepted {
            revoked.extend(tokens::revoke(&mut write, tenant, id, life).await?);
        }
        sqlx::query("UPDATE auth_sets SET status = ? WHERE tenant_id = ? AND id = ?")
            .bind(to.name())
            .bind(tenant.id())
            .bind(id)
            .execute(&mut *write)
            .await?;
        let device = settle(&mut write, tenant, device).await?;
        write.commit().await?;
        Ok(Changed::Done { device: Some(device), revoked })
    }

    /// Forgets an auth set and revokes its tokens. A device that was only preauthorised goes with it.
    pub async fn dismiss_auth_set(
        &self,
        tenant: &Tenant,
        device: &str,
        id: &str,
        life: Millis,
    ) -> Result<Option<tokens::Revocation>> {
        let mut write = self.begin().await?;
        let was = status_of(&mut write, tenant, device, id).await?;
        let revoked = tokens::revoke(&mut write, tenant, id, life).await?;
        sqlx::query("DELETE FROM auth_sets WHERE tenant_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(id)
            .execute(&mut *write)
            .await?;
        let status = settle(&mut write, tenant, device).await?;
        if was == Status::Preauthorized && status == Status::Noauth {
            remove_rows(&mut write, tenant, device).await?;
        }
        write.commit().await?;
        Ok(revoked)
    }
}

async fn status_of(write: &mut Write<'_>, tenant: &Tenant, device: &str, id: &str) -> Result<Status> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT status FROM auth_sets WHERE tenant_id = ? AND device_id = ? AND id = ?")
            .bind(tenant.id())
            .bind(device)
            .bind(id)
            .fetch_optional(&mut **write)
            .await?;
    row.and_then(|(name,)| Status::parse(&name)).ok_or(Error::NotFound("auth set"))
}

async fn insert_device(
    write: &mut Write<'_>,
    tenant: &Tenant,
    identity: &Identity,
    status: Status,
) -> Result<String> {
    let (id, now) = (clock::new_id(), clock::now());
    sqlx::query(
        "INSERT INTO devices (tenant_id, id, identity, identity_hash, status, created, updated)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant.id())
    .bind(&id)
    .bind(&identity.canonical)
    .bind(&identity.hash)
    .bind(status.name())
    .bind(now)
    .bind(now)
    .execute(&mut **write)
    .await?;
    super::inventory::insert(write, tenant, &id, "identity", &identity.attributes).await?;
    Ok(id)
}

async fn accepted_besides(write: &mut Write<'_>, tenant: &Tenant, device: &str) -> Result<i64> {
    let row: (i64,) = sqlx::query_as(
        "SELECT count(*) FROM devices WHERE tenant_id = ? AND status = 'accepted' AND id <> ?",
    )
    .bind(tenant.id())
    .bind(device)
    .fetch_one(&mut **write)
    .await?;
    Ok(row.0)
}

/// Brings the device's status in line with its auth sets.
async fn settle(write: &mut Write<'_>, tenant: &Tenant, device: &str) -> Result<Status> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT DISTINCT status FROM auth_sets WHERE tenant_id = ? AND device_id = ?")
            .bind(tenant.id())
            .bind(device)
            .fetch_all(&mut **write)
            .await?;
    let has = |status: &Status| rows.iter().any(|(name,)| name == status.name());
    let status = Status::ALL.into_iter().find(has).unwrap_or(Status::Noauth);
    sqlx::query("UPDATE devices SET status = ?, updated = ? WHERE tenant_id = ? AND id = ?")
        .bind(status.name())
        .bind(clock::now())
        .bind(tenant.id())
        .bind(device)
        .execute(&mut **write)
        .await?;
    Ok(status)
}
