//! How long to wait before a request is tried again (device API: back-off).

use std::time::Duration;

/// First wait, unless the configured greatest one is shorter.
const FIRST: Duration = Duration::from_secs(60);
/// How often each wait is used before it is doubled.
const EACH: u32 = 3;
/// What a server may ask for with `Retry-After` at most.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);

/// The waits between the tries of one request: each three times, doubled up to a greatest one, then the end.
#[derive(Debug, Clone)]
pub struct Backoff {
    greatest: Duration,
    count: u32,
    tries: u32,
}

impl Backoff {
    /// `greatest` is the longest wait; `count`, when not 0, the number of tries in all.
    pub fn new(greatest: Duration, count: u32) -> Backoff {
        Backoff { greatest, count, tries: 0 }
    }

    /// Starts anew, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// The wait after one more failure; `None` when it is time to give up. What the server asked for counts more.
    pub fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let doublings = self.tries / EACH;
        let before = FIRST.saturating_mul(1 << doublings.min(16));
        self.tries += 1;
        let wait = before.min(self.greatest);
        let ended = match self.count {
            0 => doublings > 0 && before / 2 >= self.greatest,
            count => self.tries >= count,
        };
        if ended {
            return None;
        }
        Some(asked.map_or_else(|| jitter(wait), |asked| asked.clamp(Duration::from_secs(1), LONGEST_ASKED)))
    }
}

/// Up to a tenth more or less, so that a fleet that lost its server does not come back in one moment.
pub fn jitter(wait: Duration) -> Duration {
    wait * 9 / 10 + up_to(wait / 5)
}

/// Some time up to `limit`.
pub fn up_to(limit: Duration) -> Duration {
    let mut random = [0; 2];
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    limit * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(greatest: u64, count: u32) -> Vec<u64> {
        let mut backoff = Backoff::new(Duration::from_secs(greatest), count);
        let near = |wait: Duration| {
            let rounded =
                [5, 60, 120, 240, 300].into_iter().find(|n| wait.as_secs_f64() <= *n as f64 * 1.1001);
            rounded.filter(|n| wait.as_secs_f64() >= *n as f64 * 0.8999).expect("a wait within the jitter")
        };
        std::iter::from_fn(|| backoff.next(None)).take(20).map(near).collect()
    }

    #[test]
    fn waits_double_after_three_and_end_after_three_of_the_greatest() {
        assert_eq!(waits(300, 0), [60, 60, 60, 120, 120, 120, 240, 240, 240, 300, 300, 300]);
        assert_eq!(waits(5, 0), [5, 5, 5]);
        assert_eq!(waits(300, 3), [60, 60]);
    }

    #[test]
    fn the_server_may_ask_for_its_own_wait_within_a_day() {
        let mut backoff = Backoff::new(Duration::from_secs(300), 0);
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(backoff.next(Some(Duration::from_secs(1 << 40))), Some(LONGEST_ASKED));
        assert_eq!(backoff.next(Some(Duration::ZERO)), Some(Duration::from_secs(1)));
    }
}
