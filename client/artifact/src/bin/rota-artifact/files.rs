//! Inputs, spools and outputs.
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Seek, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rota_artifact::{Input, Spool};
use tempfile::NamedTempFile;

use crate::{
    fail::{During, Fail, ARGUMENTS, CREATE, INVALID},
    progress::Progress,
};

/// `SOURCE_DATE_EPOCH`: no time in an artifact is later, so that builds can be repeated.
pub fn source_date_epoch() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()
}

/// Reads the whole of a small file; `-` is the standard input.
pub fn read(path: &Path) -> Result<Vec<u8>, Fail> {
    let read = || if path == Path::new("-") { read_stdin() } else { fs::read(path) };
    read().during(ARGUMENTS, format_args!("cannot read {}", path.display()))
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens an artifact; `-` is the standard input.
pub fn open_artifact(path: &Path) -> Result<Box<dyn Read>, Fail> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file =
        File::open(path).during(INVALID, format_args!("cannot open the artifact {}", path.display()))?;
    Ok(Box::new(file))
}

/// A file for a payload. What cannot be read twice is kept in a temporary file.
pub fn input<'a>(path: &Path, temporary: &Path, progress: &'a Progress) -> Result<Input<'a>, Fail> {
    let act = format!("cannot read {}", path.display());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut file = File::open(path).during(ARGUMENTS, &act)?;
    let metadata = file.metadata().during(ARGUMENTS, &act)?;
    if metadata.is_dir() {
        return Err(Fail::new(ARGUMENTS, format_args!("{act}: it is a folder")));
    }
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |time| time.as_secs()).min(source_date_epoch().unwrap_or(u64::MAX));
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        let mut kept = spool_file(temporary).during(CREATE, "cannot make a temporary file")?;
        io::copy(&mut file, &mut kept).during(ARGUMENTS, &act)?;
        file = kept;
    }
    let size = file.seek(io::SeekFrom::End(0)).during(ARGUMENTS, &act)?;
    progress.expect(size);
    let mode = metadata.permissions().mode() & 0o777;
    let open = move || -> io::Result<Box<dyn Read + 'a>> {
        let mut file = file.try_clone()?;
        file.rewind()?;
        Ok(Box::new(progress.watch(file)))
    };
    Ok(Input { name, size, mode, modified, open: Box::new(open) })
}

/// A payload file with this content.
pub fn input_bytes<'a>(name: &str, bytes: Vec<u8>) -> Input<'a> {
    let size = bytes.len() as u64;
    let modified = source_date_epoch().unwrap_or(0);
    let open = move || -> io::Result<Box<dyn Read + 'a>> { Ok(Box::new(io::Cursor::new(bytes.clone()))) };
    Input { name: name.to_owned(), size, mode: 0o644, modified, open: Box::new(open) }
}

/// A temporary file without name.
pub fn spool(folder: &Path) -> io::Result<Box<dyn Spool>> {
    Ok(Box::new(spool_file(folder)?))
}

fn spool_file(folder: &Path) -> io::Result<File> {
    tempfile::tempfile_in(folder)
}

/// A file that appears under its name only when it is whole, or the standard output.
pub struct Output {
    path: PathBuf,
    target: Target,
}

enum Target {
    Stdout(BufWriter<io::Stdout>),
    File(BufWriter<NamedTempFile>),
}

impl Output {
    pub fn create(path: &Path) -> Result<Self, Fail> {
        let target = if path == Path::new("-") {
            Target::Stdout(BufWriter::new(io::stdout()))
        } else {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".rota-artifact-").permissions(fs::Permissions::from_mode(0o666)); // less the umask
            let file = builder.tempfile_in(folder_of(path));
            Target::File(BufWriter::new(
                file.during(CREATE, format_args!("cannot create {}", path.display()))?,
            ))
        };
        Ok(Self { path: path.to_owned(), target })
    }

    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.target {
            Target::Stdout(out) => out,
            Target::File(out) => out,
        }
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<(), Fail> {
        let finish = || -> io::Result<()> {
            match self.target {
                Target::Stdout(mut out) => out.flush(),
                Target::File(out) => {
                    out.into_inner().map_err(io::IntoInnerError::into_error)?.persist(&self.path)?;
                    Ok(())
                }
            }
        };
        finish().during(CREATE, format_args!("cannot write {}", self.path.display()))
    }
}

/// The folder a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
