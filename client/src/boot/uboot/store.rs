//! The environment as it is kept: one copy, or two of which one is the newer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::config;
use super::env::{self, Env, Scheme};
use super::media::Place;
use crate::boot::Error;

/// The lock of `fw_setenv`, unless the configuration names another one.
const LOCK: &str = "/var/lock/fw_printenv.lock";

/// The one or two places.
#[derive(Debug)]
pub struct Store {
    places: Vec<Place>,
    lock: PathBuf,
}

/// What the places held when they were read.
#[derive(Debug)]
pub struct Copies {
    copies: Vec<Option<(u8, Env)>>,
    current: Option<usize>,
}

impl Copies {
    /// The variables in force; `None` when no copy is whole.
    pub fn current(&self) -> Option<&Env> {
        self.copies[self.current?].as_ref().map(|(_, env)| env)
    }

    /// How many copies are not whole.
    pub fn lost(&self) -> usize {
        self.copies.iter().filter(|copy| copy.is_none()).count()
    }

    /// Whether every copy holds exactly these variables.
    pub fn all_hold(&self, env: &Env) -> bool {
        self.copies.iter().all(|copy| matches!(copy, Some((_, held)) if held == env))
    }
}

impl Store {
    /// Reads the configuration and looks at the places that it names.
    pub fn open(config: &Path) -> Result<Store, Error> {
        let object = || config.display().to_string();
        let text = fs::read(config).map_err(|source| Error::Io { act: "read", object: object(), source })?;
        let text = String::from_utf8_lossy(&text);
        let lock = config::lock_file(&text).unwrap_or(LOCK).into();
        let places: Vec<Place> = config::parse(&text)
            .iter()
            .map(|line| Place::find(line).map_err(|source| fault("look at", &line.device, source)))
            .collect::<Result<_, _>>()?;
        let found = match &places[..] {
            [] => "no line says device, offset and size",
            [one, other] if one.size() != other.size() => "the two copies differ in size",
            [one, other] if one.scheme() != other.scheme() => "one copy is on NOR flash, the other is not",
            [one, other] if one.overlaps(other) => "the two copies overlap or share an erase block",
            _ => return Ok(Store { places, lock }),
        };
        Err(Error::Invalid {
            object: object(),
            found: found.to_owned(),
            next: "see fw_env.config in U-Boot's tools/env",
        })
    }

    /// The file that keeps `fw_setenv` away while it is locked.
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    /// Makes sure that nothing but an environment, or nothing at all, is where the copies are said to be. Ask before writing where no
    /// copy is whole: a configuration for another board would name places where a boot loader or a table of partitions lies.
    pub fn check_places(&self) -> Result<(), Error> {
        let foreign = self.places.iter().find(|place| !place.may_be_an_environment());
        foreign.map_or(Ok(()), |place| {
            Err(Error::Invalid {
                object: place.name(),
                found: "what is there was never an environment of U-Boot".to_owned(),
                next: "correct fw_env.config; if it is right, fill the place with zeros, and the client makes the environment anew",
            })
        })
    }

    /// The places in words.
    pub fn name(&self) -> String {
        self.places.iter().map(Place::name).collect::<Vec<_>>().join(" and ")
    }

    /// Whether there are two copies.
    pub fn is_redundant(&self) -> bool {
        self.places.len() > 1
    }

    /// Reads all copies. A copy that cannot be read counts as lost as long as another one is whole.
    pub fn load(&self) -> Result<Copies, Error> {
        let mut copies = Vec::new();
        let mut unreadable = None;
        for place in &self.places {
            let image = place.read().unwrap_or_else(|source| {
                unreadable = Some(fault("read", &place.name(), source));
                None
            });
            copies.push(image.and_then(|image| env::decode(&image, self.is_redundant())));
        }
        let current = match &copies[..] {
            [Some((first, _)), Some((second, _))] => Some(self.scheme().newer([*first, *second])),
            _ => copies.iter().position(Option::is_some),
        };
        match (current, unreadable) {
            (None, Some(error)) => Err(error),
            (None, None) if self.places.iter().all(Place::is_unmounted) => Err(Error::Invalid {
                object: self.name(),
                found: "no file".to_owned(),
                next: "mount the partition that holds the environment",
            }),
            _ => Ok(Copies { copies, current }),
        }
    }

    /// Opens every place for writing, and writes nothing.
    pub fn check_writable(&self) -> Result<(), Error> {
        let refused = |place: &Place| Some(fault("write", &place.name(), place.check_writable().err()?));
        self.places.iter().find_map(refused).map_or(Ok(()), Err)
    }

    /// Writes once: the variables are in force when it returns, and the copy that was in force is still there.
    pub fn save(&self, copies: &Copies, env: &Env) -> Result<Copies, Error> {
        let target = match copies.current {
            Some(current) if self.is_redundant() => 1 - current,
            _ => 0,
        };
        let place = &self.places[target];
        let before =
            copies.current.and_then(|current| copies.copies[current].as_ref()).map_or(0, |(flag, _)| *flag);
        let flag = self.is_redundant().then(|| self.scheme().next(before));
        let image = env::encode(env, flag, place.size()).map_err(|error| Error::Invalid {
            object: place.name(),
            found: format!("the variables need {} bytes, there are {}", error.needed, error.size),
            next: "remove variables that nobody uses, or enlarge the environment",
        })?;
        place.write(&image, !self.is_redundant()).map_err(|source| fault("write", &place.name(), source))?;
        if let (Some(_), true) = (copies.current, self.is_redundant()) {
            let old = &self.places[1 - target];
            old.mark_obsolete().map_err(|source| fault("mark as obsolete", &old.name(), source))?;
        }
        let written = self.load()?;
        match written.current() {
            Some(held) if held == env && written.current == Some(target) => Ok(written),
            _ => Err(Error::Invalid {
                object: place.name(),
                found: "it does not hold what was just written".to_owned(),
                next: "the medium may be worn out, or U-Boot's configuration differs from fw_env.config",
            }),
        }
    }

    /// Brings the variables into every copy. Writes nothing when they are there, and no copy more than twice.
    pub fn settle(&self, env: &Env) -> Result<(), Error> {
        let mut copies = self.load()?;
        for _ in 0..2 * self.places.len() {
            if copies.all_hold(env) {
                return Ok(());
            }
            copies = self.save(&copies, env)?;
        }
        match copies.all_hold(env) {
            true => Ok(()),
            false => Err(Error::Invalid {
                object: self.name(),
                found: "a copy is lost when the other one is written".to_owned(),
                next: "the medium may be worn out, or the copies of fw_env.config overlap",
            }),
        }
    }

    fn scheme(&self) -> Scheme {
        self.places[0].scheme()
    }
}

fn fault(act: &'static str, object: &str, source: io::Error) -> Error {
    Error::Io { act, object: object.to_owned(), source }
}
