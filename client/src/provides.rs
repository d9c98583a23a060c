//! What this device provides: the facts that installed artifacts set (artifact format: provides).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Paths;
use crate::record::{self, Formats, Pair};
use crate::slot::Slot;

/// Bytes of each of the two records.
pub const SIZE: usize = 64 << 10;
/// The name of a device whose artifact nobody told.
const UNKNOWN: &str = "unknown";

/// Facts by name.
pub type Facts = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    provides: Facts,
    /// What each slot provides when it runs, by the slot's name.
    #[serde(default)]
    slots: BTreeMap<String, Facts>,
}

/// The provides on the data partition.
pub struct Provides {
    pair: Pair,
    facts: Facts,
    slots: BTreeMap<String, Facts>,
    of_image: Facts,
    recorded: bool,
    format: u32,
}

impl Provides {
    /// Opens them. When they are lost or were never there, the slot's own `artifact_info` tells.
    pub fn open(paths: &Paths) -> Provides {
        let (pair, content) = Pair::open(&paths.data, "provides", SIZE);
        let of_image = of_slot(&paths.conf);
        let recorded = content.is_some();
        let content = content.as_deref().and_then(read);
        let Content { format, provides: facts, slots } = content.unwrap_or_else(|| Content {
            format: Formats::of_client().oldest,
            provides: of_image.clone(),
            slots: BTreeMap::new(),
        });
        Provides { pair, facts, slots, of_image, recorded, format }
    }

    /// From now on they are written in this version's newest format, as the journal.
    pub fn adopt(&mut self) {
        self.format = Formats::of_client().newest;
    }

    /// What they say; changes nothing on the disk.
    pub fn peek(paths: &Paths) -> Facts {
        let content = record::newest_content(&paths.data, "provides");
        content.as_deref().and_then(read).map_or_else(|| of_slot(&paths.conf), |content| content.provides)
    }

    /// The facts; `artifact_name` is always among them.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether they are on the data partition: they are once anything was installed.
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Whether these facts can be recorded at all.
    pub fn fits(facts: &Facts) -> Result<(), String> {
        let length = encode(0, facts, &BTreeMap::new()).len();
        // Both slots' are kept, and they also stand in the journal until they are committed.
        let limit = SIZE / 4;
        if length > limit {
            return Err(format!("the artifact's provides take {length} bytes; at most {limit} can be kept"));
        }
        Ok(())
    }

    /// Replaces them durably; `running` is the slot of which they are true.
    pub fn save(&mut self, facts: Facts, running: Option<Slot>) -> Result<(), record::Error> {
        let mut slots = self.slots.clone();
        if let Some(slot) = running {
            slots.insert(slot.to_string(), facts.clone());
        }
        self.write(facts, slots)
    }

    /// Remembers what `slot`, which does not run, provides once it does. What the device provides now stays with the running one.
    pub fn remember(&mut self, slot: Slot, facts: Facts) -> Result<(), record::Error> {
        let slots = [(slot.to_string(), facts), (slot.other().to_string(), self.facts.clone())];
        self.write(self.facts.clone(), slots.into())
    }

    /// What `running` provides: what is remembered of it, otherwise what its image was built with.
    pub fn of_running(&self, running: Slot) -> &Facts {
        self.slots.get(&running.to_string()).unwrap_or(&self.of_image)
    }

    /// Whether anything is remembered of `slot`.
    pub fn remembers(&self, slot: Slot) -> bool {
        self.slots.contains_key(&slot.to_string())
    }

    fn write(&mut self, facts: Facts, slots: BTreeMap<String, Facts>) -> Result<(), record::Error> {
        if (&facts, &slots) != (&self.facts, &self.slots) {
            self.pair.write(&encode(self.format, &facts, &slots))?;
            (self.facts, self.slots, self.recorded) = (facts, slots, true);
        }
        Ok(())
    }
}

fn encode(format: u32, facts: &Facts, slots: &BTreeMap<String, Facts>) -> Vec<u8> {
    // Texts by texts: they can always be written as JSON.
    let content = Content { format, provides: facts.clone(), slots: slots.clone() };
    serde_json::to_vec(&content).unwrap_or_default()
}

fn read(content: &[u8]) -> Option<Content> {
    let content: Content = serde_json::from_slice(content).ok()?;
    let known = Formats::of_client().reads(content.format)
        && content.provides.get("artifact_name").is_some_and(|name| !name.is_empty());
    known.then_some(content)
}

/// Lines `name=value` that the image was built with; in `/etc/mender` where there are none in ours.
fn of_slot(conf: &Path) -> Facts {
    let files = [conf.join("artifact_info"), "/etc/mender/artifact_info".into()];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let mut facts: Facts =
        pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    facts.retain(|name, value| !name.is_empty() && !value.is_empty());
    facts.entry("artifact_name".into()).or_insert_with(|| UNKNOWN.into());
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_tells_until_something_was_committed() {
        let folder = crate::testing::folder();
        let paths = Paths { conf: folder.join("etc"), data: folder.join("data"), ..Paths::default() };
        fs::create_dir_all(&paths.conf).unwrap();
        fs::create_dir_all(&paths.data).unwrap();
        assert_eq!(Provides::peek(&paths)["artifact_name"], "unknown");
        fs::write(paths.conf.join("artifact_info"), "artifact_name=rel-1\nempty=\nnonsense\n").unwrap();
        let mut provides = Provides::open(&paths);
        assert_eq!(provides.facts(), &Facts::from([("artifact_name".into(), "rel-1".into())]));
        let facts = Facts::from([("artifact_name".into(), "rel-2".into()), ("x.version".into(), "2".into())]);
        provides.save(facts.clone(), None).unwrap();
        assert_eq!(Provides::open(&paths).facts(), &facts);
        fs::write(paths.data.join("provides.0"), "garbage").unwrap();
        fs::write(paths.data.join("provides.1"), "garbage").unwrap();
        assert_eq!(Provides::peek(&paths)["artifact_name"], "rel-1");
    }

    #[test]
    fn each_slot_keeps_its_own() {
        let folder = crate::testing::folder();
        let paths = Paths { conf: folder.join("etc"), data: folder.to_path_buf(), ..Paths::default() };
        let facts = |name: &str| Facts::from([("artifact_name".into(), name.into())]);
        let mut provides = Provides::open(&paths);
        provides.save(facts("rel-1"), Some(Slot::A)).unwrap();
        provides.remember(Slot::B, facts("rel-2")).unwrap();
        let provides = Provides::open(&paths);
        assert_eq!(provides.facts(), &facts("rel-1"));
        assert_eq!(provides.of_running(Slot::A), &facts("rel-1"));
        assert_eq!(provides.of_running(Slot::B), &facts("rel-2"));
    }

    #[test]
    fn more_than_can_be_kept_is_refused_beforehand() {
        let facts = |n: usize| Facts::from([("artifact_name".into(), "x".repeat(n))]);
        assert!(Provides::fits(&facts(1000)).is_ok());
        assert!(Provides::fits(&facts(SIZE)).unwrap_err().contains("at most"));
    }
}
