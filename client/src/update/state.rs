//! The states of an update and what follows what: the device API's state machine as a table.
//!
//! A state's action says how it went (`Outcome`), the table says what comes next. The numbers are the rows of the protocol's
//! description. `X…Enter`, `…Leave` and `…Error` are the states at which state scripts run.

use serde::{Deserialize, Serialize};

/// Where the client is. The names stand in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The table says what each is.
pub enum State {
    Init,
    IdleEnter,
    Idle,
    PollIdleLeave,
    PollSyncEnter,
    PollSyncError,
    InventoryIdleLeave,
    InventorySyncEnter,
    SubmitInventory,
    InventorySyncLeave,
    InventorySyncError,
    PollForDeployment,
    NothingSyncLeave,
    PollFailedSyncError,
    DownloadSyncLeave,
    DownloadSyncError,
    ReportDownloading,
    DownloadEnter,
    Download,
    DownloadLeave,
    DownloadError,
    EmptyDownloadLeave,
    RollbackNotNeeded,
    ReportInstalling,
    ArtifactInstallEnter,
    ArtifactInstall,
    ArtifactInstallLeave,
    ArtifactInstallError,
    CheckReboot,
    ReportRebooting,
    ArtifactRebootEnter,
    ArtifactReboot,
    ArtifactVerifyReboot,
    ArtifactRebootLeave,
    ArtifactRebootError,
    BeforeCommit,
    CheckHealth,
    ArtifactCommitEnter,
    ArtifactCommit,
    ArtifactCommitError,
    AfterCommit,
    ArtifactCommitLeave,
    CommittedCommitError,
    CheckRollback,
    ArtifactRollbackEnter,
    ArtifactRollback,
    ArtifactRollbackLeave,
    FailedRollbackLeave,
    CheckRollbackReboot,
    ArtifactRollbackRebootEnter,
    ArtifactRollbackReboot,
    ArtifactVerifyRollbackReboot,
    ArtifactRollbackRebootLeave,
    ArtifactRollbackRebootError,
    RollbackSuccessful,
    ArtifactFailureEnter,
    ArtifactFailure,
    ArtifactFailureLeave,
    SaveProvides,
    Cleanup,
    ReportFinal,
    ClearArtifactData,
    EndOfDeployment,
    StateLoop,
    /// A state of another version of the client.
    #[serde(other)]
    Unknown,
}

/// How the action of a state went. What a state ignores it calls `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It could not be done; from the first failure on the deployment has failed.
    Failed,
    /// The server has aborted the deployment.
    Aborted,
    /// It is time to ask for a deployment.
    Poll,
    /// It is time to send the inventory.
    Inventory,
    /// There is nothing to do.
    Nothing,
    /// The artifact sets provides only.
    Empty,
    /// The question of this state is answered with yes.
    Yes,
    /// The question of this state is answered with no.
    No,
}

/// Row of the description, state, outcome, next state.
pub type Edge = (u8, State, Outcome, State);

