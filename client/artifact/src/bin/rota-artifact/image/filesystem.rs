//! A file system in an image: ext2/3/4 by debugfs, FAT by mtools.
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::fail::{During, Fail, ARGUMENTS, SYSTEM};

/// A file system, and where it begins in its image.
pub struct FileSystem {
    image: PathBuf,
    offset: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ext,
    Fat,
}

/// What a path of the file system is.
pub struct Found {
    pub folder: bool,
    /// Only ext has what follows.
    ext: Option<Attributes>,
}

/// Permission bits and owner.
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    link: bool,
}

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

impl FileSystem {
    /// The file system at `offset`; `None` when there is none that can be changed.
    pub fn detect(image: &Path, offset: u64) -> io::Result<Option<Self>> {
        let disk = File::open(image)?;
        let mut magic = [0; 2];
        let mut boot = [0; 512];
        let kind = if disk.read_exact_at(&mut magic, offset + 1080).is_ok() && magic == [0x53, 0xef] {
            Kind::Ext
        } else if disk.read_exact_at(&mut boot, offset).is_ok()
            && (&boot[54..57] == b"FAT" || &boot[82..85] == b"FAT")
        {
            Kind::Fat
        } else {
            return Ok(None);
        };
        Ok(Some(Self { image: image.to_owned(), offset, kind }))
    }

    /// What is at `path`? Links are followed.
    pub fn find(&self, path: &str) -> Result<Option<Found>, Fail> {
        self.stat(&self.follow(path)?)
    }

    /// The same for a path that is taken as it is.
    fn stat(&self, path: &str) -> Result<Option<Found>, Fail> {
        if self.kind == Kind::Fat {
            let listed = self.mtools("mdir", &["-b", "-f"], &[path], Stdio::piped())?;
            if !listed.status.success() {
                return Ok(None);
            }
            // Of a file mdir lists just the file.
            let folder = String::from_utf8_lossy(&listed.stdout).trim_end() != format!("::{path}");
            return Ok(Some(Found { folder, ext: None }));
        }
        let output = self.debugfs(false, &format!("stat {}", quote(path)?), Stdio::piped())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let field = |name: &str| text.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
        let Some(kind) = field("Type:") else { return Ok(None) };
        let number = |name: &str, base: u32| {
            let number = field(name).and_then(|text| u32::from_str_radix(text, base).ok());
            number.ok_or_else(|| self.fail(path, &format!("debugfs does not say its {name}")))
        };
        let (mode, uid, gid) = (number("Mode:", 8)?, number("User:", 10)?, number("Group:", 10)?);
        let ext = Some(Attributes { mode, uid, gid, link: kind == "symlink" });
        Ok(Some(Found { folder: kind == "directory", ext }))
    }

