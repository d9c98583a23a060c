//! A slot's boot partition: its files, and the command line that it gives to the kernel.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::slot::Slot;
use crate::sys::disk;

const CMDLINE: &str = "cmdline.txt";

/// Makes the folder `to` hold the files of `from` and no others, but for the command line. Files that are alike stay as they
/// are. What goes, goes first: partitions are small.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(to)? {
        let (entry, source) = entry.map(|entry| (entry.path(), from.join(entry.file_name())))?;
        if is_cmdline(&entry) || (source.exists() && source.is_dir() == entry.is_dir()) {
            continue;
        }
        if entry.is_dir() {
            fs::remove_dir_all(entry)?;
        } else {
            disk::remove(&entry)?;
        }
    }
    for entry in fs::read_dir(from)? {
        let (source, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if source.is_dir() {
            disk::make_folder(&target)?;
            copy(&source, &target)?;
        } else if !is_cmdline(&source) && !same(&source, &target)? {
            disk::copy(&source, &target, 0o644)?;
        }
    }
    Ok(())
}

fn is_cmdline(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == CMDLINE)
}

/// Whether two files have the same content. A target that is not there has not.
fn same(source: &Path, target: &Path) -> io::Result<bool> {
    let Ok(target) = File::open(target) else { return Ok(false) };
    let source = File::open(source)?;
    if source.metadata()?.len() != target.metadata()?.len() {
        return Ok(false);
    }
    let (mut source, mut target) = (io::BufReader::new(source), io::BufReader::new(target));
    let (mut left, mut right) = ([0; 4096], [0; 4096]);
    loop {
        let length = source.read(&mut left)?;
        if length == 0 {
            return Ok(true);
        }
        target.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

/// Makes the command line on a boot partition, after the one in the folder `from`: it names this root, this slot, and
/// whether it is on trial. Says whether it had to be written.
pub(super) fn mark(folder: &Path, from: &Path, root: &Path, slot: Slot, trial: bool) -> io::Result<bool> {
    let new = cmdline(&fs::read_to_string(from.join(CMDLINE))?, root, slot, trial);
    let path = folder.join(CMDLINE);
    let differs = fs::read_to_string(&path).map_or(true, |old| old != new);
    if differs {
        disk::replace(&path, new.as_bytes(), 0o644)?;
    }
    Ok(differs)
}

fn cmdline(old: &str, root: &Path, slot: Slot, trial: bool) -> String {
    let ours = ["root=", "rota.slot=", "rota.trial="];
    let mut words = vec![format!("root={}", root.display())];
    let others = old.split_whitespace().filter(|word| !ours.iter().any(|key| word.starts_with(key)));
    words.extend(others.map(str::to_owned));
    words.push(format!("rota.slot={slot}"));
    if trial {
        words.push("rota.trial=1".to_owned());
    }
    words.join(" ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_patched_and_then_left() {
        let old = "root=/dev/mmcblk0p5 ro rootwait  console=serial0,115200 rota.slot=A rota.trial=1\n";
        let new = cmdline(old, Path::new("/dev/mmcblk0p6"), Slot::B, false);
        assert_eq!(new, "root=/dev/mmcblk0p6 ro rootwait console=serial0,115200 rota.slot=B\n");
        assert_eq!(cmdline(&new, Path::new("/dev/mmcblk0p6"), Slot::B, false), new);
        assert!(cmdline("", Path::new("/dev/x"), Slot::A, true).ends_with(" rota.trial=1\n"));
    }
}
