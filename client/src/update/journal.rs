//! The journal: what the client is doing, durable before it does it, and every attempt and why it ended.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::state::State;
use crate::record::{self, Formats, Pair};
use crate::slot::Slot;

/// Bytes of each of the two records.
pub const SIZE: usize = 32 << 10;
/// How many attempts are remembered.
const ATTEMPTS: usize = 10;
/// How many events of an attempt are remembered.
const EVENTS: usize = 24;
/// Longest event or reason, in characters.
const TEXT: usize = 400;
/// How a sentence about a journal that fails begins.
const UNWRITABLE: &str = "the journal cannot be written";
/// How many states one update may save (protocol: state-loop).
pub const SAVES: u32 = 28;

/// The content of the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Format of this content.
    pub format: u32,
    /// Version of the client that wrote it.
    pub client: String,
    /// The update that is being worked on.
    pub update: Option<Update>,
    /// What came of updates, the newest last.
    pub attempts: Vec<Attempt>,
    /// The latest time that a server told, seconds since 1970.
    pub server_time: Option<u64>,
    /// Why the server could not be reached last; until the next inventory arrives.
    pub connection_fault: Option<String>,
    /// Which slot was found booted though another was committed, and since when; until it is healed.
    pub fallback: Option<String>,
    /// What had to be repaired in the boot loader's records; until the next inventory arrives.
    pub repaired: Option<String>,
}

impl Record {
    /// What is wrong, or was until the next inventory arrives; one sentence each.
    pub fn faults(&self) -> impl Iterator<Item = String> + '_ {
        self.fallback.iter().chain(&self.connection_fault).chain(&self.repaired).cloned()
    }

    /// Makes room: the oldest attempt that the server knows of goes first, then the oldest.
    fn forget_attempt(&mut self) {
        let told = self.attempts.iter().position(|attempt| !attempt.unreported);
        self.attempts.remove(told.unwrap_or(0));
    }

    /// Leaves out what is needed least; false when nothing is left that can be spared.
    fn make_room(&mut self) -> bool {
        if !self.attempts.is_empty() {
            self.forget_attempt();
            return true;
        }
        let events = self.update.as_mut().map(|update| &mut update.attempt.events);
        let spared = events.filter(|events| !events.is_empty());
        spared.map(|events| events.remove(events.len() / 2)).is_some()
    }

    /// The slot that the last successful update was written to.
    pub fn last_success(&self) -> Option<Slot> {
        let good = |attempt: &&Attempt| matches!(attempt.verdict, Some(Verdict::Success(_)));
        self.attempts.iter().rev().filter(good).find_map(|attempt| attempt.slot)
    }
}

/// An update under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// The state whose action comes next or has begun.
    pub state: Option<State>,
    /// An update by hand was stopped before this state, and goes on when a person resumes it.
    pub stopped_before: Option<State>,
    /// Which payload type it has; `None` for an artifact that only sets provides.
    pub payload_type: Option<String>,
    /// Whether an update module installs it.
    pub by_module: bool,
    /// The provides that the device has once it is committed.
    pub provides: BTreeMap<String, String>,
    /// The epoch of the artifact, when one of the device's keys has signed it.
    pub epoch: Option<u64>,
    /// How many states were saved.
    pub saves: u32,
    /// The slot that was booted when it began.
    pub origin: Option<Slot>,
    /// Id of the boot in which the trial was armed.
    pub armed: Option<String>,
    /// Id of the boot in which it began to wait for a window.
    pub held: Option<String>,
    /// Which restart it needs.
    pub reboot: Reboot,
    /// Whether that restart was begun.
    pub rebooted: bool,
    /// Whether its installation was begun, so that there is something to undo.
    pub installed: bool,
    /// Whether it is committed.
    pub committed: bool,
    /// Why it failed: the first reason counts.
    pub failure: Option<String>,
    /// What there is to know of a success.
    pub remark: Option<String>,
    /// What came of the rollback.
    pub rollback: Rollback,
    /// Whether the verdict is that the device may be inconsistent.
    pub inconsistent: bool,
    /// What is told of it afterwards.
    pub attempt: Attempt,
}

/// Which restart an update needs (update modules: NeedsArtifactReboot).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reboot {
    /// None.
    #[default]
    No,
    /// The payload's handler does it.
    Custom,
    /// The client restarts the machine.
    Automatic,
}

/// Whether a failed update was undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollback {
    /// Not tried, or the payload type has none.
    #[default]
    None,
    /// Nothing had been changed.
    NotNeeded,
    /// Undone.
    Done,
    /// Tried in vain.
    Failed,
}

/// What is remembered of an update.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// The deployment; `None` when a person installed it by hand.
    pub deployment: Option<String>,
    /// Name of the artifact; empty as long as its header was not read.
    pub artifact: String,
    /// The slot that was written.
    pub slot: Option<Slot>,
    /// When it began and ended, seconds since 1970.
    pub began: u64,
    /// See `began`.
    pub ended: u64,
    /// What happened, in order.
    pub events: Vec<String>,
    /// What came of it.
    pub verdict: Option<Verdict>,
    /// Whether the server still has to be told.
    pub unreported: bool,
    /// How often the server refused its log.
    pub log_refusals: u32,
}

