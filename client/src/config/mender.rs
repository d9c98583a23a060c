//! `mender.conf`, for a slot that has no `rota.toml` (client behaviour: mender.conf). Its keys stand for ours.
//!
//! Keys that mean nothing here are passed over, as Mender does; one in the wrong case, which only some of Mender's clients
//! understand, is a fault. A server must be `https://` and its certificate is always checked.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{values, Config};

/// Keys whose value means the same as ours; `Table.Key` is a key of an inner object.
const SAME: &[(&str, &str)] = &[
    ("ServerURL", "server.url"),
    ("TenantToken", "server.tenant_token"),
    ("ServerCertificate", "server.ca"),
    ("UpdatePollIntervalSeconds", "server.poll_interval"),
    ("InventoryPollIntervalSeconds", "server.inventory_interval"),
    ("RetryPollIntervalSeconds", "server.retry_interval"),
    ("RetryPollCount", "server.retry_count"),
    ("RetryDownloadCount", "download.retries"),
    ("StateScriptTimeoutSeconds", "scripts.timeout"),
    ("StateScriptRetryTimeoutSeconds", "scripts.retry_timeout"),
    ("StateScriptRetryIntervalSeconds", "scripts.retry_interval"),
    ("ModuleTimeoutSeconds", "modules.timeout"),
    ("UpdateLogPath", "log.deployments"),
    ("RootfsPartA", "slots.a"),
    ("RootfsPartB", "slots.b"),
    ("HttpsClient.Certificate", "server.client_certificate"),
    ("HttpsClient.Key", "server.client_key"),
    ("Security.AuthPrivateKey", "device_key"),
];

/// Keys that are understood, each in its own way.
const OWN: &[&str] = &[
    "Servers",
    "SkipVerify",
    "ArtifactVerifyKey",
    "ArtifactVerifyKeys",
    "DaemonLogLevel",
    "DeviceTypeFile",
    "HttpsClient.SSLEngine",
    "Security.SSLEngine",
];

impl Config {
    /// Takes what these files say, the later over the earlier. Where there is one, Mender's defaults hold.
    pub(super) fn merge_mender(&mut self, files: &[PathBuf]) {
        if !files.is_empty() {
            self.boot = "mender".into();
            self.system_ca = true;
        }
        for file in files {
            let Some(text) = self.read(file) else { continue };
            match serde_json::from_str::<Map<String, Value>>(&text) {
                Ok(object) => self.merge_object(&object, file),
                Err(error) => self.fault(file, &format!("expected a JSON object: {error}")),
            }
        }
    }

    fn merge_object(&mut self, object: &Map<String, Value>, file: &Path) {
        for (name, value) in object {
            match (value, name.as_str()) {
                (Value::Object(inner), "HttpsClient" | "Security") => {
                    for (key, value) in inner {
                        self.take(&format!("{name}.{key}"), value, file);
                    }
                }
                _ => self.take(name, value, file),
            }
        }
        for both in [["ServerURL", "Servers"], ["ArtifactVerifyKey", "ArtifactVerifyKeys"]] {
            if both.iter().all(|key| object.get(*key).is_some_and(is_set)) {
                self.fault(file, &format!("{} and {} are both set; set one of them", both[0], both[1]));
            }
        }
    }

    fn take(&mut self, key: &str, value: &Value, file: &Path) {
        let known = SAME.iter().map(|(mender, _)| mender).chain(OWN);
        let result = match known.clone().find(|known| known.eq_ignore_ascii_case(key)) {
            Some(known) if *known != key => Err(format!("this key is spelt {known}")),
            Some(_) if !is_set(value) => Ok(()),
            Some(_) => self.take_known(key, value),
            None => Ok(()),
        };
        if let Err(what) = result {
            self.fault(file, &format!("{key}: {what}"));
        }
    }

    fn take_known(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let toml = toml::Value::try_from(value).map_err(|error| error.to_string())?;
        let one = |value| toml::Value::Array(vec![value]);
        match key {
            "Servers" => {
                let url = |server: &toml::Value| match server.get("ServerURL") {
                    Some(url) => values::url(url),
                    None => values::expected("an object with ServerURL", server),
                };
                self.urls = values::list(&toml, url)?;
                Ok(())
            }
            "SkipVerify" => match values::flag(&toml)? {
                true => {
                    Err("rota always checks the server's certificate; name its CA in ServerCertificate"
                        .into())
                }
                false => Ok(()),
            },
            "ArtifactVerifyKey" => self.set("artifact.verify_keys", &one(toml)),
            "ArtifactVerifyKeys" => self.set("artifact.verify_keys", &toml),
            "DaemonLogLevel" => {
                let severe = matches!(value.as_str(), Some("fatal" | "panic"));
                self.set("log.level", &if severe { "error".into() } else { toml })
            }
            "DeviceTypeFile" => {
                let file = values::path(&toml)?;
                if let Some(text) = self.read(&file) {
                    self.device_type = self.device_type_in(&file, &text);
                }
                Ok(())
            }
            "HttpsClient.SSLEngine" | "Security.SSLEngine" => {
                // The URI alone says that a key is in hardware; other engines have keys of their own kind.
                match values::text(&toml)?.as_str() {
                    "pkcs11" => Ok(()),
                    _ => values::expected("pkcs11, with a key named by its URI", &toml),
                }
            }
            key => match SAME.iter().find(|(mender, _)| *mender == key) {
                Some((_, ours)) => self.set(ours, &toml),
                None => Ok(()),
            },
        }
    }
}

/// Empty texts and lists are what Mender's own tools write for what is not set.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}
