//! `do` and `undo`, stopped by a power cut, a full or a broken disk at every durable step and at every call of systemctl.

mod support;

use rota::sys::fault::{self, Fault, Kind, Loss, Outcome};
use support::{Act, Device};

fn under(device: &Device, fault: Fault, act: Act) -> Outcome<Result<String, String>> {
    fault::run(fault, || act.on(&device.place))
}

/// An act that nothing disturbs, and the points it passes. Under a plan, too: it is spared the syncs.
#[track_caller]
fn well(device: &Device, act: Act) -> Vec<Kind> {
    let outcome = under(device, Fault::Never, act);
    if let Err(why) = outcome.result.unwrap() {
        panic!("{act:?}: {why}");
    }
    outcome.points.into_iter().map(|(kind, _)| kind).collect()
}

/// A device on which the act can be done.
fn ready_for(act: Act) -> Device {
    let device = Device::new();
    if act == Act::Undo {
        well(&device, Act::Do);
    }
    device
}

/// Both ends can be reached from here.
#[track_caller]
fn goes_on(device: &Device, then: Act) {
    well(device, then);
    if then == Act::Do {
        device.is_taken_over();
        well(device, Act::Undo);
    }
    device.is_given_back();
}

fn cut_everywhere(act: Act) {
    let count = well(&ready_for(act), act).len();
    assert!(count > 30, "{count}");
    let (mut cuts, mut turned) = (0, 0);
    for cut in 0..count {
        // Losing everything is the worst; the other losses, and the ways on, are drawn from the number of the cut.
        let kept = if cut % 2 == 0 { Loss::Nothing } else { Loss::Torn(cut as u64) };
        let (first, second) = if cut % 2 == 0 { (Act::Do, Act::Undo) } else { (Act::Undo, Act::Do) };
        let cases = [(Loss::Everything, first), (kept, second)];
        for (loss, then) in cases.into_iter().take(if cut % 3 == 0 { 2 } else { 1 }) {
            cuts += 1;
            let device = ready_for(act);
            assert!(under(&device, Fault::Cut(cut, loss), act).result.is_none());
            turned += usize::from(device.boot() == "rota.service");
            goes_on(&device, then);
        }
    }
    assert!((1..cuts).contains(&turned), "no cut came before the act, or none after it: {turned}");
}

#[test]
fn a_power_cut_in_do_leaves_one_client_in_charge() {
    cut_everywhere(Act::Do);
}

#[test]
fn a_power_cut_in_undo_leaves_one_client_in_charge() {
    cut_everywhere(Act::Undo);
}

#[test]
fn a_full_or_broken_disk_leaves_one_client_running() {
    for act in [Act::Do, Act::Undo] {
        for (at, kind) in well(&ready_for(act), act).into_iter().enumerate() {
            // A full disk refuses to make files; a broken one is tried at every third point.
            let full = (kind == Kind::Create).then_some(Fault::Full(at));
            let broken = (at % 3 == 0).then_some(Fault::Broken(at));
            for fault in [full, broken].into_iter().flatten() {
                let device = ready_for(act);
                let done = under(&device, fault, act).result.unwrap();
                let running = device.running();
                assert_eq!(running.len(), 1, "{fault:?}: {done:?}, {running:?}");
                let in_charge = device.boot();
                assert_eq!(in_charge, running[0], "{fault:?}: {done:?}");
                if done.is_ok() {
                    assert_eq!(in_charge == "rota.service", act == Act::Do, "{fault:?}");
                }
                // Taking back needs no space.
                if matches!((fault, act, &done), (Fault::Full(_), Act::Do, Err(_))) {
                    device.is_given_back();
                }
                goes_on(&device, Act::Do);
            }
        }
    }
}
