//! When to poll and when to send the inventory.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::net::backoff::{jitter, Backoff};
use crate::signals::{Signals, Wake};

/// One thing that is done again and again, and again sooner when it failed.
struct Timer {
    interval: Duration,
    backoff: Backoff,
    due: Instant,
}

impl Timer {
    fn new(interval: Duration, config: &Config, due: Instant) -> Timer {
        Timer { interval, backoff: Backoff::new(config.retry_interval, config.retry_count), due }
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.due = Instant::now() + jitter(self.interval);
    }

    /// Never later than the next regular time, unless the server asked for that.
    fn failed(&mut self, asked: Option<Duration>) {
        let wait = match self.backoff.next(asked) {
            Some(wait) if asked.is_some() => wait,
            Some(wait) => wait.min(self.interval),
            None => {
                self.backoff.reset();
                jitter(self.interval)
            }
        };
        log::info!("next try in {} s", wait.as_secs_f64().ceil());
        self.due = Instant::now() + wait;
    }
}

/// The client's two timers. Both are due at the start.
pub struct Timers {
    poll: Timer,
    inventory: Timer,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Ask for a deployment.
    Poll,
    /// Send the inventory.
    Inventory,
}

impl Timers {
    /// The timers as configured.
    pub fn new(config: &Config) -> Timers {
        let now = Instant::now();
        let timer = |interval| Timer::new(interval, config, now);
        Timers { poll: timer(config.poll_interval), inventory: timer(config.inventory_interval) }
    }

    fn timer(&mut self, of: Due) -> &mut Timer {
        match of {
            Due::Poll => &mut self.poll,
            Due::Inventory => &mut self.inventory,
        }
    }

    /// Waits until something is due; `None` when the client is to end.
    pub fn wait(&mut self, signals: &Signals) -> Option<Due> {
        loop {
            // What the server knows of the device is put right before it decides.
            let first = if self.inventory.due <= self.poll.due { Due::Inventory } else { Due::Poll };
            match signals.wait(self.timer(first).due) {
                Wake::Stop => return None,
                Wake::Time => return Some(first),
                Wake::CheckUpdate => self.now(Due::Poll),
                Wake::SendInventory => self.now(Due::Inventory),
            }
        }
    }

    /// How long it is until a poll, and until the inventory.
    pub fn left(&self) -> [Duration; 2] {
        [&self.poll, &self.inventory].map(|timer| timer.due.saturating_duration_since(Instant::now()))
    }

    /// Makes something due now.
    pub fn now(&mut self, what: Due) {
        self.timer(what).due = Instant::now();
    }

    /// Makes something due in this time, if it is not due sooner.
    pub fn no_later(&mut self, what: Due, wait: Duration) {
        let timer = self.timer(what);
        timer.due = timer.due.min(Instant::now() + wait);
    }

    /// It was done.
    pub fn succeeded(&mut self, what: Due) {
        self.timer(what).succeeded();
    }

    /// It could not be done; `asked` is the wait that the server asked for.
    pub fn failed(&mut self, what: Due, asked: Option<Duration>) {
        self.timer(what).failed(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_due_at_the_start_and_a_signal_makes_one_due() {
        let signals = Signals::default();
        let mut timers = Timers::new(&Config::default());
        assert_eq!(timers.wait(&signals), Some(Due::Inventory));
        timers.succeeded(Due::Inventory);
        assert_eq!(timers.wait(&signals), Some(Due::Poll));
        timers.failed(Due::Poll, None);
        signals.check_update();
        assert_eq!(timers.wait(&signals), Some(Due::Poll));
        timers.succeeded(Due::Poll);
        signals.stop();
        assert_eq!(timers.wait(&signals), None);
    }

    #[test]
    fn a_failure_does_not_put_the_next_regular_time_off() {
        let config = Config { poll_interval: Duration::from_secs(10), ..Config::default() };
        let mut timers = Timers::new(&config);
        timers.failed(Due::Poll, None);
        assert!(timers.poll.due <= Instant::now() + Duration::from_secs(10));
        timers.failed(Due::Poll, Some(Duration::from_secs(900)));
        assert!(timers.poll.due > Instant::now() + Duration::from_secs(800));
    }
}
