//! State scripts: the product's programs at the edges of states (protocol: state scripts).
//!
//! Those of Idle, Sync and Download lie in the slot; the others come with an artifact, and lie on the data partition until its
//! update is over: what an artifact brought runs in both slots.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rota_artifact::Script;

use super::state::{Outcome, State};
use super::timers::Due;
use super::{Act, Engine, Halt};
use crate::config::Paths;
use crate::sys::disk;
use crate::sys::process::{Ended, LastLine, Output, Running};

/// The exit code that asks to be run again later.
const RETRY_LATER: i32 = 21;
/// How much of each output of a script is logged, in bytes.
const OUTPUT: usize = 10 << 10;
/// How often a running script is left to look for a signal.
const TICK: Duration = Duration::from_millis(200);
/// Versions of the scripts' protocol that are kept. A folder without the file `version` has the latest.
const VERSIONS: [&str; 2] = ["2", "3"];

/// What the scripts of `state` are called after: the name of a state, and the action.
fn edge(state: State) -> Option<(&'static str, &'static str)> {
    use State::*;
    Some(match state {
        IdleEnter => ("Idle", "Enter"),
        PollIdleLeave | InventoryIdleLeave => ("Idle", "Leave"),
        PollSyncEnter | InventorySyncEnter => ("Sync", "Enter"),
        NothingSyncLeave | DownloadSyncLeave | InventorySyncLeave => ("Sync", "Leave"),
        PollSyncError | PollFailedSyncError | DownloadSyncError | InventorySyncError => ("Sync", "Error"),
        DownloadEnter => ("Download", "Enter"),
        DownloadLeave | EmptyDownloadLeave => ("Download", "Leave"),
        DownloadError => ("Download", "Error"),
        ArtifactInstallEnter => ("ArtifactInstall", "Enter"),
        ArtifactInstallLeave => ("ArtifactInstall", "Leave"),
        ArtifactInstallError => ("ArtifactInstall", "Error"),
        ArtifactRebootEnter => ("ArtifactReboot", "Enter"),
        ArtifactRebootLeave => ("ArtifactReboot", "Leave"),
        ArtifactRebootError => ("ArtifactReboot", "Error"),
        ArtifactCommitEnter => ("ArtifactCommit", "Enter"),
        ArtifactCommitLeave => ("ArtifactCommit", "Leave"),
        ArtifactCommitError | CommittedCommitError => ("ArtifactCommit", "Error"),
        ArtifactRollbackEnter => ("ArtifactRollback", "Enter"),
        ArtifactRollbackLeave | FailedRollbackLeave => ("ArtifactRollback", "Leave"),
        ArtifactRollbackRebootEnter => ("ArtifactRollbackReboot", "Enter"),
        ArtifactRollbackRebootLeave => ("ArtifactRollbackReboot", "Leave"),
        ArtifactRollbackRebootError => ("ArtifactRollbackReboot", "Error"),
        ArtifactFailureEnter => ("ArtifactFailure", "Enter"),
        ArtifactFailureLeave => ("ArtifactFailure", "Leave"),
        _ => return None,
    })
}

/// Where an artifact's scripts are kept while it is installed.
fn of_artifact(data: &Path) -> PathBuf {
    data.join("scripts")
}

/// Where the slot's scripts lie: in our folder, otherwise in that of a Mender client.
fn of_slot(paths: &Paths) -> PathBuf {
    let ours = paths.conf.join("scripts");
    match ours.is_dir() {
        true => ours,
        false => paths.mender_conf.join("scripts"),
    }
}

/// Keeps an artifact's scripts durably, in the place of all earlier ones.
pub(super) fn save(data: &Path, scripts: &[Script]) -> io::Result<()> {
    remove(data)?;
    if scripts.is_empty() {
        return Ok(());
    }
    let folder = of_artifact(data);
    disk::make_folder(&folder)?;
    for script in scripts {
        disk::replace(&folder.join(&script.name), &script.bytes, 0o700)?;
    }
    disk::replace(&folder.join("version"), b"3\n", 0o600)
}

/// Removes the scripts of an artifact, and whatever else lies there.
pub(super) fn remove(data: &Path) -> io::Result<()> {
    let folder = of_artifact(data);
    match folder.is_dir() {
        true => disk::remove_tree(&folder),
        false => disk::remove(&folder),
    }
}

/// Whether the slot's scripts are of a version that this client runs.
pub(super) fn check_slot(paths: &Paths) -> Result<(), String> {
    check_version(&of_slot(paths))
}

