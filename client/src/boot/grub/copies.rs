//! The two copies of GRUB's boot records, in the layout of grub-mender-grubenv: `mender_grubenv1` and `mender_grubenv2`,
//! each with `env`, `lock` and `lock.sha256sum`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::block::{self, Block};
use crate::sys::disk::{self, InPlace};

/// What the records say, in the boot loader's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// `mender_boot_part`: the partition to boot, the one on trial during a trial.
    pub part: u32,
    /// `upgrade_available`: a trial is armed or running.
    pub trial: bool,
    /// `bootcount`: the trial was booted.
    pub booted: bool,
}

impl Records {
    /// Reads a block; `None` when a value is missing or makes no sense for these partitions.
    pub fn read(block: &Block, parts: [u32; 2]) -> Option<Records> {
        let flag = |name| match block.get(name)?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        let part = block.get("mender_boot_part")?;
        let part = parts.into_iter().find(|number| number.to_string() == part)?;
        Some(Records { part, trial: flag("upgrade_available")?, booted: flag("bootcount")? })
    }

    /// The block with these records; its other variables stay. `None` when they do not fit.
    pub fn write(&self, block: &Block) -> Option<Block> {
        let digit = |flag| if flag { "1" } else { "0" };
        let block = block
            .with("bootcount", digit(self.booted))?
            .with("mender_boot_part", &self.part.to_string())?
            .with("upgrade_available", digit(self.trial))?;
        // Mender's update module leaves it here; GRUB does not use it, but it must not lie.
        match block.get("mender_boot_part_hex") {
            Some(_) => block.with("mender_boot_part_hex", &format!("{:x}", self.part)),
            None => Some(block),
        }
    }
}

/// Both copies as they are.
#[derive(Debug)]
pub struct Copies {
    /// Copy 1 and copy 2.
    pub copies: [Content; 2],
    /// Which of them counts, as the boot script decides it: copy 1, unless it is being written and copy 2 is not, or it makes
    /// no sense and copy 2 does.
    pub counts: usize,
    /// What that one says; `None` when neither makes sense.
    pub records: Option<Records>,
}

/// One copy as it is.
#[derive(Debug)]
pub struct Content {
    env: Option<Block>,
    lock: Option<Block>,
    sum: Vec<u8>,
}

impl Content {
    fn read(folder: &Path) -> io::Result<Content> {
        let sum = read_if_there(&folder.join("lock.sha256sum"))?.unwrap_or_default();
        Ok(Content { env: read_block(&folder.join("env"))?, lock: read_block(&folder.join("lock"))?, sum })
    }

    /// What is wrong with it by itself.
    pub fn fault(&self) -> Option<&'static str> {
        match (&self.env, &self.lock) {
            (None, _) => Some("its env is missing or no environment block of 1024 bytes"),
            (_, None) => Some("its lock is missing or no environment block of 1024 bytes"),
            _ if !self.is_unlocked() => Some("it was being written when the power was cut"),
            _ if !self.sum_holds() => Some("lock.sha256sum is not the sum of its lock"),
            _ => None,
        }
    }

    /// Whether it is not being written.
    fn is_unlocked(&self) -> bool {
        self.lock.as_ref().and_then(|lock| lock.get("editing")).as_deref() == Some("0")
    }

    /// Whether grub-mender-grubenv's tools, too, would take it for whole.
    fn sum_holds(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| self.sum.get(..64) == Some(&sum_file(lock)[..64]))
    }
}

impl Copies {
    /// Reads both copies below `folder`.
    pub fn read(folder: &Path, parts: [u32; 2]) -> io::Result<Copies> {
        let copies = [Content::read(&path(folder, 0))?, Content::read(&path(folder, 1))?];
        let records = |at: usize| copies[at].env.as_ref().and_then(|env| Records::read(env, parts));
        let first = usize::from(!copies[0].is_unlocked() && copies[1].is_unlocked());
        let counts = if records(first).is_some() { first } else { 1 - first };
        let records = records(counts);
        Ok(Copies { copies, counts, records })
    }

    /// Whether both are whole and equal.
    pub fn agree(&self) -> bool {
        let [one, two] = &self.copies;
        one.env == two.env && self.copies.iter().all(|copy| copy.is_unlocked() && copy.sum_holds())
    }

    /// The block to change: that of the copy that counts, else any that is one, else an empty one.
    pub fn base(&self) -> Block {
        let [counts, spare] = [&self.copies[self.counts], &self.copies[1 - self.counts]];
        counts.env.clone().or_else(|| spare.env.clone()).unwrap_or_else(Block::new)
    }

    /// Writes `block` to both copies, first to the one that does not count: one whole copy counts at every instant.
    pub fn write(&self, folder: &Path, block: &Block) -> io::Result<()> {
        for at in [1 - self.counts, self.counts] {
            write_copy(&path(folder, at), block)?;
        }
        Ok(())
    }
}

fn path(folder: &Path, at: usize) -> PathBuf {
    folder.join(format!("mender_grubenv{}", at + 1))
}

/// Lock, write, unlock; each durable before the next.
fn write_copy(folder: &Path, env: &Block) -> io::Result<()> {
    disk::make_folder(folder)?;
    let path = |name: &str| folder.join(name);
    let lock = read_block(&path("lock"))?.unwrap_or_else(Block::new);
    let (Some(editing), Some(done)) = (lock.with("editing", "1"), lock.with("editing", "0")) else {
        return Err(io::Error::other("the lock is full of other variables"));
    };
    write_block(&path("lock"), &editing)?;
    write_block(&path("env"), env)?;
    if read_if_there(&path("lock.sha256sum"))?.as_deref().and_then(|sum| sum.get(..64))
        != sum_file(&done).get(..64)
    {
        disk::replace(&path("lock.sha256sum"), &sum_file(&done), 0o644)?;
    }
    write_block(&path("lock"), &done)
}

/// Writes in place: GRUB knows the file by its disk blocks. One that is missing or has another size is made anew.
fn write_block(path: &Path, block: &Block) -> io::Result<()> {
    match InPlace::open(path) {
        Ok(file) if file.size() == block::SIZE as u64 => file.write_at(0, block.bytes()),
        _ => disk::replace(path, block.bytes(), 0o644),
    }
}

fn read_block(path: &Path) -> io::Result<Option<Block>> {
    Ok(read_if_there(path)?.and_then(Block::parse))
}

/// What cannot be read because of its place or its medium counts as lost; what this user may not read is an error.
fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(None),
    }
}

/// What `sha256sum lock` prints.
fn sum_file(lock: &Block) -> Vec<u8> {
    let sum: String = Sha256::digest(lock.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{sum}  lock\n").into_bytes()
}
