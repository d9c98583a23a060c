//! Partitions that are mounted only while they are needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{mount, umount, MsFlags};

/// What vfat is told, so that files have the rights that `disk` gives them.
const FAT: &str = "fmask=0133,dmask=0022,quiet";

/// The files of a partition, as long as this lives.
#[derive(Debug)]
pub struct Held {
    folder: PathBuf,
    mounted: bool,
}

/// Mounts the block device `source` at `point`, which is made for it, trying these kinds of file systems in turn.
/// A folder in the place of a device is taken as it is: so tests have partitions.
pub fn hold(source: &Path, point: &Path, kinds: &[&str], writable: bool) -> io::Result<Held> {
    if source.is_dir() {
        return Ok(Held { folder: source.to_owned(), mounted: false });
    }
    fs::create_dir_all(point)?;
    let access = if writable { MsFlags::empty() } else { MsFlags::MS_RDONLY };
    let flags = access | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for kind in kinds {
        let data = (*kind == "vfat").then_some(FAT);
        match mount(Some(source), point, Some(*kind), flags, data) {
            Ok(()) => return Ok(Held { folder: point.to_owned(), mounted: true }),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

impl Held {
    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.mounted {
            if let Err(error) = umount(&self.folder) {
                log::warn!("cannot unmount {}: {error}", self.folder.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_as_it_is_and_what_is_not_there_is_an_error() {
        let folder = crate::testing::folder();
        let held = hold(&folder, &folder.join("point"), &["vfat"], true).unwrap();
        assert_eq!(held.folder(), &*folder);
        assert!(!folder.join("point").exists());
        assert!(hold(&folder.join("absent"), &folder.join("point"), &["vfat"], true).is_err());
    }
}
