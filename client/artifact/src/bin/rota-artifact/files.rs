//! Inputs, spools and outputs.
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::UNIX_EPOCH,
};

use rota_artifact::Input;
use tempfile::{NamedTempFile, TempDir};

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
pub fn open_artifact<'a>(path: &Path, progress: &'a Progress) -> Result<impl Read + 'a, Fail> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let act = format!("cannot open the artifact {}", path.display());
        let file = File::open(path).during(INVALID, &act)?;
        progress.expect(file.metadata().during(INVALID, act)?.len());
        Box::new(file)
    };
    Ok(progress.watch(source))
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
    let modified =
        metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    // Rounded, as Go's tar writer does.
    let modified = modified.as_secs() + u64::from(modified.subsec_millis() >= 500);
    let modified = modified.min(source_date_epoch().unwrap_or(u64::MAX));
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        let mut kept = spool_file(temporary)?;
        io::copy(&mut file, &mut kept).during(ARGUMENTS, &act)?;
        file = kept;
    }
    let input = input_file(&name, file, progress).during(ARGUMENTS, &act)?;
    Ok(Input { mode: metadata.permissions().mode() & 0o777, modified, ..input })
}

/// A payload file with the content of an open file.
pub fn input_file<'a>(name: &str, mut file: File, progress: &'a Progress) -> io::Result<Input<'a>> {
    let size = file.seek(SeekFrom::End(0))?;
    progress.expect(size);
    let open = move || -> io::Result<Box<dyn Read + 'a>> {
        let mut file = file.try_clone()?;
        file.rewind()?;
        Ok(Box::new(progress.watch(file)))
    };
    let modified = source_date_epoch().unwrap_or(0);
    Ok(Input { name: name.to_owned(), size, mode: 0o644, modified, open: Box::new(open) })
}

/// A temporary file without name.
pub fn spool_file(folder: &Path) -> Result<File, Fail> {
    tempfile::tempfile_in(folder)
        .during(CREATE, format_args!("cannot make a temporary file in {}", folder.display()))
}

/// A temporary folder, which is removed in the end.
pub fn temporary_folder(folder: &Path) -> Result<TempDir, Fail> {
    let made = tempfile::Builder::new().prefix(".rota-artifact-").tempdir_in(folder);
    made.during(CREATE, format_args!("cannot make a temporary folder in {}", folder.display()))
}

/// Copies, and leaves holes where there are only zeros: images are mostly empty.
pub fn copy_sparse(source: &mut dyn Read, target: &mut File) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer[..count].iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(count as i64))?;
        } else {
            target.write_all(&buffer[..count])?;
        }
        size += count as u64;
    }
    target.set_len(size)?;
    Ok(size)
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

    /// The same for a program to write to.
    pub fn stdio(&self) -> Result<Stdio, Fail> {
        match &self.target {
            Target::Stdout(_) => Ok(Stdio::inherit()),
            Target::File(out) => {
                let file = out.get_ref().as_file().try_clone();
                Ok(file.during(CREATE, format_args!("cannot create {}", self.path.display()))?.into())
            }
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