    /// The path with its links followed, as the device would: /lib may be usr/lib.
    fn follow(&self, path: &str) -> Result<String, Fail> {
        if self.kind == Kind::Fat {
            return Ok(path.to_owned());
        }
        let parts = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
        let (mut todo, mut done, mut links) = (parts(path), String::new(), 0);
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => done.truncate(done.rfind('/').unwrap_or_default()),
                _ => {
                    let next = format!("{done}/{part}");
                    let Some(target) = self.link(&next)? else {
                        done = next;
                        continue;
                    };
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(self.fail(path, "too many symbolic links"));
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    todo.extend(parts(&target));
                }
            }
        }
        Ok(if done.is_empty() { "/".to_owned() } else { done })
    }

    /// Where the symbolic link `path` points to; `None` when it is none.
    fn link(&self, path: &str) -> Result<Option<String>, Fail> {
        if !self.stat(path)?.and_then(|found| found.ext).is_some_and(|ext| ext.link) {
            return Ok(None);
        }
        let output = self.debugfs(false, &format!("stat {}", quote(path)?), Stdio::piped())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let short = text.lines().find_map(|line| line.strip_prefix("Fast link dest: \""));
        if let Some(target) = short.and_then(|target| target.strip_suffix('"')) {
            return Ok(Some(target.to_owned()));
        }
        let output = self.debugfs(false, &format!("cat {}", quote(path)?), Stdio::piped())?;
        Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Writes the content of a file to `out`.
    pub fn read(&self, path: &str, out: Stdio) -> Result<(), Fail> {
        let path = &self.follow(path)?;
        match self.stat(path)? {
            None => return Err(self.fail(path, "no such file")),
            Some(Found { folder: true, .. }) => return Err(self.fail(path, "it is a folder")),
            Some(_) => (),
        }
        match self.kind {
            Kind::Ext => self.debugfs_or_fail(false, path, &format!("cat {}", quote(path)?), out),
            Kind::Fat => self.mtools_or_fail("mtype", &[], &[path], out),
        }
    }

    /// Puts a file of the host at `path`, in place of what is there. Without `mode` a file keeps the mode it has.
    pub fn write(&self, host: &Path, path: &str, mode: u32, keep_mode: bool) -> Result<(), Fail> {
        let path = &self.follow(path)?;
        let found = self.stat(path)?;
        if found.as_ref().is_some_and(|found| found.folder) {
            return Err(self.fail(path, "it is a folder"));
        }
        let (folder, _) = path.rsplit_once('/').unwrap_or_default();
        if !folder.is_empty() && !self.stat(folder)?.is_some_and(|found| found.folder) {
            return Err(self.fail(folder, "no such folder"));
        }
        if self.kind == Kind::Fat {
            let host = host.display().to_string();
            return self.mtools_or_fail("mcopy", &["-o", &host], &[path], Stdio::null());
        }
        let there = found.and_then(|found| found.ext);
        if there.is_some() {
            self.debugfs_or_fail(true, path, &format!("rm {}", quote(path)?), Stdio::null())?;
        }
        let host = quote(&host.display().to_string())?;
        self.debugfs_or_fail(true, path, &format!("write {host} {}", quote(path)?), Stdio::null())?;
        let kept = there.as_ref().filter(|_| keep_mode).map(|there| there.mode);
        self.set(path, "mode", &format!("0{:o}", 0o100_000 | kept.unwrap_or(mode)))?;
        if let Some(Attributes { uid, gid, .. }) = there {
            self.set(path, "uid", &uid.to_string())?;
            self.set(path, "gid", &gid.to_string())?;
        }
        Ok(())
    }

    /// Makes a folder, and those that it is in.
    pub fn make_folder(&self, path: &str, mode: u32) -> Result<(), Fail> {
        let path = self.follow(path)?;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]).filter(|end| *end > 0);
        for folder in ends.map(|end| &path[..end]) {
            match self.stat(folder)? {
                Some(found) if found.folder => continue,
                Some(_) => return Err(self.fail(folder, "it is a file")),
                None if self.kind == Kind::Fat => {
                    self.mtools_or_fail("mmd", &[], &[folder], Stdio::null())?
                }
                None => {
                    self.debugfs_or_fail(true, folder, &format!("mkdir {}", quote(folder)?), Stdio::null())?
                }
            }
        }
        if self.kind == Kind::Ext {
            self.set(&path, "mode", &format!("0{:o}", 0o040_000 | mode))?;
        }
        Ok(())
    }

    /// Removes a file, or a link and not what it points to; a folder and what is in it only when `recursive`.
    pub fn remove(&self, path: &str, recursive: bool) -> Result<(), Fail> {
        let (folder, name) = path.rsplit_once('/').unwrap_or_default();
        let path = &format!("{}/{name}", self.follow(folder)?.trim_end_matches('/'));
        let found = self.stat(path)?.ok_or_else(|| self.fail(path, "no such file"))?;
        if found.folder && !recursive {
            return Err(self.fail(path, "it is a folder; use -r to remove it with what is in it"));
        }
        match (self.kind, found.folder) {
            (Kind::Fat, true) => self.mtools_or_fail("mdeltree", &[], &[path], Stdio::null()),
            (Kind::Fat, false) => self.mtools_or_fail("mdel", &[], &[path], Stdio::null()),
            (Kind::Ext, false) => {
                self.debugfs_or_fail(true, path, &format!("rm {}", quote(path)?), Stdio::null())
            }
            (Kind::Ext, true) => {
                for name in self.names(path)? {
                    self.remove(&format!("{}/{name}", path.trim_end_matches('/')), true)?;
                }
                self.debugfs_or_fail(true, path, &format!("rmdir {}", quote(path)?), Stdio::null())
            }
        }
    }

    /// The names in a folder of ext. A line of `ls -p` is `/inode/mode/uid/gid/name/size/`.
    fn names(&self, folder: &str) -> Result<Vec<String>, Fail> {
        let output = self.debugfs(false, &format!("ls -p {}", quote(folder)?), Stdio::piped())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names.filter(|name| !["", ".", ".."].contains(name)).map(str::to_owned).collect())
    }

    /// Sets a field of an inode.
    fn set(&self, path: &str, field: &str, value: &str) -> Result<(), Fail> {
        self.debugfs_or_fail(true, path, &format!("sif {} {field} {value}", quote(path)?), Stdio::null())
    }

    fn debugfs(&self, write: bool, request: &str, out: Stdio) -> Result<Output, Fail> {
        let mut device = self.image.as_os_str().to_owned();
        if self.offset > 0 {
            device.push(format!("?offset={}", self.offset));
        }
        let mut command = Command::new("debugfs");
        command.args(write.then_some("-w")).args(["-R", request]).arg(device);
        run(command, out)
    }

    /// debugfs ends well whatever happens; what it says after its version is a fault.
    fn debugfs_or_fail(&self, write: bool, path: &str, request: &str, out: Stdio) -> Result<(), Fail> {
        let output = self.debugfs(write, request, out)?;
        let text = String::from_utf8_lossy(&output.stderr);
        let faults: Vec<&str> = text.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
        if output.status.success() && faults.is_empty() {
            return Ok(());
        }
        Err(self.fail(path, &format!("debugfs: {}", faults.join("; "))))
    }

    fn mtools(&self, program: &str, options: &[&str], paths: &[&str], out: Stdio) -> Result<Output, Fail> {
        let mut command = Command::new(program);
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!(
            "{}@@{}",
            self.image.display(),
            self.offset
        ));
        command.args(options).args(paths.iter().map(|path| format!("::{path}")));
        run(command, out)
    }

    fn mtools_or_fail(
        &self,
        program: &str,
        options: &[&str],
        paths: &[&str],
        out: Stdio,
    ) -> Result<(), Fail> {
        let output = self.mtools(program, options, paths, out)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(self.fail(paths[0], &format!("{program}: {}", text.trim())))
    }

    fn fail(&self, path: &str, reason: &str) -> Fail {
        Fail::new(ARGUMENTS, format_args!("{path}: {reason}"))
    }
}

fn run(mut command: Command, out: Stdio) -> Result<Output, Fail> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn();
    child.and_then(std::process::Child::wait_with_output).during(SYSTEM, format_args!("cannot run {program}"))
}

/// A word for debugfs.
fn quote(word: &str) -> Result<String, Fail> {
    if word.contains(['"', '\n', '\r', '\0']) {
        return Err(Fail::new(ARGUMENTS, format_args!("{word:?}: such a name cannot be given to debugfs")));
    }
    Ok(format!("\"{word}\""))
}
