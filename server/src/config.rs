//! How the server runs: command line, then environment (`ROTA_` and the key in capitals), then configuration file, then
//! what is built in.
use crate::clock::{self, Millis, SECOND};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The configuration file when none is named.
pub const FILE: &str = "/etc/rota-server.toml";

#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of everything that is kept.
    pub data: PathBuf,
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// How clients reach this server, without a slash at the end; `None`: as they say in `Host`.
    pub public_url: Option<String>,
    /// Speak plain HTTP, to a proxy that has the certificate and says who the client is.
    pub plain_http: bool,
    /// Certificate chain and key, PEM, instead of one's own.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Most bytes of an uploaded artifact.
    pub artifact_limit: u64,
    /// Most bytes of all artifacts of a tenant; 0: no limit.
    pub storage_limit: u64,
    pub uploads_at_once: usize,
    pub device_token_life: Millis,
    pub user_token_life: Millis,
    /// Most accepted devices of a tenant; 0: no limit.
    pub max_devices: i64,
    /// What a reader of the metrics must have; `None`: it must be on this machine.
    pub metrics_token: Option<String>,
    pub log: String,
    pub log_json: bool,
}

const KEYS: [&str; 15] = [
    "data",
    "listen",
    "public_url",
    "plain_http",
    "tls_cert",
    "tls_key",
    "artifact_limit",
    "storage_limit",
    "uploads_at_once",
    "device_token_life",
    "user_token_life",
    "max_devices",
    "metrics_token",
    "log",
    "log_format",
];

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration {path}: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("{path}: no such key {key}; did you mean {nearest}?")]
    Unknown { path: String, key: String, nearest: &'static str },
    #[error("{key}: expected {expected}, found {found}")]
    Value { key: &'static str, expected: &'static str, found: String },
    #[error("tls_cert and tls_key belong together: {0} is missing")]
    Half(&'static str),
}

/// Values by key, each as text, however it was written.
#[derive(Debug, Default)]
pub struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// Reads the file (the usual one may be missing), then the environment over it.
    pub fn load(file: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Values, Error> {
        let mut values = Values::default();
        let path = file.unwrap_or(Path::new(FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => values.read(&path.display().to_string(), &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::Unreadable { path: path.display().to_string(), reason: error.to_string() })
            }
        }
        for key in KEYS {
            if let Some(value) = environment(&format!("ROTA_{}", key.to_uppercase())) {
                values.0.insert(key, value);
            }
        }
        Ok(values)
    }

    fn read(&mut self, path: &str, text: &str) -> Result<(), Error> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Error::Unreadable {
            path: path.into(),
            reason: error.to_string(),
        })?;
        for (key, value) in table {
            let known = KEYS.into_iter().find(|known| *known == key);
            let known = known.ok_or_else(|| Error::Unknown {
                path: path.into(),
                nearest: nearest(&key),
                key: key.clone(),
            })?;
            let text = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            self.0.insert(known, text);
        }
        Ok(())
    }

    /// Says something on the command line.
    pub fn set(&mut self, key: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.0.insert(key, value);
        }
    }

    fn text(&self, key: &'static str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn parse<T>(
        &self,
        key: &'static str,
        default: T,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let Some(text) = self.text(key) else { return Ok(default) };
        parse(text).ok_or_else(|| Error::Value { key, expected, found: text.to_owned() })
    }

    /// All of it, checked.
    pub fn finish(&self) -> Result<Config, Error> {
        let flag = |text: &str| text.parse::<bool>().ok();
        let path = |key| self.text(key).map(PathBuf::from);
        let tls = match (path("tls_cert"), path("tls_key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err(Error::Half("tls_key")),
            (None, Some(_)) => return Err(Error::Half("tls_cert")),
        };
        let week = 7 * clock::DAY;
        let life = "seconds, or a number with s, m, h or d";
        let bytes = "bytes, or a number with KiB, MiB, GiB or TiB";
        Ok(Config {
            data: path("data").unwrap_or_else(|| "/var/lib/rota-server".into()),
            listen: self.text("listen").unwrap_or("127.0.0.1:8443").to_owned(),
            public_url: self.text("public_url").map(|url| url.trim_end_matches('/').to_owned()),
            plain_http: self.parse("plain_http", false, "true or false", flag)?,
            tls,
            artifact_limit: self.parse("artifact_limit", 10 << 30, bytes, size)?,
            storage_limit: self.parse("storage_limit", 0, bytes, size)?,
            uploads_at_once: self.parse("uploads_at_once", 4, "1 to 1000", |text| {
                text.parse().ok().filter(|number| (1..=1000).contains(number))
            })?,
            device_token_life: self.parse("device_token_life", week, life, duration)?,
            user_token_life: self.parse("user_token_life", week, life, duration)?,
            max_devices: self.parse("max_devices", 0, "a number, 0 for no limit", |text| {
                text.parse().ok().filter(|number| *number >= 0)
            })?,
            metrics_token: self.text("metrics_token").map(str::to_owned),
            log: self.text("log").unwrap_or("info").to_owned(),
            log_json: self.parse("log_format", false, "text or json", |text| match text {
                "text" => Some(false),
                "json" => Some(true),
                _ => None,
            })?,
        })
    }
}

