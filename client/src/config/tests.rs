use std::fs;

use toml::Value;

use super::keys::KEYS;
use super::*;

fn paths(folder: &Path) -> Paths {
    Paths {
        conf: folder.join("etc"),
        data: folder.join("data"),
        mender_conf: folder.join("mender"),
        mender_data: folder.join("mender-data"),
        ..Paths::default()
    }
}

fn load(slot: &str, data: Option<&str>) -> Config {
    let folder = crate::testing::folder();
    let paths = paths(&folder);
    for (folder, text) in [(&paths.conf, Some(slot)), (&paths.data, data)] {
        fs::create_dir_all(folder).unwrap();
        if let Some(text) = text {
            fs::write(folder.join("rota.toml"), text).unwrap();
        }
    }
    Config::load_with(&paths, std::iter::empty())
}

#[test]
fn what_is_no_file_is_a_fault_and_keeps_nobody_waiting() {
    let folder = crate::testing::folder();
    let paths = paths(&folder);
    fs::create_dir_all(&paths.data).unwrap();
    let load = || Config::load_with(&paths, std::iter::empty());
    for name in ["rota.toml", "device_type"] {
        let path = paths.data.join(name);
        crate::sys::fifo::make(&path).unwrap();
        assert!(load().faults[0].contains("it is not a file"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load().faults[0].contains(name));
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(name, &path).unwrap();
        assert!(load().faults[0].contains("cannot be read"));
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(load().faults, Vec::<String>::new());
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

/// The file that ships, with every key switched on.
#[test]
fn the_file_that_ships_explains_every_key() {
    let text: String = include_str!("../../dist/rota.toml")
        .lines()
        .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let explained = keys::flatten(&text.parse().unwrap()).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let missing: Vec<_> =
        KEYS.iter().filter(|(key, _)| !explained.iter().any(|known| known == key)).collect();
    assert_eq!(missing.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["server.urls"]);
    assert_eq!(load(&text, None).faults, Vec::<String>::new());
}

#[test]
fn every_listed_key_is_handled_and_the_nearest_is_named() {
    for (key, _) in KEYS {
        let error = Config::default().set(key, &Value::Datetime("1979-05-27".parse().unwrap())).unwrap_err();
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

#[test]
fn sizes_have_units_and_windows_a_form() {
    for (text, bytes) in
        [("0", 0), ("65537", 65_537), ("\"64KiB\"", 65_536), ("\"3MiB\"", 3 << 20), ("\"2GiB\"", 2 << 30)]
    {
        let config = load(&format!("[download]\nmax_rate = {text}\ndaily_budget = {text}"), None);
        assert_eq!((config.max_rate, config.daily_budget), (bytes, bytes));
    }
    for wrong in ["-1", "\"64\"", "\"64kb\"", "\"KiB\"", "\"99999999999GiB\"", "1.5"] {
        let config = load(&format!("[download]\nmax_rate = {wrong}"), None);
        assert!(config.faults[0].contains("download.max_rate: expected a size"), "{wrong}");
    }
    let slot = "[update]\nwindows = [\"Sat 02:00-05:00\", \"Mon-Fri 22:00-04:00\"]\ninstall_windows = []";
    let config = load(slot, Some("[update]\nwindows = [\"02:00-03:00\", \"at night\"]"));
    assert_eq!(
        (config.windows.len(), config.install_windows, config.reboot_windows),
        (1, Some(Vec::new()), None)
    );
    assert!(config.faults[0].contains("update.windows: expected a window such as"), "{}", config.faults[0]);
}

/// A slip opens nothing that was meant to be closed.
#[test]
fn a_window_that_is_none_leaves_the_others_and_opens_nothing() {
    let is_open = |windows: &[Window]| crate::window::is_open(windows, 0);
    let slot = "[update]\nwindows = [\"Sat 02:00-05:00\"]";
    for wrong in ["[\"at night\"]", "\"02:00-03:00\"", "[7, \"25:00-26:00\"]"] {
        // What held before holds.
        let config = load(slot, Some(&format!("[update]\nwindows = {wrong}")));
        assert_eq!(config.windows, [Window::parse("Sat 02:00-05:00").unwrap()], "{wrong}");
        assert_eq!(config.faults.len(), 1, "{wrong}: {:?}", config.faults);
        // Nothing did: all is closed, and for a key of its own that step is.
        let config = load(&format!("[update]\nwindows = {wrong}\nreboot_windows = {wrong}"), None);
        assert!(!is_open(&config.windows) && !is_open(&config.reboot_windows.unwrap()), "{wrong}");
        assert_eq!(crate::window::opens(&config.windows, 0), None);
        assert_eq!(config.install_windows, None);
        // Put right, it is over.
        let config = load(&format!("[update]\nwindows = {wrong}"), Some("[update]\nwindows = []"));
        assert!(is_open(&config.windows), "{wrong}");
    }
}

#[test]
fn drop_ins_come_after_their_file_in_the_order_of_their_names() {
    let folder = crate::testing::folder();
    let paths = paths(&folder);
    for (file, text) in [
        ("etc/rota.toml", "[server]\nurl = \"https://one\"\npoll_interval = 1\nretry_count = 1"),
        ("etc/rota.toml.d/20-b.toml", "[server]\npoll_interval = 3"),
        ("etc/rota.toml.d/10-a.toml", "[server]\npoll_interval = 2\ninventory_interval = 2"),
        ("etc/rota.toml.d/30-c.toml.off", "garbage"),
        ("data/rota.toml", "[server]\nretry_count = 4"),
        ("data/rota.toml.d/x.toml", "[server]\nretry_count = 5"),
    ] {
        write(&folder.join(file), text);
    }
    let config = Config::load_with(&paths, std::iter::empty());
    assert_eq!(config.faults, Vec::<String>::new());
    let seconds = |time: Duration| time.as_secs();
    assert_eq!((seconds(config.poll_interval), seconds(config.inventory_interval)), (3, 2));
    assert_eq!((config.retry_count, config.urls[0].as_str()), (5, "https://one"));
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// What these variables make of the defaults.
fn environment(variables: &[(&str, &str)]) -> Config {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load_with(&paths(&crate::testing::folder()), variables)
}

#[test]
fn the_environment_counts_most_and_its_faults_are_named() {
    let config = environment(&[
        ("ROTA_DEVICE_TYPE", "12"),
        ("ROTA_SERVER_URL", "https://three/"),
        ("ROTA_SERVER_RETRY_COUNT", "9"),
        ("ROTA_TRIAL_TIMEOUT", "2h"),
        ("ROTA_HEALTH_TIMEOUT", "120"),
        ("ROTA_ARTIFACT_VERIFY_KEYS", "[\"/k.pem\"]"),
        ("ROTA_WRITE_READ_BACK", "false"),
        ("ROTA_SLOTS_A", "/dev/a"),
        ("ROTA_SLOTS_B", "/dev/b"),
        ("ROTA_LOG_LEVEL", ""),
        ("ROTA_CONF_DIR", "/etc"),
        ("ROTA_SERVER", "target/rota-server"),
    ]);
    assert_eq!(config.faults, Vec::<String>::new());
    assert_eq!((config.device_type.as_deref(), config.urls[0].as_str()), (Some("12"), "https://three"));
    assert_eq!((config.retry_count, config.trial_timeout.as_secs()), (9, 7200));
    assert_eq!((config.health_timeout.as_secs(), config.read_back), (120, false));
    assert_eq!(config.verify_keys, Some(vec!["/k.pem".into()]));
    assert_eq!(config.slots, Some(("/dev/a".into(), "/dev/b".into())));

    let config =
        environment(&[("ROTA_SERVER_ULR", "x"), ("ROTA_TRIAL_TIMEOUT", "soon"), ("ROTA_SLOTS_A", "/a")]);
    assert!(config.faults[0].contains("ROTA_SERVER_ULR") && config.faults[0].contains("server.url"));
    assert!(config.faults[1].contains("ROTA_TRIAL_TIMEOUT: expected a time"), "{}", config.faults[1]);
    assert!(config.faults[2].contains("only one of slots.a and slots.b"));
}

/// What a Mender client's files make of the defaults: the fallback's text and the main one's.
fn mender(fallback: &str, main: &str) -> Config {
    let folder = crate::testing::folder();
    write(&folder.join("mender-data/mender.conf"), fallback);
    write(&folder.join("mender/mender.conf"), main);
    Config::load_with(&paths(&folder), std::iter::empty())
}

#[test]
fn every_key_of_mender_conf_has_its_meaning() {
    let folder = crate::testing::folder();
    let device_type = folder.join("type");
    write(&device_type, "device_type=board\n");
    let main = format!(
        r#"{{
        "Servers": [{{"ServerURL": "https://one/"}}, {{"ServerURL": "https://two"}}],
        "TenantToken": "token", "ServerCertificate": "/etc/mender/server.crt", "SkipVerify": false,
        "UpdatePollIntervalSeconds": 5, "InventoryPollIntervalSeconds": 6, "RetryPollIntervalSeconds": 7,
        "RetryPollCount": 8, "StateScriptTimeoutSeconds": 9, "StateScriptRetryTimeoutSeconds": 10,
        "StateScriptRetryIntervalSeconds": 11, "ModuleTimeoutSeconds": 12, "RetryDownloadCount": 13,
        "ArtifactVerifyKeys": ["/etc/mender/key.pem"], "DaemonLogLevel": "warning", "UpdateLogPath": "/var/log/m",
        "DeviceTypeFile": "{}", "DeviceTier": "standard", "Connectivity": {{"Disable": true}}, "DBus": {{"Enabled": true}},
        "HttpsClient": {{"Certificate": "/c.pem", "Key": "/k.pem", "SSLEngine": ""}},
        "Security": {{"AuthPrivateKey": "/d.pem"}}, "RootfsPartA": "/dev/mmcblk0p2", "RootfsPartB": "/dev/mmcblk0p3",
        "BootUtilitiesGetNextActivePart": "x", "UpdateControlMapExpirationTimeSeconds": 90, "ArtifactVerifyKey": ""}}"#,
        device_type.display()
    );
    let config =
        mender(r#"{"ServerURL": "https://zero", "RetryPollCount": 99, "RootfsPartB": "/dev/x"}"#, &main);
    assert_eq!(config.faults, Vec::<String>::new());
    assert_eq!(config.urls, ["https://one", "https://two"]);
    let seconds = [
        config.poll_interval,
        config.inventory_interval,
        config.retry_interval,
        config.script_timeout,
        config.script_retry_timeout,
        config.script_retry_interval,
        config.module_timeout,
    ];
    assert_eq!(seconds.map(|time| time.as_secs()), [5, 6, 7, 9, 10, 11, 12]);
    assert_eq!((config.retry_count, config.download_retries), (8, 13));
    assert_eq!((config.ca, config.system_ca), (Some("/etc/mender/server.crt".into()), true));
    assert_eq!(config.client_certificate.zip(config.client_key), Some(("/c.pem".into(), "/k.pem".into())));
    assert_eq!(
        (config.device_key, config.deployment_logs),
        (Some("/d.pem".into()), Some("/var/log/m".into()))
    );
    assert_eq!(config.slots, Some(("/dev/mmcblk0p2".into(), "/dev/mmcblk0p3".into())));
    assert_eq!((config.device_type.as_deref(), config.boot.as_str()), (Some("board"), "mender"));
    assert_eq!((config.tenant_token.as_deref(), config.log_level), (Some("token"), log::LevelFilter::Warn));
    assert_eq!(config.verify_keys, Some(vec!["/etc/mender/key.pem".into()]));
}

#[test]
fn keys_in_hardware_are_named_by_their_uris() {
    const URI: &str = "pkcs11:token=t;object=o?module-path=/m.so";
    let both = format!(
        r#"{{"HttpsClient": {{"Certificate": "/c.pem", "Key": "{URI}", "SSLEngine": "pkcs11"}},
            "Security": {{"AuthPrivateKey": "{URI}", "SSLEngine": "pkcs11"}}}}"#
    );
    let config = mender("{}", &both);
    assert_eq!(config.faults, Vec::<String>::new());
    assert_eq!((config.device_key, config.client_key), (Some(URI.into()), Some(URI.into())));

    let mut config = Config::default();
    assert_eq!(config.set("device_key", &URI.into()), Ok(()));
    assert_eq!(config.device_key, Some(URI.into()));
    let wrong = config.set("device_key", &"key.pem".into()).unwrap_err();
    assert_eq!(wrong, "expected an absolute path, or a URI pkcs11:…, found \"key.pem\"");
}

#[test]
fn what_mender_conf_must_not_say_is_named() {
    for (text, fault) in [
        (r#"{"serverurl": "https://x"}"#, "serverurl: this key is spelt ServerURL"),
        (r#"{"Security": {"authprivatekey": "/x"}}"#, "this key is spelt Security.AuthPrivateKey"),
        (
            r#"{"Security": {"SSLEngine": "tpm2tss"}}"#,
            "Security.SSLEngine: expected pkcs11, with a key named by",
        ),
        (r#"{"SkipVerify": true}"#, "rota always checks the server's certificate"),
        (r#"{"ServerURL": "http://x"}"#, "ServerURL: expected an https:// address, found \"http://x\""),
        (
            r#"{"ServerURL": "https://x", "Servers": [{"ServerURL": "https://y"}]}"#,
            "ServerURL and Servers are both set",
        ),
        (r#"{"Servers": ["https://y"]}"#, "Servers: expected an object with ServerURL, found \"https://y\""),
        (r#"{"UpdatePollIntervalSeconds": "5 minutes"}"#, "UpdatePollIntervalSeconds: expected a time"),
        (r#"{"RootfsPartA": "/dev/a"}"#, "only one of slots.a and slots.b"),
        (r#"{"Security": {"AuthPrivateKey": "key.pem"}}"#, "expected an absolute path"),
        (r#"{"HttpsClient": {"Certificate": "/c"}}"#, "only one of server.client_certificate"),
        (r#"["ServerURL"]"#, "expected a JSON object"),
        ("{", "expected a JSON object"),
    ] {
        let config = mender("{}", text);
        assert_eq!(config.faults.len(), 1, "{text}: {:?}", config.faults);
        assert!(config.faults[0].contains(fault), "{text}: {}", config.faults[0]);
    }
    assert_eq!(mender("{}", r#"{"ArtifactVerifyKey": 7}"#).verify_keys, Some(Vec::new()));
    assert_eq!(mender("{}", r#"{"ArtifactVerifyKey": "", "TenantToken": null}"#).verify_keys, None);
}

#[test]
fn mender_conf_counts_only_where_the_slot_has_none_of_ours() {
    let folder = crate::testing::folder();
    let mut paths = paths(&folder);
    write(&folder.join("mender/mender.conf"), r#"{"ServerURL": "https://mender", "RetryPollCount": 3}"#);
    write(&folder.join("data/rota.toml"), "[server]\nretry_count = 4");
    let config = Config::load_with(&paths, std::iter::empty());
    assert_eq!((config.urls[0].as_str(), config.retry_count), ("https://mender", 4));

    write(&folder.join("etc/rota.toml.d/x.toml"), "");
    let config = Config::load_with(&paths, std::iter::empty());
    assert_eq!((config.urls.len(), config.boot.as_str()), (0, "grub"));

    write(&folder.join("own.conf"), r#"{"ServerURL": "https://own"}"#);
    paths.conf_file = Some(folder.join("own.conf"));
    assert_eq!(Config::load_with(&paths, std::iter::empty()).urls, ["https://own"]);
}

#[test]
fn menders_variables_move_its_folders_only_where_its_configuration_counts() {
    let folder = crate::testing::folder();
    let variable = |name: &str| Some(folder.join(name));
    let mut moved = paths(&folder);
    moved.heed_mender(variable);
    assert_eq!(moved, paths(&folder));
    write(&folder.join("MENDER_CONF_DIR/mender.conf"), "{}");
    moved.heed_mender(variable);
    assert_eq!(moved.mender_data, folder.join("MENDER_DATASTORE_DIR"));
    assert_eq!(
        (moved.mender, moved.mender_conf),
        (folder.join("MENDER_DATA_DIR"), folder.join("MENDER_CONF_DIR"))
    );
}

#[test]
fn the_type_of_the_device_may_be_in_a_file() {
    let folder = crate::testing::folder();
    let paths = paths(&folder);
    let load = || Config::load_with(&paths, std::iter::empty());
    write(&folder.join("mender-data/device_type"), "device_type=theirs\n");
    assert_eq!(load().device_type.as_deref(), Some("theirs"));
    write(&folder.join("data/device_type"), "device_type=ours");
    assert_eq!(load().device_type.as_deref(), Some("ours"));
    write(&folder.join("data/device_type"), "device_type=ours\nmore\n");
    assert!(load().faults[0].contains("expected one line device_type=NAME"));
}
