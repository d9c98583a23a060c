//! What the program gives out: text on the standard output, warnings, and files that appear when they are whole.
use std::{
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{chown, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::NamedTempFile;

use crate::{
    fail::{During, Fail, CREATE},
    files::{folder_of, plain},
    signals::Temporary,
};

/// Prints text. That nobody reads it to its end is no failure, a full disk is one.
pub fn print(text: impl Display) -> Result<(), Fail> {
    print_bytes(text.to_string().as_bytes())
}

/// The same for bytes.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Fail> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.during(CREATE, "cannot write to the standard output"),
    }
}

/// A line on the standard error; if that cannot be written, nothing can be said.
pub fn warn(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A file that appears under its name only when it is whole. What is no plain file is written as it goes: the standard
/// output, devices, pipes.
pub struct Output {
    path: PathBuf,
    target: Target,
}

enum Target {
    Stdout(BufWriter<io::Stdout>),
    Special(BufWriter<File>),
    File(BufWriter<File>, NamedTempFile, Temporary),
}

impl Output {
    /// A link stays, what it points to is written. A file that is there keeps its permissions and owner.
    pub fn create(path: &Path) -> Result<Self, Fail> {
        let act = || format!("cannot create {}", path.display());
        if path == Path::new("-") {
            let target = Target::Stdout(BufWriter::new(io::stdout()));
            return Ok(Self { path: path.to_owned(), target });
        }
        let there = fs::metadata(path).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(path).during(CREATE, act())?;
            return Ok(Self { path: path.to_owned(), target: Target::Special(BufWriter::new(file)) });
        }
        let path = target_of(path);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".rota-artifact-").permissions(fs::Permissions::from_mode(0o666)); // less the umask
        let file = builder.tempfile_in(folder_of(&path)).map_err(plain).during(CREATE, act())?;
        let temporary = Temporary::new(file.path());
        if let Some(there) = there {
            // Only root can give a file away; for others it is theirs anyway.
            let _ = chown(file.path(), Some(there.uid()), Some(there.gid()));
            file.as_file().set_permissions(there.permissions()).during(CREATE, act())?;
        }
        // Written as a plain file, whose errors do not tell the temporary name.
        let out = BufWriter::new(file.as_file().try_clone().during(CREATE, act())?);
        Ok(Self { path, target: Target::File(out, file, temporary) })
    }

    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.target {
            Target::Stdout(out) => out,
            Target::Special(out) => out,
            Target::File(out, ..) => out,
        }
    }

    /// The same for a program to write to.
    pub fn stdio(&self) -> Result<Stdio, Fail> {
        let file = match &self.target {
            Target::Stdout(_) => return Ok(Stdio::inherit()),
            Target::Special(out) | Target::File(out, ..) => out.get_ref().try_clone(),
        };
        Ok(file.during(CREATE, format_args!("cannot create {}", self.path.display()))?.into())
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<(), Fail> {
        let act = format!("cannot write {}", self.path.display());
        let finish = || -> io::Result<()> {
            match self.target {
                Target::Stdout(mut out) => out.flush(),
                Target::Special(mut out) => out.flush(),
                Target::File(mut out, file, _temporary) => {
                    out.flush()?;
                    file.persist(&self.path)?;
                    Ok(())
                }
            }
        };
        finish().during(CREATE, act)
    }
}

/// The file that a link points to, whether it exists or not; `path` itself when it is no link.
fn target_of(path: &Path) -> PathBuf {
    fs::canonicalize(path)
        .or_else(|_| fs::read_link(path).map(|target| folder_of(path).join(target)))
        .unwrap_or_else(|_| path.to_owned())
}
