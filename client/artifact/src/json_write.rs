//! The JSON members of a header, byte for byte as `mender-artifact` writes them.
use std::{collections::BTreeMap, io};

use serde::{Serialize, Serializer};
use serde_json::{ser::Formatter, Value};

use crate::{
    header::{Depends, PayloadHeader},
    json, Error,
};

#[derive(Serialize)]
struct HeaderInfo<'a> {
    payloads: Vec<PayloadType<'a>>,
    artifact_provides: InfoProvides<'a>,
    artifact_depends: InfoDepends<'a>,
}

#[derive(Serialize)]
struct PayloadType<'a> {
    #[serde(rename = "type")]
    payload_type: Option<&'a str>,
}

#[derive(Serialize)]
struct InfoProvides<'a> {
    artifact_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_group: Option<&'a str>,
}

#[derive(Serialize)]
struct InfoDepends<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    artifact_name: &'a [String],
    device_type: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    artifact_group: &'a [String],
}

/// `header-info` (artifact format: header-info).
pub(crate) fn header_info<'a>(
    artifact_name: &str,
    artifact_group: Option<&str>,
    depends: &Depends,
    payload_types: impl Iterator<Item = Option<&'a str>>,
) -> Result<Vec<u8>, Error> {
    let info = HeaderInfo {
        payloads: payload_types.map(|payload_type| PayloadType { payload_type }).collect(),
        artifact_provides: InfoProvides { artifact_name, artifact_group },
        artifact_depends: InfoDepends {
            artifact_name: &depends.artifact_names,
            device_type: &depends.device_types,
            artifact_group: &depends.artifact_groups,
        },
    };
    let bytes = write("header-info", &info)?;
    json::header_info(3, "header-info", &bytes)?; // what no reader takes is not written
    Ok(bytes)
}

#[derive(Serialize)]
struct TypeInfo<'a> {
    #[serde(rename = "type")]
    payload_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    artifact_depends: BTreeMap<&'a str, OneOrMany<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    artifact_provides: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clears_artifact_provides: Option<&'a [String]>,
}

/// Mender's client reads strings only, so a list is written only where there is more than one value.
struct OneOrMany<'a>(&'a [String]);

impl Serialize for OneOrMany<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

/// `type-info` (artifact format: type-info).
pub(crate) fn type_info(file: &str, payload: &PayloadHeader) -> Result<Vec<u8>, Error> {
    let info = TypeInfo {
        payload_type: payload.payload_type.as_deref(),
        artifact_depends: payload
            .depends
            .iter()
            .map(|(key, values)| (key.as_str(), OneOrMany(values)))
            .collect(),
        artifact_provides: &payload.provides,
        clears_artifact_provides: payload.clears.as_deref(),
    };
    let bytes = write(file, &info)?;
    json::type_info(file, &bytes, &payload.payload_type)?;
    Ok(bytes)
}

/// `meta-data`: compact, keys sorted, numbers as `mender-artifact` has them (artifact format: meta-data).
pub(crate) fn meta_data(file: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    json::check_meta_data(file, bytes)?;
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Error::json(file, error))?;
    write(file, &value)
}

fn write(file: &str, value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, GoNumbers);
    value.serialize(&mut serializer).map_err(|error| Error::json(file, error))?;
    // Go escapes what HTML or JavaScript could stumble over. Outside of strings these characters do not occur.
    let mut text = String::from_utf8(bytes).map_err(|error| Error::json(file, error))?;
    for special in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        if text.contains(special) {
            text = text.replace(special, &format!("\\u{:04x}", u32::from(special)));
        }
    }
    Ok(text.into_bytes())
}

/// Go has one kind of number, written as integer where it is one. Integers beyond 2^53 stay exact here, unlike there.
struct GoNumbers;

impl Formatter for GoNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
            let text = format!("{value:e}");
            return writer
                .write_all(if text.contains("e-") { text } else { text.replace('e', "e+") }.as_bytes());
        }
        write!(writer, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_data_are_written_as_go_does() {
        let written =
            meta_data("m", br#"{"b": [1.0, -0.0, 1e21, 1e-7, 1.5, 9007199254740993], "a<": "\u2028&"}"#)
                .unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"a\u003c":"\u2028\u0026","b":[1,-0,1e+21,1e-7,1.5,9007199254740993]}"#
        );
    }
}
