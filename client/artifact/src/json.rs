//! The JSON members of an artifact.
use std::{collections::BTreeMap, fmt};

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use serde_json::Value;

use crate::{
    header::{Depends, PayloadHeader, ARTIFACT_GROUP, ARTIFACT_NAME, DEVICE_TYPE},
    Error,
};

/// Longest name, group, device type and value, in bytes.
const TEXT_MAX: usize = 256;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    format: String,
    version: u64,
}

/// `version`: which format this is.
pub(crate) fn version(bytes: &[u8]) -> Result<u64, Error> {
    let Version { format, version } = parse("version", bytes)?;
    if format != "mender" {
        return Err(Error::Format { found: format });
    }
    if !(2..=3).contains(&version) {
        return Err(Error::Version { found: version, supported: "2 or 3" });
    }
    Ok(version)
}

/// The part of a header that `header-info` has.
pub(crate) struct HeaderInfo {
    pub artifact_name: String,
    pub artifact_group: Option<String>,
    pub depends: Depends,
    pub payload_types: Vec<Option<String>>,
}

#[derive(serde::Deserialize)]
struct PayloadType {
    #[serde(rename = "type")]
    payload_type: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderInfo3 {
    payloads: Vec<PayloadType>,
    artifact_provides: InfoProvides,
    artifact_depends: InfoDepends,
}

#[derive(serde::Deserialize)]
struct InfoProvides {
    artifact_name: String,
    artifact_group: Option<String>,
}

#[derive(serde::Deserialize)]
struct InfoDepends {
    device_type: Vec<String>,
    #[serde(default)]
    artifact_name: Vec<String>,
    #[serde(default)]
    artifact_group: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderInfo2 {
    updates: Vec<PayloadType>,
    artifact_name: String,
    device_types_compatible: Vec<String>,
}

/// `header-info` (artifact format: header-info).
pub(crate) fn header_info(version: u64, file: &str, bytes: &[u8]) -> Result<HeaderInfo, Error> {
    let (types, artifact_name, artifact_group, depends) = if version == 2 {
        let info: HeaderInfo2 = parse(file, bytes)?;
        let depends = Depends { device_types: info.device_types_compatible, ..Depends::default() };
        (info.updates, info.artifact_name, None, depends)
    } else {
        let info: HeaderInfo3 = parse(file, bytes)?;
        let InfoDepends { device_type, artifact_name, artifact_group } = info.artifact_depends;
        let depends = Depends {
            device_types: device_type,
            artifact_names: artifact_name,
            artifact_groups: artifact_group,
        };
        // An empty group is how some writers say that there is none.
        let group = info.artifact_provides.artifact_group.filter(|group| !group.is_empty());
        (info.payloads, info.artifact_provides.artifact_name, group, depends)
    };
    let info = HeaderInfo {
        artifact_name,
        artifact_group,
        depends,
        payload_types: types.into_iter().map(|payload| payload.payload_type).collect(),
    };
    info.check(file)?;
    Ok(info)
}

impl HeaderInfo {
    fn check(&self, file: &str) -> Result<(), Error> {
        if self.payload_types.is_empty() {
            return Err(Error::json(file, "the list of payloads is empty"));
        }
        self.payload_types.iter().flatten().try_for_each(|kind| check_type(file, kind))?;
        check_text(file, ARTIFACT_NAME, &self.artifact_name)?;
        self.artifact_group.iter().try_for_each(|group| check_text(file, ARTIFACT_GROUP, group))?;
        check_depends(file, &self.depends)
    }
}

/// A payload's type is the file name of an update module.
fn check_type(file: &str, payload_type: &str) -> Result<(), Error> {
    check_text(file, "a payload's type", payload_type)?;
    if payload_type.contains('/') || [".", ".."].contains(&payload_type) {
        let reason = format_args!("a payload's type is {payload_type:?}, but it has to be a plain name");
        return Err(Error::json(file, reason));
    }
    Ok(())
}

/// Checks the lists of `artifact_depends`.
pub(crate) fn check_depends(file: &str, depends: &Depends) -> Result<(), Error> {
    let Depends { device_types, artifact_names, artifact_groups } = depends;
    if device_types.is_empty() {
        return Err(Error::json(
            file,
            "artifact_depends: device_type is empty, but has to name a compatible device type",
        ));
    }
    for (key, list) in
        [(DEVICE_TYPE, device_types), (ARTIFACT_NAME, artifact_names), (ARTIFACT_GROUP, artifact_groups)]
    {
        list.iter().try_for_each(|value| check_text(file, key, value))?;
    }
    Ok(())
}

/// Checks a name or value: 1 to 256 bytes of printable text.
pub(crate) fn check_text(file: &str, key: &str, value: &str) -> Result<(), Error> {
    let fault = match value {
        "" => "is empty",
        _ if value.len() > TEXT_MAX => "is longer than 256 bytes",
        _ if value.contains(char::is_control) => "has characters that cannot be printed",
        _ => return Ok(()),
    };
    Err(Error::json(file, format_args!("{key} {fault}")))
}

#[derive(serde::Deserialize)]
struct TypeInfo {
    #[serde(rename = "type")]
    payload_type: Option<String>,
    #[serde(default)]
    artifact_provides: Option<BTreeMap<String, String>>,
    #[serde(default)]
    artifact_depends: Option<BTreeMap<String, OneOrMany>>,
    clears_artifact_provides: Option<Vec<String>>,
}

/// A string or a list of strings: both are found in `artifact_depends`.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![value.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany(values))
            }
        }
        deserializer.deserialize_any(Values)
    }
}

