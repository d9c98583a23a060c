//! Configuration: `rota.toml` in the slot, and over it the one on the data partition.
//!
//! [`Config::load`] never fails: what is wrong is collected in `faults`, key by key (a file that is not TOML is left out
//! as a whole), and the caller decides. The daemon goes on without the key; commands refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

/// Where things are on this device. Only tests and `--config`, `--data` move them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Folder of `rota.toml`, `health.d` and `artifact_info`; in the slot.
    pub conf: PathBuf,
    /// The configuration file, when it is not `rota.toml` in `conf`.
    pub conf_file: Option<PathBuf>,
    /// Journal, provides, key, deployment logs; on the data partition, shared by both slots.
    pub data: PathBuf,
    /// What is forgotten at every boot.
    pub run: PathBuf,
    /// What products and rota itself install: `inventory/`, `identity`.
    pub lib: PathBuf,
    /// Where a Mender client's scripts lie, the second choice.
    pub mender: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        let or = |name: &str, path: &str| std::env::var_os(name).map_or_else(|| path.into(), PathBuf::from);
        Paths {
            conf: or("ROTA_CONF_DIR", "/etc/rota"),
            conf_file: None,
            data: or("ROTA_DATA_DIR", "/var/lib/rota"),
            run: or("ROTA_RUN_DIR", "/run/rota"),
            lib: or("ROTA_LIB_DIR", "/usr/lib/rota"),
            mender: "/usr/share/mender".into(),
        }
    }
}

impl Paths {
    /// The configuration files that count, the later over the earlier.
    fn files(&self) -> [PathBuf; 2] {
        [self.conf_file.clone().unwrap_or_else(|| self.conf.join("rota.toml")), self.data.join("rota.toml")]
    }
}

/// Everything that can be configured, with its defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// What artifacts name as compatible.
    pub device_type: Option<String>,
    /// `https://` addresses, tried in order; without a slash at the end.
    pub urls: Vec<String>,
    /// The one CA that is trusted; without it, the system's.
    pub ca: Option<PathBuf>,
    /// Sent when the device asks to be admitted.
    pub tenant_token: Option<String>,
    /// Between two polls for a deployment.
    pub poll_interval: Duration,
    /// Between two reports of the inventory.
    pub inventory_interval: Duration,
    /// Greatest wait between two tries of a request (device API: back-off).
    pub retry_interval: Duration,
    /// Tries of a request in all; 0 leaves it to the back-off.
    pub retry_count: u32,
    /// Block devices of the slots A and B.
    pub slots: Option<(PathBuf, PathBuf)>,
    /// Name of the boot back end.
    pub boot: String,
    /// Folder of GRUB's environment.
    pub env_dir: Option<PathBuf>,
    /// After this time the guard ends a trial that is not committed.
    pub trial_timeout: Duration,
    /// How long a trial looks for the server before it is rolled back.
    pub health_timeout: Duration,
    /// How often a cut download is taken up again without any progress between.
    pub download_retries: u32,
    /// Wait before a cut download is taken up again.
    pub download_retry_interval: Duration,
    /// Files of the keys of which one must have signed an artifact; `None`: artifacts need no signature.
    pub verify_keys: Option<Vec<PathBuf>>,
    /// Read a written slot back and compare.
    pub read_back: bool,
    /// The least severe level that is logged.
    pub log_level: log::LevelFilter,
    /// What is wrong with the configuration, one sentence each.
    pub faults: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Config {
            device_type: None,
            urls: Vec::new(),
            ca: None,
            tenant_token: None,
            poll_interval: minutes(30),
            inventory_interval: minutes(8 * 60),
            retry_interval: minutes(5),
            retry_count: 0,
            slots: None,
            boot: "grub".into(),
            env_dir: None,
            trial_timeout: minutes(15),
            health_timeout: minutes(30),
            download_retries: 10,
            download_retry_interval: minutes(1),
            verify_keys: None,
            read_back: true,
            log_level: log::LevelFilter::Info,
            faults: Vec::new(),
        }
    }
}

/// Every key, for the nearest known one. `set` handles exactly these.
const KEYS: &[&str] = &[
    "device_type",
    "server.url",
    "server.urls",
    "server.ca",
    "server.tenant_token",
    "server.poll_interval",
    "server.inventory_interval",
    "server.retry_interval",
    "server.retry_count",
    "slots.a",
    "slots.b",
    "boot.backend",
    "boot.env_dir",
    "trial.timeout",
    "health.timeout",
    "download.retries",
    "download.retry_interval",
    "artifact.verify_keys",
    "write.read_back",
    "log.level",
];

