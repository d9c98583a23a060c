//! A server of the scenario's own: started, stopped, and asked through its management API.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{json, Value};

use crate::api::{new_deployment, Api};
use crate::console::Console;
use crate::error::{Context, Error, Result};
use crate::house::House;
use crate::run;
use crate::wait::{secs, until, Look};

pub const EMAIL: &str = "admin@example.com";
pub const PASSWORD: &str = "rota-demo-1";
/// How long an update may take with all its reboots, on a busy host.
pub const UPDATE: Duration = secs(1200);
/// Where a machine finds its host.
const HOST_FROM_MACHINE: &str = "10.0.2.2";

pub struct Server {
    program: PathBuf,
    data: PathBuf,
    log: Console,
    process: Option<Child>,
    port: u16,
    api: Option<Api>,
}

/// A device as the server knows it.
#[derive(Debug, Clone)]
pub struct Device {
    pub id: String,
    pub auth_set: String,
}

/// A release on its way to one device.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub id: String,
    pub release: String,
    pub device: Device,
}

/// How far a device is with its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// `pending`, `downloading`, `installing`, `rebooting`, `success`, `failure`, …
    pub status: String,
    pub substate: String,
}

impl Progress {
    /// Whether nothing comes after it.
    pub fn is_final(&self) -> bool {
        let ends = ["success", "failure", "noartifact", "already-installed", "aborted", "decommissioned"];
        ends.contains(&self.status.as_str())
    }
}

impl Server {
    /// Makes a server's data folder, with its keys and its first user, and starts it on a port that the system chooses.
    pub fn start(house: &House, folder: &Path) -> Result<Server> {
        let (program, data) = (house.program("rota-server")?, folder.join("server"));
        init(&program, &data)?;
        let log = Console::new(folder.join("server.log"))?;
        let mut server = Server { program, data, log, process: None, port: 0, api: None };
        server.resume()?;
        Ok(server)
    }

    /// Makes the keys of a server that is never started; returns its certificate authority, PEM.
    pub fn make_ca(house: &House, data: &Path) -> Result<Vec<u8>> {
        init(&house.program("rota-server")?, data)?;
        read_ca(data)
    }

    /// Starts the server again after [`Server::stop`], where it was.
    pub fn resume(&mut self) -> Result<()> {
        let mut serve = run::dependent(&self.program.to_string_lossy());
        serve
            .arg("serve")
            .arg("--data")
            .arg(&self.data)
            .args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = serve.spawn().context("start", self.program.display())?;
        if let Some(stderr) = process.stderr.take() {
            self.log.follow(stderr)?;
        }
        if let Some(stdout) = process.stdout.take() {
            self.log.follow(stdout)?;
        }
        self.process = Some(process);
        let (_, line) = self.log.wait_for_any(&["listening on https://"], secs(30))?;
        let port = line.rsplit(':').next().unwrap_or_default().trim();
        self.port = port.parse().map_err(|_| Error::Unexpected {
            what: "the server's first line".into(),
            expected: "an address with its port at the end".into(),
            found: line.clone(),
        })?;
        self.api = Some(Api::sign_in(&self.address(), &self.ca()?, EMAIL, PASSWORD)?);
        Ok(())
    }