/// `"15m"`; a plain number is seconds.
fn duration(text: &str) -> Option<Millis> {
    let (digits, unit) = split(text)?;
    let unit = match unit {
        "" | "s" => SECOND,
        "m" => clock::MINUTE,
        "h" => clock::HOUR,
        "d" => clock::DAY,
        _ => return None,
    };
    i64::try_from(digits).ok()?.checked_mul(unit)
}

/// `"64KiB"`; a plain number is bytes.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = split(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    digits.checked_mul(1 << shift)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

/// The known key that shares the most pairs of letters.
fn nearest(key: &str) -> &'static str {
    let pairs = |text: &str| text.as_bytes().windows(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let wanted = pairs(key);
    let shared = |known: &&str| pairs(known).iter().filter(|pair| wanted.contains(pair)).count();
    KEYS.into_iter().max_by_key(shared).unwrap_or(KEYS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, Error> {
        let mut values = Values::default();
        values.read("f", text)?;
        values.finish()
    }

    #[test]
    fn the_environment_is_over_the_file() {
        let file = std::env::temp_dir().join(format!("rota-config-{}", std::process::id()));
        std::fs::write(&file, "listen = \"1.1.1.1:1\"\nmax_devices = 5\nuser_token_life = \"2h\"\n").unwrap();
        let environment = |key: &str| (key == "ROTA_LISTEN").then(|| "2.2.2.2:2".to_owned());
        let mut values = Values::load(Some(&file), environment).unwrap();
        std::fs::remove_file(&file).unwrap();
        values.set("data", Some("/d".into()));
        let config = values.finish().unwrap();
        assert_eq!((config.listen.as_str(), config.max_devices), ("2.2.2.2:2", 5));
        assert_eq!((config.user_token_life, config.data), (2 * clock::HOUR, PathBuf::from("/d")));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let text = |result: Result<Config, Error>| result.unwrap_err().to_string();
        assert!(text(config("listn = \"x\"")).contains("did you mean listen?"));
        assert!(text(config("artifact_limit = \"5 apples\"")).contains("artifact_limit: expected bytes"));
        assert!(text(config("tls_cert = \"x\"")).contains("tls_key is missing"));
        assert!(text(config("= 3")).contains("cannot read the configuration f"));
    }

    #[test]
    fn numbers_have_units() {
        let config = config("artifact_limit = \"64KiB\"\ndevice_token_life = 60\nplain_http = true").unwrap();
        assert_eq!(
            (config.artifact_limit, config.device_token_life, config.plain_http),
            (65536, 60_000, true)
        );
        assert_eq!(duration("7d"), Some(7 * clock::DAY));
        assert_eq!(duration("d"), None);
        assert_eq!(size("99999999999TiB"), None);
    }
}
