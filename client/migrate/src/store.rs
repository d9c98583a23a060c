//! What Mender's client keeps in its data base (client behaviour: what is persisted), and whether it is at rest.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{fcntl, FcntlArg};
use nix::libc;
use rota::provides::Facts;
use rota::sys::disk;
use serde_json::Value;

use crate::lmdb::{self, Pairs};

/// Keys whose presence means that an update is under way, with what that is called.
const UNFINISHED: [(&str, &str); 2] = [("state", "a deployment"), ("standalone-state", "an update by hand")];

/// What is in the data base.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Store {
    pairs: Pairs,
}

impl From<Pairs> for Store {
    fn from(pairs: Pairs) -> Store {
        Store { pairs }
    }
}

/// The data base's file in the client's folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("mender-store")
}

impl Store {
    /// Reads it; one that is not there is empty. The client may be writing it: what does not hold together is read again.
    pub fn read(folder: &Path) -> Result<Store, String> {
        let file = file(folder);
        let mut tries = 3;
        loop {
            let bytes = match disk::read(&file, lmdb::LIMIT + 1) {
                Ok(bytes) if bytes.len() as u64 > lmdb::LIMIT => {
                    return Err(format!("{}: it has more than {} bytes", file.display(), lmdb::LIMIT))
                }
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Store::default()),
                Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
            };
            tries -= 1;
            match lmdb::read(&bytes) {
                Ok(pairs) => return Ok(Store { pairs }),
                Err(error) if tries == 0 => return Err(format!("{}: {error}", file.display())),
                Err(_) => {}
            }
        }
    }

    /// A text without the zero that some versions end it with; `None` when it is not there, or empty.
    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        let Some(bytes) = self.pairs.get(key.as_bytes()) else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| format!("Mender's {key} is not text"))?;
        Ok(Some(text.trim_end_matches('\0')).filter(|text| !text.is_empty()))
    }

    /// Why the client is not at rest, if it is not.
    pub fn unfinished(&self) -> Option<String> {
        UNFINISHED.iter().find_map(|(key, what)| {
            let text = self.text(key).unwrap_or(Some("?"))?;
            let state = serde_json::from_str::<Value>(text).unwrap_or_default();
            let name = ["Name", "InState"].iter().find_map(|name| state[name].as_str()).unwrap_or_default();
            if name == "idle" {
                return None;
            }
            let name = if name.is_empty() { String::new() } else { format!(" (state {name:.60})") };
            Some(format!("Mender's client has {what} under way{name}; let it come to its end first"))
        })
    }

    /// What the device provides, name and group among it, by rota's names. `None`: nothing was ever installed.
    pub fn facts(&self) -> Result<Option<Facts>, String> {
        let mut facts = Facts::new();
        if let Some(text) = self.text("artifact-provides")? {
            let provides: BTreeMap<String, String> = serde_json::from_str(text)
                .map_err(|error| format!("Mender's artifact-provides: expected texts by name: {error}"))?;
            facts.extend(provides);
        }
        for (key, name) in [("artifact-group", "artifact_group"), ("artifact-name", "artifact_name")] {
            if let Some(text) = self.text(key)? {
                facts.insert(name.to_owned(), text.to_owned());
            }
        }
        // rota honours it only when it was signed by one of the device's keys.
        facts.remove(rota::epoch::KEY);
        Ok(Some(facts).filter(|facts| facts.contains_key("artifact_name")))
    }

    /// The bytes of a data base that says of the device what `facts` say, and else the same.
    pub fn with(&self, facts: &Facts) -> Option<Vec<u8>> {
        let mut pairs = self.pairs.clone();
        let mut provides = facts.clone();
        for (key, name) in [("artifact-group", "artifact_group"), ("artifact-name", "artifact_name")] {
            match provides.remove(name) {
                Some(value) => drop(pairs.insert(key.into(), value.into())),
                None => drop(pairs.remove(key.as_bytes())),
            }
        }
        let provides = serde_json::to_vec(&provides).unwrap_or_default();
        pairs.insert(b"artifact-provides".to_vec(), provides);
        lmdb::write(&pairs)
    }
}

/// The process that has the data base open, if one has: LMDB locks the first byte of the file beside it.
pub fn holder(folder: &Path) -> Option<i32> {
    let lock = folder.join("mender-store-lock");
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(lock).ok()?;
    let mut asked = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut asked)).ok()?;
    (i32::from(asked.l_type) != libc::F_UNLCK).then_some(asked.l_pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(list: &[(&str, &str)]) -> Store {
        Store { pairs: list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect() }
    }

    #[test]
    fn facts_have_our_names() {
        assert_eq!(store(&[]).facts(), Ok(None));
        assert_eq!(store(&[("artifact-provides", "{}")]).facts(), Ok(None));
        let full = store(&[
            ("artifact-name", "rel-1\0"),
            ("artifact-group", "g"),
            ("artifact-provides", r#"{"x.version":"1","artifact_name":"old","rota.epoch":"9"}"#),
        ]);
        let facts = full.facts().unwrap().unwrap();
        let texts: Vec<_> = facts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(texts, [("artifact_group", "g"), ("artifact_name", "rel-1"), ("x.version", "1")]);
        assert!(store(&[("artifact-name", "a"), ("artifact-provides", "[]")]).facts().is_err());
    }

    #[test]
    fn what_is_under_way_is_named() {
        assert_eq!(store(&[("artifact-name", "a"), ("state", ""), ("x", "y")]).unfinished(), None);
        assert_eq!(store(&[("state", r#"{"Name":"idle"}"#)]).unfinished(), None);
        for (key, value, why) in [
            (
                "state",
                r#"{"Version":2,"Name":"update-install"}"#,
                "a deployment under way (state update-install)",
            ),
            ("state", "garbage", "a deployment under way;"),
            ("standalone-state", r#"{"Version":1}"#, "an update by hand under way;"),
        ] {
            let said = store(&[(key, value)]).unfinished().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn what_is_given_back_says_what_has_changed_and_keeps_the_rest() {
        let before = store(&[("artifact-name", "a"), ("artifact-group", "g"), ("authtoken", "t")]);
        let facts = Facts::from([("artifact_name".into(), "b".into()), ("x".into(), "y".into())]);
        let after = Store { pairs: lmdb::read(&before.with(&facts).unwrap()).unwrap() };
        assert_eq!(
            after,
            store(&[("artifact-name", "b"), ("artifact-provides", r#"{"x":"y"}"#), ("authtoken", "t")])
        );
        assert_eq!(after.facts(), Ok(Some(facts)));
    }
}
