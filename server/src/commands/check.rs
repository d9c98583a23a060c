//! `check`: data base and artifact files against each other.
use crate::app::App;
use crate::store::Tenant;
use anyhow::bail;
use futures_util::StreamExt;
use std::collections::HashSet;

/// Says what is wrong, and fails when something is. With `repair`, files that belong to nothing are removed.
pub async fn run(app: &App, repair: bool) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for fault in app.store.integrity().await? {
        faults.push(format!("data base: {fault}"));
    }
    let artifacts = app.store.all_artifacts().await?;
    for (tenant, id, size, sha256) in &artifacts {
        if let Some(fault) = file_fault(app, tenant, id, *size, sha256).await {
            faults.push(format!("artifact {id} of {tenant}: {fault}"));
        }
    }
    let waiting = app.store.waiting_uploads().await?;
    let known: HashSet<(&str, &str)> = artifacts
        .iter()
        .map(|(tenant, id, ..)| (tenant.as_str(), id.as_str()))
        .chain(waiting.iter().map(|(tenant, id)| (tenant.as_str(), id.as_str())))
        .collect();
    for (tenant, id, size) in app.blobs.list().await? {
        if known.contains(&(tenant.as_str(), id.as_str())) {
            continue;
        }
        if repair {
            app.blobs.remove(&Tenant::new(&tenant), &id).await?;
            println!("removed the file {id} of {tenant} ({size} bytes), which belonged to nothing");
        } else {
            faults.push(format!(
                "the file {id} of {tenant} ({size} bytes) belongs to nothing; --repair removes it"
            ));
        }
    }
    app.store.close().await;
    if faults.is_empty() {
        println!("{} artifacts, all well", artifacts.len());
        return Ok(());
    }
    for fault in &faults {
        println!("{fault}");
    }
    bail!("{} faults", faults.len())
}

async fn file_fault(app: &App, tenant: &str, id: &str, size: i64, sha256: &str) -> Option<String> {
    let (tenant, size) = (Tenant::new(tenant), u64::try_from(size).unwrap_or_default());
    let found = match app.blobs.size(&tenant, id).await {
        Ok(found) => found,
        Err(error) if error.is_missing() => {
            return Some("its file is missing; restore it from a backup".into())
        }
        Err(error) => return Some(error.to_string()),
    };
    if found != size {
        return Some(format!("its file has {found} bytes instead of {size}"));
    }
    let mut content = match app.blobs.read(&tenant, id, 0..size).await {
        Ok(content) => content,
        Err(error) => return Some(error.to_string()),
    };
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    while let Some(chunk) = content.next().await {
        match chunk {
            Ok(chunk) => hash.update(&chunk),
            Err(error) => return Some(error.to_string()),
        }
    }
    let found = crate::keys::hex(hash.finish().as_ref());
    (found != sha256).then(|| format!("its file has sha256 {found} instead of {sha256}"))
}