/// All that can follow.
#[rustfmt::skip]
pub const TABLE: &[Edge] = {
    use Outcome::*;
    use State::*;
    &[
        (1, Init, Done, IdleEnter),
        (2, IdleEnter, Done, Idle),
        (3, Idle, Poll, PollIdleLeave),
        (3, Idle, Inventory, InventoryIdleLeave),

        (4, PollIdleLeave, Done, PollSyncEnter),
        (4, PollSyncEnter, Done, PollForDeployment),
        (4, PollSyncEnter, Failed, PollSyncError),
        (4, PollSyncError, Done, IdleEnter),

        (5, InventoryIdleLeave, Done, InventorySyncEnter),
        (5, InventorySyncEnter, Done, SubmitInventory),
        (5, InventorySyncEnter, Failed, InventorySyncError),
        (5, SubmitInventory, Done, InventorySyncLeave),
        (5, SubmitInventory, Failed, InventorySyncError),
        (5, InventorySyncLeave, Done, IdleEnter),
        (5, InventorySyncLeave, Failed, InventorySyncError),
        (5, InventorySyncError, Done, IdleEnter),

        (6, PollForDeployment, Done, DownloadSyncLeave),
        (6, PollForDeployment, Nothing, NothingSyncLeave),
        (6, PollForDeployment, Failed, PollFailedSyncError),
        (6, NothingSyncLeave, Done, Idle),
        (6, NothingSyncLeave, Failed, PollFailedSyncError),
        (6, PollFailedSyncError, Done, Idle),

        (7, DownloadSyncLeave, Done, ReportDownloading),
        (7, DownloadSyncLeave, Failed, DownloadSyncError),
        (7, DownloadSyncError, Done, EndOfDeployment),

        (8, ReportDownloading, Done, DownloadEnter),
        (8, ReportDownloading, Aborted, Cleanup),

        (9, DownloadEnter, Done, Download),
        (9, DownloadEnter, Failed, DownloadError),
        (9, DownloadError, Done, RollbackNotNeeded),
        (9, RollbackNotNeeded, Done, Cleanup),

        (10, Download, Done, DownloadLeave),
        (10, Download, Failed, DownloadError),
        (10, Download, Empty, EmptyDownloadLeave),
        (10, EmptyDownloadLeave, Done, SaveProvides),
        (10, EmptyDownloadLeave, Failed, DownloadError),

        (11, DownloadLeave, Done, ReportInstalling),
        (11, DownloadLeave, Failed, DownloadError),

        (12, ReportInstalling, Done, ArtifactInstallEnter),
        (12, ReportInstalling, Aborted, Cleanup),

        (13, ArtifactInstallEnter, Done, ArtifactInstall),
        (13, ArtifactInstallEnter, Failed, ArtifactInstallError),
        (13, ArtifactInstall, Done, ArtifactInstallLeave),
        (13, ArtifactInstall, Failed, ArtifactInstallError),
        (13, ArtifactInstallLeave, Done, CheckReboot),
        (13, ArtifactInstallLeave, Failed, ArtifactInstallError),
        (13, ArtifactInstallError, Done, CheckRollback),

        (14, CheckReboot, Yes, ReportRebooting),
        (14, CheckReboot, No, BeforeCommit),
        (14, CheckReboot, Failed, CheckRollback),

        (15, ReportRebooting, Done, ArtifactRebootEnter),
        (15, ReportRebooting, Aborted, CheckRollback),

        (16, ArtifactRebootEnter, Done, ArtifactReboot),
        (16, ArtifactRebootEnter, Failed, ArtifactRebootError),

        (17, ArtifactReboot, Done, ArtifactVerifyReboot),
        (17, ArtifactReboot, Failed, ArtifactRebootError),
        (17, ArtifactRebootError, Done, CheckRollback),

        (18, ArtifactVerifyReboot, Done, ArtifactRebootLeave),
        (18, ArtifactVerifyReboot, Failed, ArtifactRebootError),

        (19, ArtifactRebootLeave, Done, BeforeCommit),
        (19, ArtifactRebootLeave, Failed, ArtifactRebootError),

        (20, BeforeCommit, Done, CheckHealth),

        (21, CheckHealth, Done, ArtifactCommitEnter),
        (21, CheckHealth, Failed, CheckRollback),
        (21, CheckHealth, Aborted, CheckRollback),

        (22, ArtifactCommitEnter, Done, ArtifactCommit),
        (22, ArtifactCommitEnter, Failed, ArtifactCommitError),
        (22, ArtifactCommit, Done, AfterCommit),
        (22, ArtifactCommit, Failed, ArtifactCommitError),
        (22, ArtifactCommitError, Done, CheckRollback),

        (23, AfterCommit, Done, ArtifactCommitLeave),
        (23, ArtifactCommitLeave, Done, SaveProvides),
        (23, ArtifactCommitLeave, Failed, CommittedCommitError),
        (23, CommittedCommitError, Done, SaveProvides),

        (24, CheckRollback, Yes, ArtifactRollbackEnter),
        (24, CheckRollback, No, ArtifactFailureEnter),
        (24, CheckRollback, Failed, ArtifactFailureEnter),

        (25, ArtifactRollbackEnter, Done, ArtifactRollback),
        (25, ArtifactRollback, Done, ArtifactRollbackLeave),
        (25, ArtifactRollback, Failed, FailedRollbackLeave),
        (25, ArtifactRollbackLeave, Done, CheckRollbackReboot),
        (25, FailedRollbackLeave, Done, ArtifactFailureEnter),

        (26, CheckRollbackReboot, Yes, ArtifactRollbackRebootEnter),
        (26, CheckRollbackReboot, No, RollbackSuccessful),
        (26, CheckRollbackReboot, Failed, ArtifactFailureEnter),
        (26, RollbackSuccessful, Done, ArtifactFailureEnter),

        (26, ArtifactRollbackRebootEnter, Done, ArtifactRollbackReboot),
        (27, ArtifactRollbackReboot, Done, ArtifactVerifyRollbackReboot),

        (28, ArtifactVerifyRollbackReboot, Done, ArtifactRollbackRebootLeave),
        (28, ArtifactVerifyRollbackReboot, Failed, ArtifactRollbackReboot),
        (28, ArtifactRollbackRebootLeave, Done, RollbackSuccessful),
        (28, ArtifactRollbackRebootLeave, Failed, ArtifactRollbackRebootError),
        (28, ArtifactRollbackRebootError, Done, ArtifactFailureEnter),

        (29, ArtifactFailureEnter, Done, ArtifactFailure),
        (29, ArtifactFailure, Done, ArtifactFailureLeave),
        (29, ArtifactFailureLeave, Done, SaveProvides),

        (30, SaveProvides, Done, Cleanup),
        (31, Cleanup, Done, ReportFinal),
        (32, ReportFinal, Done, ClearArtifactData),
        (33, ClearArtifactData, Done, EndOfDeployment),
        (33, EndOfDeployment, Done, IdleEnter),

        (34, StateLoop, Done, ReportFinal),
    ]
};

