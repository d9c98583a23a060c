//! The folder that a module works in (update modules: tree).

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rota_artifact::{Header, ARTIFACT_GROUP, ARTIFACT_NAME};

use super::Context;
use crate::provides::Facts;
use crate::sys::{disk, fifo};

/// From the client's data to the tree of the one payload.
const PATH: [&str; 5] = ["modules", "v3", "payloads", "0000", "tree"];
/// The named pipe that tells a module what comes next.
pub const STREAM_NEXT: &str = "stream-next";
/// The folder of the named pipes that the files come through.
pub const STREAMS: &str = "streams";
/// The folder of the files that a module did not want to take.
const FILES: &str = "files";

/// The tree. All in it is durable when a function here returns, but for the pipes.
pub struct Tree {
    data: PathBuf,
    path: PathBuf,
}

impl Tree {
    /// The tree of the update that is under way.
    pub fn of(cx: &Context<'_>) -> Tree {
        let data = cx.device.paths.data.clone();
        Tree { path: data.join(PATH.iter().collect::<PathBuf>()), data }
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Its absolute path, for the module.
    pub fn path(&self) -> Result<PathBuf, String> {
        fs::canonicalize(&self.path).map_err(|error| cannot("find the module's folder", &self.path, &error))
    }

    /// Makes it for an artifact on a device that provides `installed`. What another update left there goes.
    pub fn make(&self, header: &Header, installed: &Facts, device_type: &str) -> Result<(), String> {
        self.remove()?;
        let mut folder = self.data.clone();
        for name in PATH {
            folder.push(name);
            make_folder(&folder)?;
        }
        for name in ["header", STREAMS, "tmp"] {
            make_folder(&self.path.join(name))?;
        }
        let line = |value: Option<&String>| format!("{}\n", value.map_or("", String::as_str)).into_bytes();
        let device_type = device_type.to_owned();
        let payload = header.payloads.first().ok_or("the artifact holds no payload")?;
        let info = header.info().map_err(|error| error.to_string())?;
        let type_info = payload.info().map_err(|error| error.to_string())?;
        let text = |value: Option<&String>| value.cloned().unwrap_or_default().into_bytes();
        for (name, content) in [
            ("version", b"3\n".to_vec()),
            ("current_artifact_name", line(installed.get(ARTIFACT_NAME))),
            ("current_artifact_group", line(installed.get(ARTIFACT_GROUP))),
            ("current_device_type", line(Some(&device_type))),
            ("header/artifact_name", text(Some(&header.artifact_name))),
            ("header/artifact_group", text(header.artifact_group.as_ref())),
            ("header/payload_type", text(payload.payload_type.as_ref())),
            ("header/header-info", info),
            ("header/type-info", type_info),
            ("header/meta-data", payload.meta_data.clone()),
        ] {
            let path = self.path.join(name);
            disk::replace(&path, &content, 0o600).map_err(|error| cannot("write", &path, &error))?;
        }
        self.make_pipe(Path::new(STREAM_NEXT))
    }

    /// Makes a named pipe at this place in the tree.
    pub fn make_pipe(&self, name: &Path) -> Result<(), String> {
        let path = self.path.join(name);
        fifo::make(&path).map_err(|error| cannot("make the named pipe", &path, &error))
    }

    /// Where that place is.
    pub fn at(&self, name: &Path) -> PathBuf {
        self.path.join(name)
    }

    /// The module took nothing: the files are stored, and the pipes are no more.
    pub fn make_files(&self) -> Result<(), String> {
        let pipes = fs::remove_dir_all(self.path.join(STREAMS))
            .and_then(|()| fs::remove_file(self.path.join(STREAM_NEXT)));
        pipes.map_err(|error| cannot("remove the named pipes in", &self.path, &error))?;
        make_folder(&self.path.join(FILES))
    }

    /// Stores a file of `size` bytes.
    pub fn store(&self, name: &str, content: &mut dyn Read, size: u64) -> Result<(), String> {
        let path = self.path.join(FILES).join(name);
        let size =
            usize::try_from(size).map_err(|_| format!("{name} has {size} bytes, too many to store"))?;
        disk::replace_by(&path, content, size, 0o600).map_err(|error| {
            match error.get_ref().is_some_and(|inner| inner.is::<rota_artifact::Error>()) {
                true => rota_artifact::Error::from_io(error).to_string(),
                false => cannot("store", &path, &error),
            }
        })
    }

    /// Removes it, if it is there.
    pub fn remove(&self) -> Result<(), String> {
        match self.path.parent().is_some_and(Path::is_dir) {
            true => disk::remove_tree(&self.path).map_err(|error| cannot("remove", &self.path, &error)),
            false => Ok(()),
        }
    }
}

/// Payloads may be secret.
fn make_folder(path: &Path) -> Result<(), String> {
    let made =
        disk::make_folder(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
    made.map_err(|error| cannot("make the folder", path, &error))
}

fn cannot(act: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {act} {}: {error}", path.display())
}
