//! The clock that certificates are checked by. A board without a battery wakes in 1970; no true clock is earlier than the
//! build of this program, of its image, or the last word of a server that had proved who it is.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// systemd's convention: the modification time of this file is when the image was made.
pub const EPOCH_FILE: &str = "/usr/lib/clock-epoch";

/// A system clock that is behind by less is not worth a word.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Where the time to check certificates by comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The system clock.
    System,
    /// The time this program was built.
    Build,
    /// The time the image was made.
    Image,
    /// The last time an authenticated server told.
    Server,
}

/// The time to check certificates by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The latest of all sources.
    pub time: SystemTime,
    /// Which source it is from.
    pub source: Source,
    /// What the system clock says.
    pub system: SystemTime,
}

impl Reading {
    /// By how much the system clock is surely behind; `None` when nothing speaks against it.
    pub fn behind(&self) -> Option<Duration> {
        self.time.duration_since(self.system).ok().filter(|behind| *behind > TOLERANCE)
    }
}

/// Reads the clock. `last_seen` is the last time an authenticated server told.
pub fn now(last_seen: Option<SystemTime>) -> Reading {
    read(SystemTime::now(), Path::new(EPOCH_FILE), last_seen)
}

fn read(system: SystemTime, epoch_file: &Path, last_seen: Option<SystemTime>) -> Reading {
    let image = fs::metadata(epoch_file).and_then(|file| file.modified()).ok();
    let others = [(Source::Build, Some(built())), (Source::Image, image), (Source::Server, last_seen)];
    let mut reading = Reading { time: system, source: Source::System, system };
    for (source, time) in others {
        if let Some(time) = time.filter(|time| *time > reading.time) {
            reading = Reading { time, source, ..reading };
        }
    }
    reading
}

/// When this program was built.
pub(crate) fn built() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(env!("ROTA_BUILD_TIME").parse().unwrap_or(0))
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::System => "the system clock",
            Source::Build => "the time rota was built",
            Source::Image => "the time the image was made",
            Source::Server => "the last time the server told",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_1970_is_behind_the_build() {
        let reading = read(UNIX_EPOCH, Path::new("/nonexistent"), None);
        assert_eq!((reading.source, reading.time), (Source::Build, built()));
        assert!(reading.behind().is_some());
    }

    #[test]
    fn the_latest_source_wins() {
        let folder = crate::testing::folder();
        let epoch_file = folder.join("clock-epoch");
        let image = built() + Duration::from_secs(1000);
        fs::File::create(&epoch_file).unwrap().set_modified(image).unwrap();
        let reading = read(UNIX_EPOCH, &epoch_file, None);
        assert_eq!((reading.source, reading.time), (Source::Image, image));
        let server = image + Duration::from_secs(1);
        assert_eq!(read(UNIX_EPOCH, &epoch_file, Some(server)).source, Source::Server);
        let system = server + Duration::from_secs(1);
        let reading = read(system, &epoch_file, Some(server));
        assert_eq!((reading.source, reading.behind()), (Source::System, None));
    }
}
