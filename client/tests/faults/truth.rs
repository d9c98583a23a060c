//! What really happened, and whether it is what the client says.

use rota::boot::State;
use rota::device::{Standing, View};

use super::flow::Flow;

/// What the sweep saw with its own eyes.
#[derive(Clone, Default)]
pub struct Truth {
    /// How many slots of the flow's story are behind.
    pub chapter: usize,
    /// The boot loader began to boot a trial: it counts that before there is anything to see of it.
    pub trial_begun: bool,
    /// A trial was booted.
    pub trial_booted: bool,
    /// The client was started in a trial.
    pub trial_ran: bool,
    /// The server heard of the client in a trial.
    pub trial_heard: bool,
    /// Power cuts, and disks that failed.
    pub faults: u32,
    pub journal_lost: bool,
    /// What was told at the end of each deployment, or to the person.
    pub verdicts: Vec<Told>,
}

/// A verdict as it was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub artifact: String,
    pub success: bool,
    pub reason: String,
}

/// Words of reasons, and when they are true. A reason that holds none of them is not known to be true.
type Claim = (&'static str, fn(&Truth) -> bool);
const CLAIMS: &[Claim] = &[
    ("was booted", |truth| truth.trial_begun),
    // With a broken disk it cannot note in the journal what it tells the server.
    ("never reported", |truth| !truth.trial_heard || truth.disk_failed()),
    ("the trial's client ran", |truth| truth.trial_ran),
    ("started slot A again", |truth| !truth.trial_booted),
    ("may have been booted", |truth| truth.faults > 0),
    ("the client was stopped in", |truth| truth.faults > 0),
    ("not reached", |truth| truth.trial_ran),
    ("health check", |truth| truth.trial_ran),
    ("Input/output error", |truth| truth.faults > 0),
    ("No space left", |truth| truth.faults > 0),
    ("no room", |truth| truth.faults > 0),
    ("aborted on the server", |_| true),
    ("checksum", |_| true),
    ("state script", |_| true),
    ("by hand", |_| true),
    ("update module spy", |_| true),
    ("is on trial", |truth| truth.trial_ran && truth.faults > 0),
];

impl Truth {
    /// Looks at the boot loader's records: what was committed stays so.
    pub fn observe(&mut self, flow: &Flow, state: State) {
        let story = flow.story();
        match story[self.chapter..].iter().position(|slot| *slot == state.committed) {
            Some(0) => {}
            Some(1) => self.chapter += 1,
            _ => panic!(
                "slot {} is the committed one; before it was slot {}",
                state.committed, story[self.chapter]
            ),
        }
        assert_ne!(state.trial, Some(state.committed), "the committed slot is on trial");
    }

    /// The end of the update `rel-2`: everyone was told the same, and it is so.
    pub fn check_end(&self, flow: &Flow, view: View, name: &str) {
        let told: Vec<&Told> = self.verdicts.iter().filter(|told| told.artifact == "rel-2").collect();
        let last = told.last().expect("the end was told");
        // A device that has said that it does not know for sure may know better later.
        let stands = |one: &&&Told| !one.reason.contains("may be inconsistent");
        assert!(
            told.iter().filter(stands).all(|one| one.success == last.success),
            "told differently: {told:?}"
        );
        assert_eq!(view.standing(), Standing::Committed, "{last:?}");
        let story = flow.story();
        let committed = view.boot.committed;
        if last.success {
            assert!(flow.fails.is_empty(), "it cannot succeed");
            assert_eq!(
                (self.chapter + 1, committed),
                (story.len(), story[story.len() - 1]),
                "told of a success"
            );
            assert_eq!(name, "rel-2");
        } else {
            assert_eq!(committed, flow.home(), "told of a failure: {}", last.reason);
            let names = ["rel-1", "rel-2_INCONSISTENT"];
            assert!(
                names[..if self.disk_failed() { 2 } else { 1 }].contains(&name),
                "{name}: {}",
                last.reason
            );
            told.iter().for_each(|told| self.check_reason(&told.reason));
        }
        if self.faults == 0 && !self.journal_lost {
            assert_eq!(last.success, flow.fails.is_empty(), "{last:?}");
            assert!(last.reason.contains(flow.fails), "{:?} does not say {:?}", last.reason, flow.fails);
        }
    }

    fn disk_failed(&self) -> bool {
        self.verdicts.iter().any(|told| told.reason.contains("Input/output error"))
    }

    fn check_reason(&self, reason: &str) {
        let made: Vec<&Claim> = CLAIMS.iter().filter(|(words, _)| reason.contains(words)).collect();
        assert!(!made.is_empty(), "nobody knows whether this is true: {reason}");
        for (words, is_true) in made {
            assert!(is_true(self), "\"{words}\" is not true: {reason}");
        }
    }
}
