//! Clients as daemons: Debian's Mender client 3.4.0, and rota with that client's very folders and configuration.
use crate::common::artifacts::{make, noise, Plan};
use crate::common::device::text;
use crate::common::{wait_for, Client, Server, PATIENCE};
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const DEPLOYMENTS: &str = "/api/management/v1/deployments/deployments";

/// Fails when the content says so, waits when it says so, and else keeps the content.
const MODULE: &str = r#"#!/bin/sh
case $1 in
    SupportsRollback) echo Yes ;;
    ArtifactInstall)
        case $(head -c 4 files/content) in
            fail) echo "the content says fail" >&2; exit 1 ;;
            wait) while [ ! -e "$MENDER_TEST_GO" ]; do sleep 0.1; done ;;
        esac
        cp files/content "$MENDER_TEST_INSTALLED" ;;
esac
exit 0
"#;

/// Which client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Mender,
    Rota,
}

/// A client with folders of its own.
pub struct Device {
    program: Program,
    folder: tempfile::TempDir,
    mac: String,
    child: Option<Child>,
}

impl Device {
    /// Set up for the server behind `url`.
    pub fn new(program: Program, server: &Server, url: &str, number: u8) -> Device {
        let folder = tempfile::tempdir().unwrap();
        let device = Device { program, folder, mac: format!("02:00:00:00:01:{number:02x}"), child: None };
        let path = |name: &str| device.path(name);
        for name in ["share/identity", "share/inventory", "share/modules/v3", "conf", "data", "run"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let script = |name: &str, content: &str| {
            std::fs::write(path(name), content).unwrap();
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("share/identity/mender-device-identity", &format!("#!/bin/sh\necho mac={}\n", device.mac));
        script("share/inventory/mender-inventory-test", "#!/bin/sh\necho serial=61\necho ip=a\necho ip=b\n");
        script("share/modules/v3/test", MODULE);
        std::fs::write(path("data/device_type"), "device_type=devA\n").unwrap();
        std::fs::write(path("conf/artifact_info"), "artifact_name=rel-0\n").unwrap();
        let config = json!({
            "ServerURL": url,
            "ServerCertificate": server.data.join("tls/ca.pem"),
            "UpdatePollIntervalSeconds": 1,
            "InventoryPollIntervalSeconds": 2,
            "RetryPollIntervalSeconds": 1,
            "DBus": { "Enabled": false },
        });
        std::fs::write(path("conf/mender.conf"), config.to_string()).unwrap();
        device
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        // The client's folders are fixed: in a mount namespace of its own they are the test's. This needs root.
        let daemon = match self.program {
            Program::Mender => "mender --config /etc/mender/mender.conf --data \"$0/data\" daemon",
            Program::Rota => "\"$1\" --data \"$0/data\" daemon",
        };
        let mounts = "mount --bind \"$0/share\" /usr/share/mender && mount --bind \"$0/conf\" /etc/mender";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &format!("{mounts} && exec {daemon}")]).arg(self.folder.path());
        if self.program == Program::Rota {
            command.arg(rota()).env("ROTA_RUN_DIR", self.path("run"));
        }
        command.env("MENDER_TEST_INSTALLED", self.path("installed")).env("MENDER_TEST_GO", self.path("go"));
        self.child =
            Some(command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What the server knows of it.
    pub fn known(&self, admin: &Client) -> Option<Value> {
        let all = admin.get("/api/management/v2/devauth/devices?per_page=500").expect(200).json();
        all.as_array().unwrap().iter().find(|one| one["identity_data"]["mac"] == self.mac.as_str()).cloned()
    }

    /// Waits until it asks, accepts its pending key, and returns the device's id.
    pub fn accept(&self, admin: &Client) -> String {
        let pending = |device: &Value| {
            let sets = device["auth_sets"].as_array().unwrap();
            sets.iter().find(|set| set["status"] == "pending").map(|set| text(&set["id"]))
        };
        wait_for("the device asks", || self.known(admin).as_ref().and_then(pending).is_some());
        let device = self.known(admin).unwrap();
        let (id, set) = (text(&device["id"]), pending(&device).unwrap());
        let path = format!("/api/management/v2/devauth/devices/{id}/auth/{set}/status");
        admin.put(&path, json!({ "status": "accepted" })).expect(204);
        id
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("--- the client's last words");
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

pub fn upload(admin: &Client, name: &str, content: &[u8]) {
    admin.upload(&make(&Plan { name, file: ("content", content), ..Default::default() })).expect(201);
}

/// Where a device of a deployment is.
pub fn part(admin: &Client, deployment: &str) -> Value {
    admin.get(&format!("{DEPLOYMENTS}/{deployment}/devices/list")).expect(200).json()[0].clone()
}

#[track_caller]
pub fn wait_for_status(admin: &Client, deployment: &str, status: &str) {
    wait_for(&format!("the device reports {status}"), || part(admin, deployment)["status"] == status);
}

/// Our client, built.
fn rota() -> PathBuf {
    ours("rota")
}

/// A program of the client's workspace, built.
pub fn ours(name: &str) -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let build = || {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/Cargo.toml");
        // Beside this room's build folder, `.build/server/tmp`.
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../../client");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--manifest-path", manifest]);
        cargo.args(["-p", "rota", "--bin", "rota", "-p", "rota-migrate", "--bin", "rota-migrate"]);
        assert!(cargo.env("CARGO_TARGET_DIR", &target).status().unwrap().success());
        target.join("debug")
    };
    BUILT.get_or_init(build).join(name)
}

#[test]
fn a_mender_client_goes_through_everything() {
    everything(Program::Mender, "3.4.0");
}

#[test]
fn rota_goes_through_everything() {
    everything(Program::Rota, "0.");
}

fn everything(program: Program, version: &str) {
    let server = Server::start();
    let admin = server.admin();
    let mut client = Device::new(program, &server, &server.url, 1);
    client.start();
    let id = client.accept(&admin);

    let inventory = format!("/api/management/v1/inventory/devices/{id}");
    let attribute = |name: &str| {
        let shown = admin.get(&inventory).expect(200).json();
        let list = shown["attributes"].as_array().unwrap();
        list.iter().find(|one| one["name"] == name).map_or(Value::Null, |one| one["value"].clone())
    };
    wait_for("the inventory arrives", || attribute("serial") == "61");
    assert_eq!(attribute("ip"), json!(["a", "b"]));
    assert!(text(&attribute("mender_client_version")).starts_with(version));

    upload(&admin, "rel-1", b"one\n");
    let deployment = admin.deploy("good", "rel-1", &[&id]);
    wait_for_status(&admin, &deployment, "success");
    assert_eq!(std::fs::read(client.path("installed")).unwrap(), b"one\n");
    wait_for("the inventory says so", || attribute("artifact_name") == "rel-1");

    upload(&admin, "rel-2", b"fail\n");
    let deployment = admin.deploy("bad", "rel-2", &[&id]);
    wait_for_status(&admin, &deployment, "failure");
    wait_for("its log arrives", || part(&admin, &deployment)["log"] == true);
    let log = admin.get(&format!("{DEPLOYMENTS}/{deployment}/devices/{id}/log")).expect(200).text();
    assert!(log.contains("the content says fail"), "{log}");
    let why = admin.get(&format!("{DEPLOYMENTS}/{deployment}/devices/{id}/why")).expect(200).json();
    assert_eq!(why["code"], "failed");
    assert!(text(&why["reason"]).len() > 20, "{why}");

    upload(&admin, "rel-3", b"wait\n");
    let deployment = admin.deploy("aborted", "rel-3", &[&id]);
    wait_for_status(&admin, &deployment, "installing");
    admin.put(&format!("{DEPLOYMENTS}/{deployment}/status"), json!({ "status": "aborted" })).expect(204);
    std::fs::write(client.path("go"), "").unwrap();
    // It hears of it at its next report, and goes on with what comes after.
    upload(&admin, "rel-4", b"four\n");
    let after = admin.deploy("after", "rel-4", &[&id]);
    wait_for_status(&admin, &after, "success");
    assert_eq!(part(&admin, &deployment)["status"], "aborted");

    // It runs that release already.
    let again = admin.deploy("again", "rel-4", &[&id]);
    wait_for_status(&admin, &again, "already-installed");
    key_change(&admin, &mut client, &id);
    decommission(&admin, &client, &id);
}

fn key_change(admin: &Client, client: &mut Device, id: &str) {
    client.stop();
    let key = match client.program {
        Program::Mender => "data/mender-agent.pem",
        Program::Rota => "data/device-key.pem",
    };
    std::fs::remove_file(client.path(key)).unwrap();
    std::fs::remove_file(client.path("log")).unwrap();
    // Its old token lives in its store; it is void once the new key is asked for and the old one revoked.
    let old = text(&client.known(admin).unwrap()["auth_sets"][0]["id"]);
    admin.delete(&format!("/api/management/v2/devauth/tokens/{old}"), ()).expect(204);
    client.start();
    assert_eq!(client.accept(admin), id);
    upload(admin, "rel-5", b"five\n");
    let deployment = admin.deploy("with another key", "rel-5", &[id]);
    wait_for_status(admin, &deployment, "success");
    let sets = client.known(admin).unwrap()["auth_sets"].clone();
    assert_eq!(sets.as_array().unwrap().len(), 2, "{sets}");
    assert_eq!(sets[0]["status"], "rejected");
}

fn decommission(admin: &Client, client: &Device, id: &str) {
    admin.delete(&format!("/api/management/v2/devauth/devices/{id}"), ()).expect(204);
    // It asks anew, as a device that nobody knows.
    wait_for("the device asks anew", || {
        client.known(admin).is_some_and(|device| device["status"] == "pending" && device["id"] != id)
    });
}

#[test]
fn a_mender_client_resumes_a_download_that_was_cut() {
    resumes(Program::Mender);
}

#[test]
fn rota_resumes_a_download_that_was_cut() {
    resumes(Program::Rota);
}

fn resumes(program: Program) {
    let server = Server::start();
    let admin = server.admin();
    let address = server.url.rsplit('/').next().unwrap().to_owned();
    let (url, cut) = cutting_proxy(address, 1 << 20);
    let mut client = Device::new(program, &server, &url, 2);
    client.start();
    let id = client.accept(&admin);
    let content = noise(3 << 20, 1);
    upload(&admin, "rel-1", &content);
    let deployment = admin.deploy("large", "rel-1", &[&id]);
    wait_for("the download is cut", || cut.load(Ordering::Relaxed));
    // The client waits a minute before it goes on.
    let began = Instant::now();
    while part(&admin, &deployment)["status"] != "success" {
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(90), "{}", part(&admin, &deployment));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(std::fs::read(client.path("installed")).unwrap() == content);
    let log = std::fs::read_to_string(server.data.join("test.log")).unwrap();
    assert!(log.contains("download") && log.contains("status=206"), "the server never answered 206");
}

/// Passes bytes on to `to`; the first connection that brings more than `most` back is cut, once.
fn cutting_proxy(to: String, most: u64) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let cut = Arc::new(AtomicBool::new(false));
    let told = cut.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&to) else { return };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Write);
            });
            let told = told.clone();
            std::thread::spawn(move || pass_back(server, client, most, &told));
        }
    });
    (url, cut)
}

fn pass_back(mut server: TcpStream, mut client: TcpStream, most: u64, cut: &AtomicBool) {
    let mut passed = 0;
    let mut buffer = [0; 16384];
    while let Ok(count) = server.read(&mut buffer) {
        if count == 0 || client.write_all(&buffer[..count]).is_err() {
            break;
        }
        passed += count as u64;
        if passed > most && !cut.swap(true, Ordering::Relaxed) {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
