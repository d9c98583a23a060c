//! The file systems in an artifact or a disk image, and the commands that change them.
mod configure;
mod filesystem;
mod partitions;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::json;

pub use configure::configure;
pub use filesystem::FileSystem;

use crate::{
    cli::{Cat, Cp, Install, Rewrite, Rm},
    fail::{During, Fail, ARGUMENTS, INVALID},
    files::{self, NamedTemporary, TemporaryFolder},
    original::Original,
    output::Output,
    read::Style,
};

/// An artifact or a disk image that is opened for its file systems.
pub enum Image {
    /// The payload's file was unpacked into a folder, from which the artifact is written again.
    Artifact { original: Box<Original>, folder: TemporaryFolder },
    /// A disk (or bare file system) that is changed in place.
    Disk(PathBuf),
}

impl Image {
    pub fn open(path: &Path, temporary: Option<&Path>) -> Result<Self, Fail> {
        if !is_artifact(path).during(INVALID, format_args!("cannot open {}", path.display()))? {
            return Ok(Self::Disk(path.to_owned()));
        }
        let folder = TemporaryFolder::new(temporary.unwrap_or_else(|| files::folder_of(path)))?;
        let original = Original::read(path, &BTreeMap::from([(0, folder.path().to_owned())]))?;
        if original.payloads[0].len() != 1 {
            let reason = "it has no payload with a single file that could be a file system";
            return Err(Fail::new(INVALID, format_args!("{}: {reason}", path.display())));
        }
        Ok(Self::Artifact { original: Box::new(original), folder })
    }

    /// The file systems that `path` is in, and its name there. Of a disk with two root file systems it is in both.
    pub fn file_systems<'p>(&self, path: &'p str) -> Result<(Vec<FileSystem>, &'p str), Fail> {
        if !path.starts_with('/') {
            return Err(Fail::new(ARGUMENTS, format_args!("{path:?}: expected a path that begins with /")));
        }
        let (image, offsets) = match self {
            Self::Artifact { original, folder } => {
                (folder.path().join(&original.payloads[0][0].name), Vec::new())
            }
            Self::Disk(path) => {
                let act = format!("cannot read the partitions of {}", path.display());
                let disk = File::open(path).during(INVALID, &act)?;
                (path.clone(), partitions::offsets(&disk).during(INVALID, act)?)
            }
        };
        let ((first, last), inner) = if offsets.is_empty() { ((0, 0), path) } else { place(path) };
        let offsets = if offsets.is_empty() { vec![0] } else { offsets };
        let mut found = Vec::new();
        for offset in offsets.into_iter().skip(first).take(last - first + 1) {
            found.extend(FileSystem::detect(&image, offset).during(INVALID, image.display())?);
        }
        if found.is_empty() {
            let image = self.path().display();
            return Err(Fail::new(
                INVALID,
                format_args!("{image}: found no ext or FAT file system for {path}"),
            ));
        }
        Ok((found, inner))
    }

    /// The artifact's or the disk image's name.
    fn path(&self) -> &Path {
        match self {
            Self::Artifact { original, .. } => &original.path,
            Self::Disk(path) => path,
        }
    }

    /// Writes an artifact again; a disk has been changed already.
    pub fn finish(self, arguments: &Rewrite, style: &Style) -> Result<(), Fail> {
        match self {
            Self::Disk(path) => style.done(&path, || json!({"changed": path})),
            Self::Artifact { original, folder } => {
                original.check_writable()?;
                let header = original.header.clone();
                original.rewrite(header, BTreeMap::from([(0, folder.path().to_owned())]), arguments, style)
            }
        }
    }
}

/// The partitions that hold `path`, as indices from and to, and the path within: boot, root A and B, data.
fn place(path: &str) -> ((usize, usize), &str) {
    let within = |prefix: &str| match path.strip_prefix(prefix) {
        Some("") => Some("/"),
        Some(rest) if rest.starts_with('/') => Some(rest),
        _ => None,
    };
    if let Some(inner) = within("/data") {
        return ((3, 3), inner);
    }
    match ["/uboot", "/boot/efi", "/boot/grub"].into_iter().find_map(within) {
        Some(inner) => ((0, 0), inner),
        None => ((1, 2), path),
    }
}

/// An artifact begins with the tar header of `version`.
pub fn is_artifact(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut start)?;
    Ok(start.starts_with(b"version\0") && start.get(257..262) == Some(b"ustar"))
}

