//! What is mounted: `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

use super::device::Number;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The device the file system says it is on; major 0 when it is on none, or does not say.
    pub device: Number,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type of the file system, for example `ext4` or `overlay`.
    pub kind: String,
    /// What was mounted: a device, or a word without meaning.
    pub source: String,
    /// Options of the mount (`ro`, `nosuid`, …).
    pub options: String,
    /// Options of the file system (`lowerdir=…`), escaped as the kernel does.
    pub super_options: String,
}

impl Mount {
    /// Whether it can be written to.
    pub fn is_writable(&self) -> bool {
        let read_only = |options: &str| options.split(',').any(|option| option == "ro");
        !read_only(&self.options) && !read_only(&self.super_options)
    }

    /// The folders below an overlay, topmost first; none for other file systems.
    pub fn lower_folders(&self) -> Vec<PathBuf> {
        if self.kind != "overlay" {
            return Vec::new();
        }
        let mut folders = Vec::new();
        for option in self.super_options.split(',').map(octal) {
            if let Some(list) = option.strip_prefix("lowerdir=") {
                folders.extend(split_colons(list).into_iter().map(|path| PathBuf::from(unescape(&path))));
            } else if let Some(path) = option.strip_prefix("lowerdir+=") {
                folders.push(PathBuf::from(unescape(path)));
            }
        }
        folders.retain(|folder| !folder.as_os_str().is_empty());
        folders
    }
}

/// Reads the text of a mountinfo file; lines that make no sense are skipped.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device = Number::parse(left.next()?)?;
    let point = left.nth(1)?;
    let options = left.next()?;
    let mut right = right.splitn(3, ' ');
    Some(Mount {
        device,
        point: PathBuf::from(octal(point)),
        options: options.to_owned(),
        kind: right.next()?.to_owned(),
        source: octal(right.next()?),
        super_options: right.next().unwrap_or_default().to_owned(),
    })
}

/// The mount that `path` lies on. Of several at one place the last one counts: it hides the others.
pub fn holding<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    let depth = |mount: &&Mount| mount.point.components().count();
    mounts.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(depth)
}

/// Bytes that this program may still write to the file system that `path` lies on.
pub fn free(path: &Path) -> std::io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(path)?;
    // Their types differ between machines.
    #[allow(clippy::unnecessary_cast)]
    Ok((found.blocks_available() as u64).saturating_mul(found.fragment_size() as u64))
}

/// Undoes the kernel's `\040` for blanks and the like.
fn octal(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Splits a list of lower folders, in which a colon of a name is `\\:`.
fn split_colons(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        if character == ':' && !escaped {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(character);
        }
        escaped = character == '\\' && !escaped;
    }
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_with_optional_fields_and_octal_blanks() {
        let mounts = parse(
            "22 1 259:2 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw\n\
             nonsense\n\
             30 22 0:26 / /media/a\\040b ro - vfat /dev/sda\\0401 rw,utf8\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].device, Number { major: 259, minor: 2 });
        assert_eq!((mounts[0].kind.as_str(), mounts[0].source.as_str()), ("ext4", "/dev/root"));
        assert!(mounts[0].is_writable());
        assert_eq!(mounts[1].point, Path::new("/media/a b"));
        assert!(!mounts[1].is_writable());
    }

    #[test]
    fn the_longest_and_last_mount_holds_a_path() {
        let mounts = parse(
            "1 0 0:1 / / rw - rootfs none rw\n2 1 8:2 / / ro - ext4 /dev/root ro\n3 2 8:4 / /data rw - ext4 x rw\n",
        );
        assert_eq!(holding(&mounts, Path::new("/")).unwrap().device.minor, 2);
        assert_eq!(holding(&mounts, Path::new("/data/x")).unwrap().device.minor, 4);
        assert_eq!(holding(&mounts, Path::new("/database")).unwrap().device.minor, 2);
    }

    #[test]
    fn lower_folders_of_an_overlay() {
        let line =
            "5 1 0:30 / / rw - overlay overlay rw,lowerdir=/ro:/with\\134:colon,upperdir=/rw/u,workdir=/rw/w";
        let mount = parse(line).remove(0);
        assert_eq!(mount.lower_folders(), [Path::new("/ro"), Path::new("/with:colon")]);
        let line = "5 1 0:30 / / rw - overlay overlay rw,lowerdir+=/one,lowerdir+=/two";
        assert_eq!(parse(line).remove(0).lower_folders(), [Path::new("/one"), Path::new("/two")]);
    }
}
