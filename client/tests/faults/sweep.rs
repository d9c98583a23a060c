//! Every fault at every point of a flow.

use std::panic::{catch_unwind, AssertUnwindSafe};

use rota::sys::fault::{Fault, Kind, Loss};

use super::flow::Flow;
use super::machine::Machine;
use super::world::{End, World};

/// What was swept.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Durable operations at which something failed.
    pub points: usize,
    /// Updates that were replayed for it.
    pub runs: usize,
    /// Those that ended badly.
    pub bad: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.points += other.points;
        self.runs += other.runs;
        self.bad += other.bad;
    }
}

/// Cuts the power at every durable operation of every boot: with all of what was not synced kept, then lost, then torn, where the
/// boots that follow are cut as well.
pub fn cuts(flow: &Flow) -> Tally {
    each_point(flow, |at, _| {
        vec![vec![Fault::Cut(at, Loss::Nothing)], vec![Fault::Cut(at, Loss::Everything)], again_and_again(at)]
    })
}

/// The last of these only.
pub fn cuts_again_and_again(flow: &Flow) -> Tally {
    each_point(flow, |at, _| vec![again_and_again(at)])
}

/// The client is killed at every durable operation, and the next one starts in the same boot, which is killed as well.
pub fn kills(flow: &Flow) -> Tally {
    let mut world = World::new(flow);
    world.kills = true;
    each_point_of(world, flow, |at, _| {
        vec![vec![Fault::Cut(at, Loss::Nothing), Fault::Cut(at * 7 % 31, Loss::Nothing)]]
    })
}

fn again_and_again(at: usize) -> Vec<Fault> {
    let seed = at as u64;
    vec![
        Fault::Cut(at, Loss::Torn(seed)),
        Fault::Cut(at * 7 % 31, Loss::Torn(seed + 1)),
        Fault::Cut(at * 13 % 29, Loss::Everything),
    ]
}

/// Once at each point, with all lost that was not synced; the boots that follow are cut as well.
pub fn cuts_and_losses(flow: &Flow) -> Tally {
    each_point(flow, |at, _| {
        vec![vec![Fault::Cut(at, Loss::Everything), Fault::Cut(at * 7 % 31, Loss::Torn(at as u64))]]
    })
}

/// Replays the flow with each of `faults` at every point of every boot. After the last of them, the next deployment must work.
pub fn each_point(flow: &Flow, faults: impl Fn(usize, Kind) -> Vec<Vec<Fault>>) -> Tally {
    each_point_of(World::new(flow), flow, faults)
}

fn each_point_of(mut world: World, flow: &Flow, faults: impl Fn(usize, Kind) -> Vec<Vec<Fault>>) -> Tally {
    let mut tally = Tally::default();
    for boot in 0.. {
        let before = world.save();
        let (end, points) = world.boot(Fault::Never);
        let after = world.save();
        for (at, (kind, path)) in points.iter().enumerate() {
            let all = faults(at, *kind);
            for (number, faults) in all.iter().enumerate() {
                let is_last = number + 1 == all.len();
                world.put_back(&before);
                let replay = catch_unwind(AssertUnwindSafe(|| {
                    world.finish(faults);
                    if is_last {
                        world.next_works();
                    }
                }));
                if replay.is_err() {
                    eprintln!("^ {flow}, boot {boot}, point {at}: {kind:?} {}, {faults:?}", path.display());
                    tally.bad += 1;
                }
                tally.runs += 1;
            }
            tally.points += usize::from(!all.is_empty());
        }
        world.put_back(&after);
        if end == End::Idle {
            break;
        }
    }
    world.finish(&[]);
    world.next_works();
    tally
}

/// From each point of each boot on, the disk is full, until the machine starts again.
pub fn full_disk(flow: &Flow) -> Tally {
    each_point(flow, |at, kind| match kind {
        Kind::Create => vec![vec![Fault::Full(at)]],
        _ => Vec::new(),
    })
}

/// From each point of each boot on, every operation of the disk fails, until the machine starts again.
pub fn broken_disk(flow: &Flow) -> Tally {
    each_point(flow, |at, _| vec![vec![Fault::Broken(at)]])
}

/// What may happen to a machine that is switched off, and its name.
pub type Mishap<'a> = (String, Box<dyn Fn(&Machine) + Sync + 'a>);

/// Before each boot in turn, each of the mishaps happens. Whatever it is, the device's key stays.
pub fn mishaps(flow: &Flow, mishaps: &[Mishap<'_>]) -> Tally {
    let mut world = World::new(flow);
    let mut tally = Tally::default();
    for boot in 0.. {
        let before = world.save();
        let (end, _) = world.boot(Fault::Never);
        let after = world.save();
        for (what, happens) in mishaps {
            world.put_back(&before);
            world.disturb(happens);
            let replay = catch_unwind(AssertUnwindSafe(|| {
                let key = world.key();
                world.finish(&[]);
                world.next_works();
                assert!(key.is_none() || key == world.key(), "the device has another key");
            }));
            if replay.is_err() {
                eprintln!("^ {flow}, boot {boot}: {what}");
                tally.bad += 1;
            }
            tally.points += 1;
            tally.runs += 1;
        }
        world.put_back(&after);
        if end == End::Idle {
            break;
        }
    }
    tally
}