/// Splits `IMAGE:PATH`.
fn split(text: &str) -> Option<(&Path, &str)> {
    let (image, path) = text.rsplit_once(':')?;
    (!image.is_empty()).then_some((Path::new(image), path))
}

fn required(text: &str) -> Result<(&Path, &str), Fail> {
    split(text).ok_or_else(|| Fail::new(ARGUMENTS, format_args!("{text:?}: expected IMAGE:PATH")))
}

pub fn cat(Cat { file }: &Cat) -> Result<(), Fail> {
    let (image, path) = required(file)?;
    let image = Image::open(image, Some(&files::scratch()))?;
    let (file_systems, inner) = image.file_systems(path)?;
    file_systems[0].read(inner, Stdio::inherit())
}

pub fn cp(arguments: &Cp, style: &Style) -> Result<(), Fail> {
    let Cp { source, destination, rewrite } = arguments;
    match (split(source), split(destination)) {
        (Some((image, path)), None) => {
            let image = Image::open(image, Some(&rewrite.tmp.clone().unwrap_or_else(files::scratch)))?;
            let (file_systems, inner) = image.file_systems(path)?;
            if destination == "-" {
                return file_systems[0].read(inner, Stdio::inherit());
            }
            let target = Output::create(Path::new(destination))?;
            file_systems[0].read(inner, target.stdio()?)?;
            target.finish()?;
            style.done(Path::new(destination), || json!({"written": destination}))
        }
        (None, Some((image, path))) => {
            let (host, mode) = host_file(source)?;
            put(image, path, rewrite, style, |file_system, inner| {
                file_system.write(host.path(), inner, mode, true)
            })
        }
        _ => Err(Fail::new(
            ARGUMENTS,
            "one of source and destination has to be IMAGE:PATH, the other a file or -",
        )),
    }
}

pub fn install(arguments: &Install, style: &Style) -> Result<(), Fail> {
    let Install { directory, mode, paths, rewrite } = arguments;
    match (directory, paths.as_slice()) {
        (true, [target]) => {
            let (image, path) = required(target)?;
            let mode = mode.unwrap_or(0o755);
            put(image, path, rewrite, style, |file_system, inner| file_system.make_folder(inner, mode))
        }
        (false, [source, target]) => {
            let (image, path) = required(target)?;
            let (host, host_mode) = host_file(source)?;
            let mode = mode.unwrap_or(host_mode);
            put(image, path, rewrite, style, |file_system, inner| {
                file_system.write(host.path(), inner, mode, false)
            })
        }
        (true, _) => Err(Fail::new(ARGUMENTS, "install -d takes IMAGE:FOLDER")),
        (false, _) => Err(Fail::new(ARGUMENTS, "install takes FILE and IMAGE:PATH")),
    }
}

pub fn rm(arguments: &Rm, style: &Style) -> Result<(), Fail> {
    let (image, path) = required(&arguments.path)?;
    put(image, path, &arguments.rewrite, style, |file_system, inner| {
        file_system.remove(inner, arguments.recursive)
    })
}

/// Opens an image, changes all file systems that `path` is in, and closes it.
fn put(
    image: &Path,
    path: &str,
    rewrite: &Rewrite,
    style: &Style,
    change: impl Fn(&FileSystem, &str) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let image = Image::open(image, rewrite.tmp.as_deref())?;
    let (file_systems, inner) = image.file_systems(path)?;
    let inner = if inner.len() > 1 { inner.trim_end_matches('/') } else { inner };
    file_systems.iter().try_for_each(|file_system| change(file_system, inner))?;
    image.finish(rewrite, style)
}

/// A file of the host and its mode; `-` is the standard input, which goes through a temporary file.
fn host_file(path: &str) -> Result<(HostFile, u32), Fail> {
    if path == "-" {
        let mut file = files::named_temporary()?;
        io::copy(&mut io::stdin(), file.as_file_mut()).during(ARGUMENTS, "cannot read the input")?;
        return Ok((HostFile::Temporary(file), 0o644));
    }
    let metadata = fs::metadata(path).during(ARGUMENTS, format_args!("cannot read {path}"))?;
    Ok((HostFile::Named(path.into()), metadata.permissions().mode() & 0o7777))
}

enum HostFile {
    Named(PathBuf),
    Temporary(NamedTemporary),
}

impl HostFile {
    fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }
}
