//! Inputs and spools.
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rota_artifact::Input;
use tempfile::{NamedTempFile, TempDir};

use crate::{
    fail::{During, Fail, ARGUMENTS, CREATE, OPEN},
    progress::Progress,
    signals::Temporary,
};

/// `SOURCE_DATE_EPOCH`: no time in an artifact is later, so that builds can be repeated. [`check_epoch`] has seen it.
pub fn source_date_epoch() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()
}

/// A `SOURCE_DATE_EPOCH` that is no number would silently spoil what it is there for.
pub fn check_epoch() -> Result<(), Fail> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if text.parse::<u64>().is_err() => {
            let message = format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970");
            Err(Fail::new(ARGUMENTS, message))
        }
        _ => Ok(()),
    }
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
        let file = File::open(path).during(OPEN, &act)?;
        progress.expect(file.metadata().during(OPEN, act)?.len());
        Box::new(file)
    };
    Ok(progress.watch(source))
}

/// Opens an artifact that is read more than once: from the standard input or a pipe it is kept in a temporary file.
pub fn open_to_reread(path: &Path) -> Result<File, Fail> {
    let act = format!("cannot open the artifact {}", path.display());
    let mut source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => {
            let file = File::open(path).during(OPEN, &act)?;
            if file.metadata().during(OPEN, &act)?.is_file() {
                return Ok(file);
            }
            Box::new(file)
        }
    };
    let mut kept = spool_file(&scratch())?;
    io::copy(&mut source, &mut kept).during(OPEN, act)?;
    kept.rewind().during(CREATE, "cannot read the temporary file")?;
    Ok(kept)
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

/// The folder for temporary files that become, or come from, the file `path`: its own, so that there is room.
pub fn temporary_for(path: &Path) -> PathBuf {
    let special = || fs::metadata(path).is_ok_and(|there| !there.is_file());
    if path == Path::new("-") || special() {
        return scratch();
    }
    folder_of(path).to_owned()
}

/// The folder for large temporary files that belong to no output: not /tmp, which may be memory.
pub fn scratch() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// A temporary file without name.
pub fn spool_file(folder: &Path) -> Result<File, Fail> {
    let made = tempfile::tempfile_in(folder).map_err(plain);
    made.during(CREATE, format_args!("cannot make a temporary file in {}", folder.display()))
}

/// A temporary file with a name, for another program.
pub struct NamedTemporary {
    file: NamedTempFile,
    _temporary: Temporary,
}

/// Makes one.
pub fn named_temporary() -> Result<NamedTemporary, Fail> {
    let folder = scratch();
    let made = NamedTempFile::new_in(&folder).map_err(plain);
    let file = made.during(CREATE, format_args!("cannot make a temporary file in {}", folder.display()))?;
    Ok(NamedTemporary { _temporary: Temporary::new(file.path()), file })
}

impl NamedTemporary {
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }

    pub fn as_file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }
}

/// A folder that is removed in the end.
pub struct TemporaryFolder {
    folder: TempDir,
    _temporary: Temporary,
}

impl TemporaryFolder {
    pub fn new(folder: &Path) -> Result<Self, Fail> {
        let made = tempfile::Builder::new().prefix(".rota-artifact-").tempdir_in(folder).map_err(plain);
        let folder =
            made.during(CREATE, format_args!("cannot make a temporary folder in {}", folder.display()))?;
        Ok(Self { _temporary: Temporary::new(folder.path()), folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The error without the random name of a temporary file, which tells nobody anything.
pub fn plain(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason),
        None => error,
    }
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

/// The folder a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