impl Config {
    /// Reads the configuration files that exist.
    pub fn load(paths: &Paths) -> Config {
        let mut config = Config::default();
        let mut slots = (None, None);
        for file in paths.files() {
            match fs::read_to_string(&file) {
                Ok(text) => match text.parse::<Table>() {
                    Ok(table) => config.merge(&table, &mut slots, &file),
                    Err(error) => config.fault(&file, error.to_string().trim_end()),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => config.fault(&file, &format!("cannot be read: {error}")),
            }
        }
        config.slots = match slots {
            (Some(a), Some(b)) => Some((a, b)),
            (None, None) => None,
            _ => {
                config
                    .faults
                    .push("rota.toml: only one of slots.a and slots.b is set; set both or none".into());
                None
            }
        };
        if config.device_type.is_none() {
            config.device_type = device_type(&paths.data.join("device_type"), &mut config.faults);
        }
        config
    }

    fn fault(&mut self, file: &Path, what: &str) {
        self.faults.push(format!("{}: {what}", file.display()));
    }

    fn merge(&mut self, table: &Table, slots: &mut (Option<PathBuf>, Option<PathBuf>), file: &Path) {
        for (key, value) in flatten(table) {
            match key.as_str() {
                "slots.a" => path(value).map(|path| slots.0 = Some(path)),
                "slots.b" => path(value).map(|path| slots.1 = Some(path)),
                key => self.set(key, value),
            }
            .unwrap_or_else(|what| self.fault(file, &format!("{key}: {what}")));
        }
        if table.contains_key("server") {
            let server = &table["server"];
            if server.get("url").is_some() && server.get("urls").is_some() {
                self.fault(
                    file,
                    "server.url and server.urls are both set; the later in the file counts, set one of them",
                );
            }
        }
    }

    /// Sets one key. The error says what was expected and found.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "device_type" => self.device_type = Some(text(value)?),
            "server.url" => self.urls = vec![url(value)?],
            "server.urls" => self.urls = list(value)?.iter().map(url).collect::<Result<_, _>>()?,
            "server.ca" => self.ca = Some(path(value)?),
            "server.tenant_token" => self.tenant_token = Some(text(value)?).filter(|token| !token.is_empty()),
            "server.poll_interval" => self.poll_interval = duration(value)?,
            "server.inventory_interval" => self.inventory_interval = duration(value)?,
            "server.retry_interval" => self.retry_interval = duration(value)?,
            "server.retry_count" => self.retry_count = count(value)?,
            "boot.backend" => self.boot = text(value)?,
            "boot.env_dir" => self.env_dir = Some(path(value)?),
            "trial.timeout" => self.trial_timeout = duration(value)?,
            "health.timeout" => self.health_timeout = duration(value)?,
            "download.retries" => self.download_retries = count(value)?,
            "download.retry_interval" => self.download_retry_interval = duration(value)?,
            "artifact.verify_keys" => {
                // Whatever is wrong with this value, it asks for signatures: without a usable key nothing is installed.
                self.verify_keys = Some(Vec::new());
                self.verify_keys = Some(list(value)?.iter().map(path).collect::<Result<_, _>>()?);
            }
            "write.read_back" => {
                self.read_back = value.as_bool().ok_or_else(|| expected("true or false", value))?
            }
            "log.level" => self.log_level = level(value)?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}

/// The keys of a table with their tables' names before them, `server.url`. An unknown table is one key.
fn flatten(table: &Table) -> Vec<(String, &Value)> {
    let known = |name: &str| KEYS.iter().any(|key| key.starts_with(&format!("{name}.")));
    let mut flat = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if known(name) => {
                flat.extend(inner.iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => flat.push((name.clone(), value)),
        }
    }
    flat
}

fn unknown(key: &str) -> String {
    let nearest = KEYS.iter().min_by_key(|known| distance(key, known));
    format!("there is no such key; the nearest known one is {}", nearest.unwrap_or(&"device_type"))
}

/// How many characters must be changed, added or taken away to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    };
    format!("expected {what}, found {found}")
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| expected("a text", value))
}

fn path(value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
    path.ok_or_else(|| expected("an absolute path", value))
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| expected("a list", value))
}

fn count(value: &Value) -> Result<u32, String> {
    value.as_integer().and_then(|n| n.try_into().ok()).ok_or_else(|| expected("a number from 0", value))
}

fn url(value: &Value) -> Result<String, String> {
    let url = value.as_str().filter(|url| url.len() > 8 && url.starts_with("https://"));
    url.map(|url| url.trim_end_matches('/').to_owned()).ok_or_else(|| expected("an https:// address", value))
}

fn level(value: &Value) -> Result<log::LevelFilter, String> {
    let name = value.as_str().map(|name| if name == "warning" { "warn" } else { name });
    name.and_then(|name| name.parse().ok()).ok_or_else(|| expected("error, warning, info or debug", value))
}

/// Seconds as a number, or a text with a unit: `30s`, `15m`, `2h`, `7d`.
fn duration(value: &Value) -> Result<Duration, String> {
    let seconds = match value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok(),
        Value::String(text) => {
            let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match &text[number.len()..] {
                "s" => Some(1),
                "m" => Some(60),
                "h" => Some(3600),
                "d" => Some(86_400),
                _ => None,
            };
            number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit))
        }
        _ => None,
    };
    // A year is more than any wait; what is longer is a slip, and would overflow clocks.
    let seconds = seconds.filter(|seconds| (1..=366 * 86_400).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| expected("a time such as 90, \"30s\", \"15m\", \"2h\" or \"7d\"", value))
}

