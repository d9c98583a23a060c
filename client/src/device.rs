//! This machine as something to update: its configuration, its slots and its boot loader, laid side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::boot::{self, Boot};
use crate::config::{Config, Paths};
use crate::slot::{Layout, Slot, System};
use crate::sys::{host, watchdog};

/// The machine.
pub struct Device {
    /// Its configuration.
    pub config: Config,
    /// Where things are.
    pub paths: Paths,
    /// Where the kernel tells about itself.
    pub system: System,
    layout: Option<Layout>,
    boot: Result<Box<dyn Boot>, String>,
}

/// How the booted and the committed slot stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The booted slot is the committed one, and nothing is on trial.
    Committed,
    /// The other slot is armed: the next boot is its trial.
    Armed,
    /// The booted slot is on trial.
    Trial,
    /// The booted slot is not the committed one, and is not on trial: the boot loader could not start that one.
    Fallback,
}

impl Standing {
    /// The word in status and inventory.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Committed => "committed",
            Standing::Armed => "armed",
            Standing::Trial => "trial",
            Standing::Fallback => "fallback",
        }
    }
}

/// What kernel and boot loader say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The slot that is root.
    pub booted: Slot,
    /// The boot loader's records.
    pub boot: boot::State,
}

impl View {
    /// How they stand to each other.
    pub fn standing(&self) -> Standing {
        match self.boot.trial {
            Some(trial) if trial == self.booted => Standing::Trial,
            Some(_) => Standing::Armed,
            None if self.boot.committed == self.booted => Standing::Committed,
            None => Standing::Fallback,
        }
    }
}

/// The note that this boot is a trial.
const TRIAL: &str = "trial";
/// The note that the booted slot is committed, which the guard looks for.
const COMMITTED: &str = "committed";
/// Why a deployment waits.
const HELD: &str = "held";

impl Device {
    /// Reads the configuration and opens the boot loader's records. What cannot be had is said when it is asked for.
    pub fn open(paths: Paths, system: System) -> Device {
        let config = Config::load(&paths);
        Device::with(paths, system, config)
    }

    /// The machine with this configuration.
    pub fn with(paths: Paths, system: System, config: Config) -> Device {
        let layout = config.slots.clone().map(|(a, b)| Layout { a, b });
        let boot = match &layout {
            None => Err("no slots are configured; set slots.a and slots.b in rota.toml".to_owned()),
            Some(layout) => boot::open(&boot::Settings {
                backend: config.boot.clone(),
                env_dir: config.env_dir.clone(),
                parts: [part(&layout.a, 2), part(&layout.b, 3)],
            })
            .map_err(|error| error.to_string()),
        };
        Device { config, paths, system, layout, boot }
    }

