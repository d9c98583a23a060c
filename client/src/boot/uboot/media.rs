//! Where one copy of the environment is kept: a file, a block device, flash (MTD), or a UBI volume.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::config::Line;
use super::env::{Scheme, FLAG_AT};
use crate::sys::disk::{self, InPlace};
use crate::sys::fault::{self, Kind};
use crate::sys::{device, mtd};

/// Bytes of an environment that are believed; no board has more.
const LARGEST: u64 = 4 << 20;

/// The place of one copy.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    offset: u64,
    size: usize,
    medium: Medium,
}

#[derive(Debug, Clone, Copy)]
enum Medium {
    /// A regular file, which may be absent.
    File,
    Block,
    Mtd {
        kind: u8,
        sector: u64,
        sectors: u64,
    },
    Ubi,
}

impl Place {
    /// Looks at what a line of the configuration names.
    pub fn find(line: &Line) -> io::Result<Place> {
        let size = usize::try_from(line.size).ok().filter(|_| line.size <= LARGEST);
        let size = size.ok_or_else(|| invalid(format!("size {:#x} is more than {LARGEST:#x}", line.size)))?;
        let path = resolve(&line.device)?;
        let (medium, end) = look_at(&path, line)?;
        let offset = match u64::try_from(line.offset) {
            Ok(offset) => offset,
            Err(_) => end.checked_sub(line.offset.unsigned_abs()).ok_or_else(|| {
                invalid(format!("offset {:#x} lies before the start ({end} bytes)", line.offset))
            })?,
        };
        Ok(Place { path, offset, size, medium })
    }

    /// The device or file, and where in it.
    pub fn name(&self) -> String {
        format!("{} at {:#x}", self.path.display(), self.offset)
    }

    /// Bytes of the environment.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a write to one place changes the other: they overlap, or have an erase block in common.
    pub fn overlaps(&self, other: &Place) -> bool {
        let span = |place: &Place| {
            let sector = match place.medium {
                Medium::Mtd { sector, .. } => sector.max(1),
                _ => 1,
            };
            let end = place.offset.saturating_add(place.size as u64);
            (place.offset / sector, end.div_ceil(sector))
        };
        let ((start, end), (other_start, other_end)) = (span(self), span(other));
        self.path == other.path && start < other_end && other_start < end
    }

    /// Whether an environment was here, or nothing: what was one and is torn still names variables, and what is blank is all zeros or
    /// all ones. A UBI volume, or a file of its own, is there for nothing else.
    pub fn may_be_an_environment(&self) -> bool {
        match self.medium {
            Medium::Ubi => return true,
            Medium::File if self.whole_file() => return true,
            _ => {}
        }
        let Ok(Some(image)) = self.read() else { return false };
        let names = |name: &[u8]| image.windows(name.len()).any(|bytes| bytes == name);
        let is_filled = |with: u8| image.iter().all(|byte| *byte == with);
        is_filled(0) || is_filled(0xff) || names(b"\0bootcmd=") || names(b"\0mender_boot_part=")
    }

    /// How the flag of a copy in this place is used.
    pub fn scheme(&self) -> Scheme {
        match self.medium {
            Medium::Mtd { kind: mtd::NOR | mtd::DATAFLASH, .. } => Scheme::Boolean,
            _ => Scheme::Counter,
        }
    }

    /// A regular file that is not there, in a folder of the root file system: what should hold it is not mounted.
    pub fn is_unmounted(&self) -> bool {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let number = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        matches!(self.medium, Medium::File) && !self.path.exists() && number(folder) == number(Path::new("/"))
    }