fn check_version(folder: &Path) -> Result<(), String> {
    let file = folder.join("version");
    let found = match fs::read_to_string(&file) {
        Ok(text) if VERSIONS.contains(&text.trim()) => return Ok(()),
        Ok(text) => format!("{:?}", crate::net::api::short(text.trim(), 20)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(format!("{}: expected version 2 or 3 of state scripts, found {found}", file.display()))
}

/// The scripts of an edge, in the order of their names.
fn listed(folder: &Path, of: &str, action: &str) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read the state scripts in {}: {error}", folder.display())),
    };
    let prefix = format!("{of}_{action}_");
    let mut scripts = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        match name.to_str().and_then(|name| name.strip_prefix(&prefix)) {
            Some(rest) if is_order(rest) => scripts.push(entry.path()),
            Some(_) => log::debug!("{} is not the name of a state script", entry.path().display()),
            None => {}
        }
    }
    if !scripts.is_empty() {
        check_version(folder)?;
    }
    scripts.sort();
    Ok(scripts)
}

/// Two digits, and perhaps a text after an underscore.
fn is_order(rest: &str) -> bool {
    let (Some(order), Some(text)) = (rest.get(..2), rest.get(2..)) else { return false };
    let is_text = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    order.bytes().all(|byte| byte.is_ascii_digit())
        && (text.is_empty() || text.strip_prefix('_').is_some_and(is_text))
}

impl Engine {
    /// Runs the scripts of `state`, one after the other up to the first that fails. In states that cannot fail, that changes
    /// nothing else.
    pub(super) fn run_scripts(&mut self, state: State) -> Act {
        let Some((of, action)) = edge(state) else { return Ok(Outcome::Done) };
        let folder = match of.starts_with("Artifact") {
            true => of_artifact(&self.device.paths.data),
            false => of_slot(&self.device.paths),
        };
        let scripts = listed(&folder, of, action).map_err(Halt::Failed);
        let result =
            scripts.and_then(|scripts| scripts.iter().try_for_each(|script| self.run_script(script)));
        match (result, state) {
            (Err(Halt::Failed(why)), state) if !state.can_fail() => log::warn!("{why}; the update goes on"),
            (Err(halt), state) => {
                // Not to be asked again at once.
                match state {
                    State::PollSyncEnter => self.timers.failed(Due::Poll, None),
                    State::InventorySyncEnter => self.timers.failed(Due::Inventory, None),
                    _ => {}
                }
                return Err(halt);
            }
            (Ok(()), _) => {}
        }
        Ok(Outcome::Done)
    }

    /// Runs a script, again and again as long as it asks for that.
    fn run_script(&self, script: &Path) -> Result<(), Halt> {
        let config = &self.device.config;
        let patience = config.script_retry_timeout;
        let started = Instant::now();
        let name = script.file_name().unwrap_or_default().to_string_lossy();
        loop {
            let (ended, last) = self.run_once(script, &name)?;
            let left = patience.saturating_sub(started.elapsed());
            match ended {
                ended if ended.is_success() => return Ok(()),
                Ended::Exited(RETRY_LATER) if left.is_zero() => {
                    let seconds = patience.as_secs();
                    return Err(Halt::Failed(format!(
                        "state script {name} asked for more than {seconds} s{last}"
                    )));
                }
                Ended::Exited(RETRY_LATER) => {
                    let pause = config.script_retry_interval.min(left);
                    log::info!(
                        "state script {name} asks to be run again later; that is in {} s",
                        pause.as_secs()
                    );
                    if self.signals.sleep(pause) {
                        return Err(Halt::Stopped);
                    }
                }
                ended => return Err(Halt::Failed(format!("state script {name} {ended}{last}"))),
            }
        }
    }

    /// Runs a script to its end. Returns what it said last, too, to be told after its end.
    fn run_once(&self, script: &Path, name: &str) -> Result<(Ended, String), Halt> {
        log::info!("running state script {name}");
        let mut said = Said { name, room: [OUTPUT; 2], last: LastLine::default() };
        let cannot = |error: io::Error| Halt::Failed(format!("state script {name} cannot be run: {error}"));
        let limit = self.device.config.script_timeout;
        let mut running = Running::start(&mut Command::new(script), limit).map_err(cannot)?;
        let ended = loop {
            if self.signals.stopped() {
                return Err(Halt::Stopped);
            }
            let ended = running.pump(TICK, None, &mut |output, line| said.line(output, line));
            if let Some(ended) = ended.map_err(cannot)? {
                break ended;
            }
        };
        // What ends the client may have ended the script a little earlier.
        let grace =
            if matches!(ended, Ended::Signalled(_)) { Duration::from_secs(1) } else { Duration::ZERO };
        match !ended.is_success() && self.signals.sleep(grace) {
            true => Err(Halt::Stopped),
            false => Ok((ended, said.last.told())),
        }
    }
}

/// What a script has printed.
struct Said<'a> {
    name: &'a str,
    /// Bytes that are still logged, of each output.
    room: [usize; 2],
    last: LastLine,
}

