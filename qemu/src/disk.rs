//! Disks as plain files: partition tables, file systems and partitions, without root and without loop devices.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::{Context, Result};
use crate::run;

pub const MIB: u64 = 1024 * 1024;

/// A partition: its place in the table is its number.
pub struct Partition {
    pub name: &'static str,
    /// GPT type as `sgdisk` writes it.
    pub kind: &'static str,
    pub mib: u64,
}

/// The partitions of a disk, one after the other from 1 MiB on.
pub struct Layout(pub &'static [Partition]);

impl Layout {
    /// Where a partition starts and how long it is, in bytes.
    pub fn span(&self, number: usize) -> (u64, u64) {
        let before: u64 = self.0[..number - 1].iter().map(|p| p.mib).sum();
        ((1 + before) * MIB, self.0[number - 1].mib * MIB)
    }

    /// Makes the empty disk. The last MiB is the second partition table's.
    pub fn create(&self, disk: &Path) -> Result<()> {
        let size = (2 + self.0.iter().map(|p| p.mib).sum::<u64>()) * MIB;
        File::create(disk).and_then(|file| file.set_len(size)).context("make", disk.display())?;
        let mut sgdisk = run::admin("sgdisk");
        for (n, partition) in (1..).zip(self.0) {
            sgdisk.arg(format!("--new={n}:0:+{}M", partition.mib));
            sgdisk.arg(format!("--typecode={n}:{}", partition.kind));
            sgdisk.arg(format!("--change-name={n}:{}", partition.name));
        }
        run::output(sgdisk.arg(disk)).map(drop)
    }

    /// Puts an image into a partition.
    pub fn fill(&self, disk: &Path, number: usize, image: &Path) -> Result<()> {
        let at = self.span(number).0 / MIB;
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", image.display())).arg(format!("of={}", disk.display()));
        run::output(dd.args(["bs=1M", "conv=sparse,notrunc", "status=none", &format!("seek={at}")])).map(drop)
    }

    /// Puts `bytes` at the start of a partition, zeros and all: [`Layout::fill`] leaves out zeros, and is for new disks.
    pub fn put(&self, disk: &Path, number: usize, bytes: &[u8]) -> Result<()> {
        let file = File::options().write(true).open(disk).context("open", disk.display())?;
        file.write_all_at(bytes, self.span(number).0).context("write", disk.display())
    }

    /// What is in a partition.
    pub fn take(&self, disk: &Path, number: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(disk, number, u64::MAX)?.read_to_end(&mut bytes).context("read", disk.display())?;
        Ok(bytes)
    }

    /// The SHA-256 of a partition's first `length` bytes, in hex.
    pub fn digest(&self, disk: &Path, number: usize, length: u64) -> Result<String> {
        digest(self.open(disk, number, length)?).context("read", disk.display())
    }

    /// The content of a file in the FAT file system of a partition.
    pub fn read_file(&self, disk: &Path, number: usize, path: &str) -> Result<Vec<u8>> {
        let copy = disk.with_extension("file");
        run::output(self.mcopy(disk, number).arg(format!("::/{path}")).arg(&copy))?;
        fs::read(&copy).context("read", copy.display())
    }

    /// Writes a file in the FAT file system of a partition of a machine that is off.
    pub fn write_file(&self, disk: &Path, number: usize, path: &str, bytes: &[u8]) -> Result<()> {
        let copy = disk.with_extension("file");
        fs::write(&copy, bytes).context("write", copy.display())?;
        run::output(self.mcopy(disk, number).arg(&copy).arg(format!("::/{path}"))).map(drop)
    }

    fn mcopy(&self, disk: &Path, number: usize) -> Command {
        let mut mcopy = Command::new("mcopy");
        mcopy.args(["-o", "-i", &format!("{}@@{}", disk.display(), self.span(number).0)]);
        mcopy
    }

    fn open(&self, disk: &Path, number: usize, limit: u64) -> Result<impl Read> {
        let (start, length) = self.span(number);
        let mut file = File::open(disk).context("open", disk.display())?;
        file.seek(SeekFrom::Start(start)).context("read", disk.display())?;
        Ok(file.take(length.min(limit)))
    }
}

/// The SHA-256 of all that is read, in hex.
pub fn digest(mut from: impl Read) -> std::io::Result<String> {
    let mut sum = Sha256::new();
    std::io::copy(&mut from, &mut sum)?;
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An ext4 file system of the files of a folder, all owned by root, with the console that the kernel opens before
/// anything is mounted. Slots are never written to, so there is no journal.
pub fn slot_file_system(tree: &Path, image: &Path, mib: u64) -> Result<()> {
    let script = r#"set -e
        rm -f "$1/dev/console" "$1/dev/null"
        mknod -m 600 "$1/dev/console" c 5 1
        mknod -m 666 "$1/dev/null" c 1 3
        PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -m 0 -O ^has_journal -d "$1" "$2" "$3M""#;
    let _ = fs::remove_file(image);
    let mut fakeroot = Command::new("fakeroot");
    fakeroot.args(["sh", "-c", script, "sh"]).arg(tree).arg(image).arg(mib.to_string());
    run::output(&mut fakeroot).map(drop)
}

/// An empty ext4 file system.
pub fn data_file_system(image: &Path, mib: u64) -> Result<()> {
    let _ = fs::remove_file(image);
    run::output(run::admin("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(image).arg(format!("{mib}M")))
        .map(drop)
}

/// A FAT file system with the given folders and files: what is copied, and to where, as in `EFI/BOOT/BOOTX64.EFI`.
pub fn fat_file_system(
    image: &Path,
    mib: u64,
    folders: &[String],
    files: &[(PathBuf, String)],
) -> Result<()> {
    File::create(image).and_then(|file| file.set_len(mib * MIB)).context("make", image.display())?;
    run::output(run::admin("mkfs.vfat").args(["-F", "16", "-n", "ESP", "-i", "0A1B2C3D"]).arg(image))?;
    for path in folders {
        run::output(Command::new("mmd").arg("-i").arg(image).arg(format!("::/{path}")))?;
    }
    for (from, path) in files {
        run::output(Command::new("mcopy").arg("-i").arg(image).arg(from).arg(format!("::/{path}")))?;
    }
    Ok(())
}
