//! Updates that a module installs: a file changes, and may come back.

use std::path::Path;

use super::flow::{key, Flow, Hand, Payload, GOOD};
use super::support::module::signed_artifact;

/// What the module is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Module {
    /// What it answers to `NeedsArtifactReboot`.
    pub reboot: &'static str,
    /// The call that fails.
    pub fails: &'static str,
    /// It takes the file as it comes.
    pub streams: bool,
}

const STEADY: Module = Module { reboot: "No", fails: "", streams: false };
const MODULE: Flow = Flow { name: "module", payload: Payload::Module(STEADY), ..GOOD };

const fn failing(name: &'static str, reboot: &'static str, fails: &'static str) -> Flow {
    Flow {
        name,
        payload: Payload::Module(Module { reboot, fails, ..STEADY }),
        fails: "update module spy",
        ..GOOD
    }
}

/// The ways that such an update can go. (A restart that fails is not among them: a power cut is one that does not.)
pub const FLOWS: &[Flow] = &[
    Flow { name: "module, streams", payload: Payload::Module(Module { streams: true, ..STEADY }), ..MODULE },
    Flow {
        name: "module, own restart",
        payload: Payload::Module(Module { reboot: "Yes", ..STEADY }),
        ..MODULE
    },
    Flow {
        name: "module, held",
        payload: Payload::Module(Module { reboot: "Yes", streams: true, ..STEADY }),
        is_held: true,
        ..MODULE
    },
    failing("module, killed", "No", "ArtifactInstall"),
    failing("module, not back", "Automatic", "ArtifactVerifyReboot"),
    failing("module, no commit", "Yes", "ArtifactCommit"),
    Flow { name: "module by hand", by_hand: Some(Hand::Commits), ..MODULE },
];

impl Module {
    /// The program. One that fails in the middle of its installation is killed there.
    pub fn program(&self, place: &Path) -> String {
        let Module { reboot, fails, streams } = self;
        let place = place.display();
        format!(
            "#!/bin/sh
            case $1-{streams} in
            Download-true) cat $(cat stream-next) >tmp/content ;;
            SupportsRollback-*) echo Yes ;;
            NeedsArtifactReboot-*) echo {reboot} ;;
            ArtifactInstall-*)
                [ -e tmp/old ] || {{ cp {place} tmp/part; mv tmp/part tmp/old; }}
                echo half >{place}
                [ '{fails}' != $1 ] || kill -9 $$
                cat files/content tmp/content >{place} 2>/dev/null ;;
            ArtifactRollback-*) [ ! -e tmp/old ] || cp tmp/old {place} ;;
            esac
            [ $1 != '{fails}' ]
            "
        )
    }

    /// The artifact `rel-2`.
    pub fn artifact(&self) -> Vec<u8> {
        signed_artifact(Vec::new(), "rel-2", "spy", &[("content", b"new\n")], Some(&key().0))
    }
}
