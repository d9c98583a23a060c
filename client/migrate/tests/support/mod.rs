//! A Mender device in a folder, with a systemd that is none.
#![allow(dead_code)] // Each test file uses its part.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rota::config::{Config, Paths};
use rota::identity;
use rota::key::{self, DeviceKey};
use rota::provides::Provides;
use rota::sys::fault::{self, Kind};
use rota_migrate::acts;
use rota_migrate::lmdb;
use rota_migrate::place::Place;
use rota_migrate::services::{Services, Systemctl};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    Do,
    Undo,
}

impl Act {
    pub fn on(self, place: &Place) -> Result<String, String> {
        match self {
            Act::Do => acts::take_over(place),
            Act::Undo => acts::give_back(place),
        }
    }
}

/// A device that Mender's client has run on, and on which rota is installed.
pub struct Device {
    pub folder: PathBuf,
    pub place: Place,
    before: BTreeMap<String, Vec<u8>>,
}

pub const UNITS: [&str; 3] = ["mender-client.service", "rota.service", "rota-guard.service"];

impl Device {
    pub fn new() -> Device {
        Device::with(&[
            ("artifact-name", "rel-1"),
            ("artifact-group", "g"),
            ("artifact-provides", r#"{"x.version":"1"}"#),
        ])
    }

    /// With this in Mender's data base.
    pub fn with(store: &[(&str, &str)]) -> Device {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rota-migrate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let path = |name: &str| folder.join(name);
        let write = |name: &str, bytes: &[u8]| {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), bytes).unwrap();
        };
        for name in [
            "etc/mender",
            "var/mender",
            "var",
            "run",
            "units",
            "usr/lib/rota",
            "systemd/there",
            "systemd/enabled",
            "systemd/active",
        ] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let config = format!(
            r#"{{"ServerURL": "https://updates.example.com", "TenantToken": "t\"t", "ServerCertificate": "{}",
            "ArtifactVerifyKeys": ["/elsewhere/key.pem"], "UpdatePollIntervalSeconds": 77, "DaemonLogLevel": "warning"}}"#,
            path("etc/mender/server.crt").display()
        );
        write("etc/mender/mender.conf", config.as_bytes());
        write("etc/mender/server.crt", b"certificate");
        write("etc/mender/artifact_info", b"artifact_name=rel-0\n");
        write("etc/mender/scripts/Idle_Enter_00", b"#!/bin/sh\n");
        write("etc/mender/scripts/version", b"3");
        write("var/mender/device_type", b"device_type=board\n");
        write("var/mender/mender-agent.pem", agent_key());
        let pairs = store.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        write("var/mender/mender-store", &lmdb::write(&pairs).unwrap());
        let script = |name: &str, text: &str| {
            write(name, text.as_bytes());
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        script(
            "usr/share/mender/identity/mender-device-identity",
            "#!/bin/sh\necho mac=02:03; echo serial=7\n",
        );
        script("usr/share/mender/modules/v3/custom", "#!/bin/sh\nexit 0\n");
        script("usr/share/mender/modules/v3/rootfs-image", "#!/bin/sh\nexit 1\n");
        script("usr/share/mender/modules/v3/single-file", "#!/bin/sh\nexit 1\n");
        script("usr/lib/rota/modules/v3/single-file", "#!/bin/sh\nexit 0\n");
        script("usr/sbin/rota", "");
        write(
            "etc/rota/rota.toml",
            b"# rota's configuration.\n[server]\n#url = \"https://updates.example.com\"\n",
        );
        for unit in UNITS {
            write(&format!("systemd/there/{unit}"), b"");
        }
        for kind in ["enabled", "active"] {
            write(&format!("systemd/{kind}/mender-client.service"), b"");
        }
        let paths = Paths {
            conf: path("etc/rota"),
            conf_file: None,
            data: path("var/rota"),
            run: path("run"),
            lib: path("usr/lib/rota"),
            mender: path("usr/share/mender"),
            mender_conf: path("etc/mender"),
            mender_data: path("var/mender"),
            mender_fallback: None,
        };
        let services =
            Services { systemctl: Some(systemctl(folder.clone())), units: path("units"), sync: || () };
        let place = Place { paths, services, rota: path("usr/sbin/rota") };
        let before = content(&folder);
        Device { folder, place, before }
    }

    /// From now on this is what everything was before.
    pub fn keep(&mut self) {
        self.before = content(&self.folder);
    }

    pub fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// From now on, systemctl fails at this.
    pub fn fails(&self, what: &str, unit: &str) {
        fs::write(self.path("systemd").join(format!("{what}-{unit}-fails")), "").unwrap();
    }

    /// Another process has Mender's data base open.
    pub fn hold_store(&self) -> Held {
        let lock = self.path("var/mender/mender-store-lock");
        let program = "import fcntl,sys\nf=open(sys.argv[1],'a+')\nfcntl.lockf(f,fcntl.LOCK_SH,1)\nprint(flush=True)\nsys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", program]).arg(lock).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        // Once it says something, it has the lock.
        assert_eq!(child.stdout.take().unwrap().read(&mut [0; 1]).unwrap(), 1);
        Held(child)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The units of the two clients that run.
    pub fn running(&self) -> Vec<String> {
        let runs = |unit: &&&str| self.path("systemd/active").join(unit).exists();
        UNITS[..2].iter().filter(runs).map(|unit| (*unit).to_owned()).collect()
    }

    /// Starts the machine anew; returns the client that it starts.
    #[track_caller]
    pub fn boot(&self) -> String {
        for unit in UNITS {
            let _ = fs::remove_file(self.path("systemd/active").join(unit));
        }
        for unit in UNITS {
            if self.path("systemd/enabled").join(unit).exists() {
                start(&self.folder, unit);
            }
        }
        let running = self.running();
        assert_eq!(running.len(), 1, "in charge: {running:?}");
        running[0].clone()
    }

    /// rota runs, now and after a restart, as the same device.
    #[track_caller]
    pub fn is_taken_over(&self) {
        assert_eq!(self.running(), ["rota.service"]);
        assert_eq!(self.boot(), "rota.service");
        let paths = &self.place.paths;
        let config = Config::load_with(paths, std::iter::empty());
        assert_eq!(config.faults, Vec::<String>::new());
        assert_eq!(
            (config.urls[0].as_str(), config.tenant_token.as_deref()),
            ("https://updates.example.com", Some("t\"t"))
        );
        assert_eq!((config.poll_interval.as_secs(), config.log_level), (77, log::LevelFilter::Warn));
        assert_eq!(
            (config.ca.as_deref(), config.system_ca),
            (Some(paths.conf.join("server.crt").as_path()), true)
        );
        assert_eq!(config.verify_keys, Some(vec!["/elsewhere/key.pem".into()]));
        assert_eq!((config.device_type.as_deref(), config.boot.as_str()), (Some("board"), "mender"));
        let without = Paths {
            mender: "/nonexistent".into(),
            mender_conf: "/nonexistent".into(),
            mender_data: "/nonexistent".into(),
            ..paths.clone()
        };
        assert_eq!(identity::attributes(&without).unwrap(), r#"{"mac":"02:03","serial":"7"}"#);
        let key = DeviceKey::read(&key::file(&without, None)).unwrap().public_key().unwrap();
        let menders =
            DeviceKey::read(&paths.mender_data.join("mender-agent.pem")).unwrap().public_key().unwrap();
        assert_eq!(key, menders);
        let facts = Provides::peek(&without);
        let texts: Vec<_> = facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(texts, ["artifact_group=g", "artifact_name=rel-1", "x.version=1"]);
        for name in [
            "etc/rota/scripts/Idle_Enter_00",
            "etc/rota/scripts/version",
            "usr/lib/rota/modules/v3/custom",
            "etc/rota/artifact_info",
        ] {
            assert!(self.path(name).exists(), "{name}");
        }
        assert!(!self.path("usr/lib/rota/modules/v3/rootfs-image").exists());
        assert_eq!(
            fs::read(self.path("usr/lib/rota/modules/v3/single-file")).unwrap(),
            b"#!/bin/sh\nexit 0\n"
        );
    }

    /// Mender's client runs, now and after a restart, and everything is as it was before.
    #[track_caller]
    pub fn is_given_back(&self) {
        assert_eq!(self.running(), ["mender-client.service"]);
        assert_eq!(self.boot(), "mender-client.service");
        assert!(!acts::is_interrupted(&self.place));
        let (before, after) = (&self.before, content(&self.folder));
        let names = |all: &BTreeMap<String, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(before));
        assert!(&after == before, "something has changed");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A process that holds something until it is dropped.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn agent_key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let file = std::env::temp_dir().join(format!("rota-migrate-key-{}.pem", std::process::id()));
        DeviceKey::load(&Paths::default(), Some(&file)).unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(file).unwrap();
        bytes
    })
}