    /// Reads the image. `None`: there is none, or not a whole one.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(self.medium, Medium::File) => {
                return Ok(None)
            }
            opened => opened?,
        };
        let mut image = vec![0; self.size];
        let read = match self.medium {
            Medium::Mtd { .. } => self.read_flash(&file, &mut image),
            _ => file.read_exact_at(&mut image, self.offset),
        };
        match read {
            Ok(()) => Ok(Some(image)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            // A UBI volume whose update was interrupted cannot be read at all.
            Err(error) if matches!(self.medium, Medium::Ubi) && is_bad_descriptor(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the image, durably. `alone`: there is no other copy to fall back on.
    pub fn write(&self, image: &[u8], alone: bool) -> io::Result<()> {
        match self.medium {
            Medium::File if self.whole_file() && (alone || self.is_short()) => {
                disk::replace(&self.path, image, 0o600)
            }
            Medium::File | Medium::Block => {
                let _writable = Writable::make(&self.path)?;
                InPlace::open(&self.path)?.write_at(self.offset, image)
            }
            Medium::Mtd { .. } => {
                let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
                fault::point(Kind::Write, &self.path)?;
                self.write_flash(&file, image)
            }
            Medium::Ubi => {
                let mut file = OpenOptions::new().read(true).write(true).open(&self.path)?;
                fault::point(Kind::Write, &self.path)?;
                mtd::update_volume(&file, image.len() as u64)?;
                file.write_all(image)
            }
        }
    }

    /// Whether it may be written; opens it, and writes nothing.
    pub fn check_writable(&self) -> io::Result<()> {
        let _writable = Writable::make(&self.path)?;
        match OpenOptions::new().write(true).open(&self.path) {
            // A file that is missing is made when it is written.
            Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(self.medium, Medium::File) => {
                Ok(())
            }
            opened => opened.map(drop),
        }
    }

    /// Marks the copy here as the older one, where that is done by clearing its flag.
    pub fn mark_obsolete(&self) -> io::Result<()> {
        let Medium::Mtd { sector, .. } = self.medium else { return Ok(()) };
        if self.scheme() != Scheme::Boolean {
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        fault::point(Kind::Write, &self.path)?;
        // The whole word: the kernel fills up what is shorter than the bus with ones. Flash leaves bits alone that are written as
        // ones, but QEMU's takes them over, and the copy would be lost.
        let mut word = [0; 8];
        file.read_exact_at(&mut word, self.offset)?;
        word[FLAG_AT as usize] = 0;
        mtd::unlocked(&file, self.offset, sector, || file.write_all_at(&word, self.offset))
    }

    /// Whether the file is nothing but this copy.
    fn whole_file(&self) -> bool {
        self.offset == 0 && fs::metadata(&self.path).map_or(true, |file| file.len() <= self.size as u64)
    }

    fn is_short(&self) -> bool {
        fs::metadata(&self.path).map_or(true, |file| file.len() < self.size as u64)
    }

    fn read_flash(&self, file: &File, image: &mut [u8]) -> io::Result<()> {
        let mut rest = image;
        for block in self.blocks(file)? {
            let (start, sector) = block?;
            let (chunk, more) = rest.split_at_mut(rest.len().min(sector as usize));
            file.read_exact_at(chunk, start)?;
            rest = more;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(invalid("too few good blocks".to_owned()))
    }

    /// Erases and writes block by block; what a block holds behind the image is kept.
    fn write_flash(&self, file: &File, image: &[u8]) -> io::Result<()> {
        let mut rest = image;
        for block in self.blocks(file)? {
            let (start, sector) = block?;
            let (chunk, more) = rest.split_at(rest.len().min(sector as usize));
            let mut block = vec![0; sector as usize];
            if chunk.len() < block.len() {
                file.read_exact_at(&mut block, start)?;
            }
            block[..chunk.len()].copy_from_slice(chunk);
            mtd::unlocked(file, start, sector, || {
                if !matches!(self.medium, Medium::Mtd { kind: mtd::DATAFLASH, .. }) {
                    mtd::erase(file, start, sector)?;
                }
                file.write_all_at(&block, start)
            })?;
            rest = more;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(invalid("too few good blocks".to_owned()))
    }

    /// Start and length of the usable erase blocks, bad ones of NAND left out.
    fn blocks<'a>(&self, file: &'a File) -> io::Result<impl Iterator<Item = io::Result<(u64, u64)>> + 'a> {
        let Medium::Mtd { kind, sector, sectors } = self.medium else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let first = self.offset;
        let usable = move |start: &u64| match kind {
            mtd::NAND => mtd::is_bad(file, *start).map(|bad| !bad),
            _ => Ok(true),
        };
        Ok((0..sectors).map(move |number| first + number * sector).filter_map(move |start| {
            match usable(&start) {
                Ok(true) => Some(Ok((start, sector))),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        }))
    }
}

/// What `path` is, and how many bytes it has (0 when nobody knows).
fn look_at(path: &Path, line: &Line) -> io::Result<(Medium, u64)> {
    let file = match File::open(path) {
        // An environment file that got lost is made anew; a device node is not.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.starts_with("/dev") => {
            return Ok((Medium::File, 0))
        }
        opened => opened?,
    };
    let kind = file.metadata()?.file_type();
    if kind.is_char_device() && path.to_string_lossy().starts_with("/dev/ubi") {
        return Ok((Medium::Ubi, 0));
    }
    if !kind.is_char_device() {
        let medium = if kind.is_block_device() { Medium::Block } else { Medium::File };
        return Ok((medium, device::size(&file)?));
    }
    let info = mtd::info(&file)?;
    if ![mtd::NOR, mtd::NAND, mtd::DATAFLASH].contains(&info.kind) {
        return Err(invalid(format!("flash of kind {} cannot hold an environment", info.kind)));
    }
    let sector = match (line.sector, info.erase_size) {
        (0, 0) => line.size,
        (0, erase_size) => u64::from(erase_size),
        (sector, _) => sector,
    };
    let sectors = if line.sectors == 0 { line.size.div_ceil(sector) } else { line.sectors };
    if sector > LARGEST || sectors > LARGEST || line.size > sector * sectors {
        return Err(invalid(format!(
            "{:#x} bytes do not fit into {sectors} blocks of {sector:#x}",
            line.size
        )));
    }
    Ok((Medium::Mtd { kind: info.kind, sector, sectors }, u64::from(info.size)))
}

/// The node of a device: `/dev/ubi0:name` and `/dev/mtd0:name` are the UBI volume of that name.
fn resolve(device: &str) -> io::Result<PathBuf> {
    let Some((node, name)) = device.split_once(':').filter(|(node, _)| node.starts_with("/dev/")) else {
        return Ok(fs::canonicalize(device).unwrap_or_else(|_| device.into()));
    };
    let node = fs::canonicalize(node)?;
    let node = node.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let class = Path::new("/sys/class/ubi");
    let says = |path: PathBuf, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    for entry in fs::read_dir(class)? {
        let volume = entry?.file_name().to_string_lossy().into_owned();
        let Some((ubi, _)) = volume.split_once('_') else { continue };
        let is_of_node = match node.strip_prefix("mtd") {
            Some(number) => says(class.join(ubi).join("mtd_num"), number),
            None => ubi == node,
        };
        if is_of_node && says(class.join(&volume).join("name"), name) {
            return Ok(Path::new("/dev").join(volume));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no attached UBI device has a volume of that name"))
}

/// Boot partitions of an eMMC are write-protected by the kernel; this takes it off and puts it back.
struct Writable(Option<PathBuf>);

impl Writable {
    fn make(path: &Path) -> io::Result<Writable> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !(path.starts_with("/dev") && name.starts_with("mmcblk") && name.contains("boot")) {
            return Ok(Writable(None));
        }
        let switch = Path::new("/sys/class/block").join(&*name).join("force_ro");
        if !fs::read(&switch).is_ok_and(|text| text.starts_with(b"1")) {
            return Ok(Writable(None));
        }
        fs::write(&switch, "0")?;
        Ok(Writable(Some(switch)))
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        if let Some(switch) = &self.0 {
            let _ = fs::write(switch, "1");
        }
    }
}

fn is_bad_descriptor(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EBADF)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