    /// Kills the server.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().context("kill", "the server")?;
            process.wait().context("wait for", "the server")?;
        }
        Ok(())
    }

    /// Where people find it.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Where machines find it.
    pub fn address_for_machines(&self) -> String {
        format!("https://{HOST_FROM_MACHINE}:{}", self.port)
    }

    /// The certificate that the server's own one is signed with, PEM.
    pub fn ca(&self) -> Result<Vec<u8>> {
        read_ca(&self.data)
    }

    /// Changes the bytes of an artifact behind the server's back, where it stores them: so a device meets what a
    /// server would have refused.
    pub fn tamper(&self, artifact: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<()> {
        let original = fs::read(artifact).context("read", artifact.display())?;
        let size = format!("{}c", original.len());
        let found = run::output(Command::new("find").arg(&self.data).args(["-type", "f", "-size", &size]))?;
        let stored = found.lines().find(|path| fs::read(path).is_ok_and(|bytes| bytes == original));
        let stored = stored.ok_or_else(|| Error::Missing {
            object: self.data.join("…"),
            next: format!("upload {} first", artifact.display()),
        })?;
        fs::write(stored, change(original)).context("write", stored)
    }

    /// The folder with the server's data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn log_file(&self) -> &Path {
        self.log.path()
    }

    /// The management API.
    pub fn api(&self) -> Result<&Api> {
        self.api
            .as_ref()
            .ok_or_else(|| Error::Missing { object: self.data.clone(), next: "start the server".into() })
    }

    /// Waits for a device that asks to be admitted.
    pub fn wait_for_pending(&self, limit: Duration) -> Result<Device> {
        until("a device that asks to be admitted", limit, || {
            let devices = self.api()?.get("v2", "/devauth/devices?status=pending")?;
            let Some(device) = devices.get(0) else { return Ok(Look::NotYet("no pending device".into())) };
            Ok(Look::There(Device { id: word(device, "/id"), auth_set: word(device, "/auth_sets/0/id") }))
        })
    }

    /// Admits a device.
    pub fn accept(&self, device: &Device) -> Result<()> {
        let path = format!("/devauth/devices/{}/auth/{}/status", device.id, device.auth_set);
        self.api()?.put("v2", &path, &json!({ "status": "accepted" }))
    }

    /// Waits for a device that asks to be admitted, and admits it.
    pub fn accept_next(&self, limit: Duration) -> Result<Device> {
        let device = self.wait_for_pending(limit)?;
        self.accept(&device)?;
        Ok(device)
    }

    /// Waits for a known device that comes with a new key, and admits it by that in the place of the old one.
    pub fn accept_new_key(&self, device: &Device, limit: Duration) -> Result<()> {
        let new = until("a device that comes with a new key", limit, || {
            let known = self.api()?.get("v2", &format!("/devauth/devices/{}", device.id))?;
            let sets = known.get("auth_sets").and_then(Value::as_array).cloned().unwrap_or_default();
            match sets.iter().find(|set| word(set, "/status") == "pending") {
                Some(set) => Ok(Look::There(Device { auth_set: word(set, "/id"), ..device.clone() })),
                None => Ok(Look::NotYet(format!("{known}"))),
            }
        })?;
        self.accept(&new)
    }

    /// What a device told of itself: names and values.
    pub fn inventory(&self, device: &Device) -> Result<BTreeMap<String, String>> {
        let found = self.api()?.get("v1", &format!("/inventory/devices/{}", device.id))?;
        let attributes = found.get("attributes").and_then(Value::as_array).cloned().unwrap_or_default();
        let inventory = attributes.iter().filter(|attribute| word(attribute, "/scope") == "inventory");
        Ok(inventory.map(|attribute| (word(attribute, "/name"), word(attribute, "/value"))).collect())
    }

    /// Waits until a device's inventory has `name` with a value that contains `value`.
    pub fn wait_for_inventory(
        &self,
        device: &Device,
        name: &str,
        value: &str,
        limit: Duration,
    ) -> Result<()> {
        until(&format!("{name} with “{value}” in the inventory"), limit, || {
            let inventory = self.inventory(device)?;
            match inventory.get(name) {
                Some(found) if found.contains(value) => Ok(Look::There(())),
                _ => Ok(Look::NotYet(format!("{inventory:?}"))),
            }
        })
    }

    /// Uploads an artifact; returns its id.
    pub fn upload(&self, artifact: &Path) -> Result<String> {
        self.api()?.upload(artifact)
    }

    /// Sends a release to a device.
    pub fn deploy(&self, release: &str, device: &Device) -> Result<Deployment> {
        let body = new_deployment(&format!("{release} to the lab"), release, &device.id);
        let id = self.api()?.post("v1", "/deployments/deployments", &body)?;
        Ok(Deployment { id, release: release.into(), device: device.clone() })
    }

    /// How far a deployment is.
    pub fn progress(&self, deployment: &Deployment) -> Result<Progress> {
        let path = format!("/deployments/deployments/{}/devices/list", deployment.id);
        let devices = self.api()?.get("v1", &path)?;
        let devices = devices.as_array().cloned().unwrap_or_default();
        let mine = devices.iter().find(|device| word(device, "/id") == deployment.device.id);
        // A device that has not asked yet has no line of its own.
        let Some(mine) = mine else {
            return Ok(Progress { status: "pending".into(), substate: String::new() });
        };
        Ok(Progress { status: word(mine, "/status"), substate: word(mine, "/substate") })
    }

    /// The log that a device sent with a failure.
    pub fn deployment_log(&self, deployment: &Deployment) -> Result<String> {
        let path = format!("/deployments/deployments/{}/devices/{}/log", deployment.id, deployment.device.id);
        self.api()?.get_text("v1", &path)
    }

    /// Waits for the end of a deployment; `seen` is told each status on the way.
    pub fn watch(
        &self,
        of: &Deployment,
        limit: Duration,
        mut seen: impl FnMut(&Progress),
    ) -> Result<Progress> {
        let mut last = None;
        until(&format!("the end of the deployment of {}", of.release), limit, || {
            let progress = self.progress(of)?;
            if last.as_ref() != Some(&progress) {
                seen(&progress);
                last = Some(progress.clone());
            }
            if progress.is_final() {
                return Ok(Look::There(progress));
            }
            Ok(Look::NotYet(format!("{progress:?}")))
        })
    }

    /// Waits for a deployment to succeed.
    pub fn expect_success(&self, deployment: &Deployment, limit: Duration) -> Result<()> {
        let end = self.watch(deployment, limit, |_| ())?;
        if end.status == "success" {
            return Ok(());
        }
        Err(Error::Unexpected {
            what: format!("the deployment of {}", deployment.release),
            expected: "success".into(),
            found: format!(
                "{} ({})\n{}",
                end.status,
                end.substate,
                self.deployment_log(deployment).unwrap_or_default()
            ),
        })
    }

    /// Waits for a deployment to fail, with each of `reasons` in what the device reports. Returns the report.
    pub fn expect_failure(
        &self,
        deployment: &Deployment,
        reasons: &[&str],
        limit: Duration,
    ) -> Result<String> {
        let end = self.watch(deployment, limit, |_| ())?;
        // The log comes after the status.
        let log = || self.deployment_log(deployment).unwrap_or_default();
        until(&format!("the report on {}, with {reasons:?}", deployment.release), secs(30), || {
            let report = format!("{}: {}\n{}", end.status, end.substate, log());
            if end.status == "failure" && reasons.iter().all(|reason| report.contains(reason)) {
                return Ok(Look::There(report));
            }
            Ok(Look::NotYet(report))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn init(program: &Path, data: &Path) -> Result<()> {
    let mut init = Command::new(program);
    init.arg("init").arg("--data").arg(data).args(["--email", EMAIL, "--password", PASSWORD]);
    run::output(init.args(["--host", HOST_FROM_MACHINE, "--host", "127.0.0.1", "--host", "localhost"]))
        .map(drop)
}

fn read_ca(data: &Path) -> Result<Vec<u8>> {
    let path = data.join("tls/ca.pem");
    fs::read(&path).context("read", path.display())
}

/// The text at a JSON pointer, or what stands there as JSON.
fn word(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
