//! `backup` and `restore`: everything that is kept, in one tar file.
//!
//! The data base comes first, as it is at one moment; artifacts' files never change, so that those it names can follow while
//! the server goes on.
use crate::app::{App, Layout, Lock};
use crate::config::Config;
use crate::{commands, files};
use anyhow::{bail, Context};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// First member of every backup, with the format's number.
const MARK: &str = "rota-backup";
const FORMAT: &str = "1\n";
const DATABASE: &str = "rota.db";
const SECRET: &str = "secret";
/// What a data folder is made of.
const PARTS: [&str; 4] = [SECRET, "tls", "blobs", DATABASE];

/// Writes a backup: whole, or not at all.
pub async fn write(app: &App, file: &Path) -> anyhow::Result<()> {
    let layout = app.layout();
    let spool = layout.spool();
    files::private_dir(&spool)?;
    let copy = spool.join(crate::clock::new_id());
    app.store.copy_to(&copy).await?;
    let blobs = app.store.all_artifacts().await?;
    app.store.close().await;
    let written = pack(&layout, &copy, &blobs, file);
    let _ = std::fs::remove_file(&copy);
    written.with_context(|| format!("cannot write the backup {}", file.display()))?;
    println!("{}: {} artifacts", file.display(), blobs.len());
    Ok(())
}

fn pack(
    layout: &Layout,
    database: &Path,
    blobs: &[(String, String, i64, String)],
    file: &Path,
) -> anyhow::Result<()> {
    let part = file.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    let mut tar = tar::Builder::new(std::io::BufWriter::new(out));
    let mut mark = tar::Header::new_gnu();
    mark.set_size(FORMAT.len() as u64);
    mark.set_mode(0o600);
    tar.append_data(&mut mark, MARK, FORMAT.as_bytes())?;
    tar.append_path_with_name(database, DATABASE)?;
    tar.append_path_with_name(layout.secret(), SECRET)?;
    if layout.tls().is_dir() {
        for entry in std::fs::read_dir(layout.tls())? {
            let entry = entry?;
            tar.append_path_with_name(entry.path(), Path::new("tls").join(entry.file_name()))?;
        }
    }
    for (tenant, id, ..) in blobs {
        let name = Path::new("blobs/artifacts").join(tenant).join(id);
        match File::open(layout.blobs().join("artifacts").join(tenant).join(id)) {
            Ok(mut blob) => tar.append_file(&name, &mut blob)?,
            // Deleted since: the backup is of a moment when it was there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("rota-server: artifact {id} was deleted meanwhile and is not in the backup");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut out = tar.into_inner()?;
    out.flush()?;
    out.get_ref().sync_all()?;
    std::fs::rename(&part, file)?;
    Ok(())
}

/// Makes a data folder from a backup, and checks it. A backup that cannot be read to its end leaves nothing behind.
pub async fn restore(config: Config, file: &Path) -> anyhow::Result<()> {
    let data = &config.data;
    if PARTS.iter().any(|part| data.join(part).exists()) {
        bail!("{} holds data already; restore into another folder", data.display());
    }
    files::private_dir(data)?;
    let _lock = Lock::take(data)?;
    let part = data.join("restoring");
    let _ = std::fs::remove_dir_all(&part);
    let unpacked = unpack(&part, file).and_then(|()| put_in_place(&part, data));
    let _ = std::fs::remove_dir_all(&part);
    unpacked.with_context(|| format!("cannot restore {}", file.display()))?;
    commands::check::run(&App::open(config).await?, false).await
}

/// The data base comes last: without it, there are no data.
fn put_in_place(part: &Path, data: &Path) -> anyhow::Result<()> {
    for name in PARTS.iter().filter(|name| part.join(name).exists()) {
        std::fs::rename(part.join(name), data.join(name))?;
    }
    Ok(File::open(data)?.sync_all()?)
}

fn unpack(data: &Path, file: &Path) -> anyhow::Result<()> {
    let mut tar = tar::Archive::new(std::io::BufReader::new(File::open(file)?));
    let mut entries = tar.entries()?;
    let first = entries.next().context("it is empty")??;
    if first.path()? != Path::new(MARK) {
        bail!("it is not a backup of rota-server");
    }
    let format = std::io::read_to_string(first)?;
    if format != FORMAT {
        bail!("it has format {}; this rota-server knows {}", format.trim(), FORMAT.trim());
    }
    for entry in entries {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || !entry.header().entry_type().is_file() {
            bail!("it has a member {} that no backup has", name.display());
        }
        let path = data.join(&name);
        files::private_dir(path.parent().unwrap_or(data))?;
        let mode = if name == Path::new("tls/ca.pem") { 0o644 } else { 0o600 };
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        let (size, copied) = (entry.size(), std::io::copy(&mut entry, &mut out)?);
        if copied != size {
            bail!("it is cut: {} has {copied} of {size} bytes", name.display());
        }
        out.sync_all()?;
    }
    Ok(())
}
