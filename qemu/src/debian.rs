//! Debian packages: downloaded by name, unpacked, never installed; kept by version in the cache.
//!
//! A private list of packages for each architecture, made from the host's own sources, so that neither root nor
//! `dpkg --add-architecture` is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, Result};
use crate::house::{folder, House};
use crate::run;

/// The packages of one architecture.
pub struct Debian {
    architecture: String,
    cache: PathBuf,
}

impl Debian {
    /// `architecture` is Debian's name: `amd64`, `arm64`, `armhf`.
    pub fn new(house: &House, architecture: &str) -> Result<Debian> {
        let cache = folder(house.cache()?.join(architecture))?;
        for inner in ["apt/lists/partial", "apt/archives/partial", "packages"] {
            folder(cache.join(inner))?;
        }
        fs::write(cache.join("apt/status"), "").context("write", cache.join("apt/status").display())?;
        Ok(Debian { architecture: architecture.into(), cache })
    }

    /// The folder that holds the files of the package, at the version that the lists name.
    /// A package whose version left the archive is looked up anew.
    pub fn unpacked(&self, package: &str) -> Result<PathBuf> {
        if !self.has_lists() {
            self.update()?;
        }
        self.unpack(package).or_else(|_| {
            self.update()?;
            self.unpack(package)
        })
    }

    /// The kernel package that a metapackage such as `linux-image-cloud-amd64` stands for.
    pub fn kernel(&self, metapackage: &str) -> Result<String> {
        if !self.has_lists() {
            self.update()?;
        }
        let answer = run::output(self.apt("apt-cache").args(["depends", "--important", metapackage]))?;
        let depends = answer.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
        depends.map(|rest| format!("linux-image-{rest}")).ok_or_else(|| Error::Unexpected {
            what: format!("the package {metapackage}"),
            expected: "a dependency on a kernel".into(),
            found: answer.trim().into(),
        })
    }

    fn unpack(&self, package: &str) -> Result<PathBuf> {
        let shown = run::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or("unknown");
        let files = self.cache.join("packages").join(format!("{package}_{}", version.replace(':', "%3a")));
        if files.exists() {
            return Ok(files);
        }
        let work = folder(files.with_extension("part"))?;
        run::output(self.apt("apt-get").args(["-qq", "download", package]).current_dir(&work))?;
        let archive = only_entry(&work)?;
        let tree = work.join("files");
        run::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
        fs::rename(&tree, &files).context("move", tree.display())?;
        fs::remove_dir_all(&work).context("remove", work.display())?;
        Ok(files)
    }

    fn has_lists(&self) -> bool {
        let lists = fs::read_dir(self.cache.join("apt/lists"));
        lists.is_ok_and(|mut all| {
            all.any(|entry| entry.is_ok_and(|e| e.path().to_string_lossy().contains("_Packages")))
        })
    }

    fn update(&self) -> Result<()> {
        run::output(self.apt("apt-get").args(["-qq", "update"])).map(drop)
    }

    fn apt(&self, program: &str) -> Command {
        let apt = self.cache.join("apt");
        let mut command = Command::new(program);
        for (key, value) in [
            ("APT::Architecture", self.architecture.clone()),
            ("APT::Architectures::", self.architecture.clone()),
            ("APT::Sandbox::User", String::new()),
            ("Acquire::Languages", "none".into()),
            ("Dir::State", apt.display().to_string()),
            ("Dir::State::lists", apt.join("lists").display().to_string()),
            ("Dir::State::status", apt.join("status").display().to_string()),
            ("Dir::Cache", apt.display().to_string()),
        ] {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        command
    }
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).context("read", folder.display())?;
    match entries.next() {
        Some(entry) => Ok(entry.context("read", folder.display())?.path()),
        None => {
            Err(Error::Missing { object: folder.join("*.deb"), next: "apt-get download left nothing".into() })
        }
    }
}
