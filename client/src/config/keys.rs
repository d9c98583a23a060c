//! The keys of `rota.toml`, each with what it sets, and the variables of the environment that stand for them.

use toml::{Table, Value};

use super::values::{
    count, duration, expected, flag, level, list, path, size, some_key, some_path, some_text, target, text,
    url, window,
};
use super::Config;
use crate::window::Window;

type Set = fn(&mut Config, &Value) -> Result<(), String>;

/// Every key: `table.key`, and what it sets. To add one, add a line here, a field to [`Config`], and a word to `dist/rota.toml` and
/// `dist/rota.schema.json`.
pub(super) const KEYS: &[(&str, Set)] = &[
    ("device_type", |c, v| set(&mut c.device_type, text(v).map(Some))),
    ("device_key", |c, v| set(&mut c.device_key, some_key(v))),
    ("server.url", |c, v| set(&mut c.urls, url(v).map(|url| vec![url]))),
    ("server.urls", |c, v| set(&mut c.urls, list(v, url))),
    ("server.ca", |c, v| set(&mut c.ca, some_path(v))),
    ("server.system_ca", |c, v| set(&mut c.system_ca, flag(v))),
    ("server.client_certificate", |c, v| set(&mut c.client_certificate, some_path(v))),
    ("server.client_key", |c, v| set(&mut c.client_key, some_key(v))),
    ("server.proxy", |c, v| set(&mut c.proxy, some_text(v))),
    ("server.tenant_token", |c, v| set(&mut c.tenant_token, some_text(v))),
    ("server.timeout", |c, v| set(&mut c.server_timeout, duration(v))),
    ("server.poll_interval", |c, v| set(&mut c.poll_interval, duration(v))),
    ("server.inventory_interval", |c, v| set(&mut c.inventory_interval, duration(v))),
    ("server.retry_interval", |c, v| set(&mut c.retry_interval, duration(v))),
    ("server.retry_count", |c, v| set(&mut c.retry_count, count(v))),
    // Until both are known, the other one is empty: see `Config::settle`.
    ("slots.a", |c, v| path(v).map(|path| c.slots.get_or_insert_with(Default::default).0 = path)),
    ("slots.b", |c, v| path(v).map(|path| c.slots.get_or_insert_with(Default::default).1 = path)),
    ("boot.backend", |c, v| set(&mut c.boot, text(v))),
    ("boot.env_dir", |c, v| set(&mut c.env_dir, path(v).map(Some))),
    ("trial.timeout", |c, v| set(&mut c.trial_timeout, duration(v))),
    ("health.timeout", |c, v| set(&mut c.health_timeout, duration(v))),
    ("download.retries", |c, v| set(&mut c.download_retries, count(v))),
    ("download.retry_interval", |c, v| set(&mut c.download_retry_interval, duration(v))),
    ("download.max_rate", |c, v| set(&mut c.max_rate, size(v))),
    ("download.daily_budget", |c, v| set(&mut c.daily_budget, size(v))),
    ("update.windows", |c, v| set_windows(&mut c.windows, v)),
    ("update.download_windows", |c, v| set_windows(c.download_windows.get_or_insert_with(Vec::new), v)),
    ("update.install_windows", |c, v| set_windows(c.install_windows.get_or_insert_with(Vec::new), v)),
    ("update.reboot_windows", |c, v| set_windows(c.reboot_windows.get_or_insert_with(Vec::new), v)),
    ("artifact.verify_keys", |c, v| {
        // Whatever is wrong with this value, it asks for signatures: without a usable key nothing is installed.
        c.verify_keys = Some(Vec::new());
        set(&mut c.verify_keys, list(v, path).map(Some))
    }),
    ("modules.timeout", |c, v| set(&mut c.module_timeout, duration(v))),
    ("scripts.timeout", |c, v| set(&mut c.script_timeout, duration(v))),
    ("scripts.retry_interval", |c, v| set(&mut c.script_retry_interval, duration(v))),
    ("scripts.retry_timeout", |c, v| set(&mut c.script_retry_timeout, duration(v))),
    ("watchdog.device", |c, v| set(&mut c.watchdog, some_path(v))),
    ("watchdog.timeout", |c, v| set(&mut c.watchdog_timeout, duration(v))),
    ("write.read_back", |c, v| set(&mut c.read_back, flag(v))),
    ("log.level", |c, v| set(&mut c.log_level, level(v))),
    ("log.target", |c, v| set(&mut c.log_target, target(v))),
    ("log.deployments", |c, v| set(&mut c.deployment_logs, some_path(v))),
];

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

