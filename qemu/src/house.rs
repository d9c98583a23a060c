//! Where things lie on the host: the checkout, its build folder, the programs, the cache.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Error, Result};

/// The checkout and its build folder.
#[derive(Debug, Clone)]
pub struct House {
    root: PathBuf,
    build: PathBuf,
}

impl House {
    /// The checkout that the current folder is in. `ROTA_BUILD_DIR` moves the build folder, as in `scripts/env.sh`.
    pub fn find() -> Result<House> {
        let here = std::env::current_dir().context("find", "the current folder")?;
        let root = here.ancestors().find(|folder| folder.join("scripts/env.sh").is_file());
        let root = root.map(Path::to_path_buf).ok_or_else(|| Error::Missing {
            object: here.join("scripts/env.sh"),
            next: "run this inside a checkout of rota".into(),
        })?;
        let build = std::env::var_os("ROTA_BUILD_DIR").map_or_else(|| root.join(".build"), PathBuf::from);
        Ok(House { root, build })
    }

    /// Where outputs of builds go.
    pub fn build(&self) -> &Path {
        &self.build
    }

    /// A file of the checkout.
    pub fn source(&self, path: &str) -> Result<PathBuf> {
        let object = self.root.join(path);
        if object.exists() {
            return Ok(object);
        }
        Err(Error::Missing { object, next: "it belongs to the checkout; see `git status`".into() })
    }

    /// One of rota's programs, as `scripts/build` leaves them.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let object = self.build.join("bin").join(name);
        if object.is_file() {
            return Ok(object);
        }
        Err(Error::Missing { object, next: "run scripts/build".into() })
    }

    /// The client for machines of an architecture, Debian's name of it.
    pub fn client(&self, architecture: &str) -> Result<PathBuf> {
        if architecture == "amd64" {
            return self.program("rota");
        }
        let object = self.build.join("bin").join(architecture).join("rota");
        if object.is_file() {
            return Ok(object);
        }
        Err(Error::Missing { object, next: format!("run scripts/cross {architecture}") })
    }

    /// What is kept from run to run: unpacked Debian packages.
    pub fn cache(&self) -> Result<PathBuf> {
        folder(self.build.join("qemu-cache"))
    }

    /// An empty folder for the scenario called `name`, and a lock on it: the scenario must not run twice at a time. The folder stays
    /// after the run, for people to look into.
    pub fn scene(&self, name: &str) -> Result<(PathBuf, File)> {
        let scenes = folder(self.build.join("qemu-lab"))?;
        let (scene, file) = (scenes.join(name), scenes.join(format!("{name}.lock")));
        let lock = File::create(&file).context("make", file.display())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error).context("lock", file.display()),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Unexpected {
                    what: format!("the scenario {name}"),
                    expected: "one run of it at a time".into(),
                    found: format!("another one, which holds {}", file.display()),
                })
            }
        }
        if scene.exists() {
            fs::remove_dir_all(&scene).context("empty", scene.display())?;
        }
        Ok((folder(scene)?, lock))
    }
}

/// Waits for the right to change a folder, and keeps it as long as what this returns: others may want to at the same time.
pub fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).context("make", path.display())?;
    file.lock().context("lock", path.display())?;
    Ok(file)
}

/// Makes sure that a folder is there.
pub fn folder(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).context("make", path.display())?;
    Ok(path)
}

/// The right to run a machine. As many run at a time on one host as it has processors: emulation takes all of one.
pub struct Turn(#[allow(dead_code)] File);

impl Turn {
    /// Waits for it, however long that takes.
    pub fn take() -> Result<Turn> {
        let turns = std::thread::available_parallelism().map_or(1, usize::from);
        loop {
            for turn in 0..turns {
                let path = std::env::temp_dir().join(format!("rota-qemu-{turn}.lock"));
                // Opened for reading where it exists: it may be another user's.
                let file = match File::open(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => File::create(&path),
                    opened => opened,
                };
                let file = file.context("open", path.display())?;
                match file.try_lock() {
                    Ok(()) => return Ok(Turn(file)),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error).context("lock", path.display()),
                }
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}
