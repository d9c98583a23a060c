//! Where things are on a device.

use std::path::{Path, PathBuf};

/// Where things are on this device. Only tests, options and the environment move them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Folder of `rota.toml`, `health.d` and `artifact_info`; in the slot.
    pub conf: PathBuf,
    /// The configuration file, when it is not `rota.toml` in `conf`. One that ends in `.conf` is a Mender client's.
    pub conf_file: Option<PathBuf>,
    /// Journal, provides, key, deployment logs; on the data partition, shared by both slots.
    pub data: PathBuf,
    /// What is forgotten at every boot.
    pub run: PathBuf,
    /// What products and rota itself install: `inventory/`, `identity`.
    pub lib: PathBuf,
    /// Where a Mender client's scripts lie, the second choice.
    pub mender: PathBuf,
    /// Where a Mender client's configuration lies; it counts when there is none of rota's in the slot.
    pub mender_conf: PathBuf,
    /// Where a Mender client keeps its state, on the data partition. It is read; only a bootstrap artifact there is removed once taken.
    pub mender_data: PathBuf,
    /// The Mender client's configuration that counts less, when it is not `mender.conf` in `mender_data`.
    pub mender_fallback: Option<PathBuf>,
}

impl Default for Paths {
    fn default() -> Self {
        let or = |name: &str, path: &str| std::env::var_os(name).map_or_else(|| path.into(), PathBuf::from);
        Paths {
            conf: or("ROTA_CONF_DIR", "/etc/rota"),
            conf_file: None,
            data: or("ROTA_DATA_DIR", "/var/lib/rota"),
            run: or("ROTA_RUN_DIR", "/run/rota"),
            lib: or("ROTA_LIB_DIR", "/usr/lib/rota"),
            mender: "/usr/share/mender".into(),
            mender_conf: "/etc/mender".into(),
            mender_data: "/var/lib/mender".into(),
            mender_fallback: None,
        }
    }
}

impl Paths {
    /// Moves Mender's folders where its environment variables say, on a device that is configured as a Mender client.
    pub fn heed_mender(&mut self, variable: impl Fn(&str) -> Option<PathBuf>) {
        let moved = Paths {
            mender: variable("MENDER_DATA_DIR").unwrap_or_else(|| self.mender.clone()),
            mender_conf: variable("MENDER_CONF_DIR").unwrap_or_else(|| self.mender_conf.clone()),
            mender_data: variable("MENDER_DATASTORE_DIR").unwrap_or_else(|| self.mender_data.clone()),
            ..self.clone()
        };
        if moved.is_menders() {
            *self = moved;
        }
    }

    /// Whether the configuration is a Mender client's.
    pub fn is_menders(&self) -> bool {
        !self.mender_files().is_empty()
    }

    /// rota's configuration files in the slot, the later over the earlier.
    pub(super) fn slot_files(&self) -> Vec<PathBuf> {
        match &self.conf_file {
            Some(file) if is_mender(file) => Vec::new(),
            Some(file) => vec![file.clone()],
            None => with_drop_ins(self.conf.join("rota.toml")),
        }
    }

    /// Those on the data partition.
    pub(super) fn data_files(&self) -> Vec<PathBuf> {
        with_drop_ins(self.data.join("rota.toml"))
    }

    /// A Mender client's, the later over the earlier; none when the slot has rota's own.
    pub(super) fn mender_files(&self) -> Vec<PathBuf> {
        let there = |file: &PathBuf| file.symlink_metadata().is_ok();
        if self.slot_files().iter().any(there) {
            return Vec::new();
        }
        let main = self.conf_file.clone().unwrap_or_else(|| self.mender_conf.join("mender.conf"));
        let fallback = self.mender_fallback.clone().unwrap_or_else(|| self.mender_data.join("mender.conf"));
        [fallback, main].into_iter().filter(there).collect()
    }
}

fn is_mender(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "conf")
}

/// The file, and all `*.toml` of the folder that is called after it, `rota.toml.d`, in the order of their names.
fn with_drop_ins(file: PathBuf) -> Vec<PathBuf> {
    let mut folder = file.clone().into_os_string();
    folder.push(".d");
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files.insert(0, file);
    files
}
