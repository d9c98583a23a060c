//! U-Boot, by its environment: Mender's variable names, read and written without `fw_printenv` and `fw_setenv`.
//!
//! With two copies, what must hold (the committed slot, no trial) is brought into both, because losing the newer copy
//! silently brings the older one back. Arming is one write: until the loader counts its first boot, losing that copy
//! forgets the trial and nothing else.

mod config;
mod env;
mod examine;
#[cfg(any(test, feature = "faults"))]
mod loader;
mod media;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Boot, Capabilities, Counter, Error, Settings, State};
use crate::finding::Finding;
use crate::slot::Slot;
use crate::sys::lock::Lock;
use crate::sys::power;
use env::Env;
use store::Store;

/// Boots of a trial when the environment does not say.
const TRIES: u32 = 1;

/// A back end whose records are U-Boot's environment. In `env_dir` (otherwise `/etc`): `fw_env.config`, which says where
/// the environment is, and `u-boot-initial-env`, the variables that are built into U-Boot.
#[derive(Debug)]
pub struct UBoot {
    store: Store,
    built_in: PathBuf,
    parts: [u32; 2],
}

/// Whether the device says where U-Boot's environment is.
pub(super) fn is_there() -> bool {
    Path::new("/etc/fw_env.config").exists()
}

impl UBoot {
    /// Opens the environment that `fw_env.config` names.
    pub fn open(settings: &Settings) -> Result<UBoot, Error> {
        let folder = settings.env_dir.as_deref().unwrap_or(Path::new("/etc"));
        let store = Store::open(&folder.join("fw_env.config"))?;
        if !store.is_redundant() {
            log::warn!("U-Boot's environment has one copy ({}): a power cut can lose it", store.name());
        }
        Ok(UBoot { store, built_in: folder.join("u-boot-initial-env"), parts: settings.parts })
    }

    /// Keeps `fw_setenv` away. Where there is no folder for its lock, there is no `fw_setenv` either.
    fn lock(&self) -> Result<Option<Lock>, Error> {
        let file = self.store.lock();
        let name = file.display();
        match Lock::take(file, Duration::from_secs(10)) {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => {
                Err(Error::Refused(format!("another program changes U-Boot's environment and holds {name}")))
            }
            Err(error) => {
                log::debug!("cannot lock {name}: {error}");
                Ok(None)
            }
        }
    }

    fn part(&self, slot: Slot) -> u32 {
        self.parts[slot as usize]
    }

    /// The slot that `mender_boot_part` names.
    fn named(&self, env: &Env) -> Option<Slot> {
        let value = env.get("mender_boot_part")?;
        Slot::BOTH.into_iter().find(|slot| self.part(*slot).to_string() == value)
    }

    fn read(&self, env: &Env) -> Result<State, Error> {
        let named = self.named(env).ok_or_else(|| Error::Invalid {
            object: format!("U-Boot's environment ({})", self.store.name()),
            found: format!(
                "mender_boot_part is \"{:.20}\", expected {} or {}",
                env.get("mender_boot_part").unwrap_or_default().escape_default().to_string(),
                self.parts[0],
                self.parts[1]
            ),
            next: "the client names the running slot there at its next start",
        })?;
        if env.get("upgrade_available") != Some("1") {
            return Ok(State { committed: named, trial: None, attempts_left: 0 });
        }
        let attempts_left = limit(env).saturating_sub(env.number("bootcount"));
        Ok(State { committed: named.other(), trial: Some(named), attempts_left })
    }

    /// The variables in force.
    fn current(&self) -> Result<Env, Error> {
        self.store.load()?.current().cloned().ok_or_else(|| Error::Invalid {
            object: format!("U-Boot's environment ({})", self.store.name()),
            found: "no copy is whole".to_owned(),
            next: "the client makes it anew at its next start",
        })
    }

    /// `env` with `slot` to be booted.
    fn naming(&self, mut env: Env, slot: Slot, trial: bool) -> Env {
        env.set("mender_boot_part", self.part(slot));
        env.set("mender_boot_part_hex", format!("{:x}", self.part(slot)));
        env.set("upgrade_available", u32::from(trial));
        env.set("bootcount", 0);
        env.remove("rota_counter");
        env
    }

