//! What the values of configuration keys look like. Errors say what was expected and found.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::log::Target;
use crate::window::Window;

pub(super) fn expected<T>(what: &str, found: &Value) -> Result<T, String> {
    let found = match found {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    };
    Err(format!("expected {what}, found {found}"))
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map_or_else(|| expected("a text", value), |text| Ok(text.to_owned()))
}

/// A text; an empty one is none.
pub(super) fn some_text(value: &Value) -> Result<Option<String>, String> {
    text(value).map(|text| Some(text).filter(|text| !text.is_empty()))
}

pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
    path.map_or_else(|| expected("an absolute path", value), Ok)
}

/// An absolute path; an empty text is none.
pub(super) fn some_path(value: &Value) -> Result<Option<PathBuf>, String> {
    match value.as_str() {
        Some("") => Ok(None),
        _ => path(value).map(Some),
    }
}

/// A private key: an absolute path, or the PKCS#11 URI of a key in hardware; an empty text is none. What is wrong with a URI is told
/// when the key is used: without it, the device would come to the server with another one.
pub(super) fn some_key(value: &Value) -> Result<Option<PathBuf>, String> {
    match value.as_str() {
        Some(uri) if uri.starts_with("pkcs11:") => Ok(Some(uri.into())),
        Some("") => Ok(None),
        _ => path(value).map(Some).or_else(|_| expected("an absolute path, or a URI pkcs11:…", value)),
    }
}

pub(super) fn list<T>(value: &Value, each: fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.as_array().map_or_else(|| expected("a list", value), |list| list.iter().map(each).collect())
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().map_or_else(|| expected("true or false", value), Ok)
}

pub(super) fn count(value: &Value) -> Result<u32, String> {
    let number = value.as_integer().and_then(|n| n.try_into().ok());
    number.map_or_else(|| expected("a number from 0", value), Ok)
}

/// The address of a server, without a slash at the end.
pub(super) fn url(value: &Value) -> Result<String, String> {
    let url = value.as_str().filter(|url| url.len() > 8 && url.starts_with("https://"));
    url.map_or_else(|| expected("an https:// address", value), |url| Ok(url.trim_end_matches('/').to_owned()))
}

pub(super) fn level(value: &Value) -> Result<log::LevelFilter, String> {
    let name = value.as_str().map(|name| if name == "warning" { "warn" } else { name });
    let level = name.and_then(|name| name.parse().ok());
    level.map_or_else(|| expected("error, warning, info or debug", value), Ok)
}

pub(super) fn target(value: &Value) -> Result<Target, String> {
    match value.as_str() {
        Some("auto") => Ok(Target::Auto),
        Some("stderr") => Ok(Target::Stderr),
        Some("syslog") => Ok(Target::Syslog),
        _ => expected("auto, stderr or syslog", value),
    }
}

/// A number from 0, or a text of a number and one of these units.
fn united(value: &Value, units: &[(&str, u64)]) -> Option<u64> {
    let Value::String(text) = value else {
        return value.as_integer().and_then(|number| number.try_into().ok());
    };
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (_, unit) = units.iter().find(|(unit, _)| *unit == &text[number.len()..])?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

/// Seconds as a number, or a text with a unit: `30s`, `15m`, `2h`, `7d`.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    let seconds = united(value, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]);
    // A year is more than any wait; what is longer is a slip, and would overflow clocks.
    match seconds.filter(|seconds| (1..=366 * 86_400).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => expected("a time such as 90, \"30s\", \"15m\", \"2h\" or \"7d\"", value),
    }
}

/// Bytes as a number, or a text with a unit: `64KiB`, `1MiB`, `2GiB`.
pub(super) fn size(value: &Value) -> Result<u64, String> {
    let bytes = united(value, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]);
    bytes.map_or_else(|| expected("a size such as 65536, \"64KiB\", \"1MiB\" or \"2GiB\"", value), Ok)
}

/// A maintenance window.
pub(super) fn window(value: &Value) -> Result<Window, String> {
    let window = value.as_str().and_then(Window::parse);
    window.map_or_else(
        || {
            expected(
                "a window such as \"02:00-04:00\", \"Sat 02:00-05:00\" or \"Mon-Fri 22:00-04:00\"",
                value,
            )
        },
        Ok,
    )
}
