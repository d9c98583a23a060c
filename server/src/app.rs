//! What every request needs.
use crate::blobs::Blobs;
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::events::Events;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::store::{Store, Tenant};
use crate::throttle::Throttle;
use crate::token::Tokens;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub struct App {
    pub config: Config,
    pub store: Store,
    pub blobs: Blobs,
    pub keys: Keys,
    pub tokens: Tokens,
    pub logins: Throttle,
    pub events: Events,
    pub check_ins: CheckIns,
    pub metrics: Metrics,
    /// There are webhooks to be told something.
    pub webhooks_due: Notify,
    /// The server stops.
    pub stop: CancellationToken,
    /// Uploads at a time.
    pub uploads: Semaphore,
    pub receiving: Receiving,
}

/// How handlers get it.
pub type Shared = Arc<App>;

/// Where things are in the data folder.
pub struct Layout(PathBuf);

impl Layout {
    pub fn new(data: &Path) -> Layout {
        Layout(data.to_owned())
    }
    pub fn database(&self) -> PathBuf {
        self.0.join("rota.db")
    }
    pub fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }
    pub fn secret(&self) -> PathBuf {
        self.0.join("secret")
    }
    /// For what is neither kept nor small.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }
}

/// Held by the one process that serves a data folder, or repairs it.
pub struct Lock(#[expect(dead_code, reason = "held open")] File);

impl Lock {
    pub fn take(data: &Path) -> anyhow::Result<Lock> {
        crate::files::private_dir(data)?;
        let path = data.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| crate::files::Error::new("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(_) => anyhow::bail!("another rota-server is at work in {}; stop it first", data.display()),
        }
    }
}

impl App {
    /// Opens the data folder, making what is not there.
    pub async fn open(config: Config) -> anyhow::Result<App> {
        let layout = Layout::new(&config.data);
        crate::files::private_dir(&config.data)?;
        let keys = Keys::open(&layout.secret())?;
        let store = Store::open(&layout.database()).await?;
        let tokens = Tokens::new(&keys, config.device_token_life, store.revocations().await?);
        Ok(App {
            blobs: Blobs::folder(&layout.blobs())?,
            uploads: Semaphore::new(config.uploads_at_once),
            receiving: Receiving::default(),
            store,
            keys,
            tokens,
            config,
            logins: Throttle::default(),
            events: Events::default(),
            check_ins: CheckIns::default(),
            metrics: Metrics::default(),
            webhooks_due: Notify::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Removes what a stop in the middle of something left. Only for who has the lock.
    pub async fn tidy(&self) -> anyhow::Result<()> {
        let spool = self.layout().spool();
        if spool.exists() {
            std::fs::remove_dir_all(&spool)
                .map_err(|error| crate::files::Error::new("remove", &spool, error))?;
        }
        self.blobs.tidy()?;
        self.forget_uploads().await;
        Ok(())
    }

    pub fn layout(&self) -> Layout {
        Layout::new(&self.config.data)
    }

    /// Removes what was sent by link and not completed within a day.
    pub async fn forget_uploads(&self) {
        let forgotten = match self.store.forget_uploads(clock::now() - clock::DAY).await {
            Ok(forgotten) => forgotten,
            Err(error) => return tracing::warn!(%error, "old uploads could not be forgotten"),
        };
        for (tenant, id) in forgotten {
            if let Err(error) = self.blobs.remove(&tenant, &id).await {
                tracing::warn!(%error, "an old upload could not be removed");
            }
        }
    }

    /// Writes down when devices were last seen.
    pub async fn flush_check_ins(&self) {
        let seen = self.check_ins.take();
        if seen.is_empty() {
            return;
        }
        if let Err(error) = self.store.check_in(&seen).await {
            tracing::warn!(%error, devices = seen.len(), "the times of the last check-ins could not be written");
        }
    }
}

/// When devices were last seen, until it is written down: a poll must not cost a write.
#[derive(Default)]
pub struct CheckIns(Mutex<HashMap<(Tenant, String), Millis>>);

impl CheckIns {
    pub fn note(&self, tenant: &Tenant, device: &str) {
        let mut seen = self.0.lock().unwrap_or_else(|lock| lock.into_inner());
        seen.insert((tenant.clone(), device.to_owned()), clock::now());
    }

    fn take(&self) -> Vec<(Tenant, String, Millis)> {
        let seen = std::mem::take(&mut *self.0.lock().unwrap_or_else(|lock| lock.into_inner()));
        seen.into_iter().map(|((tenant, id), at)| (tenant, id, at)).collect()
    }
}

/// Links to which something is being sent.
#[derive(Clone, Default)]
pub struct Receiving(Arc<Mutex<HashSet<(Tenant, String)>>>);

/// Nobody else may send to the link while this is held.
pub struct Claim(Receiving, (Tenant, String));

impl Receiving {
    pub fn claim(&self, tenant: &Tenant, id: &str) -> Option<Claim> {
        let link = (tenant.clone(), id.to_owned());
        let mut links = self.0.lock().unwrap_or_else(|lock| lock.into_inner());
        links.insert(link.clone()).then(|| Claim(self.clone(), link))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut links = self.0 .0.lock().unwrap_or_else(|lock| lock.into_inner());
        links.remove(&self.1);
    }
}
