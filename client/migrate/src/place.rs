//! Where things are on a device, of both clients.

use std::path::PathBuf;

use rota::config::Paths;

use crate::services::Services;

/// Where things are.
#[derive(Clone)]
pub struct Place {
    /// Of rota and of Mender's client, as rota sees them.
    pub paths: Paths,
    /// What starts programs.
    pub services: Services,
    /// The client.
    pub rota: PathBuf,
}

impl Place {
    /// Of this machine; the environment moves them as it does for the two clients.
    pub fn of_system() -> Place {
        let mut paths = Paths::default();
        let moved = |name: &str, path: PathBuf| std::env::var_os(name).map_or(path, PathBuf::from);
        paths.mender = moved("MENDER_DATA_DIR", paths.mender);
        paths.mender_conf = moved("MENDER_CONF_DIR", paths.mender_conf);
        paths.mender_data = moved("MENDER_DATASTORE_DIR", paths.mender_data);
        Place { paths, services: Services::of_system(), rota: "/usr/sbin/rota".into() }
    }

    /// As if there were nothing of rota's: what Mender's client sees.
    pub fn of_mender(&self) -> Paths {
        let none = PathBuf::from("/nonexistent/rota");
        Paths { conf: none.clone(), conf_file: None, data: none.clone(), lib: none, ..self.paths.clone() }
    }

    /// The mark that rota is in charge; it lies in the slot, beside the units that it is for.
    pub fn mark(&self) -> PathBuf {
        self.paths.conf.join("in-charge")
    }

    /// The record of what was done.
    pub fn record(&self) -> PathBuf {
        self.paths.conf.join("migration.json")
    }
}
