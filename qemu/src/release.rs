//! Releases: a root file system each, different from the last by as much as a scenario needs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use crate::disk;
use crate::error::{Context, Result};
use crate::house::House;
use crate::kind::Kind;
use crate::run;
use crate::tree::Tree;

/// What the client of a release is configured with. Times are short: scenarios wait for them to pass.
#[derive(Debug, Clone)]
pub struct Client {
    pub server: String,
    /// PEM.
    pub ca: Vec<u8>,
    /// How long a client looks for its server before it gives a trial up.
    pub health: &'static str,
    /// How long a trial may go on when its client never runs.
    pub trial: &'static str,
}

/// A release to be built. Unlike a real product's, its flaws are chosen.
#[derive(Debug, Clone)]
pub struct Release {
    pub name: String,
    client: Client,
    device_type: Option<String>,
    mib: Option<u64>,
    compression: &'static str,
    files: Vec<(String, Vec<u8>, u32)>,
    without_init: bool,
    without_kernel: bool,
}

/// A release that was built.
#[derive(Debug, Clone)]
pub struct Built {
    pub name: String,
    /// The root file system, and its length in bytes and SHA-256.
    pub image: PathBuf,
    pub length: u64,
    pub digest: String,
    /// The `.mender` file.
    pub artifact: PathBuf,
}

impl Release {
    pub fn new(name: &str, client: Client) -> Release {
        Release {
            name: name.into(),
            client,
            device_type: None,
            mib: None,
            compression: "gzip",
            files: Vec::new(),
            without_init: false,
            without_kernel: false,
        }
    }

    /// The kernel finds nothing to start, and panics.
    pub fn without_init(mut self) -> Release {
        self.without_init = true;
        self
    }

    /// The boot loader finds nothing to load.
    pub fn without_kernel(mut self) -> Release {
        self.without_kernel = true;
        self
    }

    /// Its trial does not take long to be given up: it is known to fail.
    pub fn impatient(mut self) -> Release {
        self.client.health = "20s";
        self.client.trial = "50s";
        self
    }

    /// The client ends as soon as it starts.
    pub fn with_client_that_exits(self) -> Release {
        self.impatient().with_file("/usr/sbin/rota", b"#!/bin/sh\nexit 1\n", 0o755)
    }

    /// The client looks for its server where there is none.
    pub fn with_server(mut self, address: &str) -> Release {
        self.client.server = address.into();
        self.impatient()
    }

    /// The client trusts another authority (PEM) than the server's.
    pub fn with_ca(mut self, ca: &[u8]) -> Release {
        self.client.ca = ca.to_vec();
        self.impatient()
    }

    /// The artifact says that it is for other devices.
    pub fn for_device_type(mut self, device_type: &str) -> Release {
        self.device_type = Some(device_type.into());
        self
    }

    /// The file system has this size instead of the slot's.
    pub fn of_size(mut self, mib: u64) -> Release {
        self.mib = Some(mib);
        self
    }

    /// The payload is stored as it is, so that a changed byte of it is found by its checksum alone.
    pub fn uncompressed(mut self) -> Release {
        self.compression = "none";
        self
    }

    /// One more file, or another content of a file.
    pub fn with_file(mut self, path: &str, content: &[u8], mode: u32) -> Release {
        self.files.push((path.into(), content.into(), mode));
        self
    }

    /// The root file system of this release.
    pub fn build_image(&self, kind: &dyn Kind, base: &Tree, image: PathBuf) -> Result<PathBuf> {
        let tree = base.branch(image.with_extension("tree"))?;
        tree.write("/etc/release", format!("{}\n", self.name).as_bytes(), 0o644)?;
        tree.write("/etc/rota/artifact_info", format!("artifact_name={}\n", self.name).as_bytes(), 0o644)?;
        tree.write("/etc/rota/rota.toml", self.configuration(kind).as_bytes(), 0o644)?;
        tree.write("/etc/rota/server-ca.pem", &self.client.ca, 0o644)?;
        for (path, content, mode) in &self.files {
            tree.write(path, content, *mode)?;
        }
        if self.without_kernel {
            tree.remove(kind.kernel_file())?;
        }
        if self.without_init {
            tree.remove("/sbin/init")?;
        }
        let mib = self.mib.unwrap_or_else(|| kind.release_mib());
        disk::slot_file_system(tree.path(), &image, mib)?;
        fs::remove_dir_all(tree.path()).context("remove", tree.path().display())?;
        Ok(image)
    }

    /// The artifact of this release.
    pub fn build_artifact(&self, house: &House, kind: &dyn Kind, image: PathBuf) -> Result<Built> {
        let artifact = image.with_extension("mender");
        let device_type = self.device_type.as_deref().unwrap_or(kind.device_type());
        let mut write = Command::new(house.program("rota-artifact")?);
        write.args(["write", "rootfs-image", "-n", &self.name, "-t", device_type, "-f"]).arg(&image);
        run::output(write.arg("-o").arg(&artifact).args(["--compression", self.compression]))?;
        let file = File::open(&image).context("open", image.display())?;
        let length = file.metadata().context("look at", image.display())?.len();
        let digest = disk::digest(file).context("read", image.display())?;
        Ok(Built { name: self.name.clone(), image, length, digest, artifact })
    }

    fn configuration(&self, kind: &dyn Kind) -> String {
        let Client { server, health, trial, .. } = &self.client;
        format!(
            r#"device_type = "{}"

[server]
url = "{server}"
ca = "/etc/rota/server-ca.pem"
poll_interval = "2s"
inventory_interval = "10s"
retry_interval = "2s"

[download]
retries = 3
retry_interval = "2s"

[health]
timeout = "{health}"

[trial]
timeout = "{trial}"

{}"#,
            kind.device_type(),
            kind.client(),
        )
    }
}
