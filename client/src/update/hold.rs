//! What holds a deployment back: maintenance windows, and the day's budget of the link. An update by hand is not held, and
//! nothing is once a trial is armed.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::state::{Outcome, State};
use super::timers::Due;
use super::{Act, Engine, Halt};
use crate::config::{Config, Paths};
use crate::date;
use crate::device::{tell_held, Standing};
use crate::net::api::Status;
use crate::net::backoff::{jitter, up_to};
use crate::net::download::Gate;
use crate::net::Server;
use crate::signals::Signals;
use crate::sys::disk;
use crate::window::{self, Local, Window};

/// How often a running download looks at the clock.
const LOOK: Duration = Duration::from_secs(1);
/// Over how long a fleet whose windows open at one moment spreads its downloads.
const SPREAD: Duration = Duration::from_secs(60);

/// What may be held back, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The download, from its beginning or in the middle.
    Download,
    /// The installation of what was downloaded.
    Install,
    /// The restart into what was installed.
    Reboot,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Download => "download",
            Step::Install => "install",
            Step::Reboot => "restart",
        }
    }

    /// Its windows, and the key that sets them.
    fn windows(self, config: &Config) -> (&[Window], &'static str) {
        let (own, key) = match self {
            Step::Download => (&config.download_windows, "update.download_windows"),
            Step::Install => (&config.install_windows, "update.install_windows"),
            Step::Reboot => (&config.reboot_windows, "update.reboot_windows"),
        };
        own.as_ref().map_or((&config.windows, "update.windows"), |own| (own, key))
    }
}

/// Why a step has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// A sentence without its end, for the server and for people; it begins with `waiting`.
    pub why: String,
    /// How long, as far as it is known.
    pub time: Duration,
}

/// Whether this step has to wait now.
fn held(config: &Config, step: Step, budget: Option<&mut Budget>) -> Option<Held> {
    let now = date::by_server();
    let (windows, key) = step.windows(config);
    let used_up = |budget: &mut Budget| budget.left(Local::at(now).day) == 0;
    let (until, because) = if !window::is_open(windows, now) {
        (window::opens(windows, now), format!("outside {key}"))
    } else if budget.is_some_and(used_up) {
        let limit = config.daily_budget;
        (window::next_day(now), format!("the {limit} bytes of download.daily_budget are used up"))
    } else {
        return None;
    };
    let words = until.map(|until| format!(" until {}", Local::at(until))).unwrap_or_default();
    let time = Duration::from_secs(until.map_or(3600, |until| until - now));
    Some(Held { why: format!("waiting to {}{words}: {because}", step.name()), time })
}

fn budget(config: &Config, data: &Path) -> Option<Budget> {
    (config.daily_budget > 0).then(|| Budget::open(data, config.daily_budget))
}

impl Engine {
    /// Whether this step of a deployment has to wait now.
    fn held(&self, step: Step) -> Option<Held> {
        let config = &self.device.config;
        let mut budget = Some(step)
            .filter(|step| *step == Step::Download)
            .and_then(|_| budget(config, &self.device.paths.data));
        held(config, step, budget.as_mut())
    }

    /// A deployment that may not be downloaded yet stays with the server, which is told why. Returns when to ask for it again.
    pub(super) fn put_off(&mut self, id: &str) -> Option<Duration> {
        let held = self.held(Step::Download);
        self.device.tell_held(held.as_ref().map(|held| held.why.as_str()));
        let Held { why, time } = held?;
        log::info!("deployment {id}: {why}");
        if let Err(error) = self.server.report(id, Status::Downloading, Some(&why)) {
            log::warn!("{error}");
        }
        Some(time + up_to(SPREAD))
    }

    /// Waits in `state` until `step` may be done, while the server is told `meanwhile` and why; then it is told `then`. A client
    /// that is stopped meanwhile goes on waiting when it starts again.
    pub(super) fn tell_when_open(
        &mut self,
        state: State,
        step: Step,
        meanwhile: Status,
        then: Status,
    ) -> Act {
        if self.update()?.attempt.deployment.is_none() {
            return Ok(Outcome::Done);
        }
        let resumed = self.update()?.state == Some(state);
        if resumed && self.know_the_time(step, meanwhile)? == Outcome::Aborted {
            self.device.tell_held(None);
            return Ok(Outcome::Aborted);
        }
        // What a module has armed itself has to be tried.
        while let Some(Held { why, .. }) = self.held(step).filter(|_| !self.is_armed()) {
            self.device.tell_held(Some(&why));
            if self.update()?.state != Some(state) {
                log::info!("{why}");
                let boot = self.device.system.boot_id();
                let update = self.update()?;
                update.attempt.event(why.as_str());
                update.held = Some(boot);
                // What a module has taken or installed has to be there after a power cut now.
                disk::sync_all();
                self.save_state(state)?;
            }
            if self.tell(meanwhile, Some(&why))? == Outcome::Aborted {
                self.device.tell_held(None);
                return Ok(Outcome::Aborted);
            }
            // The answer may have put the clock right.
            let Some(Held { time, .. }) = self.held(step) else { break };
            self.timers.succeeded(Due::Poll);
            self.timers.no_later(Due::Poll, time);
            while self.timers.wait(&self.signals).ok_or(Halt::Stopped)? == Due::Inventory {
                if let Err(Halt::Failed(why)) = self.submit_inventory() {
                    log::warn!("{why}");
                }
            }
        }
        self.device.tell_held(None);
        self.tell(then, None)
    }

