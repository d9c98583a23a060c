//! Which of the two clients the machine starts. systemd starts either only while one file says so: drop-ins make the mark
//! `in-charge` a condition of every unit concerned. So the change from one client to the other is a single act.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rota::sys::disk;
use rota::sys::process::{self, LastLine};

/// Units of Mender's client, of its versions and of what works through it only; in the order in which they are started.
const MENDERS: [&str; 5] = [
    "mender-authd.service",
    "mender-updated.service",
    "mender-client.service",
    "mender-connect.service",
    "mender-monitor.service",
];
const OURS: &str = "rota.service";
const GUARD: &str = "rota-guard.service";
/// The file's name in a unit's folder of drop-ins.
const DROP_IN: &str = "rota-migrate.conf";
/// How long starting or stopping may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `systemctl` with these words: whether it ended with 0.
pub type Systemctl = Arc<dyn Fn(&[&str]) -> Result<bool, String>>;

/// What starts and stops programs here.
#[derive(Clone)]
pub struct Services {
    /// `None`: there is no systemd, and a person does it.
    pub systemctl: Option<Systemctl>,
    /// Where the administrator's units lie.
    pub units: PathBuf,
    /// Brings to the disk what systemctl has linked.
    pub sync: fn(),
}

/// The program `systemctl`, or one that stands for it.
pub fn systemctl(program: PathBuf) -> Systemctl {
    Arc::new(move |words| {
        let mut last = LastLine::default();
        let ended = process::run(Command::new(&program).args(words), LIMIT, &mut |output, line| {
            last.take(output, line);
        });
        let ended = ended.map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
        log::debug!("{} {}: {ended}{}", program.display(), words.join(" "), last.told());
        Ok(ended.is_success())
    })
}

impl Services {
    /// Of this machine.
    pub fn of_system() -> Services {
        let runs = Path::new("/run/systemd/system").is_dir();
        Services {
            systemctl: runs.then(|| systemctl("systemctl".into())),
            units: "/etc/systemd/system".into(),
            sync: nix::unistd::sync,
        }
    }

    fn run(&self, words: &[&str]) -> Result<bool, String> {
        self.systemctl.as_ref().map_or(Ok(true), |systemctl| systemctl(words))
    }

    fn must(&self, words: &[&str]) -> Result<(), String> {
        match self.run(words)? {
            true => Ok(()),
            false => Err(format!("systemctl {} failed; see its journal", words.join(" "))),
        }
    }

    fn is_there(&self, unit: &str) -> bool {
        self.systemctl.is_some() && self.run(&["cat", unit]).unwrap_or(false)
    }

    /// Mender's units that are there, and those of them that run.
    pub fn menders(&self) -> (Vec<String>, Vec<String>) {
        let there: Vec<String> =
            MENDERS.iter().filter(|unit| self.is_there(unit)).map(|unit| (*unit).to_owned()).collect();
        let runs = |unit: &&String| self.run(&["is-active", unit]).unwrap_or(false);
        let active = there.iter().filter(runs).cloned().collect();
        (there, active)
    }

    /// Whether rota's own unit is there.
    pub fn has_ours(&self) -> bool {
        self.is_there(OURS)
    }

    fn drop_in(&self, unit: &str) -> PathBuf {
        self.units.join(format!("{unit}.d")).join(DROP_IN)
    }

    /// From now on, rota starts only while `mark` is there, and `menders` only while it is not.
    pub fn bind(&self, menders: &[String], mark: &Path) -> Result<(), String> {
        if self.systemctl.is_none() {
            return Ok(());
        }
        // Ours first: it may have been enabled before, and must not be started beside the other.
        let all = [(OURS, "")].into_iter().chain(menders.iter().map(|unit| (unit.as_str(), "!")));
        for (unit, not) in all {
            let file = self.drop_in(unit);
            let folder = file.parent().unwrap_or(&self.units);
            let mark = mark.display();
            let text =
                format!("# rota-migrate undo removes this.\n[Unit]\nConditionPathExists={not}{mark}\n");
            disk::make_folder(folder)
                .and_then(|()| disk::replace(&file, text.as_bytes(), 0o644))
                .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        }
        self.must(&["daemon-reload"])?;
        self.must(&["enable", OURS])?;
        if self.is_there(GUARD) {
            self.must(&["enable", GUARD])?;
        }
        (self.sync)();
        Ok(())
    }

    /// Undoes `bind`: rota is not started any more, whatever is there.
    pub fn release(&self, menders: &[String]) -> Result<(), String> {
        if self.systemctl.is_none() {
            return Ok(());
        }
        self.must(&["disable", OURS])?;
        if self.is_there(GUARD) {
            self.must(&["disable", GUARD])?;
        }
        // Only then may what holds it back go.
        (self.sync)();
        for unit in menders.iter().map(String::as_str).chain([OURS]) {
            let file = self.drop_in(unit);
            disk::erase(&file).map_err(|error| format!("cannot remove {}: {error}", file.display()))?;
            if let Some(folder) = file.parent() {
                let _ = std::fs::remove_dir(folder);
            }
        }
        self.must(&["daemon-reload"])
    }

    /// Starts these units of Mender's.
    pub fn start(&self, units: &[String]) -> Result<(), String> {
        self.each("start", units)
    }

    /// Stops these units of Mender's, the last started first.
    pub fn stop(&self, units: &[String]) -> Result<(), String> {
        let reversed: Vec<String> = units.iter().rev().cloned().collect();
        self.each("stop", &reversed)
    }

    fn each(&self, what: &str, units: &[String]) -> Result<(), String> {
        units.iter().try_for_each(|unit| self.must(&[what, unit]))
    }

    /// Starts rota, and sees whether it runs.
    pub fn start_ours(&self) -> Result<(), String> {
        self.must(&["start", OURS])?;
        match self.run(&["is-active", OURS])? {
            true => Ok(()),
            false => Err(format!("{OURS} was started and does not run; see its journal")),
        }
    }

    /// Stops rota.
    pub fn stop_ours(&self) -> Result<(), String> {
        self.must(&["stop", OURS])
    }
}
