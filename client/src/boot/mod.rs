//! Boot back ends: one trait, one file per boot loader.
//!
//! A back end knows which slot is committed and whether one is on trial. It does not know which slot is running:
//! that is read from the kernel (`slot`), and `update` lays the two side by side.

mod examine;
pub mod fake;
pub mod grub;
pub mod tryboot;
pub mod uboot;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::finding::Finding;
use crate::slot::Slot;

/// What `rota.toml` says about booting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the back end: `grub`, `uboot`, `tryboot`; `mender` is whichever of the first two the device has.
    pub backend: String,
    /// Folder of the boot loader's records; where the back end looks otherwise is its own affair.
    pub env_dir: Option<PathBuf>,
    /// Partition numbers of slot A and slot B, as boot loaders know them.
    pub parts: [u32; 2],
}

type Open = fn(&Settings) -> Result<Box<dyn Boot>, Error>;

/// Every back end, by the name that `rota.toml` calls it.
const BACK_ENDS: [(&str, Open); 5] = [
    ("grub", |settings| Ok(Box::new(grub::Grub::open(settings)?))),
    ("uboot", |settings| Ok(Box::new(uboot::UBoot::open(settings)?))),
    ("tryboot", |settings| Ok(Box::new(tryboot::Tryboot::open(settings)?))),
    ("mender", |settings| match grub::is_there() || !uboot::is_there() {
        true => Ok(Box::new(grub::Grub::open(settings)?)),
        false => Ok(Box::new(uboot::UBoot::open(settings)?)),
    }),
    ("fake", |settings| Ok(Box::new(fake::Fake::open(settings)?))),
];

/// Opens the back end that the settings name.
pub fn open(settings: &Settings) -> Result<Box<dyn Boot>, Error> {
    match BACK_ENDS.iter().find(|(name, _)| *name == settings.backend) {
        Some((_, open)) => open(settings),
        None => Err(Error::Refused(format!(
            "there is no boot back end \"{}\"; set backend in [boot] of rota.toml to one of {}",
            settings.backend,
            BACK_ENDS.map(|(name, _)| name).join(", ")
        ))),
    }
}

/// What the boot loader's records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The slot the boot loader returns to when nothing is on trial.
    pub committed: Slot,
    /// The slot on probation, if one is armed or running its trial.
    pub trial: Option<Slot>,
    /// Boots of the trial slot that are left before the boot loader falls back by itself.
    pub attempts_left: u32,
}

/// Who counts the boots of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// A one-shot flag: the trial is forgotten at the next reset whatever happens.
    OneShot,
    /// The boot loader counts in its own environment.
    Loader,
    /// The firmware counts.
    Firmware,
}

/// What a back end is, for `doctor` and `status` to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Name of the back end in `rota.toml`, for example `grub`.
    pub name: &'static str,
    /// Name of the boot loader in sentences, for example `GRUB`.
    pub loader: &'static str,
    /// Who counts the boots of a trial.
    pub counter: Counter,
    /// How often a trial slot is tried.
    pub tries: u32,
}

impl Capabilities {
    /// The back end in a few words, for example `grub (GRUB); the boot loader counts, 1 boot a trial`.
    pub fn words(&self) -> String {
        let boots = if self.tries == 1 { "1 boot".to_owned() } else { format!("{} boots", self.tries) };
        let counts = match self.counter {
            Counter::OneShot => "a one-shot flag: the next reset ends a trial".to_owned(),
            Counter::Loader => format!("the boot loader counts, {boots} a trial"),
            Counter::Firmware => format!("the firmware counts, {boots} a trial"),
        };
        format!("{} ({}); {counts}", self.name, self.loader)
    }
}

/// One boot loader. Every act is idempotent, and durable when it returns.
pub trait Boot {
    /// What this back end is.
    fn capabilities(&self) -> Capabilities;
    /// Reads the boot loader's records.
    fn state(&mut self) -> Result<State, Error>;
    /// Before `slot` is written: makes sure that the boot loader will not start it (ends a trial of it).
    /// Refuses when `slot` is the committed one.
    fn invalidate(&mut self, slot: Slot) -> Result<(), Error>;
    /// After `slot` was written and before it is armed: whatever the boot loader keeps per slot.
    fn prepare(&mut self, slot: Slot) -> Result<(), Error>;
    /// Makes the next boot a trial of `slot`.
    fn arm(&mut self, slot: Slot) -> Result<(), Error>;
    /// Makes `slot` the committed one and ends the trial.
    fn commit(&mut self, slot: Slot) -> Result<(), Error>;
    /// Ends a trial that is armed or running: the next boot is of the committed slot.
    fn cancel(&mut self) -> Result<(), Error>;
    /// Compares the copies of the boot loader's records and repairs a difference; says what it repaired.
    /// `fallback` is the slot to name as committed when every copy is lost.
    fn repair(&mut self, fallback: Slot) -> Result<Option<String>, Error>;
    /// Looks, for `doctor`, at the records, at what is around them, and at what the boot loader takes from the running slot, whose
    /// files are in `root`. Changes nothing.
    fn examine(&mut self, _root: &Path) -> Vec<Finding> {
        Vec::new()
    }
    /// Restarts the machine the way this boot loader needs it. `Ok` means that the restart is under way: wait for the end,
    /// and call `sys::power::force` when it does not come.
    fn reboot(&mut self) -> Result<(), Error>;
}

/// Why the boot loader's records could not be read or changed.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused: act, object, reason.
    Io { act: &'static str, object: String, source: std::io::Error },
    /// The records are there but say nothing usable: object, what was found, what to do.
    Invalid { object: String, found: String, next: &'static str },
    /// The act is refused in this state.
    Refused(String),
}

impl Error {
    /// The act would change the slot that the boot loader returns to.
    fn is_committed(act: &str, slot: Slot) -> Error {
        Error::Refused(format!("cannot {act} slot {slot}: it is the committed one"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { act, object, source } => write!(f, "cannot {act} {object}: {source}"),
            Error::Invalid { object, found, next } => write!(f, "{object} is not usable: {found}; {next}"),
            Error::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
