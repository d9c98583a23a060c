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
    /// Permission bits; only ext has them.
    pub mode: Option<u32>,
}

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

    /// What is at `path`?
    pub fn find(&self, path: &str) -> Result<Option<Found>, Fail> {
        if self.kind == Kind::Fat {
            let listed = self.mtools("mdir", &["-b", "-f"], &[path], Stdio::piped())?;
            if !listed.status.success() {
                return Ok(None);
            }
            // Of a file mdir lists just the file.
            let folder = String::from_utf8_lossy(&listed.stdout).trim_end() != format!("::{path}");
            return Ok(Some(Found { folder, mode: None }));
        }
        let output = self.debugfs(false, &format!("stat {}", quote(path)?), Stdio::piped())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let field = |name: &str| text.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
        let Some(kind) = field("Type:") else { return Ok(None) };
        let mode = field("Mode:").and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Ok(Some(Found { folder: kind == "directory", mode }))
    }

    /// Writes the content of a file to `out`.
    pub fn read(&self, path: &str, out: Stdio) -> Result<(), Fail> {
        match self.find(path)? {
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
        let found = self.find(path)?;
        if found.as_ref().is_some_and(|found| found.folder) {
            return Err(self.fail(path, "it is a folder"));
        }
        let (folder, _) = path.rsplit_once('/').unwrap_or_default();
        if !folder.is_empty() && !self.find(folder)?.is_some_and(|found| found.folder) {
            return Err(self.fail(folder, "no such folder"));
        }
        if self.kind == Kind::Fat {
            let host = host.display().to_string();
            return self.mtools_or_fail("mcopy", &["-o", &host], &[path], Stdio::null());
        }
        let mode = found.as_ref().and_then(|found| found.mode).filter(|_| keep_mode).unwrap_or(mode);
        if found.is_some() {
            self.debugfs_or_fail(true, path, &format!("rm {}", quote(path)?), Stdio::null())?;
        }
        let host = quote(&host.display().to_string())?;
        self.debugfs_or_fail(true, path, &format!("write {host} {}", quote(path)?), Stdio::null())?;
        self.set_mode(path, 0o100_000 | mode)
    }

    /// Makes a folder, and those that it is in.
    pub fn make_folder(&self, path: &str, mode: u32) -> Result<(), Fail> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]).filter(|end| *end > 0);
        for folder in ends.map(|end| &path[..end]) {
            match self.find(folder)? {
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
            self.set_mode(path, 0o040_000 | mode)?;
        }
        Ok(())
    }

    /// Removes a file; a folder and what is in it only when `recursive`.
    pub fn remove(&self, path: &str, recursive: bool) -> Result<(), Fail> {
        let found = self.find(path)?.ok_or_else(|| self.fail(path, "no such file"))?;
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

    fn set_mode(&self, path: &str, mode: u32) -> Result<(), Fail> {
        self.debugfs_or_fail(true, path, &format!("sif {} mode 0{mode:o}", quote(path)?), Stdio::null())
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
