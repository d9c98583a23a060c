//! The only ways in which anything durable is written. Each step passes a fault point.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::device;
use super::fault::{self, Change, Kind};
use super::watchdog;

/// Bytes copied at once, and after how many they are synced.
const PIECE: usize = 32 << 10;
const SYNC_EVERY: usize = 8 << 20;
/// How long slow storage may take for all that is in memory.
const SYNC: Duration = Duration::from_secs(600);

/// Opens the file `path` to read it. Whatever else lies there is an error, and keeps nobody waiting.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a FIFO would wait for somebody to write to it.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
    }
}

/// What the file `path` holds, up to `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces (or makes) the file `path` as a whole: write a temporary file beside it, sync, rename, sync the folder.
/// After a power cut there is the old content or the new. `mode` are the permission bits. A folder of that name is moved aside.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_by(path, &mut &bytes[..], bytes.len(), mode)
}

/// Replaces (or makes) the file `path` by a copy of the file `from`, in the same way.
pub fn copy(from: &Path, path: &Path, mode: u32) -> io::Result<()> {
    let mut source = File::open(from)?;
    let length = source.metadata()?.len();
    replace_by(path, &mut source, usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?, mode)
}

/// Replaces (or makes) the file `path` by what `content` holds, `length` bytes, in the same way.
pub fn replace_by(path: &Path, content: &mut dyn Read, length: usize, mode: u32) -> io::Result<()> {
    let temporary = temporary(path)?;
    make_way(path)?;
    make_way(&temporary)?;
    fill(&temporary, content, length, mode).and_then(|()| rename(&temporary, path)).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        error
    })?;
    sync_folder(path)
}

/// Makes everything durable that any program has written.
pub fn sync_all() {
    if !fault::is_simulated() {
        watchdog::alive_for(SYNC);
        nix::unistd::sync();
    }
}

/// Removes the file `path` durably. Absent is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return Ok(());
    }
    fault::point(Kind::Remove, path)?;
    fault::changing(|| Change::Removed {
        path: path.to_owned(),
        old: read(path, u64::MAX).unwrap_or_default(),
    });
    fs::remove_file(path)?;
    sync_folder(path)
}

/// The same with what an unfinished `replace` left beside it.
pub fn erase(path: &Path) -> io::Result<()> {
    remove(&temporary(path)?)?;
    remove(path)
}

/// Removes the folder `path` with all that is in it: durably as a whole first, then piece by piece. Absent is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let doomed = temporary(path)?;
    if doomed.try_exists()? {
        fault::point(Kind::Remove, &doomed)?;
        fs::remove_dir_all(&doomed)?;
    }
    if !path.try_exists()? {
        return Ok(());
    }
    rename(path, &doomed)?;
    sync_folder(path)?;
    fault::point(Kind::Remove, &doomed)?;
    fs::remove_dir_all(&doomed)
}

/// Makes the folder `path` durably; its parent must be there. Present is fine.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fault::point(Kind::Create, path)?;
    fs::create_dir(path)?;
    sync_folder(path)
}

/// Makes `path` a symbolic link to `target`, durably. One that is there already is fine.
pub fn link(target: &Path, path: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|there| there == target) {
        return Ok(());
    }
    fault::point(Kind::Create, path)?;
    fault::changing(|| Change::Appeared { path: path.to_owned() });
    std::os::unix::fs::symlink(target, path)?;
    sync_folder(path)
}

/// Gives the file `from` the name of `path`, in the same folder, durably and over what is there. Needs no space.
pub fn move_over(from: &Path, path: &Path) -> io::Result<()> {
    rename(from, path)?;
    sync_folder(path)
}

/// The temporary name of `replace`: always the same, so that a leftover of a power cut is used up by the next call.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(path.with_file_name(format!(".{}.new", name.to_string_lossy())))
}

/// A folder is not replaced by a rename; and what is no file is not written to, wherever it leads.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".aside");
            fault::point(Kind::Rename, path)?;
            fs::rename(path, aside)
        }
        Ok(found) if !found.is_file() => fs::remove_file(path),
        _ => Ok(()),
    }
}

fn fill(path: &Path, content: &mut dyn Read, length: usize, mode: u32) -> io::Result<()> {
    fault::point(Kind::Create, path)?;
    fault::changing(|| Change::Appeared { path: path.to_owned() });
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    fault::changing(|| Change::Written { path: path.to_owned(), offset: 0, old: Vec::new(), new: length });
    pour(content, &mut file)?;
    fault::point(Kind::Sync, path)?;
    really(|| file.sync_all())?;
    fault::durable(path);
    Ok(())
}

/// Copies, and syncs on the way: what would be left for the end might take slow storage longer than the watchdog waits.
fn pour(content: &mut dyn Read, file: &mut File) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut dirty = 0;
    loop {
        match content.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                file.write_all(&piece[..count])?;
                dirty += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if dirty >= SYNC_EVERY {
            really(|| file.sync_data())?;
            watchdog::alive();
            dirty = 0;
        }
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::point(Kind::Rename, to)?;
    fault::changing(|| Change::Renamed {
        from: from.to_owned(),
        to: to.to_owned(),
        old: read(to, u64::MAX).ok(),
    });
    fs::rename(from, to)
}

fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = match of.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Ok(()),
    };
    fault::point(Kind::SyncFolder, folder)?;
    let opened = File::open(folder)?;
    really(|| opened.sync_all())?;
    fault::folder_durable(folder);
    Ok(())
}

fn really(sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if fault::is_simulated() {
        return Ok(());
    }
    sync()
}

/// An existing file or block device that is written in place and never changes its size.
#[derive(Debug)]
pub struct InPlace {
    file: File,
    path: PathBuf,
    size: u64,
}

impl InPlace {
    /// Opens what is there for reading and writing; never creates.
    pub fn open(path: &Path) -> io::Result<InPlace> {
        Self::from_file(OpenOptions::new().read(true).write(true).open(path)?, path)
    }

    /// Opens a block device for this program alone: the kernel refuses when it is mounted or otherwise in use.
    /// A regular file is simply opened.
    pub fn open_exclusive(path: &Path) -> io::Result<InPlace> {
        let flags = if device::is_block(path)? { nix::libc::O_EXCL } else { 0 };
        Self::from_file(OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?, path)
    }

    fn from_file(file: File, path: &Path) -> io::Result<InPlace> {
        let size = device::size(&file)?;
        Ok(InPlace { file, path: path.to_owned(), size })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, to read from or to ask about.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills `bytes` from `offset`.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes without syncing. Refuses to go beyond the end.
    pub fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).map_or(true, |end| end > self.size) {
            return Err(nix::Error::EFBIG.into());
        }
        fault::point(Kind::Write, &self.path)?;
        fault::changing(|| {
            let mut old = vec![0; bytes.len()];
            let read = self.file.read_exact_at(&mut old, offset);
            debug_assert!(read.is_ok(), "what is inside a file can be read");
            Change::Written { path: self.path.clone(), offset, old, new: bytes.len() }
        });
        self.file.write_all_at(bytes, offset)
    }

    /// Makes everything written durable.
    pub fn sync(&self) -> io::Result<()> {
        fault::point(Kind::Sync, &self.path)?;
        really(|| self.file.sync_data())?;
        fault::durable(&self.path);
        Ok(())
    }

    /// Writes and syncs: durable when it returns.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(offset, bytes)?;
        self.sync()
    }
}

#[cfg(test)]
#[path = "disk/tests.rs"]
mod tests;
