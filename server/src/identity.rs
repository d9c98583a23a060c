//! What a device says it is (device API: authentication, `id_data`).
use crate::keys;
use crate::store::devices::Identity;
use serde_json::{Map, Value};

/// Most bytes of an identity.
const MOST: usize = 16 << 10;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("id_data: expected a JSON object with at least one attribute, found {0}")]
pub struct Error(String);

/// Reads `id_data`, the text in the request.
pub fn parse(text: &str) -> Result<Identity, Error> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => from_map(map),
        Ok(_) => Err(Error("another kind of value".into())),
        Err(error) => Err(Error(format!("no JSON ({error})"))),
    }
}

/// The order of the keys does not matter: serde_json keeps them sorted.
pub fn from_map(attributes: Map<String, Value>) -> Result<Identity, Error> {
    if attributes.is_empty() {
        return Err(Error("an empty object".into()));
    }
    let canonical = serde_json::to_string(&attributes).map_err(|error| Error(error.to_string()))?;
    if canonical.len() > MOST {
        return Err(Error(format!("{} bytes, where {MOST} are allowed", canonical.len())));
    }
    let hash = keys::hex(ring::digest::digest(&ring::digest::SHA256, canonical.as_bytes()).as_ref());
    Ok(Identity { canonical, hash, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one = parse(r#"{"mac":"aa","sn":["1","2"]}"#).unwrap();
        let other = parse(r#"{ "sn": ["1", "2"], "mac": "aa" }"#).unwrap();
        assert_eq!(one.hash, other.hash);
        assert_eq!(one.canonical, r#"{"mac":"aa","sn":["1","2"]}"#);
    }

    #[test]
    fn what_identifies_nothing_is_refused() {
        for text in ["", "[]", "{}", "\"mac\"", "{\"mac\":"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