/// `type-info` of a payload that `header-info` gives the type `expected` (artifact format: type-info).
pub(crate) fn type_info(file: &str, bytes: &[u8], expected: &Option<String>) -> Result<PayloadHeader, Error> {
    let info: TypeInfo = parse(file, bytes)?;
    // mender-artifact before 4.3.1 writes "" for a root file system.
    if info.payload_type.as_deref() != Some("") && info.payload_type != *expected {
        let name = |kind: &Option<String>| kind.clone().unwrap_or_else(|| "null".to_owned());
        let (here, there) = (name(&info.payload_type), name(expected));
        return Err(Error::json(file, format_args!("the type is {here}, but header-info says {there}")));
    }
    let provides = info.artifact_provides.unwrap_or_default();
    let depends: BTreeMap<_, _> =
        info.artifact_depends.unwrap_or_default().into_iter().map(|(key, values)| (key, values.0)).collect();
    let clash = |key: &str| Err(Error::json(file, format_args!("{key} belongs into header-info")));
    if let Some(key) = [ARTIFACT_NAME, ARTIFACT_GROUP].into_iter().find(|key| provides.contains_key(*key)) {
        return clash(key);
    }
    if let Some(key) =
        [ARTIFACT_NAME, ARTIFACT_GROUP, DEVICE_TYPE].into_iter().find(|key| depends.contains_key(*key))
    {
        return clash(key);
    }
    Ok(PayloadHeader {
        payload_type: expected.clone(),
        provides,
        depends,
        clears: info.clears_artifact_provides,
        ..PayloadHeader::default()
    })
}

/// Checks that meta-data are a JSON object, without building it in memory.
pub(crate) fn check_meta_data(file: &str, bytes: &[u8]) -> Result<(), Error> {
    struct Object;
    impl<'de> Deserialize<'de> for Object {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Object)
        }
    }
    impl<'de> Visitor<'de> for Object {
        type Value = Self;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object at the top level")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(self)
        }
    }
    parse::<Object>(file, bytes).map(drop)
}

/// The meta-data of an augmented payload: objects are merged, everything else is replaced.
pub(crate) fn merge_meta_data(below: &[u8], above: Vec<u8>) -> Result<Vec<u8>, Error> {
    if below.is_empty() || above.is_empty() {
        return Ok(if above.is_empty() { below.to_vec() } else { above });
    }
    let mut merged: Value = parse("meta-data", below)?;
    merge(&mut merged, parse("meta-data", &above)?)?;
    serde_json::to_vec(&merged).map_err(|error| Error::json("meta-data", error))
}

fn merge(below: &mut Value, above: Value) -> Result<(), Error> {
    if below.is_array() != above.is_array() || below.is_object() != above.is_object() {
        return Err(Error::json(
            "meta-data",
            "the augmented part has a list or object where the other has none, or the reverse",
        ));
    }
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                match below.get_mut(&key) {
                    Some(below) => merge(below, value)?,
                    None => drop(below.insert(key, value)),
                }
            }
        }
        (below, above) => *below = above,
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Files {
    files: Vec<String>,
}

/// `headers/NNNN/files` of version 2.
pub(crate) fn files(file: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    parse(file, bytes).map(|Files { files }| files)
}

fn parse<'a, T: Deserialize<'a>>(file: &str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::json(file, error))
}
