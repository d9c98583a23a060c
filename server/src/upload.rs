//! One pass over an artifact that comes in: every chunk is hashed, read by the artifact library, and stored, in constant
//! memory. Nothing of it is visible before `finish`.
use crate::artifact::Detail;
use crate::blobs::{self, Blobs, Incoming};
use crate::store::Tenant;
use bytes::{Buf, Bytes};
use std::io::{self, Read};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Artifact(#[from] rota_artifact::Error),
    #[error("{0}")]
    Store(#[from] blobs::Error),
    #[error("the artifact is larger than {0} bytes, which is the most this server takes")]
    TooLarge(u64),
    #[error("the artifact's check was stopped")]
    Stopped,
}

/// A complete artifact; its file is stored.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Received {
    pub name: String,
    pub detail: Detail,
    pub size: u64,
    pub sha256: String,
}

type Parsed = Result<(String, Detail), rota_artifact::Error>;

/// An artifact on its way in.
pub struct Upload {
    to_parser: Option<mpsc::Sender<Bytes>>,
    parser: JoinHandle<Parsed>,
    incoming: Incoming,
    hash: ring::digest::Context,
    size: u64,
    limit: u64,
}

impl Upload {
    /// `limit`: most bytes.
    pub async fn start(blobs: &Blobs, tenant: &Tenant, id: &str, limit: u64) -> Result<Upload, Error> {
        let incoming = blobs.create(tenant, id).await?;
        let (to_parser, from_network) = mpsc::channel(4);
        let parser = tokio::task::spawn_blocking(move || {
            let mut source = ChannelReader { chunks: from_network, current: Bytes::new() };
            let parsed = crate::parse::artifact(&mut source)?;
            io::copy(&mut source, &mut io::sink()).map_err(rota_artifact::Error::from_io)?;
            Ok(parsed)
        });
        let hash = ring::digest::Context::new(&ring::digest::SHA256);
        Ok(Upload { to_parser: Some(to_parser), parser, incoming, hash, size: 0, limit })
    }

    /// Takes a chunk. An artifact that turns out to be bad is refused here, without waiting for its end.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.size += chunk.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge(self.limit));
        }
        self.hash.update(&chunk);
        self.incoming.write(&chunk).await?;
        let sent = match &self.to_parser {
            Some(channel) => channel.send(chunk).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        match (&mut self.parser).await {
            Ok(Err(error)) => Err(error.into()),
            _ => Err(Error::Stopped),
        }
    }

    /// The artifact is whole: checks it to its end and makes its file appear.
    pub async fn finish(mut self) -> Result<Received, Error> {
        self.to_parser = None;
        let parsed = (&mut self.parser).await.map_err(|_| Error::Stopped)?;
        let (name, detail) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.incoming.abort().await;
                return Err(error.into());
            }
        };
        self.incoming.complete().await?;
        let sha256 = crate::keys::hex(self.hash.finish().as_ref());
        Ok(Received { name, detail, size: self.size, sha256 })
    }

    /// Takes nothing more and leaves nothing behind.
    pub async fn abort(self) {
        drop(self.to_parser);
        self.incoming.abort().await;
    }
}

/// Chunks of a channel as a stream of bytes, for a thread that may block.
struct ChannelReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
