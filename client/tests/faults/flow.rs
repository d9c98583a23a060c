//! A flow: how an update goes when nothing fails. Scenarios are written in these words.

use std::sync::OnceLock;

use rota::record::{Formats, FORMATS};
use rota::slot::Slot;
use rota::window::Window;
use rota_artifact::{Script, SignKey};

use super::module::Module;
use super::support::artifact::{empty, image, Artifact};
use super::support::machine::WEDNESDAY;

/// Bytes of a slot: as little as lets an image be written in several pieces.
pub const SLOT: usize = 320 << 10;

/// This version of the client: until there is a release, it plays the earlier one.
pub const EARLIER: Formats = FORMATS;
/// A later version: it reads what this one writes, and writes what this one cannot read.
pub const LATER: Formats = Formats { newest: FORMATS.newest + 1, ..FORMATS };

/// How an update goes.
#[derive(Clone, Copy)]
pub struct Flow {
    pub name: &'static str,
    /// Name of the boot back end.
    pub loader: &'static str,
    pub payload: Payload,
    pub trial: Trial,
    /// The server answers this status with 409.
    pub aborts_at: &'static str,
    /// A person installs it, and then does this.
    pub by_hand: Option<Hand>,
    /// The daemon runs beside the person, and before.
    pub has_daemon: bool,
    /// The client has never run on this machine.
    pub is_first_start: bool,
    /// Slot A is the committed one but cannot be loaded: slot B runs.
    pub is_fallback: bool,
    /// The version of the client in the slot that runs when the update begins, and in the image that it brings.
    pub clients: [Formats; 2],
    /// Both records of the journal are destroyed while the first trial boots.
    pub loses_journal: bool,
    /// The artifact's state scripts: those that do well, and after them one that fails, unless it is called nothing.
    pub scripts: (&'static [&'static str], &'static str),
    /// A bootstrap artifact lies on the data partition.
    pub bootstraps: bool,
    /// Downloading, installing and restarting have to wait for their windows, each anew.
    pub is_held: bool,
    /// What the failure says when nothing is cut; empty when the update succeeds.
    pub fails: &'static str,
}

/// What the artifact holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload {
    Image,
    /// An image that is not what its checksum says.
    Spoilt,
    /// Nothing but provides.
    Nothing,
    /// What an update module installs.
    Module(Module),
}

/// What the trial is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trial {
    Healthy,
    /// The server is not reached from it.
    Offline,
    /// A health check of the product fails.
    Unwell,
    /// The machine is reset before the client runs.
    Silent,
}

/// What a person does after installing by hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hand {
    Commits,
    /// In the trial.
    RollsBack,
    /// Before the restart.
    RollsBackAtOnce,
    /// Has it stopped before it is installed, and goes on until it is committed.
    Resumes,
}

/// All goes well.
pub const GOOD: Flow = Flow {
    name: "success",
    loader: "fake",
    payload: Payload::Image,
    trial: Trial::Healthy,
    aborts_at: "",
    by_hand: None,
    has_daemon: true,
    is_first_start: false,
    is_fallback: false,
    clients: [EARLIER; 2],
    loses_journal: false,
    scripts: (&[], ""),
    bootstraps: false,
    is_held: false,
    fails: "",
};

impl Flow {
    /// The days on which each step may be done, whatever the time zone.
    pub fn windows(&self) -> [Option<Vec<Window>>; 3] {
        let on = |days| vec![Window::parse(&format!("{days} 00:00-24:00")).unwrap()];
        ["Mon,Tue", "Wed,Thu", "Fri,Sat"].map(|days| self.is_held.then(|| on(days)))
    }

    /// It is Sunday, until something waits for its window.
    pub fn set_clock(&self, waits: &str) {
        const NOON: [(&str, u64); 4] =
            [("", 0), ("waiting to download", 1), ("waiting to install", 3), ("waiting to restart", 5)];
        if let Some((_, day)) = NOON.iter().rev().find(|(words, _)| waits.starts_with(words)) {
            rota::date::pretend(self.is_held.then_some(WEDNESDAY + (4 + day) * 86_400));
        }
    }

    /// The slots that are committed one after the other when all goes well. No cut may turn this back.
    pub fn story(&self) -> &'static [Slot] {
        match (self.fails.is_empty() && self.payload == Payload::Image, self.is_fallback) {
            (true, true) => &[Slot::A, Slot::B, Slot::A],
            (true, false) => &[Slot::A, Slot::B],
            (false, true) => &[Slot::A, Slot::B],
            (false, false) => &[Slot::A],
        }
    }

    /// The slot that runs when the update begins.
    pub fn home(&self) -> Slot {
        match self.is_fallback {
            true => Slot::B,
            false => Slot::A,
        }
    }

    /// The version of the client in this slot.
    pub fn client_in(&self, slot: Slot) -> Formats {
        self.clients[usize::from(slot != self.home())]
    }

    /// Whether the client has never run before the update.
    pub fn is_new(&self) -> bool {
        self.is_first_start || self.is_fallback
    }

    /// The artifact `rel-2`.
    pub fn artifact(&self) -> Vec<u8> {
        let mut artifact = match self.payload {
            Payload::Nothing => return empty("rel-2", &[], Some(&key().0)),
            Payload::Module(module) => return module.artifact(),
            _ => {
                let (good, bad) = self.scripts;
                let script =
                    |name: &&str, bytes: &[u8]| Script { name: format!("{name}_00"), bytes: bytes.to_vec() };
                // Run by the kernel without a shell, which takes its time.
                let good = good.iter().map(|name| script(name, b"#!/bin/true\n"));
                let bad = [bad].into_iter().filter(|name| !name.is_empty());
                let scripts = good.chain(bad.map(|name| script(&name, b"#!/bin/false\n"))).collect();
                Artifact { scripts, signer: Some(&key().0), ..Artifact::new("rel-2", &new_image()) }.bytes()
            }
        };
        if self.payload == Payload::Spoilt {
            let at = artifact.len() - (20 << 10);
            artifact[at] ^= 1;
        }
        artifact
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.loader)
    }
}

/// What runs before the update.
pub fn old_image() -> Vec<u8> {
    image(1, SLOT)
}

/// What `rel-2` brings.
pub fn new_image() -> Vec<u8> {
    image(7, SLOT - 4096)
}

/// Over plain HTTP only signed artifacts are fetched.
pub fn key() -> &'static (SignKey, String) {
    static KEY: OnceLock<(SignKey, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        (SignKey::from_pem(pair.serialize_pem().as_bytes()).unwrap(), pair.public_key_pem())
    })
}

/// The key that verifies all artifacts here, in PEM form.
pub fn verify_key() -> &'static str {
    &key().1
}

/// An artifact of a root file system.
pub fn signed(name: &str, image: &[u8]) -> Vec<u8> {
    Artifact { signer: Some(&key().0), ..Artifact::new(name, image) }.bytes()
}