impl State {
    /// What follows this state after `outcome`. An outcome that the table does not have is a failure; where the table has no
    /// failure either, it goes on as after `Done`: nothing may stop an update from coming to its end.
    pub fn next(self, outcome: Outcome) -> State {
        let find = |outcome| TABLE.iter().find(|edge| edge.1 == self && edge.2 == outcome).map(|edge| edge.3);
        find(outcome)
            .or_else(|| find(Outcome::Failed))
            .or_else(|| find(Outcome::Done))
            .unwrap_or(State::IdleEnter)
    }

    /// Whether a failure leads anywhere else than success does.
    pub fn can_fail(self) -> bool {
        TABLE.iter().any(|edge| edge.1 == self && edge.2 == Outcome::Failed)
    }

    /// Its name in sentences, for example `artifact install`.
    pub fn words(self) -> String {
        let name =
            serde_json::to_value(self).ok().and_then(|name| name.as_str().map(|name| name.replace('_', " ")));
        name.unwrap_or_default()
    }

    /// Whether this state is written to the journal before its action. (`Download` is written once the header is read,
    /// `ReportInstalling` and `ReportRebooting` when the client has to wait in them.)
    pub fn is_saved(self) -> bool {
        use State::*;
        matches!(
            self,
            ArtifactInstall
                | ArtifactReboot
                | ArtifactVerifyReboot
                | ArtifactCommit
                | AfterCommit
                | ArtifactRollback
                | ArtifactRollbackReboot
                | ArtifactVerifyRollbackReboot
                | ArtifactFailure
                | SaveProvides
                | Cleanup
        )
    }

    /// Whether this state may begin although the journal cannot be written: from here on there is only the way to an end.
    pub fn must_go_on(self) -> bool {
        use State::*;
        !matches!(self, Download | ArtifactInstall | ArtifactReboot | ArtifactVerifyReboot | ArtifactCommit)
    }