/// Takes the windows that are understood, and the fault of the first that is not. Where none is, what held before holds, and
/// where nothing did, nothing opens: a slip must not open what was meant to be closed.
fn set_windows(windows: &mut Vec<Window>, value: &Value) -> Result<(), String> {
    let read: Vec<_> = match value.as_array() {
        Some(values) => values.iter().map(window).collect(),
        None => vec![expected("a list", value)],
    };
    let mut fault = Ok(());
    let mut good = Vec::new();
    for one in read {
        match one {
            Ok(window) => good.push(window),
            Err(what) => fault = fault.and(Err(what)),
        }
    }
    match (good.is_empty(), &fault) {
        (false, _) | (true, Ok(())) => *windows = good,
        (true, Err(_)) if windows.is_empty() => windows.push(Window::NEVER),
        (true, Err(_)) => {}
    }
    fault
}

impl Config {
    /// Sets one key. The error says what was expected and found.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match KEYS.iter().find(|(known, _)| *known == key) {
            Some((_, set)) => set(self, value),
            None => Err(unknown(key)),
        }
    }

    /// Takes what a file says, key by key.
    pub(super) fn merge(&mut self, table: &Table, file: &str) {
        for (key, value) in flatten(table) {
            if let Err(what) = self.set(&key, value) {
                self.faults.push(format!("{file}: {key}: {what}"));
            }
        }
        let server = |key: &str| table.get("server").and_then(|server| server.get(key)).is_some();
        if server("url") && server("urls") {
            self.faults.push(format!("{file}: server.url and server.urls are both set; set one of them"));
        }
    }

    /// Takes what the environment says: `ROTA_SERVER_URL` stands for `server.url`. The value is written as in `rota.toml`; a
    /// text needs no quotes.
    pub(super) fn merge_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, value) in variables.filter(|(_, value)| !value.is_empty()) {
            let known = KEYS.iter().find(|(key, _)| variable(key) == name);
            let result = match known {
                Some((_, set)) => {
                    let toml = format!("v = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
                    let text = Value::String(value);
                    set(self, &text).or_else(|what| toml.map_or(Err(what), |toml| set(self, &toml)))
                }
                None if is_ours(&name) => {
                    Err(unknown(&name.to_lowercase()["rota_".len()..].replacen('_', ".", 1)))
                }
                None => continue,
            };
            if let Err(what) = result {
                self.faults.push(format!("environment variable {name}: {what}"));
            }
        }
    }
}

/// The variable of the environment that stands for a key.
fn variable(key: &str) -> String {
    format!("ROTA_{}", key.replace('.', "_").to_uppercase())
}

/// Whether a variable can be meant for a key: it begins with the name of a table.
fn is_ours(name: &str) -> bool {
    let table = |key: &str| key.split_once('.').map(|(table, _)| variable(table) + "_");
    KEYS.iter().filter_map(|(key, _)| table(key)).any(|table| name.starts_with(&table))
}

/// The keys of a table with their tables' names before them, `server.url`. An unknown table is one key.
pub(super) fn flatten(table: &Table) -> Vec<(String, &Value)> {
    let known = |name: &str| KEYS.iter().any(|(key, _)| key.split_once('.').is_some_and(|(t, _)| t == name));
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
    let nearest = KEYS.iter().map(|(known, _)| *known).min_by_key(|known| distance(key, known));
    format!("there is no such key; the nearest known one is {}", nearest.unwrap_or("device_type"))
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