/// Everything that lasts, but what a client leaves on purpose.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> =
        ["etc", "usr", "units", "var/mender"].iter().map(|name| folder.join(name)).collect();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            // A leftover of a power cut, which the next one to write that file uses up.
            if name.ends_with(".new") {
                continue;
            }
            match path.is_dir() {
                true => {
                    found.insert(name, Vec::new());
                    folders.push(path);
                }
                false => drop(found.insert(name, fs::read(path).unwrap())),
            }
        }
    }
    found
}

/// What systemd does with a unit, in files.
fn systemctl(folder: PathBuf) -> Systemctl {
    Arc::new(move |words| {
        fault::point(Kind::Run, Path::new(words[0])).map_err(|error| error.to_string())?;
        let Some(unit) = words.get(1) else { return Ok(true) };
        if folder.join("systemd").join(format!("{}-{unit}-fails", words[0])).exists() {
            return Ok(false);
        }
        let file = |kind: &str| folder.join("systemd").join(kind).join(unit);
        match words[0] {
            "cat" => return Ok(file("there").exists()),
            "is-active" => return Ok(file("active").exists()),
            "enable" => fs::write(file("enabled"), "").unwrap(),
            "disable" => drop(fs::remove_file(file("enabled"))),
            "start" => start(&folder, unit),
            "stop" => drop(fs::remove_file(file("active"))),
            other => panic!("systemctl {other}"),
        }
        Ok(true)
    })
}

/// Starts a unit if its condition holds.
fn start(folder: &Path, unit: &str) {
    let drop_in = folder.join("units").join(format!("{unit}.d/rota-migrate.conf"));
    let text = fs::read_to_string(drop_in).unwrap_or_default();
    let condition = text.lines().find_map(|line| line.strip_prefix("ConditionPathExists="));
    let holds = condition.map_or(true, |path| match path.strip_prefix('!') {
        Some(path) => !Path::new(path).exists(),
        None => Path::new(path).exists(),
    });
    if holds {
        fs::write(folder.join("systemd/active").join(unit), "").unwrap();
    }
}

/// Puts the device's data folder of Mender's behind a link, as images of Yocto have it.
pub fn behind_a_link(device: &Device, real: &Path) {
    fs::create_dir_all(real).unwrap();
    for entry in fs::read_dir(device.path("var/mender")).unwrap().flatten() {
        fs::copy(entry.path(), real.join(entry.file_name())).unwrap();
    }
    fs::remove_dir_all(device.path("var/mender")).unwrap();
    symlink(real, device.path("var/mender")).unwrap();
}
