//! Debian packages: downloaded by name, unpacked, never installed; kept by version in the cache.
//!
//! A private list of packages for each architecture, made from the host's own sources, so that neither root nor
//! `dpkg --add-architecture` is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, Result};
use crate::house::{folder, lock, House};
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
        let _lock = lock(&self.cache)?;
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
        self.fill_lists()?;
        let answer = run::output(self.apt("apt-cache").args(["depends", "--important", metapackage]))?;
        let depends = answer.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
        depends.map(|rest| format!("linux-image-{rest}")).ok_or_else(|| Error::Unexpected {
            what: format!("the package {metapackage}"),
            expected: "a dependency on a kernel".into(),
            found: answer.trim().into(),
        })
    }

    /// The packages with all that they depend on.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<String>> {
        self.fill_lists()?;
        let mut apt = self.apt("apt-cache");
        apt.args(["depends", "--recurse", "--important", "--no-conflicts", "--no-breaks", "--no-replaces"]);
        let answer = run::output(apt.args(packages))?;
        // What a package depends on stands below its name; in angle brackets are names without a package of their own.
        let names = answer.lines().filter(|line| !line.starts_with([' ', '<', '|']));
        Ok(names.map(String::from).collect())
    }

    /// The version of a source package.
    pub fn source_version(&self, package: &str) -> Result<String> {
        let shown =
            run::output(self.apt_of_sources("apt-cache")?.args(["showsrc", "--only-source", package]))?;
        let version = shown.lines().rev().find_map(|line| line.strip_prefix("Version: "));
        version.map(String::from).ok_or_else(|| Error::Unexpected {
            what: format!("the source package {package}"),
            expected: "a version".into(),
            found: "none in the lists".into(),
        })
    }

    /// Fetches a source package, checked by apt, and unpacks it with Debian's patches into the new folder `into`.
    pub fn unpack_source(&self, package: &str, into: &Path) -> Result<()> {
        let fetched = folder(into.with_extension("fetched"))?;
        let mut apt = self.apt_of_sources("apt-get")?;
        run::output(apt.args(["-qq", "source", "--download-only", package]).current_dir(&fetched))?;
        let script = r#"dpkg-source --no-check -x "$1"/*.dsc "$2" && rm -r "$1""#;
        run::output(Command::new("sh").args(["-c", script, "sh"]).arg(&fetched).arg(into)).map(drop)
    }

    /// apt with the lists of source packages, from where the host has its binary packages of Debian from.
    fn apt_of_sources(&self, program: &str) -> Result<Command> {
        self.fill_lists()?;
        let _lock = lock(&self.cache)?;
        let (list, lists) = (self.cache.join("apt/sources.list"), self.cache.join("apt/source-lists"));
        let apt = |program: &str| {
            let mut apt = self.apt(program);
            apt.arg("-o").arg(format!("Dir::Etc::SourceList={}", list.display()));
            apt.args(["-o", "Dir::Etc::SourceParts=/dev/null"]);
            apt.arg("-o").arg(format!("Dir::State::lists={}", lists.display()));
            apt
        };
        if !lists.exists() {
            let format = "deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)";
            let mut targets = self.apt("apt-get");
            targets.args(["indextargets", "--format", format, "Identifier: Packages", "Origin: Debian"]);
            fs::write(&list, run::output(&mut targets)?).context("write", list.display())?;
            folder(lists.join("partial"))?;
            run::output(apt("apt-get").args(["-qq", "update"]))?;
        }
        Ok(apt(program))
    }

    /// As [`Debian::unpacked`] for several packages: apt is asked once for all that are in the cache.
    pub fn all_unpacked(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.fill_lists()?;
        let shown = run::output(self.apt("apt-cache").args(["show", "--no-all-versions"]).args(packages))?;
        let stanzas: Vec<_> = shown.split("\n\n").collect();
        let kept = |package: &&str| {
            let first = format!("Package: {package}");
            let stanza = stanzas.iter().find(|stanza| stanza.lines().any(|line| line == first));
            let files = self.files(package, stanza.unwrap_or(&""));
            if files.exists() {
                Ok(files)
            } else {
                self.unpacked(package)
            }
        };
        packages.iter().map(kept).collect()
    }

    /// Where the files of a package are, as what apt shows of it says.
    fn files(&self, package: &str, shown: &str) -> PathBuf {
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or("unknown");
        self.cache.join("packages").join(format!("{package}_{}", version.replace(':', "%3a")))
    }

    fn unpack(&self, package: &str) -> Result<PathBuf> {
        let shown = run::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        let files = self.files(package, &shown);
        if files.exists() {
            return Ok(files);
        }
        // What an interrupted run has left is half made.
        let work = self.cache.join("packages").join(format!("{package}.part"));
        if work.exists() {
            fs::remove_dir_all(&work).context("remove", work.display())?;
        }
        let work = folder(work)?;
        run::output(self.apt("apt-get").args(["-qq", "download", package]).current_dir(&work))?;
        let archive = only_entry(&work)?;
        let tree = work.join("files");
        run::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
        fs::rename(&tree, &files).context("move", tree.display())?;
        fs::remove_dir_all(&work).context("remove", work.display())?;
        Ok(files)
    }

    fn fill_lists(&self) -> Result<()> {
        let _lock = lock(&self.cache)?;
        match self.has_lists() {
            true => Ok(()),
            false => self.update(),
        }
    }

    fn has_lists(&self) -> bool {
        let lists = fs::read_dir(self.cache.join("apt/lists"));
        lists.is_ok_and(|mut all| {
            all.any(|entry| entry.is_ok_and(|e| e.path().to_string_lossy().contains("_Packages")))
        })
    }

    /// Fetches the lists. A mirror that is just being brought up to date refuses one of them at times: what the others name
    /// is enough.
    fn update(&self) -> Result<()> {
        match run::output(self.apt("apt-get").args(["-qq", "update"])) {
            Err(_) if self.has_lists() => Ok(()),
            updated => updated.map(drop),
        }
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
