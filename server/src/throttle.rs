//! Slows down guessing: after a few failures a name must wait, each time longer.
use crate::clock::{self, Millis, MINUTE, SECOND};
use std::collections::hash_map::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard};

/// Failures that cost nothing.
const FREE: u32 = 5;
/// Longest wait.
const LONGEST: Millis = 15 * MINUTE;
/// Most names remembered; at that the older half is forgotten.
const NAMES: usize = 10_000;

#[derive(Default)]
struct Failures {
    count: u32,
    last: Millis,
}

impl Failures {
    /// Until when the name must wait.
    fn until(&self) -> Millis {
        if self.count < FREE {
            return 0;
        }
        self.last + (SECOND << (self.count - FREE).min(10)).min(LONGEST)
    }
}

/// Counts failures by name: an account, an address. A name is kept as its hash, so that a long one costs nothing.
#[derive(Default)]
pub struct Throttle {
    known: Mutex<HashMap<u64, Failures>>,
    hasher: RandomState,
}

impl Throttle {
    /// How long these names must wait from now on, in seconds, if they must. A try is counted as failed until it is told
    /// to have succeeded, so that tries at the same time count too.
    pub fn attempt(&self, names: &[&str]) -> Result<(), u32> {
        let now = clock::now();
        let mut known = self.known();
        let names = names.iter().map(|name| self.hasher.hash_one(name));
        let until = names.clone().filter_map(|name| known.get(&name)).map(Failures::until).max().unwrap_or(0);
        if until > now {
            return Err(u32::try_from((until - now) / SECOND + 1).unwrap_or(u32::MAX));
        }
        if known.len() >= NAMES {
            let mut times: Vec<Millis> = known.values().map(|failures| failures.last).collect();
            let (_, middle, _) = times.select_nth_unstable(NAMES / 2);
            known.retain(|_, failures| failures.last > *middle);
        }
        for name in names {
            let failures = known.entry(name).or_default();
            if now - failures.last > LONGEST {
                failures.count = 0;
            }
            failures.count += 1;
            failures.last = now;
        }
        Ok(())
    }

    /// The try succeeded: nothing is held against the account. What failed from the address before still counts, or an
    /// account of one's own would do to guess at others'.
    pub fn succeeded(&self, account: &str, address: &str) {
        let mut known = self.known();
        known.remove(&self.hasher.hash_one(account));
        if let Some(failures) = known.get_mut(&self.hasher.hash_one(address)) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Failures>> {
        self.known.lock().unwrap_or_else(|lock| lock.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_try_in_a_row_must_wait() {
        let throttle = Throttle::default();
        for _ in 0..FREE {
            assert_eq!(throttle.attempt(&["a"]), Ok(()));
        }
        assert!(throttle.attempt(&["a"]).is_err());
        assert!(throttle.attempt(&["b", "a"]).is_err());
        assert_eq!(throttle.attempt(&["b"]), Ok(()));
        throttle.succeeded("a", "b");
        assert_eq!(throttle.attempt(&["a"]), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..3 * NAMES {
            assert_eq!(throttle.attempt(&[&number.to_string()]), Ok(()));
            assert!(throttle.known().len() <= NAMES);
        }
    }
}
