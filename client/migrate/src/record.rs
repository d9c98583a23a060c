//! The record of what `do` makes: written before the first of it, so that everything can be taken back after a power cut.

use std::io;
use std::path::PathBuf;

use rota::provides::Facts;
use rota::sys::disk;
use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::plan::Plan;

const FORMAT: u32 = 1;
/// Most bytes of a record that are read.
const LIMIT: u64 = 1 << 20;

/// What is, or will be, made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    format: u32,
    /// Files that were not there before.
    pub made: Vec<PathBuf>,
    /// Folders that were not there before, the outer ones first.
    pub folders: Vec<PathBuf>,
    /// Files that were replaced.
    pub replaced: Vec<PathBuf>,
    /// Mender's units that are held back.
    pub menders: Vec<String>,
    /// Those of them that ran, and have to be started again.
    pub running: Vec<String>,
    /// What the device provided at the end of it.
    pub facts: Option<Facts>,
}

impl Record {
    /// Of a plan that is about to be carried out.
    pub fn of(plan: &Plan, place: &Place) -> Record {
        let (replaced, mut made): (Vec<_>, Vec<_>) = plan.puts.iter().partition(|put| put.replaces);
        made.sort_by(|a, b| a.to.cmp(&b.to));
        let mut made: Vec<PathBuf> = made.into_iter().map(|put| put.to.clone()).collect();
        let mut folders = Vec::new();
        for file in &made {
            let missing = file.ancestors().skip(1).take_while(|folder| !folder.exists());
            let mut missing: Vec<_> = missing.map(PathBuf::from).collect();
            missing.reverse();
            folders.extend(missing);
        }
        folders.dedup();
        // What the device provides is Mender's affair again, then.
        made.extend(["provides.0", "provides.1"].map(|name| place.paths.data.join(name)));
        let (menders, running) = plan.units.clone();
        let replaced = replaced.into_iter().map(|put| put.to.clone()).collect();
        Record { format: FORMAT, made, folders, replaced, menders, running, facts: None }
    }

    /// The record of this device; `None` when nothing was begun.
    pub fn read(place: &Place) -> Result<Option<Record>, String> {
        let file = place.record();
        let wrong = |what: String| Err(format!("{}: {what}", file.display()));
        match disk::read(&file, LIMIT) {
            Ok(bytes) => match serde_json::from_slice::<Record>(&bytes) {
                Ok(record) if record.format == FORMAT => Ok(Some(record)),
                Ok(record) => wrong(format!(
                    "expected format {FORMAT}, found {}; use the rota-migrate that wrote it",
                    record.format
                )),
                Err(error) => wrong(format!("it is not the record of a migration: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => wrong(error.to_string()),
        }
    }

    /// Makes it durable.
    pub fn save(&self, place: &Place) -> Result<(), String> {
        let file = place.record();
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        disk::make_folder(&place.paths.conf)
            .and_then(|()| disk::replace(&file, &bytes, 0o600))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    /// Where the former content of a replaced file is kept.
    pub fn former(file: &std::path::Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(".before-migration");
        name.into()
    }
}
