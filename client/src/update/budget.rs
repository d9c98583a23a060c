//! How many bytes of artifacts were fetched today, durable across restarts and power cuts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::Pair;

/// Bytes of each of the two records.
const SIZE: usize = 512;
/// Least step in which bytes are noted before they come, and in how many a budget is used up: each costs a write.
const STEP: u64 = 64 << 10;
const STEPS: u64 = 64;

/// What stands in the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Used {
    /// Days since 1970-01-01, in the device's time zone.
    day: i64,
    /// Bytes; what was about to come counts as well.
    bytes: u64,
}

/// The budget of the day. What is used is noted before it comes: a power cut takes nothing back.
pub struct Budget {
    pair: Pair,
    limit: u64,
    used: Used,
    /// What the record says.
    noted: Used,
}

impl Budget {
    /// Opens the record. `limit` are the bytes of a day.
    pub fn open(data: &Path, limit: u64) -> Budget {
        let (pair, content) = Pair::open(data, "budget", SIZE);
        let noted = content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default();
        Budget { pair, limit, used: noted, noted }
    }

    /// How much is left of the day that it is.
    ///
    /// Time only brings a new budget when it goes on. When it goes back by a day, which clocks do that were put right around
    /// midnight, the later day goes on; when it goes back further, the later day never was: what was used counts for today, so
    /// that nobody has to wait for it.
    pub fn left(&mut self, today: i64) -> u64 {
        match today - self.used.day {
            -1 | 0 => {}
            1.. => self.used = Used { day: today, bytes: 0 },
            _ => self.used.day = today,
        }
        self.limit.saturating_sub(self.used.bytes)
    }

    /// How many bytes may come now, of what is left today.
    pub fn allows(&mut self, today: i64) -> u64 {
        let left = self.left(today);
        if left > 0 && (self.noted.day != self.used.day || self.noted.bytes <= self.used.bytes) {
            let step = STEP.max(self.limit / STEPS).min(left);
            self.note(Used { bytes: self.used.bytes + step, ..self.used });
        }
        left.min(self.noted.bytes.saturating_sub(self.used.bytes))
    }

    /// So many bytes have come.
    pub fn took(&mut self, bytes: u64) {
        self.used.bytes = self.used.bytes.saturating_add(bytes);
    }

    /// What cannot be written counts all the same, as long as this client runs.
    fn note(&mut self, used: Used) {
        self.noted = used;
        // Two numbers: they can always be written as JSON.
        if let Err(error) = self.pair.write(&serde_json::to_vec(&used).unwrap_or_default()) {
            log::warn!("{error}; after a restart, today's budget begins anew");
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        if self.noted != self.used {
            self.note(self.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 20;

    /// Takes as much as there is, and returns how much that was.
    fn drain(budget: &mut Budget, today: i64) -> u64 {
        let mut total = 0;
        while let bytes @ 1.. = budget.allows(today).min(1000) {
            budget.took(bytes);
            total += bytes;
        }
        total
    }

    #[test]
    fn a_day_has_its_budget_and_the_next_one_another() {
        let folder = crate::testing::folder();
        let mut budget = Budget::open(&folder, LIMIT);
        assert_eq!((drain(&mut budget, 7), budget.left(7)), (LIMIT, 0));
        drop(budget);
        assert_eq!(Budget::open(&folder, LIMIT).left(7), 0);
        // It may be changed in the middle of a day.
        assert_eq!(Budget::open(&folder, 3 * LIMIT).left(7), 2 * LIMIT);
        assert_eq!(Budget::open(&folder, LIMIT / 2).left(7), 0);
        assert_eq!(Budget::open(&folder, LIMIT).left(8), LIMIT);
    }

    #[test]
    fn a_power_cut_gives_nothing_back() {
        let folder = crate::testing::folder();
        let mut budget = Budget::open(&folder, LIMIT);
        let mut used = 0;
        while used < LIMIT / 2 {
            let bytes = budget.allows(7).min(5000);
            let (_, content) = Pair::open(&folder, "budget", SIZE);
            let noted: Used = serde_json::from_slice(&content.unwrap()).unwrap();
            assert!(noted.bytes >= used + bytes, "{noted:?} before {bytes} come after {used}");
            budget.took(bytes);
            used += bytes;
        }
        std::mem::forget(budget);
        let left = Budget::open(&folder, LIMIT).left(7);
        assert!(left <= LIMIT - used && left >= LIMIT - used - STEP, "{left} after {used}");
    }

    #[test]
    fn a_clock_that_leaps_gives_one_budget_at_most_and_blocks_for_a_day_at_most() {
        let folder = crate::testing::folder();
        let mut budget = Budget::open(&folder, LIMIT);
        assert_eq!(drain(&mut budget, 100), LIMIT);
        // A day back and forth, again and again.
        assert_eq!((budget.left(99), budget.left(100), budget.left(99), budget.left(100)), (0, 0, 0, 0));
        assert_eq!(budget.left(101), LIMIT);
        // Ten years ahead, and put right: what was used then counts for today, and tomorrow is another day.
        assert_eq!(drain(&mut budget, 4000), LIMIT);
        assert_eq!((budget.left(101), budget.left(102)), (0, LIMIT));
    }

    #[test]
    fn what_is_no_record_counts_as_nothing_used() {
        let folder = crate::testing::folder();
        std::fs::write(folder.join("budget.0"), "garbage").unwrap();
        std::fs::create_dir(folder.join("budget.1")).unwrap();
        assert_eq!(Budget::open(&folder, LIMIT).left(7), LIMIT);
    }
}
