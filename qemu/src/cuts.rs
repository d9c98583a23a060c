//! The power fails in the middle of updates, good and bad ones. Wherever it does, the machine comes up in the old committed
//! or the new trial slot, and the server hears in the end what really became of the update.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use crate::error::{check, Context, Error, Result};
use crate::kind::{Kind, Slot};
use crate::lab::{Lab, FIRST_RELEASE};
use crate::machine::{Machine, BOOT};
use crate::random::Random;
use crate::server::{Deployment, Device, Progress, UPDATE};

/// What a release is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// It is committed.
    None,
    /// The boot loader rolls it back.
    NoInit,
    /// Its client rolls it back.
    Offline,
}

/// When the power fails: some random time, up to `within` milliseconds, after a line on the console.
struct Moment {
    during: &'static str,
    flaw: Flaw,
    after: Line,
    within: u64,
}

/// A line on the console that contains this.
enum Line {
    Client(&'static str),
    /// The boot loader's, when it starts a trial.
    Trial,
    /// The boot loader's, when it ends a trial.
    FallBack,
}

/// Where in an update a cut hurts most. As many cuts come at a random time during such an update.
const MOMENTS: [Moment; 12] = {
    const fn moment(during: &'static str, flaw: Flaw, after: Line, within: u64) -> Moment {
        Moment { during, flaw, after, within }
    }
    [
        moment("the write", Flaw::None, Line::Client("writing "), 2500),
        moment("the end of the write", Flaw::None, Line::Client("100 % written"), 500),
        moment("arming", Flaw::None, Line::Client("holds the whole image"), 300),
        moment("the restart", Flaw::Offline, Line::Client("restarting into the trial"), 1500),
        moment("the boot loader's trial", Flaw::None, Line::Trial, 100),
        moment("the kernel's start", Flaw::None, Line::Trial, 4000),
        moment("user space before the commit", Flaw::None, Line::Client("trial=1 release="), 1000),
        moment("the commit", Flaw::None, Line::Client("authorised by"), 150),
        moment("the report", Flaw::None, Line::Client("is installed and committed"), 300),
        moment("the boot loader's fall-back", Flaw::NoInit, Line::FallBack, 300),
        moment("the report of a fall-back", Flaw::NoInit, Line::Client("rolling back"), 500),
        moment("the client's roll-back", Flaw::Offline, Line::Client("rolling back"), 1500),
    ]
};

/// What came of cuts. Anything but zeroes and a recovery within [`BOOT`] is a defect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub cuts: u64,
    /// The machine did not come up, or took no update any more.
    pub bricks: u64,
    /// It came up in the wrong slot, or was left with another one committed than it reported.
    pub half_commits: u64,
    /// It reported what was not so.
    pub untruths: u64,
    /// From power on to user space.
    pub slowest: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { cuts, bricks, half_commits, untruths, slowest } = self;
        write!(
            f,
            "{cuts} cuts: {bricks} bricks, {half_commits} half commits, {untruths} untruthful reports; "
        )?;
        write!(f, "slowest recovery {:.1} s", slowest.as_secs_f64())
    }
}

/// A slot and what it holds.
#[derive(Debug, Clone)]
struct Home {
    slot: Slot,
    release: String,
}

/// A machine whose power fails.
pub struct Plug {
    lab: Lab,
    machine: Machine,
    device: Device,
    random: Random,
    kind: &'static dyn Kind,
    /// What is committed.
    home: Home,
    /// How long an update takes that is not cut.
    whole: Duration,
    /// Which cut comes next; an odd one is at a random time.
    turn: usize,
    /// Makes names of releases different.
    number: usize,
}

impl Plug {
    /// A machine of `kind` in a lab called `name`, up and updated once.
    pub fn new(name: &str, kind: &'static dyn Kind, mut random: Random) -> Result<Plug> {
        let mut lab = Lab::new(name, kind)?;
        let mut machine = lab.new_machine()?;
        machine.lose_unflushed(random.fork())?;
        machine.power_on()?;
        let device = lab.server.accept_next(BOOT)?;
        let home = Home { slot: Slot::A, release: FIRST_RELEASE.into() };
        let turn = random.below(2 * MOMENTS.len() as u64) as usize;
        let mut plug = Plug { lab, machine, device, random, kind, home, whole: BOOT, turn, number: 0 };
        plug.whole = plug.update()?;
        Ok(plug)
    }

    /// Updates the machine without a cut; how long that took.
    pub fn update(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let (new, deployment) = self.deploy(Flaw::None)?;
        self.lab.server.expect_success(&deployment, UPDATE)?;
        self.machine.expect_committed(new.slot, &new.release)?;
        self.home = new;
        Ok(began.elapsed())
    }

