//! The floor under which no release is installed any more: the fact `rota.epoch`, a number that a signed artifact provides.
//!
//! The device keeps the highest epoch that it has committed, in a pair of records of its own: a client that does not know of
//! epochs leaves them alone. The image of a slot holds its own least epoch, in `/usr/lib/rota/epoch`, so that losing the data
//! partition does not lower the floor. A root file system that names no epoch counts as 0; other payloads are not concerned
//! then. Names of releases are never compared.

use std::fs;
use std::path::Path;

use rota_artifact::Header;

use crate::config::Paths;
use crate::record::{self, Pair};

/// The name of the fact.
pub const KEY: &str = "rota.epoch";
/// Bytes of each of the two records.
const SIZE: usize = 512;
const NAME: &str = "epoch";

/// The floor, and where it is kept.
pub struct Epoch {
    pair: Pair,
    committed: u64,
}

impl Epoch {
    /// Opens the record.
    pub fn open(paths: &Paths) -> Epoch {
        let (pair, content) = Pair::open(&paths.data, NAME, SIZE);
        Epoch { pair, committed: content.as_deref().and_then(read).unwrap_or(0) }
    }

    /// No release with a lower epoch is installed. `paths` leads to what the running image holds.
    pub fn floor(&self, paths: &Paths) -> u64 {
        self.committed.max(of_image(paths).unwrap_or(0))
    }

    /// The epoch of a signed artifact, refused when it is no number or below the floor; `None` when the artifact has to do with
    /// none.
    pub fn check(&self, header: &Header, paths: &Paths) -> Result<Option<u64>, String> {
        let floor = self.floor(paths);
        let (epoch, whence) = match of_artifact(header)? {
            Some(epoch) => (epoch, format!("has epoch {epoch} ({KEY})")),
            None if is_system(header) => (0, format!("names no epoch ({KEY}), which counts as 0")),
            None => return Ok(None),
        };
        match epoch < floor {
            true => Err(format!(
                "the artifact {whence}; this device has committed epoch {floor} and installs no earlier one"
            )),
            false => Ok(Some(epoch)),
        }
    }

    /// What was committed had this epoch: the floor rises to it, or to what the running image holds, and never falls.
    pub fn committed(&mut self, epoch: Option<u64>, paths: &Paths) {
        let epoch = epoch.unwrap_or(0).max(of_image(paths).unwrap_or(0));
        if epoch <= self.committed {
            return;
        }
        match self.pair.write(epoch.to_string().as_bytes()) {
            Ok(()) => self.committed = epoch,
            Err(error) => log::error!("{error}; the floor for releases stays at epoch {}", self.committed),
        }
    }
}

/// The floor, as `status` tells it; changes nothing on the disk.
pub fn peek(paths: &Paths) -> u64 {
    let committed = record::newest_content(&paths.data, NAME).as_deref().and_then(read).unwrap_or(0);
    committed.max(of_image(paths).unwrap_or(0))
}

/// The least epoch that the running image holds; 0 when it holds none.
pub fn of_image(paths: &Paths) -> Result<u64, String> {
    let file = paths.lib.join("epoch");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(fault(&file, &error.to_string())),
    };
    number(text.trim())
        .ok_or_else(|| fault(&file, &format!("{:.30}", text.trim().escape_default().to_string())))
}

fn fault(file: &Path, found: &str) -> String {
    format!("{}: expected a number, the least epoch of this image, found {found}", file.display())
}

/// The epoch that an artifact provides.
fn of_artifact(header: &Header) -> Result<Option<u64>, String> {
    let mut epoch = None;
    for value in header.payloads.iter().filter_map(|payload| payload.provides.get(KEY)) {
        let found = number(value).ok_or_else(|| {
            format!(
                "the artifact's {KEY} is \"{:.30}\", expected a number from 0 to {}",
                value.escape_default().to_string(),
                u64::MAX
            )
        })?;
        epoch = epoch.max(Some(found));
    }
    Ok(epoch)
}

fn is_system(header: &Header) -> bool {
    header.payloads.iter().any(|payload| payload.payload_type.as_deref() == Some("rootfs-image"))
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn read(content: &[u8]) -> Option<u64> {
    number(std::str::from_utf8(content).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rota_artifact::{Depends, PayloadHeader};

    fn header(payload_type: Option<&str>, epoch: Option<&str>) -> Header {
        let provides = epoch.map(|epoch| (KEY.to_owned(), epoch.to_owned())).into_iter().collect();
        let payload = PayloadHeader {
            payload_type: payload_type.map(str::to_owned),
            provides,
            ..PayloadHeader::default()
        };
        Header {
            version: 3,
            artifact_name: "rel".into(),
            artifact_group: None,
            depends: Depends::default(),
            scripts: Vec::new(),
            payloads: vec![payload],
            augmented: false,
        }
    }

    fn paths(folder: &Path) -> Paths {
        Paths { data: folder.to_owned(), lib: folder.to_owned(), ..Paths::default() }
    }

    #[test]
    fn the_floor_rises_and_never_falls() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        let mut epoch = Epoch::open(&paths);
        let of = |epoch: &Epoch, text: &str| epoch.check(&header(Some("rootfs-image"), Some(text)), &paths);
        assert_eq!((epoch.floor(&paths), of(&epoch, "0"), of(&epoch, "7")), (0, Ok(Some(0)), Ok(Some(7))));
        epoch.committed(Some(5), &paths);
        epoch.committed(Some(3), &paths);
        epoch.committed(None, &paths);
        let epoch = Epoch::open(&paths);
        assert_eq!((epoch.floor(&paths), peek(&paths)), (5, 5));
        assert_eq!(of(&epoch, "5"), Ok(Some(5)));
        let refused = of(&epoch, "4").unwrap_err();
        assert_eq!(refused, "the artifact has epoch 4 (rota.epoch); this device has committed epoch 5 and installs no earlier one");
        let silent = epoch.check(&header(Some("rootfs-image"), None), &paths);
        assert!(silent.unwrap_err().contains("counts as 0"));
        assert_eq!(epoch.check(&header(Some("single-file"), None), &paths), Ok(None));
        assert!(epoch.check(&header(Some("single-file"), Some("4")), &paths).is_err());
        assert!(epoch.check(&header(None, Some("4")), &paths).is_err());
    }

    #[test]
    fn what_the_image_holds_outlives_the_data_partition() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        fs::write(folder.join("epoch"), "4\n").unwrap();
        for garbage in ["", "garbage"] {
            fs::write(folder.join("epoch.0"), garbage).unwrap();
            assert_eq!((Epoch::open(&paths).floor(&paths), peek(&paths)), (4, 4));
        }
        let mut epoch = Epoch::open(&paths);
        epoch.committed(None, &paths);
        fs::remove_file(folder.join("epoch")).unwrap();
        assert_eq!(Epoch::open(&paths).floor(&paths), 4);
        fs::write(folder.join("epoch"), "four").unwrap();
        assert_eq!(epoch.floor(&paths), 4);
        assert!(of_image(&paths)
            .unwrap_err()
            .ends_with("expected a number, the least epoch of this image, found four"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        let epoch = Epoch::open(&paths);
        for garbage in ["", "-1", "+1", "1.0", "five", "18446744073709551616", "1 "] {
            let refused = epoch.check(&header(Some("single-file"), Some(garbage)), &paths);
            assert!(refused.unwrap_err().contains("expected a number from 0"), "{garbage}");
        }
    }
}
