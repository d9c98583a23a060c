//! The power fails at moments spread over an update. Wherever it does, the machine comes up in the old committed or the
//! new trial slot, and the server hears in the end what really became of the update.
//!
//! `ROTA_SEED=N` repeats a run's moments.

use std::time::Duration;

use crate::error::{check, Error, Result};
use crate::kind::{Kind, Slot};
use crate::lab::{Lab, FIRST_RELEASE};
use crate::machine::{Machine, BOOT};
use crate::random::Random;
use crate::server::{Deployment, UPDATE};

/// Where in an update the power fails: some random time, up to `within` milliseconds, after a line on the console.
struct Moment {
    after: &'static str,
    within: u64,
}

fn moments(trial: &'static str) -> [Moment; 8] {
    [
        Moment { after: "downloading ", within: 800 },
        Moment { after: "writing ", within: 2500 },
        Moment { after: "50 % written", within: 2500 },
        Moment { after: "holds the whole image", within: 600 },
        Moment { after: "restarting into the trial", within: 1500 },
        Moment { after: trial, within: 5000 },
        Moment { after: "trial=1 release=", within: 2000 },
        Moment { after: "authorised by", within: 500 },
    ]
}

/// What is committed: where the machine must be when an update comes to nothing.
#[derive(Clone)]
struct Home {
    slot: Slot,
    release: String,
}

/// Cuts the power at each moment of an update, `rounds` times. `trial` is what the boot loader says when it starts a trial.
pub fn cuts(name: &str, kind: &'static dyn Kind, trial: &'static str, rounds: usize) -> Result<()> {
    let mut random = Random::new();
    let mut lab = Lab::new(name, kind)?;
    let mut machine = lab.new_machine()?;
    machine.lose_unflushed(random.fork())?;
    machine.power_on()?;
    let device = lab.server.accept_next(BOOT)?;
    let mut home = Home { slot: Slot::A, release: FIRST_RELEASE.into() };
    for (n, moment) in (1..).zip((0..rounds).flat_map(|_| moments(trial))) {
        let trials = machine.console().grep(trial).len();
        let new = Home { slot: home.slot.other(), release: format!("cut-{n}") };
        lab.publish(lab.release(&new.release))?;
        let deployment = lab.server.deploy(&new.release, &device)?;
        machine.wait_for(&format!(" of {}", new.release), UPDATE)?;
        machine.wait_for(moment.after, UPDATE)?;
        let delay = Duration::from_millis(random.below(moment.within));
        std::thread::sleep(delay);
        let losses = machine.cut_power()?;
        println!("cut {n}: {} ms after “{}”; {losses}", delay.as_millis(), moment.after);
        home = outlives_it(&lab, &mut machine, &deployment, (home, new), (trial, trials))?;
    }
    println!("and an update without a cut");
    let new = home.slot.other();
    lab.publish(lab.release("last"))?;
    lab.server.expect_success(&lab.server.deploy("last", &device)?, UPDATE)?;
    machine.expect_committed(new, "last")
}

/// Switches the machine on again, and follows it to the end of the update from `old` to `new`. Returns what is committed
/// then. The boot loader says `trial` for each one that it boots, and had said so `before` times.
fn outlives_it(
    lab: &Lab,
    machine: &mut Machine,
    of: &Deployment,
    (old, new): (Home, Home),
    (trial, before): (&str, usize),
) -> Result<Home> {
    machine.power_on()?;
    let up = machine.wait_until_up()?;
    println!("  up: {up}");
    let home = if up.slot == old.slot { &old } else { &new };
    check("the release that came up", up.release.as_str(), &home.release)?;
    let end = lab.server.watch(of, UPDATE, |progress| println!("  {}", progress.status))?;
    println!("  {}", end.substate);
    let home = match end.status.as_str() {
        "success" => new,
        "failure" => old,
        other => {
            let (what, expected) = (format!("the end of {}", of.release), "success or failure".into());
            return Err(Error::Unexpected { what, expected, found: other.into() });
        }
    };
    if end.status == "failure" {
        // The truth about the trial is what the boot loader did.
        let booted = machine.console().grep(trial).len() > before;
        check("whether the report tells of a booted trial", end.substate.contains("was booted"), booted)?;
        let told =
            ["was booted", "was stopped", "was restarted"].iter().any(|word| end.substate.contains(word));
        check("whether the report tells of the interruption", told, true)?;
    }
    machine.expect_committed(home.slot, &home.release)?;
    Ok(home)
}