    /// A client that was stopped while it waited may not know what time it is: before it takes up what it waited with, the server
    /// has to say that, or to have been asked at least.
    fn know_the_time(&mut self, step: Step, meanwhile: Status) -> Act {
        let Some(id) = self.update()?.attempt.deployment.clone() else { return Ok(Outcome::Done) };
        while !date::is_told() && !step.windows(&self.device.config).0.is_empty() {
            match self.server.report(&id, meanwhile, None) {
                Err(error) if error.code() == Some(409) => return Ok(Outcome::Aborted),
                Err(error) if !error.reached() => {
                    log::warn!("{error}");
                    let why = format!("waiting to {} until a server tells the time", step.name());
                    self.device.tell_held(Some(&why));
                    let again = Instant::now() + jitter(self.device.config.retry_interval);
                    if self.signals.wait_for_update(again) {
                        return Err(Halt::Stopped);
                    }
                }
                _ => break,
            }
        }
        Ok(Outcome::Done)
    }

    fn is_armed(&mut self) -> bool {
        let standing = self.device.view().map(|view| view.standing());
        matches!(standing, Ok(Standing::Armed | Standing::Trial))
    }

    /// What the download of the deployment `id`, or of an update by hand, has to ask; `None` where nothing can hold it back.
    pub(super) fn gate(&self, id: Option<&str>) -> Option<Box<dyn Gate>> {
        let config = &self.device.config;
        let has_windows = !Step::Download.windows(config).0.is_empty() && id.is_some();
        if !has_windows && config.daily_budget == 0 {
            return None;
        }
        Some(Box::new(Link {
            budget: budget(config, &self.device.paths.data),
            config: config.clone(),
            server: self.server.clone(),
            id: id.map(str::to_owned),
            paths: self.device.paths.clone(),
            signals: self.signals.clone(),
            looked: None,
            day: 0,
            is_open: true,
        }))
    }
}

/// What a download has to ask: windows and budget. One by hand is counted, and not held.
struct Link {
    config: Config,
    budget: Option<Budget>,
    server: Server,
    /// The deployment; `None` by hand.
    id: Option<String>,
    /// Where people on the device are told why it waits.
    paths: Paths,
    signals: Signals,
    /// When it looked at the clock, and what it saw.
    looked: Option<Instant>,
    day: i64,
    is_open: bool,
}

impl Link {
    fn look(&mut self) {
        if self.looked.map_or(true, |looked| looked.elapsed() >= LOOK) {
            let now = date::by_server();
            self.day = Local::at(now).day;
            self.is_open = window::is_open(Step::Download.windows(&self.config).0, now);
            self.looked = Some(Instant::now());
        }
    }

    fn held(&mut self) -> Option<Held> {
        held(&self.config, Step::Download, self.budget.as_mut())
    }

    fn report(&mut self, why: Option<&str>) -> io::Result<()> {
        let Some(id) = &self.id else { return Ok(()) };
        match self.server.report(id, Status::Downloading, why) {
            Err(error) if error.code() == Some(409) => {
                Err(io::Error::other("the deployment was aborted on the server"))
            }
            Err(error) => {
                log::warn!("{error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn wait_until_open(&mut self) -> io::Result<()> {
        while let Some(Held { why, .. }) = self.held() {
            log::info!("{why}");
            tell_held(&self.paths, Some(&why));
            self.report(Some(&why))?;
            // The answer may have put the clock right.
            let Some(Held { time, .. }) = self.held() else { break };
            let time = time.min(jitter(self.config.poll_interval));
            if self.signals.wait_for_update(Instant::now() + time) {
                return Err(io::Error::other("stopped while the download waited"));
            }
        }
        self.report(None)
    }
}

impl Gate for Link {
    fn allows(&mut self) -> u64 {
        self.look();
        let left = self.budget.as_mut().map_or(u64::MAX, |budget| budget.allows(self.day));
        match (&self.id, self.is_open) {
            (None, _) => u64::MAX,
            (_, true) => left,
            (_, false) => 0,
        }
    }

    fn took(&mut self, bytes: u64) {
        if let Some(budget) = &mut self.budget {
            budget.took(bytes);
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let waited = self.wait_until_open();
        tell_held(&self.paths, None);
        self.looked = None;
        waited
    }
}