    /// Where a client goes on that was stopped in this state and finds it in the journal, and whether the deployment has
    /// failed by that.
    pub fn recovered(self) -> (State, bool) {
        use State::*;
        match self {
            Download => (Cleanup, true),
            ArtifactReboot => (ArtifactVerifyReboot, false),
            ArtifactRollback => (ArtifactRollbackEnter, false),
            ArtifactRollbackReboot | ArtifactVerifyRollbackReboot => (ArtifactVerifyRollbackReboot, false),
            // Written when the client waits in them (`hold.rs`).
            ReportInstalling => (ReportInstalling, false),
            ReportRebooting => (ReportRebooting, false),
            AfterCommit => (AfterCommit, false),
            ArtifactFailure => (ArtifactFailureEnter, false),
            SaveProvides => (SaveProvides, false),
            Cleanup => (Cleanup, false),
            _ => (CheckRollback, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Outcome::*, State::*, *};

    /// The way from `from` with these outcomes.
    fn walk(from: State, outcomes: &[Outcome]) -> State {
        outcomes.iter().fold(from, |state, outcome| state.next(*outcome))
    }

    /// The state where a row begins, for each row the way on its success and on its other outcomes, as the protocol's
    /// description has them.
    #[test]
    fn row_by_row() {
        assert_eq!(walk(Init, &[Done]), IdleEnter); // 1
        assert_eq!(walk(IdleEnter, &[Done]), Idle); // 2
        assert_eq!(walk(Idle, &[Poll, Done, Done]), PollForDeployment); // 3, 4
        assert_eq!(walk(Idle, &[Poll, Done, Failed]), PollSyncError);
        assert_eq!(walk(PollSyncError, &[Done]), IdleEnter);
        assert_eq!(walk(Idle, &[Inventory, Done, Done]), SubmitInventory); // 5
        assert_eq!(walk(SubmitInventory, &[Done, Done]), IdleEnter);
        assert_eq!(walk(SubmitInventory, &[Failed]), InventorySyncError);
        assert_eq!(walk(InventorySyncError, &[Done]), IdleEnter);
        assert_eq!(walk(PollForDeployment, &[Done, Done]), ReportDownloading); // 6, 7
        assert_eq!(walk(PollForDeployment, &[Nothing, Done]), Idle);
        assert_eq!(walk(PollForDeployment, &[Failed, Done]), Idle);
        assert_eq!(walk(DownloadSyncLeave, &[Failed, Done]), EndOfDeployment);
        assert_eq!(walk(ReportDownloading, &[Done]), DownloadEnter); // 8
        assert_eq!(walk(ReportDownloading, &[Aborted]), Cleanup);
        assert_eq!(walk(DownloadEnter, &[Done]), Download); // 9
        assert_eq!(walk(DownloadEnter, &[Failed, Done, Done]), Cleanup);
        assert_eq!(walk(Download, &[Done]), DownloadLeave); // 10
        assert_eq!(walk(Download, &[Failed, Done]), RollbackNotNeeded);
        assert_eq!(walk(Download, &[Empty, Done]), SaveProvides);
        assert_eq!(walk(DownloadLeave, &[Done]), ReportInstalling); // 11
        assert_eq!(walk(DownloadLeave, &[Failed]), DownloadError);
        assert_eq!(walk(ReportInstalling, &[Done]), ArtifactInstallEnter); // 12
        assert_eq!(walk(ReportInstalling, &[Aborted]), Cleanup);
        assert_eq!(walk(ArtifactInstallEnter, &[Done, Done, Done]), CheckReboot); // 13
        for state in [ArtifactInstallEnter, ArtifactInstall, ArtifactInstallLeave] {
            assert_eq!(walk(state, &[Failed, Done]), CheckRollback);
        }
        assert_eq!(walk(CheckReboot, &[Yes]), ReportRebooting); // 14
        assert_eq!(walk(CheckReboot, &[No]), BeforeCommit);
        assert_eq!(walk(CheckReboot, &[Failed]), CheckRollback);
        assert_eq!(walk(ReportRebooting, &[Done]), ArtifactRebootEnter); // 15
        assert_eq!(walk(ReportRebooting, &[Aborted]), CheckRollback);
        assert_eq!(walk(ArtifactRebootEnter, &[Done, Done, Done, Done]), BeforeCommit); // 16 to 19
        for state in [ArtifactRebootEnter, ArtifactReboot, ArtifactVerifyReboot, ArtifactRebootLeave] {
            assert_eq!(walk(state, &[Failed, Done]), CheckRollback);
        }
        assert_eq!(walk(BeforeCommit, &[Done]), CheckHealth); // 20
        assert_eq!(walk(CheckHealth, &[Done, Done]), ArtifactCommit); // 21
        assert_eq!(walk(CheckHealth, &[Failed]), CheckRollback);
        assert_eq!(walk(CheckHealth, &[Aborted]), CheckRollback);
        assert_eq!(walk(ArtifactCommit, &[Done]), AfterCommit); // 22
        for state in [ArtifactCommitEnter, ArtifactCommit] {
            assert_eq!(walk(state, &[Failed, Done]), CheckRollback);
        }
        assert_eq!(walk(AfterCommit, &[Done, Done]), SaveProvides); // 23
        assert_eq!(walk(ArtifactCommitLeave, &[Failed, Done]), SaveProvides);
        assert_eq!(walk(CheckRollback, &[Yes]), ArtifactRollbackEnter); // 24
        assert_eq!(walk(CheckRollback, &[No]), ArtifactFailureEnter);
        assert_eq!(walk(CheckRollback, &[Failed]), ArtifactFailureEnter);
        assert_eq!(walk(ArtifactRollbackEnter, &[Done, Done, Done]), CheckRollbackReboot); // 25
        assert_eq!(walk(ArtifactRollback, &[Failed, Done]), ArtifactFailureEnter);
        assert_eq!(walk(CheckRollbackReboot, &[Yes, Done]), ArtifactRollbackReboot); // 26
        assert_eq!(walk(CheckRollbackReboot, &[No, Done]), ArtifactFailureEnter);
        assert_eq!(walk(CheckRollbackReboot, &[Failed]), ArtifactFailureEnter);
        assert_eq!(walk(ArtifactRollbackReboot, &[Done]), ArtifactVerifyRollbackReboot); // 27
        assert_eq!(walk(ArtifactVerifyRollbackReboot, &[Done, Done]), RollbackSuccessful); // 28
        assert_eq!(walk(ArtifactVerifyRollbackReboot, &[Failed]), ArtifactRollbackReboot);
        assert_eq!(walk(ArtifactRollbackRebootLeave, &[Failed, Done]), ArtifactFailureEnter);
        assert_eq!(walk(ArtifactFailureEnter, &[Done, Done, Done]), SaveProvides); // 29
        assert_eq!(walk(SaveProvides, &[Done]), Cleanup); // 30
        assert_eq!(walk(Cleanup, &[Done]), ReportFinal); // 31
        assert_eq!(walk(ReportFinal, &[Done]), ClearArtifactData); // 32
        assert_eq!(walk(ClearArtifactData, &[Done, Done]), IdleEnter); // 33
        assert_eq!(walk(StateLoop, &[Done]), ReportFinal); // 34
    }

    #[test]
    fn no_edge_stands_twice_and_every_state_is_reached() {
        let edges: HashSet<_> = TABLE.iter().map(|edge| (edge.1, edge.2)).collect();
        assert_eq!(edges.len(), TABLE.len());
        let reached: HashSet<_> = TABLE.iter().map(|edge| edge.3).chain([Init, StateLoop]).collect();
        for (_, state, _, _) in TABLE {
            assert!(reached.contains(state), "{state:?}");
        }
    }

    #[test]
    fn whatever_happens_the_end_is_reached() {
        // From every state, by any outcome that repeats, unless it is the one loop that only the limit ends.
        for (_, start, _, _) in TABLE {
            for outcome in [Done, Failed, Aborted, Nothing, Yes, No] {
                let mut state = *start;
                for _ in 0..TABLE.len() {
                    let outcome = if state == ArtifactVerifyRollbackReboot { Done } else { outcome };
                    state = if matches!(state, Idle | IdleEnter) { Idle } else { state.next(outcome) };
                }
                assert_eq!(state, Idle, "{start:?} with {outcome:?}");
            }
        }
    }

    #[test]
    fn recovery_as_described() {
        assert_eq!(Download.recovered(), (Cleanup, true));
        assert_eq!(ArtifactReboot.recovered(), (ArtifactVerifyReboot, false));
        assert_eq!(ArtifactRollback.recovered(), (ArtifactRollbackEnter, false));
        assert_eq!(ArtifactRollbackReboot.recovered(), (ArtifactVerifyRollbackReboot, false));
        assert_eq!(ArtifactVerifyRollbackReboot.recovered(), (ArtifactVerifyRollbackReboot, false));
        assert_eq!(AfterCommit.recovered(), (AfterCommit, false));
        assert_eq!(ReportInstalling.recovered(), (ReportInstalling, false));
        assert_eq!(ReportRebooting.recovered(), (ReportRebooting, false));
        assert_eq!(ArtifactFailure.recovered(), (ArtifactFailureEnter, false));
        assert_eq!(SaveProvides.recovered(), (SaveProvides, false));
        assert_eq!(Cleanup.recovered(), (Cleanup, false));
        for state in [ArtifactInstall, ArtifactVerifyReboot, ArtifactCommit, Unknown] {
            assert_eq!(state.recovered(), (CheckRollback, true));
        }
    }

    #[test]
    fn a_state_of_another_version_is_read_as_unknown() {
        assert_eq!(serde_json::from_str::<State>("\"artifact_install\"").unwrap(), ArtifactInstall);
        assert_eq!(serde_json::from_str::<State>("\"artifact_bless\"").unwrap(), Unknown);
    }
}
