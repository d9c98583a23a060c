//! Files in the data folder that are neither data base nor artifacts.
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}: {source}", path.display())]
pub struct Error {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    pub fn new(act: &'static str, path: &Path, source: io::Error) -> Self {
        Error { act, path: path.to_owned(), source }
    }
}

/// Makes a folder that only this user can enter, with those above it.
pub fn private_dir(path: &Path) -> Result<(), Error> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::new("make the folder", path, source))
}

/// Writes a file that only this user can read: whole, or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, bytes, 0o600)
}

/// Writes a file that everybody may read: whole, or not at all.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, bytes, 0o644)
}

fn write_with(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let written = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let part = path.with_extension("new");
        let _ = std::fs::remove_file(&part);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    written().map_err(|source| Error::new("write", path, source))
}