/// Reads `device_type=NAME` from Mender's file of that name.
fn device_type(file: &Path, faults: &mut Vec<String>) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let name = text.strip_suffix('\n').unwrap_or(&text).strip_prefix("device_type=");
    let name = name.filter(|name| !name.is_empty() && !name.contains('\n'));
    if name.is_none() {
        faults.push(format!(
            "{}: expected one line device_type=NAME, found {:.60}",
            file.display(),
            text.trim_end()
        ));
    }
    name.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(slot: &str, data: Option<&str>) -> Config {
        let folder = crate::testing::folder();
        let paths = Paths { conf: folder.join("etc"), data: folder.join("data"), ..Paths::default() };
        for (folder, text) in [(&paths.conf, Some(slot)), (&paths.data, data)] {
            fs::create_dir_all(folder).unwrap();
            if let Some(text) = text {
                fs::write(folder.join("rota.toml"), text).unwrap();
            }
        }
        Config::load(&paths)
    }

    #[test]
    fn every_key_of_the_documentation_is_understood() {
        let config = load(
            r#"
            device_type = "qemu-x86_64"
            [server]
            urls = ["https://one:8443/", "https://two"]
            ca = "/etc/rota/server-ca.pem"
            tenant_token = ""
            poll_interval = "30m"
            inventory_interval = "8h"
            retry_interval = 300
            retry_count = 0
            [slots]
            a = "/dev/nvme0n1p2"
            b = "/dev/nvme0n1p3"
            [boot]
            backend = "grub"
            env_dir = "/boot/efi/grub-mender-grubenv"
            [trial]
            timeout = "15m"
            [health]
            timeout = "2d"
            [download]
            retries = 10
            retry_interval = "1m"
            [artifact]
            verify_keys = ["/etc/rota/key.pem"]
            [write]
            read_back = false
            [log]
            level = "debug"
            "#,
            None,
        );
        assert_eq!(config.faults, Vec::<String>::new());
        assert_eq!(config.urls, ["https://one:8443", "https://two"]);
        assert_eq!(config.health_timeout, Duration::from_secs(2 * 86_400));
        assert_eq!(config.slots, Some(("/dev/nvme0n1p2".into(), "/dev/nvme0n1p3".into())));
        assert_eq!((config.read_back, config.tenant_token), (false, None));
    }

    #[test]
    fn every_listed_key_is_handled_and_the_nearest_is_named() {
        for key in KEYS.iter().filter(|key| !key.starts_with("slots.")) {
            let error =
                Config::default().set(key, &Value::Datetime("1979-05-27".parse().unwrap())).unwrap_err();
            assert!(error.starts_with("expected"), "{key}: {error}");
        }
        let config = load("[server]\npol_interval = 5\n[helth]\ntimeout = 3", None);
        assert!(config.faults[1].ends_with(
            "server.pol_interval: there is no such key; the nearest known one is server.poll_interval"
        ));
        assert!(config.faults[0].contains("rota.toml: helth: there is no such key"));
    }

    #[test]
    fn the_data_partition_counts_more_and_its_faults_cost_only_what_is_wrong() {
        let slot = "[server]\nurl = \"https://one\"\npoll_interval = 7";
        let config = load(slot, Some("[server]\nurl = \"ftp://two\"\npoll_interval = 8"));
        assert_eq!((config.urls[0].as_str(), config.poll_interval), ("https://one", Duration::from_secs(8)));
        assert!(config.faults[0].contains("server.url: expected an https:// address, found \"ftp://two\""));

        let config = load(slot, Some("garbage \u{0} ["));
        assert_eq!((config.urls[0].as_str(), config.faults.len()), ("https://one", 1));
    }

    #[test]
    fn a_spoilt_list_of_keys_still_asks_for_signatures() {
        assert_eq!(load("[artifact]\nverify_keys = 7", None).verify_keys, Some(Vec::new()));
        assert_eq!(load("[artifact]\nverify_keys = [\"relative\"]", None).verify_keys, Some(Vec::new()));
        assert_eq!(load("", None).verify_keys, None);
    }

    #[test]
    fn times_have_units_and_bounds() {
        for (text, seconds) in [("\"90s\"", 90), ("\"2h\"", 7200), ("45", 45)] {
            let config = load(&format!("[trial]\ntimeout = {text}"), None);
            assert_eq!(config.trial_timeout, Duration::from_secs(seconds));
        }
        for wrong in ["0", "-1", "\"5\"", "\"m\"", "\"5 m\"", "\"99999999999999999d\"", "1.5"] {
            assert_eq!(load(&format!("[trial]\ntimeout = {wrong}"), None).faults.len(), 1, "{wrong}");
        }
    }
}
