//! Configuration: `rota.toml` in the slot, over it the one on the data partition, over both the environment. A slot without
//! one may have a Mender client's `mender.conf` instead.
//!
//! [`Config::load`] never fails: what is wrong is collected in `faults`, key by key (a file that is not TOML is left out
//! as a whole), and the caller decides. The daemon goes on without the key; commands refuse.

mod keys;
mod mender;
mod paths;
mod values;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Table;

use crate::sys::disk;
use crate::window::Window;
pub use paths::Paths;

/// Most bytes of a configuration file that are read.
const LIMIT: u64 = 1 << 20;

/// Everything that can be configured, with its defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// What artifacts name as compatible.
    pub device_type: Option<String>,
    /// File of the device's private key, or PKCS#11 URI of one in hardware, when it is not `device-key.pem` of the data partition.
    pub device_key: Option<PathBuf>,
    /// `https://` addresses, tried in order; without a slash at the end.
    pub urls: Vec<String>,
    /// The CAs that are trusted; without it, the system's.
    pub ca: Option<PathBuf>,
    /// Trust the system's CAs beside `ca`, too.
    pub system_ca: bool,
    /// Certificate chain that this device shows to servers that ask for one.
    pub client_certificate: Option<PathBuf>,
    /// Its private key: a file, or a PKCS#11 URI.
    pub client_key: Option<PathBuf>,
    /// Address of an HTTP proxy for all connections, over what the environment says.
    pub proxy: Option<String>,
    /// Sent when the device asks to be admitted.
    pub tenant_token: Option<String>,
    /// Longest time for a whole request with its answer; and longest silence in a download.
    pub server_timeout: Duration,
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
    /// Most bytes of artifacts that are fetched in a second; 0 sets no limit.
    pub max_rate: u64,
    /// Most bytes of artifacts that the daemon fetches in a day; 0 sets no limit.
    pub daily_budget: u64,
    /// When deployments may be downloaded, installed, and restarted into; without any, always.
    pub windows: Vec<Window>,
    /// The same for downloading alone, in the place of `windows`.
    pub download_windows: Option<Vec<Window>>,
    /// The same for installing.
    pub install_windows: Option<Vec<Window>>,
    /// The same for the restart into what was installed.
    pub reboot_windows: Option<Vec<Window>>,
    /// Files of the keys of which one must have signed an artifact; `None`: artifacts need no signature.
    pub verify_keys: Option<Vec<PathBuf>>,
    /// How long one call of an update module may take.
    pub module_timeout: Duration,
    /// How long a state script may take.
    pub script_timeout: Duration,
    /// Wait before a state script that asked for it is called again.
    pub script_retry_interval: Duration,
    /// How long a state script may ask to be called again.
    pub script_retry_timeout: Duration,
    /// Device of the hardware watchdog that the client feeds.
    pub watchdog: Option<PathBuf>,
    /// After so long without food it restarts the machine.
    pub watchdog_timeout: Duration,
    /// Read a written slot back and compare.
    pub read_back: bool,
    /// The least severe level that is logged.
    pub log_level: log::LevelFilter,
    /// Where the daemon's log goes.
    pub log_target: crate::log::Target,
    /// Folder of the deployments' logs, when it is not `deployments` on the data partition.
    pub deployment_logs: Option<PathBuf>,
    /// What is wrong with the configuration, one sentence each.
    pub faults: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Config {
            device_type: None,
            device_key: None,
            urls: Vec::new(),
            ca: None,
            system_ca: false,
            client_certificate: None,
            client_key: None,
            proxy: None,
            tenant_token: None,
            server_timeout: minutes(1),
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
            max_rate: 0,
            daily_budget: 0,
            windows: Vec::new(),
            download_windows: None,
            install_windows: None,
            reboot_windows: None,
            verify_keys: None,
            module_timeout: minutes(4 * 60),
            script_timeout: minutes(60),
            script_retry_interval: minutes(1),
            script_retry_timeout: minutes(30),
            watchdog: None,
            watchdog_timeout: minutes(1),
            read_back: true,
            log_level: log::LevelFilter::Info,
            log_target: crate::log::Target::Auto,
            deployment_logs: None,
            faults: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the configuration files that exist, and the environment.
    pub fn load(paths: &Paths) -> Config {
        Config::load_with(
            paths,
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// The same with another environment: names of variables and their values.
    pub fn load_with(paths: &Paths, environment: impl Iterator<Item = (String, String)>) -> Config {
        let mut config = Config::default();
        let mender = paths.mender_files();
        config.merge_mender(&mender);
        for file in paths.slot_files().into_iter().chain(paths.data_files()) {
            config.merge_file(&file);
        }
        config.merge_environment(environment);
        config.settle(paths);
        config
    }

    fn fault(&mut self, file: &Path, what: &str) {
        self.faults.push(format!("{}: {what}", file.display()));
    }

    fn merge_file(&mut self, file: &Path) {
        let Some(text) = self.read(file) else { return };
        match text.parse::<Table>() {
            Ok(table) => self.merge(&table, &file.display().to_string()),
            Err(error) => self.fault(file, error.to_string().trim_end()),
        }
    }

    fn read(&mut self, file: &Path) -> Option<String> {
        let text = disk::read(file, LIMIT).and_then(|text| {
            String::from_utf8(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
        });
        match text {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.fault(file, &format!("cannot be read: {error}"));
                None
            }
        }
    }

    /// Brings together what belongs together.
    fn settle(&mut self, paths: &Paths) {
        let unset = |path: &PathBuf| path.as_os_str().is_empty();
        if self.slots.as_ref().is_some_and(|(a, b)| unset(a) || unset(b)) {
            self.slots = None;
            self.faults.push("rota.toml: only one of slots.a and slots.b is set; set both or none".into());
        }
        if self.client_certificate.is_some() != self.client_key.is_some() {
            let what = "only one of server.client_certificate and server.client_key is set; set both or none";
            self.faults.push(format!("rota.toml: {what}"));
        }
        let files = [paths.data.join("device_type"), paths.mender_data.join("device_type")];
        for file in files {
            if self.device_type.is_none() {
                self.device_type = self.read(&file).and_then(|text| self.device_type_in(&file, &text));
            }
        }
    }

    /// Reads `device_type=NAME` from the file of that name.
    fn device_type_in(&mut self, file: &Path, text: &str) -> Option<String> {
        let name = text.strip_suffix('\n').unwrap_or(text).strip_prefix("device_type=");
        let name = name.filter(|name| !name.is_empty() && !name.contains('\n'));
        if name.is_none() {
            self.fault(file, &format!("expected one line device_type=NAME, found {:.60}", text.trim_end()));
        }
        name.map(str::to_owned)
    }
}

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
