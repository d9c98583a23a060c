//! An artifact that is there already, as the stuff for a new one.
use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rota_artifact::{Compression, Data, Draft, FileSummary, Header, Limits, Reader, Stored, Writer};
use serde_json::json;

use crate::{
    cli::Rewrite,
    fail::{During, Fail, CREATE, FEATURE, INVALID},
    files::{self, TemporaryFolder},
    gzip, keys,
    output::{self, Output},
    progress::Progress,
    read::Style,
    write,
};

/// What an artifact holds; it was read to its end, and is valid.
pub struct Original {
    pub path: PathBuf,
    pub header: Header,
    pub payloads: Vec<Vec<FileSummary>>,
    stored: Vec<Stored>,
    compression: Compression,
    signed: bool,
}

impl Original {
    /// Reads an artifact. With `folders`, the files of each payload are unpacked into its folder on the way.
    pub fn read(path: &Path, folders: &BTreeMap<usize, PathBuf>) -> Result<Self, Fail> {
        let progress = Progress::new("Reading", false);
        let source = files::open_artifact(path, &progress)?;
        let mut reader = Reader::new(source, &Limits::default()).during(INVALID, path.display())?;
        let (header, compression, signed) =
            (reader.header().clone(), reader.compression(), reader.signature().is_some());
        let mut stored = Vec::new();
        while let Some(mut payload) = reader.next_payload().during(INVALID, path.display())? {
            stored.push(payload.stored());
            let folder = folders.get(&payload.index());
            while let Some(mut file) = payload.next_file().during(INVALID, path.display())? {
                if let Some(folder) = folder {
                    unpack(&mut file, folder)?;
                }
            }
        }
        let payloads = reader.finish().during(INVALID, path.display())?.payloads;
        Ok(Self { path: path.to_owned(), header, payloads, stored, compression, signed })
    }

    /// Refuses what cannot be written again: version 2, and unsigned additions.
    pub fn check_writable(&self) -> Result<(), Fail> {
        let reason = match self.header {
            Header { version: 2, .. } => "it is of version 2, and only version 3 can be written",
            Header { augmented: true, .. } => {
                "it is augmented, and its two parts cannot be told from each other any more"
            }
            _ => return Ok(()),
        };
        Err(Fail::new(FEATURE, format_args!("{} cannot be changed: {reason}", self.path.display())))
    }

    /// Writes the artifact again, in its place, with another header. `folders` has the unpacked files of the payloads
    /// that have changed; the other payloads are taken over as they are, as long as the compression stays the same.
    pub fn rewrite(
        mut self,
        header: Header,
        mut folders: BTreeMap<usize, PathBuf>,
        arguments: &Rewrite,
        style: &Style,
    ) -> Result<(), Fail> {
        let temporary = arguments.tmp.as_deref().unwrap_or_else(|| files::folder_of(&self.path)).to_owned();
        let kept = self.compression;
        let compression =
            arguments.compression.as_deref().map(write::compression).transpose()?.unwrap_or(kept);
        let changed = !folders.is_empty();
        let unpacked = TemporaryFolder::new(&temporary)?;
        if compression != kept && folders.len() < self.payloads.len() {
            let missing = (0..self.payloads.len()).filter(|index| !folders.contains_key(index));
            let missing: BTreeMap<_, _> =
                missing.map(|index| (index, unpacked.path().join(index.to_string()))).collect();
            self = Self::read(&self.path, &missing)?;
            folders.extend(missing);
        }
        let signer = keys::signer(&arguments.key)?;
        if self.signed && signer.is_none() {
            let path = self.path.display();
            output::warn(format_args!("warning: {path} was signed; now it is not, as no key was given"));
        }
        let progress = Progress::new("Writing", false);
        let data = (0..self.payloads.len())
            .map(|index| self.data(index, folders.get(&index), &temporary, &progress));
        let data = data.collect::<Result<Vec<_>, _>>()?;
        if compression == Compression::None && changed {
            progress.twice();
        }
        let provides = &header.payloads[0].provides;
        let keys = ["rootfs-image.checksum", "rootfs_image_checksum"];
        let checksum_key =
            keys.into_iter().find(|key| changed && provides.contains_key(*key)).map(str::to_owned);
        let draft = Draft { header, data, checksum_key, augment: None };
        let writer = Writer {
            compression,
            encoder: &gzip::encoder,
            spool: &|| Ok(Box::new(tempfile::tempfile_in(&temporary)?)),
            signer: signer.as_deref(),
            modified: files::source_date_epoch().unwrap_or(0),
        };
        let mut output = Output::create(&self.path)?;
        let act = format!("cannot write {}", self.path.display());
        let summary = writer.write(&draft, output.writer()).during(CREATE, act)?;
        output.finish()?;
        style.done(&self.path, || json!({"written": self.path, "bytes": summary.bytes}))
    }

    fn data<'a>(
        &'a self,
        index: usize,
        folder: Option<&PathBuf>,
        temporary: &Path,
        progress: &'a Progress,
    ) -> Result<Data<'a>, Fail> {
        if let Some(folder) = folder {
            let input = |file: &FileSummary| files::input(&folder.join(&file.name), temporary, progress);
            return Ok(Data::Files(self.payloads[index].iter().map(input).collect::<Result<_, _>>()?));
        }
        let Stored { compression, offset, size } = self.stored[index];
        progress.expect(size);
        let open = move || -> io::Result<Box<dyn Read + 'a>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(Box::new(progress.watch(BufReader::new(file).take(size))))
        };
        Ok(Data::Stored { compression, size, files: self.payloads[index].clone(), open: Box::new(open) })
    }
}

/// Unpacks a payload file into a folder, with its time and mode.
fn unpack(file: &mut rota_artifact::PayloadFile, folder: &Path) -> Result<(), Fail> {
    let path = folder.join(file.name());
    let mut unpack = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut target = File::create(&path)?;
        files::copy_sparse(file, &mut target)?;
        target.set_permissions(Permissions::from_mode(file.mode() & 0o777 | 0o600))?;
        target.set_modified(UNIX_EPOCH + Duration::from_secs(file.modified().min(i32::MAX as u64)))
    };
    unpack().during(CREATE, format_args!("cannot unpack {}", path.display()))
}