    /// Makes the environment anew from the built-in variables. Without a boot command U-Boot would stop at its prompt.
    fn rebuilt(&self, mut env: Env, fallback: Slot) -> Result<Env, Error> {
        if env.get("bootcmd").is_none() {
            let object = self.built_in.display().to_string();
            let text = fs::read(&self.built_in).map_err(|source| Error::Io {
                act: "make the environment anew from",
                object: object.clone(),
                source,
            })?;
            env.fill_from(Env::from_text(&text));
            if env.get("bootcmd").is_none() {
                return Err(Error::Invalid {
                    object,
                    found: "it has no bootcmd".to_owned(),
                    next: "install the u-boot-initial-env that U-Boot's build makes",
                });
            }
        }
        Ok(self.naming(env, fallback, false))
    }
}

impl Boot for UBoot {
    fn capabilities(&self) -> Capabilities {
        let tries = self.current().map_or(TRIES, |env| limit(&env));
        Capabilities { name: "uboot", loader: "U-Boot", counter: Counter::Loader, tries }
    }

    fn state(&mut self) -> Result<State, Error> {
        self.read(&self.current()?)
    }

    fn invalidate(&mut self, slot: Slot) -> Result<(), Error> {
        let _lock = self.lock()?;
        let env = self.current()?;
        let committed = self.read(&env)?.committed;
        if slot == committed {
            return Err(Error::is_committed("invalidate", slot));
        }
        self.store.settle(&without_trial(self, env)?)
    }

    fn prepare(&mut self, _slot: Slot) -> Result<(), Error> {
        Ok(())
    }

    fn arm(&mut self, slot: Slot) -> Result<(), Error> {
        let _lock = self.lock()?;
        let env = self.current()?;
        let state = self.read(&env)?;
        if slot == state.committed {
            return Err(Error::is_committed("arm", slot));
        }
        let mut armed = self.naming(env.clone(), slot, true);
        if env.number("bootlimit") == 0 {
            armed.set("bootlimit", TRIES);
        }
        if env.get("altbootcmd").is_none() {
            armed.set("altbootcmd", "run bootcmd");
        }
        if armed == env {
            return Ok(());
        }
        // Should the armed copy get lost, the other one must bring the committed slot back.
        self.store.settle(&without_trial(self, env)?)?;
        self.store.save(&self.store.load()?, &armed).map(drop)
    }

    fn commit(&mut self, slot: Slot) -> Result<(), Error> {
        let _lock = self.lock()?;
        let env = self.current()?;
        let already =
            matches!(self.read(&env), Ok(State { committed, trial: None, .. }) if committed == slot);
        self.store.settle(&if already { env } else { self.naming(env, slot, false) })
    }

    fn cancel(&mut self) -> Result<(), Error> {
        let _lock = self.lock()?;
        let env = self.current()?;
        self.store.settle(&without_trial(self, env)?)
    }

    fn repair(&mut self, fallback: Slot) -> Result<Option<String>, Error> {
        let _lock = self.lock()?;
        let copies = self.store.load()?;
        let name = self.store.name();
        let Some(env) = copies.current() else {
            self.store.check_places()?;
            self.store.settle(&self.rebuilt(Env::default(), fallback)?)?;
            return Ok(Some(format!(
                "U-Boot's environment was lost ({name}); it was made anew and slot {fallback} is the committed one now"
            )));
        };
        let what = match self.read(env) {
            Err(error) => {
                self.store.settle(&self.rebuilt(env.clone(), fallback)?)?;
                return Ok(Some(format!("{error}: slot {fallback} is the committed one now")));
            }
            // The copies of a trial differ on purpose.
            Ok(State { trial: Some(_), .. }) => return Ok(None),
            Ok(_) if copies.all_hold(env) => return Ok(None),
            Ok(_) if copies.lost() > 0 => "one copy of U-Boot's environment was lost",
            Ok(_) => "the copies of U-Boot's environment differed",
        };
        self.store.settle(env)?;
        Ok(Some(format!("{what} ({name}); both hold the newer one now")))
    }

    fn examine(&mut self, root: &Path) -> Vec<Finding> {
        self.look(root)
    }

    fn reboot(&mut self) -> Result<(), Error> {
        power::restart().map_err(|source| Error::Io {
            act: "restart",
            object: "the machine".to_owned(),
            source,
        })
    }
}

/// How often a trial is booted.
fn limit(env: &Env) -> u32 {
    match env.number("bootlimit") {
        0 => TRIES,
        limit => limit,
    }
}

/// The variables with the trial ended; unchanged when there is none.
fn without_trial(boot: &UBoot, env: Env) -> Result<Env, Error> {
    Ok(match boot.read(&env)? {
        State { trial: Some(_), committed, .. } => boot.naming(env, committed, false),
        _ => env,
    })
}

#[cfg(test)]
#[path = "uboot/tests.rs"]
mod tests;
