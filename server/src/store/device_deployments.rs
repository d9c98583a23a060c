//! One device's part in one deployment.
use super::{deployments, Error, Paged, Result, Store, Tenant, Window, Write};
use crate::clock::{self, Millis};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

/// What a device may report.
pub const REPORTABLE: [&str; 9] = [
    "downloading",
    "installing",
    "rebooting",
    "success",
    "failure",
    "already-installed",
    "pause_before_installing",
    "pause_before_rebooting",
    "pause_before_committing",
];

/// A device's part in a deployment ends with one of these.
pub const FINAL: [&str; 6] =
    ["success", "failure", "noartifact", "already-installed", "aborted", "decommissioned"];

/// The states that a query word stands for.
pub fn states_of(word: &str) -> Option<Vec<&'static str>> {
    let pause = ["pause_before_installing", "pause_before_rebooting", "pause_before_committing"];
    match word {
        "pause" => Some(pause.to_vec()),
        "active" => Some([&["pending", "downloading", "installing", "rebooting"], &pause[..]].concat()),
        "finished" => Some(FINAL.to_vec()),
        "pending" => Some(vec!["pending"]),
        word => REPORTABLE.iter().chain(&FINAL).find(|one| **one == word).map(|one| vec![*one]),
    }
}

/// A device's part in a deployment, and what of the deployment its next step depends on.
#[derive(Debug, Clone)]
pub struct Part {
    pub deployment_id: String,
    pub device_id: String,
    pub status: String,
    pub substate: String,
    pub reason: String,
    pub created: Millis,
    pub started: Option<Millis>,
    pub finished: Option<Millis>,
    pub artifact_id: Option<String>,
    /// The first poll that was answered with this deployment.
    pub request: Option<Value>,
    pub attempts: i64,
    pub has_log: bool,
    pub deployment_name: String,
    pub artifact_name: String,
    pub kind: String,
    pub force_installation: bool,
    pub retries: i64,
    pub configuration: Option<Value>,
    pub seq: i64,
}

/// What a status report did.
#[derive(Debug, PartialEq)]
pub enum Reported {
    /// Taken; the status the device is in now.
    Taken { status: String, changed: bool },
    /// The deployment was aborted, or the device decommissioned.
    Aborted,
}

const PART: &str = "SELECT part.*, deployments.name, deployments.artifact_name, deployments.type,
      deployments.force_installation, deployments.retries, deployments.configuration
    FROM device_deployments AS part JOIN deployments
      ON deployments.tenant_id = part.tenant_id AND deployments.id = part.deployment_id
    WHERE part.tenant_id = ";

fn read(row: &SqliteRow) -> Result<Part> {
    let parse = |text: Option<String>| {
        text.map(|text| super::from_json("a device's part in a deployment", &text)).transpose()
    };
    Ok(Part {
        deployment_id: row.get("deployment_id"),
        device_id: row.get("device_id"),
        status: row.get("status"),
        substate: row.get("substate"),
        reason: row.get("reason"),
        created: row.get("created"),
        started: row.get("started"),
        finished: row.get("finished"),
        artifact_id: row.get("artifact_id"),
        request: parse(row.get("request"))?,
        attempts: row.get("attempts"),
        has_log: row.get("has_log"),
        deployment_name: row.get("name"),
        artifact_name: row.get("artifact_name"),
        kind: row.get("type"),
        force_installation: row.get("force_installation"),
        retries: row.get("retries"),
        configuration: parse(row.get("configuration"))?,
        seq: row.get("seq"),
    })
}

fn push_states(query: &mut QueryBuilder<'_, Sqlite>, states: &[&str]) {
    if !states.is_empty() {
        query
            .push(" AND part.status IN (SELECT value FROM json_each(")
            .push_bind(super::json(&states))
            .push("))");
    }
}

impl Store {
    /// What the device has to do next: what it is at, else the oldest deployment that waits for it.
    pub async fn next_part(&self, tenant: &Tenant, device: &str) -> Result<Option<Part>> {
        let row = QueryBuilder::new(PART)
            .push_bind(tenant.id())
            .push(" AND part.device_id = ")
            .push_bind(device)
            .push(" AND part.finished IS NULL ORDER BY part.status = 'pending', part.seq LIMIT 1")
            .build()
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(read).transpose()
    }

