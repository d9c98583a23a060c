//! Artifact files, by tenant and artifact id. No name that came from outside reaches the disk.
use crate::store::Tenant;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// What is written at once. Stores other than a folder may want larger parts.
const PART: usize = 1 << 20;
/// What is read at once.
const READ: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
#[error("the artifact store cannot {act} {key}: {source}")]
pub struct Error {
    act: &'static str,
    key: String,
    source: object_store::Error,
}

impl Error {
    /// There is no room left.
    pub fn is_full(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&self.source);
        while let Some(error) = next {
            if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.raw_os_error() == Some(28)) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// There is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self.source, object_store::Error::NotFound { .. })
    }
}

fn told(act: &'static str, key: &Key) -> impl FnOnce(object_store::Error) -> Error {
    let key = key.to_string();
    move |source| Error { act, key, source }
}

pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The folder, when it is one: its files are synced here.
    folder: Option<PathBuf>,
}

fn key(tenant: &Tenant, id: &str) -> Key {
    Key::from_iter(["artifacts", tenant.id(), id])
}

impl Blobs {
    /// Keeps files in a folder, which is made when it is not there.
    pub fn folder(root: &Path) -> anyhow::Result<Blobs> {
        crate::files::private_dir(root)?;
        let store = LocalFileSystem::new_with_prefix(root)?;
        Ok(Blobs { store: Arc::new(store), folder: Some(root.to_owned()) })
    }

    /// Removes what interrupted uploads left. Nobody else may be at work.
    pub fn tidy(&self) -> Result<(), crate::files::Error> {
        let Some(folder) = &self.folder else { return Ok(()) };
        remove_unfinished(folder).map_err(|error| crate::files::Error::new("tidy", folder, error))
    }

    /// Begins a file. It is not there until it is complete, and never when it is dropped before.
    pub async fn create(&self, tenant: &Tenant, id: &str) -> Result<Incoming, Error> {
        let key = key(tenant, id);
        let upload = self.store.put_multipart(&key).await.map_err(told("begin", &key))?;
        Ok(Incoming { upload, key, part: BytesMut::new(), folder: self.folder.clone() })
    }

    /// Size of a file in bytes.
    pub async fn size(&self, tenant: &Tenant, id: &str) -> Result<u64, Error> {
        let key = key(tenant, id);
        Ok(self.store.head(&key).await.map_err(told("find", &key))?.size)
    }

    /// Reads a part of a file, as a stream.
    pub async fn read(
        &self,
        tenant: &Tenant,
        id: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Error> {
        let key = key(tenant, id);
        let length = range.end - range.start;
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..Default::default() };
        let found = self.store.get_opts(&key, options).await.map_err(told("read", &key))?;
        match found.payload {
            GetResultPayload::File(mut file, _) => {
                use std::io::{Seek, SeekFrom};
                let seek = file.seek(SeekFrom::Start(range.start));
                seek.map_err(|source| object_store::Error::Generic {
                    store: "folder",
                    source: source.into(),
                })
                .map_err(told("read", &key))?;
                let mut file = tokio::fs::File::from_std(file);
                file.set_max_buf_size(READ);
                let limited = file.take(length);
                Ok(tokio_util::io::ReaderStream::with_capacity(limited, READ).boxed())
            }
            GetResultPayload::Stream(stream) => Ok(stream.map_err(std::io::Error::from).boxed()),
        }
    }

    /// Removes a file; one that is not there is removed already.
    pub async fn remove(&self, tenant: &Tenant, id: &str) -> Result<(), Error> {
        let key = key(tenant, id);
        match self.store.delete(&key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other.map_err(told("remove", &key)),
        }
    }

    /// `(tenant, id, size)` of every file.
    pub async fn list(&self) -> Result<Vec<(String, String, u64)>, Error> {
        let top = Key::from("artifacts");
        let mut files = Vec::new();
        let mut list = self.store.list(Some(&top));
        while let Some(found) = list.next().await {
            let found = found.map_err(told("list", &top))?;
            let parts: Vec<_> = found.location.parts().map(|part| part.as_ref().to_owned()).collect();
            if let [_, tenant, id] = parts.as_slice() {
                files.push((tenant.clone(), id.clone(), found.size));
            }
        }
        Ok(files)
    }
}

/// A file on its way in.
pub struct Incoming {
    upload: Box<dyn MultipartUpload>,
    key: Key,
    part: BytesMut,
    folder: Option<PathBuf>,
}

impl Incoming {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let part = std::mem::take(&mut self.part).freeze();
        self.upload.put_part(part.into()).await.map_err(told("write", &self.key))
    }

    /// Makes the file appear, durable.
    pub async fn complete(mut self) -> Result<(), Error> {
        if !self.part.is_empty() {
            self.flush().await?;
        }
        self.upload.complete().await.map_err(told("complete", &self.key))?;
        if let Some(folder) = &self.folder {
            let path = folder.join(self.key.as_ref());
            let synced = tokio::task::spawn_blocking(move || sync(&path)).await;
            let synced = synced.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            synced
                .map_err(|source| object_store::Error::Generic { store: "folder", source: source.into() })
                .map_err(told("sync", &self.key))?;
        }
        Ok(())
    }

    pub async fn abort(mut self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(key = %self.key, %error, "an unfinished upload could not be removed");
        }
    }
}

fn sync(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()?;
    for folder in path.ancestors().skip(1).take(3) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Unfinished files are named `ID#NUMBER` by the object store.
fn remove_unfinished(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished(&entry.path())?;
        } else if entry.file_name().to_string_lossy().contains('#') {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
