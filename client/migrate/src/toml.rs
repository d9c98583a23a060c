//! A configuration, written as `rota.toml`.

use std::path::PathBuf;
use std::time::Duration;

use rota::config::Config;

/// A `rota.toml` that makes `config` of the defaults; only what differs from them is written. The type of the device is not
/// among it: that stands in a file of its own on the data partition.
pub fn write(config: &Config, from: &str) -> String {
    let default = Config::default();
    let mut text = format!("# Made by rota-migrate from {from}.\n");
    let mut tables: Vec<(&str, Vec<String>)> = Vec::new();
    for (key, value, usual) in keys(config).into_iter().zip(keys(&default)).map(|(a, b)| (a.0, a.1, b.1)) {
        let Some(value) = value.filter(|value| Some(value) != usual.as_ref()) else { continue };
        let (table, name) = key.split_once('.').unwrap_or(("", key));
        let line = format!("{name} = {value}");
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, lines)) => lines.push(line),
            None => tables.push((table, vec![line])),
        }
    }
    for (table, lines) in tables {
        if !table.is_empty() {
            text += &format!("\n[{table}]\n");
        }
        text += &format!("{}\n", lines.join("\n"));
    }
    text
}

/// Every key that a Mender client's configuration can set, with its value as TOML; those without a table come first.
fn keys(config: &Config) -> Vec<(&'static str, Option<String>)> {
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    let list = |values: Vec<String>| format!("[{}]", values.join(", "));
    let seconds = |time: Duration| Some(time.as_secs().to_string());
    let (a, b) = config.slots.clone().unzip();
    vec![
        ("device_key", config.device_key.as_ref().map(path)),
        ("server.urls", Some(list(config.urls.iter().map(|url| quoted(url)).collect()))),
        ("server.ca", config.ca.as_ref().map(path)),
        ("server.system_ca", Some(config.system_ca.to_string())),
        ("server.client_certificate", config.client_certificate.as_ref().map(path)),
        ("server.client_key", config.client_key.as_ref().map(path)),
        ("server.tenant_token", config.tenant_token.as_deref().map(quoted)),
        ("server.poll_interval", seconds(config.poll_interval)),
        ("server.inventory_interval", seconds(config.inventory_interval)),
        ("server.retry_interval", seconds(config.retry_interval)),
        ("server.retry_count", Some(config.retry_count.to_string())),
        ("slots.a", a.as_ref().map(path)),
        ("slots.b", b.as_ref().map(path)),
        ("boot.backend", Some(quoted(&config.boot))),
        ("download.retries", Some(config.download_retries.to_string())),
        (
            "artifact.verify_keys",
            config.verify_keys.as_ref().map(|keys| list(keys.iter().map(path).collect())),
        ),
        ("modules.timeout", seconds(config.module_timeout)),
        ("scripts.timeout", seconds(config.script_timeout)),
        ("scripts.retry_interval", seconds(config.script_retry_interval)),
        ("scripts.retry_timeout", seconds(config.script_retry_timeout)),
        ("log.level", Some(quoted(&config.log_level.as_str().to_lowercase()))),
        ("log.deployments", config.deployment_logs.as_ref().map(path)),
    ]
}

/// A basic string of TOML, which a string of JSON is, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Whether a file of rota's says nothing yet: comments and empty lines, as the one that is installed with it.
pub fn says_nothing(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_comes_with_rota_says_nothing() {
        assert!(says_nothing(include_str!("../../dist/rota.toml")));
        assert!(!says_nothing("[server]\nurl = \"https://x\"\n"));
    }

    #[test]
    fn strings_are_those_of_toml() {
        assert_eq!(quoted("a\"b\\c\u{1}\u{7f}ü"), r#""a\"b\\c\u0001\u007fü""#);
    }
}