    pub async fn part(&self, tenant: &Tenant, deployment: &str, device: &str) -> Result<Option<Part>> {
        let row = QueryBuilder::new(PART)
            .push_bind(tenant.id())
            .push(" AND part.deployment_id = ")
            .push_bind(deployment)
            .push(" AND part.device_id = ")
            .push_bind(device)
            .build()
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The parts of a deployment, in states (none given: all).
    pub async fn parts(
        &self,
        tenant: &Tenant,
        deployment: &str,
        states: &[&str],
        window: Window,
    ) -> Result<Paged<Part>> {
        self.list_parts(tenant, ("part.deployment_id", deployment), states, "part.device_id", window).await
    }

    /// The device's parts, newest first, without those that were left out of its history.
    pub async fn history(
        &self,
        tenant: &Tenant,
        device: &str,
        states: &[&str],
        window: Window,
    ) -> Result<Paged<Part>> {
        self.list_parts(
            tenant,
            ("part.hidden = 0 AND part.device_id", device),
            states,
            "part.seq DESC",
            window,
        )
        .await
    }

    async fn list_parts(
        &self,
        tenant: &Tenant,
        (column, value): (&str, &str),
        states: &[&str],
        order: &str,
        window: Window,
    ) -> Result<Paged<Part>> {
        let mut query = QueryBuilder::new(PART);
        query.push_bind(tenant.id()).push(format!(" AND {column} = ")).push_bind(value);
        push_states(&mut query, states);
        query.push(format!(" ORDER BY {order} LIMIT ")).push_bind(window.limit);
        query.push(" OFFSET ").push_bind(window.offset);
        let rows = query.build().fetch_all(&self.read).await?;
        let mut count =
            QueryBuilder::new("SELECT count(*) FROM device_deployments AS part WHERE part.tenant_id = ");
        count.push_bind(tenant.id()).push(format!(" AND {column} = ")).push_bind(value);
        push_states(&mut count, states);
        let total = count.build().fetch_one(&self.read).await?.get(0);
        Ok(Paged { items: rows.iter().map(read).collect::<Result<_>>()?, total })
    }

    /// Ids of all devices of a deployment.
    pub async fn deployment_devices(&self, tenant: &Tenant, deployment: &str) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT device_id FROM device_deployments WHERE tenant_id = ? AND deployment_id = ? ORDER BY device_id",
        )
        .bind(tenant.id())
        .bind(deployment)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Notes what the device was told to install, and the poll it was told in.
    pub async fn assign(
        &self,
        tenant: &Tenant,
        part: &Part,
        artifact: Option<(&str, i64)>,
        request: &Value,
    ) -> Result<()> {
        let mut write = self.begin().await?;
        let done = sqlx::query(
            "UPDATE device_deployments SET artifact_id = ?, request = ?
             WHERE tenant_id = ? AND deployment_id = ? AND device_id = ? AND finished IS NULL AND request IS NULL",
        )
        .bind(artifact.map(|one| one.0))
        .bind(super::json(request))
        .bind(tenant.id())
        .bind(&part.deployment_id)
        .bind(&part.device_id)
        .execute(&mut *write)
        .await?;
        if done.rows_affected() > 0 {
            sqlx::query("UPDATE deployments SET total_size = total_size + ? WHERE tenant_id = ? AND id = ?")
                .bind(artifact.map_or(0, |one| one.1))
                .bind(tenant.id())
                .bind(&part.deployment_id)
                .execute(&mut *write)
                .await?;
        }
        Ok(write.commit().await?)
    }

    /// Ends a part from here, without the device's report.
    pub async fn end_part(&self, tenant: &Tenant, part: &Part, status: &str, reason: &str) -> Result<()> {
        let mut write = self.begin().await?;
        sqlx::query(
            "UPDATE device_deployments SET status = ?, reason = ?, finished = ?
             WHERE tenant_id = ? AND deployment_id = ? AND device_id = ? AND finished IS NULL",
        )
        .bind(status)
        .bind(reason)
        .bind(clock::now())
        .bind(tenant.id())
        .bind(&part.deployment_id)
        .bind(&part.device_id)
        .execute(&mut *write)
        .await?;
        deployments::settle(&mut write, tenant, &part.deployment_id).await?;
        Ok(write.commit().await?)
    }