/// What came of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Committed; with a remark where there is something to know.
    Success(Option<String>),
    /// Failed, and why.
    Failure(String),
}

impl Attempt {
    /// Remembers what happened.
    pub fn event(&mut self, text: impl Into<String>) {
        let text = crate::net::api::short(&text.into(), TEXT);
        if self.events.last() == Some(&text) {
            return;
        }
        if self.events.len() >= EVENTS {
            // The beginning tells what was written where, the end how it ended.
            self.events.remove(EVENTS / 2);
        }
        self.events.push(text);
    }
}

impl Update {
    /// Remembers why the update failed, unless it failed before.
    pub fn fail(&mut self, why: &str) {
        self.attempt.event(format!("failed: {why}"));
        self.failure.get_or_insert_with(|| crate::net::api::short(why, 2 * TEXT));
    }
}

/// The journal on the data partition.
pub struct Journal {
    pair: Pair,
    /// The last `save` failed: the record is newer than what is on the disk.
    is_unsaved: bool,
    /// What is on the disk is whole, and cannot be read: another version wrote it.
    is_foreign: bool,
    /// What it says. Changes are durable after `save`.
    pub record: Record,
}

impl Journal {
    /// Opens the journal in `folder`. One that is missing, garbled or of another format is lost, which stops nothing.
    pub fn open(folder: &Path) -> Journal {
        let (pair, content) = Pair::open(folder, "journal", SIZE);
        let read = content.as_deref().map_or_else(|| Ok(Record::default()), read);
        let is_foreign = read.is_err();
        let record = read.unwrap_or_else(|why| {
            log::warn!("the journal in {} counts as lost: {why}", folder.display());
            Record::default()
        });
        if let Some(time) = record.server_time {
            crate::date::told(time);
        }
        Journal { pair, is_unsaved: false, is_foreign, record }
    }

    /// Reads anew what another process may have written. What could not be saved stays as long as nobody else has saved either:
    /// an update that has come to its end does not begin again.
    pub fn refresh(&mut self, folder: &Path) {
        let fresh = Journal::open(folder);
        if !self.is_unsaved || !fresh.pair.follows(&self.pair) {
            *self = fresh;
        }
    }

    /// What the journal in `folder` says; changes nothing on the disk.
    pub fn peek(folder: &Path) -> Record {
        record::newest_content(folder, "journal").and_then(|content| read(&content).ok()).unwrap_or_default()
    }

    /// Why the journal in `folder` cannot be written, if it cannot; changes nothing.
    pub fn fault_in(folder: &Path) -> Option<String> {
        record::fault(folder, "journal").map(|why| format!("{UNWRITABLE}: {why}"))
    }

    /// Why the next `save` would fail, as far as that can be known. A full disk is no reason.
    pub fn fault(&self) -> Option<String> {
        let why = if self.is_foreign { Some(self.pair.kept().to_string()) } else { self.pair.fault() };
        why.map(|why| format!("{UNWRITABLE}: {why}"))
    }

    /// From now on it is this client's, and written in its newest format: its slot is not on trial. Until then it is kept for
    /// the client of the committed slot, in that one's format.
    pub fn adopt(&mut self) {
        self.record.format = Formats::of_client().newest;
        self.is_foreign = false;
    }

    /// Makes the record durable. When it has grown too large, old attempts make room.
    pub fn save(&mut self) -> Result<(), record::Error> {
        self.record.format = self.record.format.max(Formats::of_client().oldest);
        self.record.client = env!("CARGO_PKG_VERSION").into();
        while self.record.attempts.len() > ATTEMPTS {
            self.record.forget_attempt();
        }
        let result = loop {
            if self.is_foreign {
                break Err(self.pair.kept());
            }
            // Plain data with text keys: it can always be written as JSON.
            let content = serde_json::to_vec(&self.record).unwrap_or_default();
            match self.pair.write(&content) {
                Err(record::Error::TooLarge { .. }) if self.record.make_room() => {}
                result => break result,
            }
        };
        self.is_unsaved = result.is_err();
        result
    }
}

