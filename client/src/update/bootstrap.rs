//! The bootstrap artifact: an image brings it, and it says what the device provides before its first update
//! (artifact format: bootstrap; protocol: bootstrap).

use std::path::{Path, PathBuf};

use rota_artifact::{provides, Limits, Reader};

use super::{Engine, Halt};
use crate::config::Paths;
use crate::device::Standing;
use crate::provides::Provides;
use crate::sys::disk;

/// The bootstrap artifact of this device, as long as it was not taken.
pub fn waiting(paths: &Paths) -> Option<PathBuf> {
    let menders = paths.is_menders().then(|| paths.mender_data.join("bootstrap.mender"));
    let ours = paths.data.join("bootstrap.mender");
    [Some(ours), menders].into_iter().flatten().find(|file| file.symlink_metadata().is_ok())
}

impl Engine {
    /// Takes the bootstrap artifact, if there is one and nothing was installed before. Returns its name.
    pub fn bootstrap(&mut self) -> Result<Option<String>, String> {
        match self.take_lock() {
            Err(Halt::Failed(why)) => Err(why),
            _ => self.bootstrapped.take().unwrap_or(Ok(None)),
        }
    }

    /// The same under the lock. The file goes in any case, after what it said is recorded: an update would make it untrue.
    pub(super) fn take_bootstrap(&mut self) -> Result<Option<String>, String> {
        let Some(file) = waiting(&self.device.paths) else { return Ok(None) };
        let taken = match self.provides.is_recorded() {
            true => Ok(None),
            false => match self.read_bootstrap(&file) {
                Ok(facts) => {
                    let running =
                        self.device.view().ok().filter(|view| view.standing() == Standing::Committed);
                    let name = facts["artifact_name"].clone();
                    self.provides
                        .save(facts, running.map(|view| view.booted))
                        .map_err(|error| format!("{}: {error}", file.display()))?;
                    log::info!("the device provides what the bootstrap artifact {name} says");
                    Ok(Some(name))
                }
                Err(why) => Err(format!("{}: {why}; the device goes on without it", file.display())),
            },
        };
        if let Err(error) = disk::remove(&file) {
            log::error!("cannot remove {}: {error}", file.display());
        }
        taken
    }

    /// Its header only: whoever can put it there can do anything.
    fn read_bootstrap(&self, file: &Path) -> Result<crate::provides::Facts, String> {
        let source = disk::open(file).map_err(|error| error.to_string())?;
        let reader = Reader::new(source, &Limits::default()).map_err(|error| error.to_string())?;
        let header = reader.header();
        if let Some(payload_type) = header.payloads.iter().find_map(|payload| payload.payload_type.as_ref()) {
            return Err(format!(
                "expected an artifact without payload, found the payload type {payload_type}"
            ));
        }
        let mut facts = provides::apply(self.provides.facts(), header, &header.payloads);
        // Nobody vouches for it here; the image holds its own.
        facts.remove(crate::epoch::KEY);
        Provides::fits(&facts)?;
        Ok(facts)
    }
}
