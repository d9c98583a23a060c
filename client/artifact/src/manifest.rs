//! `manifest`: the checksum of every file in the artifact (artifact format: manifest).
use std::collections::BTreeMap;

use crate::{Checksum, Error};

/// A parsed manifest, which also remembers what was met in the artifact.
#[derive(Debug)]
pub(crate) struct Manifest {
    file: &'static str,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    checksum: Checksum,
    met: bool,
}

impl Manifest {
    /// Parses `bytes`; `file` is `manifest` or `manifest-augment`. At most `most` entries are taken.
    pub fn parse(file: &'static str, bytes: &[u8], most: usize) -> Result<Self, Error> {
        let fault = |line: usize, reason: &str| Error::Manifest {
            file: file.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| fault(1, "the text is not UTF-8"))?;
        let mut entries = BTreeMap::new();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let number = index + 1;
            let line =
                line.strip_suffix('\n').ok_or_else(|| fault(number, "the last line has no line end"))?;
            let (sum, path) = line
                .split_once("  ")
                .ok_or_else(|| fault(number, "expected a checksum, two spaces and a path"))?;
            let checksum =
                sum.parse().map_err(|_| fault(number, "the checksum is not 64 lower-case hex digits"))?;
            if path.is_empty() || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(fault(number, "the path is empty or has white space"));
            }
            if entries.len() == most {
                return Err(Error::Limit {
                    what: format!("{file}: number of files"),
                    limit: most as u64,
                    found: number as u64,
                });
            }
            if entries.insert(path.to_owned(), Entry { checksum, met: false }).is_some() {
                return Err(Error::Duplicate { file: file.to_owned(), name: path.to_owned() });
            }
        }
        Ok(Self { file, entries })
    }

    /// Is there an entry for `name`?
    pub fn lists(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Marks `name` as met, before its content is read; nothing may be there twice.
    pub fn meet(&mut self, name: &str) -> Result<Checksum, Error> {
        let entry = self.entries.get_mut(name).ok_or_else(|| Error::Unlisted { name: name.to_owned() })?;
        if std::mem::replace(&mut entry.met, true) {
            return Err(Error::Duplicate { file: self.file.to_owned(), name: name.to_owned() });
        }
        Ok(entry.checksum)
    }

    /// Was `name` met?
    pub fn is_met(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.met)
    }

    /// Fails when an entry that begins with `prefix` was not met.
    pub fn finish(&self, prefix: &str) -> Result<(), Error> {
        match self.entries.iter().find(|(name, entry)| name.starts_with(prefix) && !entry.met) {
            Some((name, _)) => Err(Error::Missing { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// Compares what a manifest says of `name` with what was read.
pub(crate) fn compare(name: &str, expected: Checksum, actual: Checksum) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::Checksum { name: name.to_owned(), expected, actual })
}