    /// What is wrong with the configuration, one sentence each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.config.faults.clone();
        if self.config.device_type.is_none() {
            faults.push(
                "the device has no type, so no artifact is for it; set device_type in rota.toml".into(),
            );
        }
        if self.config.urls.is_empty() {
            faults.push("no server is configured; set server.url in rota.toml".into());
        }
        faults
    }

    /// Folder of the deployments' logs.
    pub fn deployment_logs(&self) -> PathBuf {
        self.config.deployment_logs.clone().unwrap_or_else(|| self.paths.data.join("deployments"))
    }

    /// The slots' devices.
    pub fn layout(&self) -> Result<&Layout, String> {
        self.layout
            .as_ref()
            .ok_or_else(|| "no slots are configured; set slots.a and slots.b in rota.toml".into())
    }

    /// The boot loader.
    pub fn boot(&mut self) -> Result<&mut dyn Boot, String> {
        match &mut self.boot {
            Ok(boot) => Ok(boot.as_mut()),
            Err(why) => Err(why.clone()),
        }
    }

    /// What the boot loader is called in sentences.
    pub fn loader(&self) -> &'static str {
        self.boot.as_ref().map_or("the boot loader", |boot| boot.capabilities().loader)
    }

    /// How often the boot loader tries a trial.
    pub fn tries(&self) -> u32 {
        self.boot.as_ref().map_or(1, |boot| boot.capabilities().tries)
    }

    /// The slot that is root.
    pub fn booted(&self) -> Result<Slot, String> {
        self.layout()?.booted_in(&self.system).map_err(|error| error.to_string())
    }

    /// What kernel and boot loader say now.
    pub fn view(&mut self) -> Result<View, String> {
        let booted = self.booted()?;
        let boot = self.boot()?.state().map_err(|error| error.to_string())?;
        let view = View { booted, boot };
        if view.standing() == Standing::Trial && !self.was_trial() {
            self.tell(TRIAL, &self.system.boot_id(), "after a rollback this may look like a fallback");
        }
        Ok(view)
    }

    /// Whether this boot was seen to be a trial: once that is called off, the boot loader's records look as after a fallback.
    pub fn was_trial(&self) -> bool {
        self.is_noted(TRIAL)
    }

    /// Whether a note was left in this boot: `/run` may outlive a restart.
    fn is_noted(&self, name: &str) -> bool {
        let noted = fs::read_to_string(self.paths.run.join(name));
        noted.is_ok_and(|boot| boot.trim_end() == self.system.boot_id())
    }

    /// Whether this boot is that of a trial, and nothing has been committed in it: also when the trial is being rolled back.
    pub fn is_on_trial(&mut self) -> bool {
        let line = fs::read_to_string(self.system.file("/proc/cmdline")).unwrap_or_default();
        let marked = line.split_whitespace().any(|word| word == "rota.trial=1");
        let runs = self.view().is_ok_and(|view| view.standing() == Standing::Trial);
        runs || (marked && !self.is_noted(COMMITTED))
    }

    /// Tells the guard that the booted slot is committed. The mark names the boot, for a `/run` that outlives a restart.
    pub fn mark_committed(&self) {
        self.tell_guard(COMMITTED, &self.system.boot_id());
        watchdog::may_stop(true);
    }

    /// Tells the guard that this client is alive and comes to a verdict of its own within `limit`; returns the time that is left.
    /// There is one promise a boot: a client that was started anew keeps the first one's.
    pub fn promise_verdict(&self, limit: Duration) -> Duration {
        let (now, boot) = (host::uptime().unwrap_or(0), self.system.boot_id());
        let promised = fs::read_to_string(self.paths.run.join("verdict-by")).ok().and_then(|text| {
            let (by, of_boot) = text.trim_end().split_once('\n')?;
            by.parse().ok().filter(|by| of_boot == boot && *by <= now + limit.as_secs())
        });
        let by = promised.unwrap_or_else(|| {
            let by: u64 = now + limit.as_secs();
            self.tell_guard("verdict-by", &format!("{by}\n{boot}"));
            by
        });
        limit.min(Duration::from_secs(by.saturating_sub(now)))
    }

    /// Tells `status` how long it is until a poll and until the inventory.
    pub fn tell_waits(&self, left: [Duration; 2]) {
        let now = host::uptime().unwrap_or(0);
        let [poll, inventory] = left.map(|left| now + left.as_secs());
        // It is a convenience: who misses it is told that it is not known.
        let _ = fs::write(self.paths.run.join("waits"), format!("{poll} {inventory}\n"));
    }

    /// Seconds until the daemon's next poll and its next inventory, as it said when it last began to wait.
    pub fn waits(&self) -> Option<[u64; 2]> {
        let text = fs::read_to_string(self.paths.run.join("waits")).ok()?;
        let (poll, inventory) = text.trim_end().split_once(' ')?;
        let now = host::uptime()?;
        Some([poll.parse::<u64>().ok()?, inventory.parse().ok()?].map(|at| at.saturating_sub(now)))
    }

    /// Tells `status` why a deployment has to wait; `None`: none has to.
    pub fn tell_held(&self, why: Option<&str>) {
        tell_held(&self.paths, why);
    }

    /// Why a deployment waits, as the daemon said.
    pub fn held(&self) -> Option<String> {
        fs::read_to_string(self.paths.run.join(HELD)).ok().map(|why| why.trim_end().to_owned())
    }

    fn tell_guard(&self, name: &str, text: &str) {
        self.tell(name, text, "the guard may restart the machine although all is well");
    }

    /// Leaves a note in the folder that is forgotten at every boot.
    fn tell(&self, name: &str, text: &str, otherwise: &str) {
        let file = self.paths.run.join(name);
        let told = fs::create_dir_all(&self.paths.run).and_then(|()| fs::write(&file, format!("{text}\n")));
        if let Err(error) = told {
            log::warn!("{}: {error}; {otherwise}", file.display());
        }
    }
}

/// Tells `status` why a deployment has to wait. It is a convenience, as `waits` is.
pub fn tell_held(paths: &Paths, why: Option<&str>) {
    let file = paths.run.join(HELD);
    let _ = match why {
        Some(why) => fs::write(file, format!("{why}\n")),
        None => fs::remove_file(file),
    };
}

/// The partition's number: the digits at the end of the name that the link leads to.
fn part(device: &Path, otherwise: u32) -> u32 {
    let device = fs::canonicalize(device).unwrap_or_else(|_| device.to_owned());
    let name = device.to_string_lossy();
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_standings() {
        let view = |booted, committed, trial| {
            View { booted, boot: boot::State { committed, trial, attempts_left: 0 } }.standing()
        };
        assert_eq!(view(Slot::A, Slot::A, None), Standing::Committed);
        assert_eq!(view(Slot::A, Slot::A, Some(Slot::B)), Standing::Armed);
        assert_eq!(view(Slot::B, Slot::A, Some(Slot::B)), Standing::Trial);
        assert_eq!(view(Slot::B, Slot::A, None), Standing::Fallback);
    }

    #[test]
    fn partition_numbers_come_from_the_devices_behind_links() {
        let folder = crate::testing::folder();
        fs::write(folder.join("nvme0n1p12"), "").unwrap();
        std::os::unix::fs::symlink("nvme0n1p12", folder.join("rootfs_A")).unwrap();
        assert_eq!(part(&folder.join("rootfs_A"), 2), 12);
        assert_eq!(part(Path::new("/dev/mmcblk0p3"), 2), 3);
        assert_eq!(part(Path::new("/dev/ubi"), 2), 2);
    }
}