    /// The next cut: its power is back and its update at its end. The tally counts what went wrong; an error says what it was, and
    /// then this machine is of no use any more.
    pub fn cut(&mut self, tally: &mut Tally) -> Result<()> {
        let moment = &MOMENTS[self.turn / 2 % MOMENTS.len()];
        let is_random = self.turn % 2 == 1;
        // Every one comes in its turn, and a few of them are spread over an update.
        self.turn += 5;
        let before = self.trials();
        let (new, deployment) = self.deploy(moment.flaw)?;
        let delay = if is_random {
            Duration::from_millis(self.random.below(self.whole.as_millis() as u64 + 1))
        } else {
            let line = match moment.after {
                Line::Client(line) => line,
                Line::Trial => self.kind.boot_loader().trial,
                Line::FallBack => self.kind.boot_loader().fall_back,
            };
            self.machine.wait_for(line, UPDATE)?;
            Duration::from_millis(self.random.below(moment.within))
        };
        std::thread::sleep(delay);
        let losses = self.machine.cut_power()?;
        tally.cuts += 1;
        let during = if is_random { "any time" } else { moment.during };
        println!("cut {} of {:?}: {during}, {} ms; {losses}", tally.cuts, moment.flaw, delay.as_millis());

        self.comes_up(&new, tally).inspect_err(|_| tally.bricks += 1)?;
        let end = self.lab.server.watch(&deployment, UPDATE, |_| ()).inspect_err(|_| tally.bricks += 1)?;
        println!("  {} {}", end.status, end.substate);
        let was_booted = self.trials() > before;
        is_true(&end, moment.flaw, was_booted).inspect_err(|_| tally.untruths += 1)?;
        if end.status == "success" {
            self.home = new;
        }
        let Home { slot, release } = &self.home;
        self.machine.expect_committed(*slot, release).inspect_err(|_| tally.half_commits += 1)
    }

    /// How many trials its boot loader has started.
    fn trials(&self) -> usize {
        self.machine.console().grep(self.kind.boot_loader().trial).len()
    }

    /// Sends out a release, and waits until the machine has heard of it.
    fn deploy(&mut self, flaw: Flaw) -> Result<(Home, Deployment)> {
        self.number += 1;
        let new = Home { slot: self.home.slot.other(), release: format!("cut-{}", self.number) };
        let release = self.lab.release(&new.release);
        let built = self.lab.publish(match flaw {
            Flaw::None => release,
            Flaw::NoInit => release.without_init(),
            Flaw::Offline => release.with_server("https://10.0.2.2:9"),
        })?;
        // The server has it; many cuts would fill the host's disk.
        for file in [built.image, built.artifact] {
            fs::remove_file(&file).context("remove", file.display())?;
        }
        let deployment = self.lab.server.deploy(&new.release, &self.device)?;
        self.machine.wait_for(&format!(" of {}", new.release), UPDATE)?;
        Ok((new, deployment))
    }

    fn comes_up(&mut self, new: &Home, tally: &mut Tally) -> Result<()> {
        self.machine.power_on()?;
        let began = Instant::now();
        let up = self.machine.wait_until_up()?;
        tally.slowest = tally.slowest.max(began.elapsed());
        println!("  up: {up}");
        let home = if up.slot == self.home.slot { &self.home } else { new };
        check("the release that came up", up.release.as_str(), &home.release)
    }
}

/// Whether a report says what was.
fn is_true(end: &Progress, flaw: Flaw, was_booted: bool) -> Result<()> {
    let why = end.substate.as_str();
    let (told, expected) = match (end.status.as_str(), flaw) {
        ("success", Flaw::None) => return Ok(()),
        // The client of such a release tells itself why it gave up, if it came to that.
        ("failure", Flaw::Offline) if was_booted => (
            why.contains("was booted") || why.contains("not reached") || why.contains("was restarted"),
            "why the trial ended",
        ),
        ("failure", _) if was_booted => (why.contains("was booted"), "that the trial was booted"),
        ("failure", _) => (
            !why.contains("was booted")
                && ["was stopped", "was restarted"].iter().any(|word| why.contains(word)),
            "that the update was interrupted before its trial",
        ),
        _ => (false, "success, or failure"),
    };
    if told {
        return Ok(());
    }
    let found = format!("{} {why}", end.status);
    Err(Error::Unexpected { what: "the report".into(), expected: expected.into(), found })
}

/// Cuts the power `count` times, then updates once more.
pub fn cuts(name: &str, kind: &'static dyn Kind, count: u64) -> Result<()> {
    let mut tally = Tally::default();
    let mut plug = Plug::new(name, kind, Random::new())?;
    let done = (0..count).try_for_each(|_| plug.cut(&mut tally)).and_then(|()| plug.update());
    println!("{}: {tally}", kind.name());
    done.map(drop)
}