impl Said<'_> {
    fn line(&mut self, output: Output, line: &str) {
        let (level, room) = match output {
            Output::Out => (log::Level::Info, &mut self.room[0]),
            Output::Err => (log::Level::Warn, &mut self.room[1]),
        };
        self.last.take(output, line);
        if *room > 0 {
            log::log!(level, "{}: {line}", self.name);
            *room = room.saturating_sub(line.len() + 1);
            if *room == 0 {
                log::log!(level, "{}: what else it prints there is left out", self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::state::TABLE;

    #[test]
    fn the_states_of_scripts_are_those_that_the_protocol_has() {
        let named: std::collections::BTreeSet<_> = TABLE
            .iter()
            .filter_map(|(_, state, _, _)| edge(*state))
            .map(|(of, action)| format!("{of}_{action}"))
            .collect();
        let mut expected: Vec<String> = [
            "Sync",
            "Download",
            "ArtifactInstall",
            "ArtifactReboot",
            "ArtifactCommit",
            "ArtifactRollbackReboot",
        ]
        .iter()
        .flat_map(|of| ["Enter", "Leave", "Error"].map(|action| format!("{of}_{action}")))
        .chain(
            ["Idle", "ArtifactRollback", "ArtifactFailure"]
                .iter()
                .flat_map(|of| ["Enter", "Leave"].map(|action| format!("{of}_{action}"))),
        )
        .collect();
        expected.sort();
        assert_eq!(named.into_iter().collect::<Vec<_>>(), expected);
        // A state whose name says that scripts run there has some.
        for (_, state, _, _) in TABLE {
            let edged = state
                .words()
                .rsplit(' ')
                .next()
                .is_some_and(|word| ["enter", "leave", "error"].contains(&word));
            assert_eq!(edge(*state).is_some(), edged, "{state:?}");
        }
    }

    #[test]
    fn failures_that_change_nothing() {
        for (_, state, _, _) in TABLE {
            let Some((of, action)) = edge(*state) else { continue };
            let ignored = of == "Idle"
                || action == "Error"
                || ["ArtifactRollback", "ArtifactFailure"].contains(&of)
                || (of, action) == ("ArtifactRollbackReboot", "Enter");
            assert_eq!(state.can_fail(), !ignored, "{state:?}");
        }
    }

    #[test]
    fn names_match_exactly_and_come_in_order() {
        let folder = crate::testing::folder();
        let good = ["Sync_Enter_00", "Sync_Enter_01_a", "Sync_Enter_01_b.sh", "Sync_Enter_10_ä"];
        let bad = [
            "Sync_Enter",
            "Sync_Enter_0",
            "Sync_Enter_001",
            "Sync_Enter_xx",
            "Sync_Enter_00_",
            "Sync_Enter_00_a b",
            "Sync_Enter_00.bak",
            "XSync_Enter_00",
            "Sync_Leave_00",
            "sync_Enter_00",
            "Sync_Enter_ä",
        ];
        for name in good.iter().rev().chain(&bad) {
            fs::write(folder.join(name), "").unwrap();
        }
        let found = listed(&folder, "Sync", "Enter").unwrap();
        assert_eq!(found, good.map(|name| folder.join(name)));
        assert!(listed(&folder, "Sync", "Error").unwrap().is_empty());
        assert!(listed(&folder.join("nowhere"), "Sync", "Enter").unwrap().is_empty());
    }

    #[test]
    fn the_version_is_2_or_3_or_not_said() {
        let folder = crate::testing::folder();
        fs::write(folder.join("Sync_Enter_00"), "").unwrap();
        assert_eq!(check_version(&folder), Ok(()));
        for (text, good) in
            [("3", true), ("2\n", true), ("", false), ("4", false), ("3 3", false), ("\u{fffd}", false)]
        {
            fs::write(folder.join("version"), text).unwrap();
            assert_eq!(check_version(&folder).is_ok(), good, "{text}");
            assert_eq!(listed(&folder, "Sync", "Enter").is_ok(), good);
            // Nothing to run, nothing to refuse.
            assert!(listed(&folder, "Sync", "Leave").is_ok());
        }
        assert!(check_version(&folder)
            .unwrap_err()
            .contains("expected version 2 or 3 of state scripts, found"));
    }

    #[test]
    fn an_artifacts_scripts_take_the_place_of_whatever_lay_there() {
        use std::os::unix::fs::PermissionsExt;
        let data = crate::testing::folder();
        let folder = data.join("scripts");
        let script = |name: &str| Script { name: name.into(), bytes: b"#!/bin/sh\n".to_vec() };
        fs::write(&folder, "no folder").unwrap();
        save(&data, &[script("ArtifactInstall_Enter_00")]).unwrap();
        fs::create_dir(folder.join("foreign")).unwrap();
        save(&data, &[script("ArtifactCommit_Leave_00")]).unwrap();
        let found = listed(&folder, "ArtifactCommit", "Leave").unwrap();
        assert_eq!(found[0].metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(folder.join("version")).unwrap(), "3\n");
        remove(&data).unwrap();
        assert!(!folder.exists());
        remove(&data).unwrap();
    }
}