    /// Takes a device's report. A failure with retries left puts the device back in line.
    pub async fn report(
        &self,
        tenant: &Tenant,
        deployment: &str,
        device: &str,
        status: &str,
        substate: Option<&str>,
    ) -> Result<Reported> {
        let part = self.part(tenant, deployment, device).await?.ok_or(Error::NotFound("deployment"))?;
        if matches!(part.status.as_str(), "aborted" | "decommissioned") {
            return Ok(Reported::Aborted);
        }
        if part.status == status && substate.is_none_or(|text| text == part.substate) {
            return Ok(Reported::Taken { status: part.status, changed: false });
        }
        // Told twice: the try that failed is over, and the next one has not begun.
        if status == "failure" && part.attempts > 0 && part.status == "pending" && part.request.is_none() {
            return Ok(Reported::Taken { status: part.status, changed: false });
        }
        let retry = status == "failure" && part.status != "failure" && part.attempts < part.retries;
        let next = if retry { "pending" } else { status };
        let now = clock::now();
        let reason = (status == "failure").then(|| failure_reason(&part, substate));
        let mut write = self.begin().await?;
        let taken = sqlx::query(
            "UPDATE device_deployments SET status = ?, substate = coalesce(?, substate), reason = coalesce(?, reason),
               started = CASE WHEN ? THEN NULL ELSE coalesce(started, ?) END,
               finished = CASE WHEN ? THEN coalesce(finished, ?) END,
               attempts = attempts + ?, request = CASE WHEN ? THEN NULL ELSE request END
             WHERE tenant_id = ? AND deployment_id = ? AND device_id = ? AND status NOT IN ('aborted', 'decommissioned')",
        )
        .bind(next)
        .bind(substate)
        .bind(reason)
        .bind(retry)
        .bind(now)
        .bind(FINAL.contains(&next))
        .bind(now)
        .bind(retry as i64)
        .bind(retry)
        .bind(tenant.id())
        .bind(deployment)
        .bind(device)
        .execute(&mut *write)
        .await?;
        if taken.rows_affected() == 0 {
            return Ok(Reported::Aborted);
        }
        if part.status != next {
            deployments::settle(&mut write, tenant, deployment).await?;
        }
        write.commit().await?;
        Ok(Reported::Taken { status: next.to_owned(), changed: part.status != next })
    }

    /// Keeps the log of a failed part. `why` becomes its reason when the device gave none.
    pub async fn write_log(
        &self,
        tenant: &Tenant,
        deployment: &str,
        device: &str,
        text: &str,
        why: Option<&str>,
    ) -> Result<()> {
        let mut write = self.begin().await?;
        let known = sqlx::query(
            "UPDATE device_deployments SET has_log = 1,
               reason = CASE WHEN reason = '' AND status = 'failure' THEN coalesce(?, '') ELSE reason END
             WHERE tenant_id = ? AND deployment_id = ? AND device_id = ?",
        )
        .bind(why)
        .bind(tenant.id())
        .bind(deployment)
        .bind(device)
        .execute(&mut *write)
        .await?;
        if known.rows_affected() == 0 {
            return Err(Error::NotFound("deployment"));
        }
        sqlx::query(
            "INSERT INTO deployment_logs (tenant_id, deployment_id, device_id, text) VALUES (?, ?, ?, ?)
             ON CONFLICT (tenant_id, deployment_id, device_id) DO UPDATE SET text = excluded.text",
        )
        .bind(tenant.id())
        .bind(deployment)
        .bind(device)
        .bind(text)
        .execute(&mut *write)
        .await?;
        Ok(write.commit().await?)
    }

    pub async fn log(&self, tenant: &Tenant, deployment: &str, device: &str) -> Result<Option<String>> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT text FROM deployment_logs WHERE tenant_id = ? AND deployment_id = ? AND device_id = ?",
        )
        .bind(tenant.id())
        .bind(deployment)
        .bind(device)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|row| row.0))
    }

    /// Aborts everything that the device has still to do.
    pub async fn abort_device(&self, tenant: &Tenant, device: &str) -> Result<()> {
        let mut write = self.begin().await?;
        end_for_device(&mut write, tenant, device, "aborted").await?;
        Ok(write.commit().await?)
    }

    /// Leaves what is finished out of the device's history.
    pub async fn forget_history(&self, tenant: &Tenant, device: &str) -> Result<()> {
        sqlx::query(
            "UPDATE device_deployments SET hidden = 1
             WHERE tenant_id = ? AND device_id = ? AND finished IS NOT NULL",
        )
        .bind(tenant.id())
        .bind(device)
        .execute(&self.write)
        .await?;
        Ok(())
    }
}

/// The report's own words, else the last thing the device said that is not about a script's progress.
fn failure_reason(part: &Part, substate: Option<&str>) -> String {
    let said = |text: &&str| {
        let lower = text.to_lowercase();
        !text.is_empty()
            && !lower.starts_with("executing script")
            && !lower.starts_with("finished executing script")
    };
    substate.filter(said).or(Some(part.substate.as_str()).filter(said)).unwrap_or_default().to_owned()
}

pub(super) async fn end_for_device(
    write: &mut Write<'_>,
    tenant: &Tenant,
    device: &str,
    status: &str,
) -> Result<()> {
    let ended: Vec<(String,)> = sqlx::query_as(
        "UPDATE device_deployments SET status = ?, finished = ?
         WHERE tenant_id = ? AND device_id = ? AND finished IS NULL RETURNING deployment_id",
    )
    .bind(status)
    .bind(clock::now())
    .bind(tenant.id())
    .bind(device)
    .fetch_all(&mut **write)
    .await?;
    for (deployment,) in ended {
        deployments::settle(write, tenant, &deployment).await?;
    }
    Ok(())
}
