//! How fast a download goes: too slow to be alive, or faster than the link may be used.

use std::time::{Duration, Instant};

/// A connection that brings fewer bytes a second, over a whole time-out, is given up. The slowest modem does more.
pub const CREEP: u64 = 32;

/// How fast the bytes come, by the time that was spent waiting for them.
pub struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Looked at in windows of this length.
    pub fn new(window: Duration) -> Pace {
        Pace { window, waited: Duration::ZERO, bytes: 0 }
    }

    /// A window begins.
    pub fn begin(&mut self) {
        (self.waited, self.bytes) = (Duration::ZERO, 0);
    }

    /// Whether, at the end of a window, too few bytes have come in it.
    pub fn creeps(&mut self, bytes: u64, waited: Duration) -> bool {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.window {
            return false;
        }
        let creeps = self.bytes < CREEP * self.waited.as_secs().max(1);
        self.begin();
        creeps
    }
}

/// What keeps a download to so many bytes a second.
pub struct Rate {
    limit: u64,
    /// When the next bytes may be asked for.
    free: Instant,
}

impl Rate {
    /// 0 sets no limit.
    pub fn new(limit: u64) -> Rate {
        Rate { limit, free: Instant::now() }
    }

    /// How many bytes may be asked for at once: a few tenths of a second's.
    pub fn most(&self) -> u64 {
        match self.limit {
            0 => u64::MAX,
            limit => (limit / 4).max(1),
        }
    }

    /// How long to wait before the next bytes may be asked for.
    pub fn wait(&self) -> Duration {
        self.free.saturating_duration_since(Instant::now())
    }

    /// So many bytes have come. What was not used while nothing came is not made up for.
    pub fn took(&mut self, bytes: u64) {
        self.took_at(bytes, Instant::now());
    }

    fn took_at(&mut self, bytes: u64, now: Instant) {
        if self.limit > 0 {
            self.free = self.free.max(now) + Duration::from_secs_f64(bytes as f64 / self.limit as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_window_of_drops_creeps() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(second * 60);
        assert!(!(0..59).any(|_| pace.creeps(1, second)));
        assert!(pace.creeps(1, second));
        assert!(!(0..600).any(|_| pace.creeps(100, second)));
        assert!(!pace.creeps(1, Duration::ZERO));
    }

    #[test]
    fn a_rate_is_kept_and_lost_time_is_not_made_up_for() {
        let mut rate = Rate::new(1000);
        let start = rate.free;
        for _ in 0..10 {
            rate.took_at(250, start);
        }
        assert_eq!((rate.most(), rate.free - start), (250, Duration::from_millis(2500)));
        let later = start + Duration::from_secs(60);
        rate.took_at(250, later);
        assert_eq!(rate.free - later, Duration::from_millis(250));
        let mut free = Rate::new(0);
        free.took(u64::MAX);
        assert_eq!((free.wait(), free.most()), (Duration::ZERO, u64::MAX));
    }
}