fn read(content: &[u8]) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let formats = Formats::of_client();
    match formats.reads(record.format) {
        true => Ok(record),
        false => Err(format!(
            "it has format {}, this client reads {} to {}",
            record.format, formats.oldest, formats.newest
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FORMATS;
    use crate::sys::fault::{self, Fault};

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let folder = crate::testing::folder();
        let mut journal = Journal::open(&folder);
        assert_eq!(journal.fault(), None);
        let update =
            Update { state: Some(State::ArtifactReboot), origin: Some(Slot::A), ..Update::default() };
        journal.record.update = Some(update);
        journal.save().unwrap();
        assert_eq!(Journal::open(&folder).record, journal.record);
        assert_eq!(Journal::peek(&folder), journal.record);
    }

    #[test]
    fn what_could_not_be_saved_stays_until_another_process_has_saved() {
        let folder = crate::testing::folder();
        let mut journal = Journal::open(&folder);
        journal.record.update = Some(Update::default());
        journal.save().unwrap();
        journal.record.update = None;
        for at in [0, 1] {
            // At the write, and after it, where the record is on the disk and nobody knows.
            let outcome = fault::run(Fault::Broken(at), || journal.save().is_err());
            assert_eq!(outcome.result, Some(true));
            journal.refresh(&folder);
            assert_eq!(journal.record.update, None);
        }
        let mut other = Journal::open(&folder);
        other.record.fallback = Some("by another process".into());
        other.save().unwrap();
        journal.refresh(&folder);
        assert_eq!(journal.record, other.record);
    }

    #[test]
    fn what_keeps_it_from_being_written_is_said() {
        let folder = crate::testing::folder();
        let journal = Journal::open(&folder);
        assert_eq!((journal.fault(), Journal::fault_in(&folder)), (None, None));
        std::fs::remove_file(folder.join("journal.1")).unwrap();
        // The daemon would make it; whoever has it open finds it missing.
        assert!(journal.fault().unwrap().contains("journal.1: No such file"));
        assert_eq!(Journal::fault_in(&folder), None);
        std::fs::create_dir(folder.join("journal.1")).unwrap();
        for fault in [journal.fault(), Journal::fault_in(&folder)] {
            assert!(fault.unwrap().starts_with("the journal cannot be written: "));
        }
        assert!(Journal::fault_in(&folder.join("nowhere")).unwrap().contains("nowhere: No such file"));
    }

    #[test]
    fn unknown_fields_and_states_are_read_and_later_formats_are_lost() {
        let known =
            r#"{"format":1,"new":{"x":1},"update":{"state":"artifact_bless","more":2},"attempts":[{}]}"#;
        let record = read(known.as_bytes()).unwrap();
        assert_eq!(record.update.unwrap().state, Some(State::Unknown));
        assert!(read(br#"{"format":2}"#).is_err() && read(b"{}").is_err() && read(b"garbage").is_err());
    }

    #[test]
    fn on_trial_the_format_stays_and_what_cannot_be_read_is_kept() {
        let folder = crate::testing::folder();
        let later = Formats { newest: FORMATS.newest + 1, ..FORMATS };
        let (mut old, format) = (Journal::open(&folder), || Journal::peek(&folder).format);
        old.adopt();
        old.save().unwrap();
        record::pretend(later);
        let mut new = Journal::open(&folder);
        new.save().unwrap();
        assert_eq!(format(), FORMATS.newest);
        new.adopt();
        new.record.fallback = Some("known to the later version only".into());
        new.save().unwrap();
        assert_eq!(format(), later.newest);
        record::pretend(FORMATS);
        let mut old = Journal::open(&folder);
        assert!(old.fault().is_some() && old.record == Record::default());
        assert!(old.save().unwrap_err().to_string().contains("another version"));
        record::pretend(later);
        assert_eq!(Journal::open(&folder).record, new.record);
        record::pretend(FORMATS);
        old.adopt();
        old.save().unwrap();
        assert!(old.fault().is_none() && format() == FORMATS.newest);
    }

    #[test]
    fn what_the_server_does_not_know_yet_is_forgotten_last() {
        let folder = crate::testing::folder();
        let mut journal = Journal::open(&folder);
        for n in 0..ATTEMPTS + 5 {
            let attempt = Attempt { artifact: n.to_string(), unreported: n == 1, ..Attempt::default() };
            journal.record.attempts.push(attempt);
        }
        journal.save().unwrap();
        let kept: Vec<_> = journal.record.attempts.iter().map(|attempt| attempt.artifact.as_str()).collect();
        assert_eq!(kept[..2], ["1", "6"]);
        assert_eq!(kept.len(), ATTEMPTS);
    }

    #[test]
    fn the_journal_never_grows_out_of_its_record() {
        let folder = crate::testing::folder();
        let mut journal = Journal::open(&folder);
        for n in 0..20 {
            let mut attempt = Attempt { artifact: format!("{n}"), ..Attempt::default() };
            for event in 0..100 {
                attempt.event(format!("{event} {}", "ä".repeat(1000)));
            }
            assert_eq!(attempt.events.len(), EVENTS);
            journal.record.attempts.push(attempt);
            journal.save().unwrap();
        }
        let kept = Journal::open(&folder).record.attempts;
        assert_eq!(kept.last().unwrap().artifact, "19");
        assert!(!kept.is_empty() && kept.len() <= ATTEMPTS);
        // The update under way is never lost, whatever it has to tell.
        let provides = BTreeMap::from([("name".to_owned(), "x".repeat(crate::provides::SIZE / 4 - 100))]);
        let mut update = Update { provides, ..Update::default() };
        for event in 0..100 {
            update.attempt.event(format!("{event} {}", "\u{1}".repeat(1000)));
        }
        journal.record.update = Some(update);
        journal.save().unwrap();
        let kept = Journal::open(&folder).record.update.unwrap().attempt.events;
        assert!(kept[0].starts_with("0 ") && kept.last().unwrap().starts_with("99 "));
    }
}
