//! What the server keeps of an artifact's header: enough to show it, to tell it from others, and to choose it for a
//! device without opening the file again.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Everything the API shows of an artifact's content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Detail {
    pub device_types_compatible: Vec<String>,
    pub info: Info,
    pub signed: bool,
    pub updates: Vec<Update>,
    pub artifact_provides: BTreeMap<String, String>,
    /// Key to a text or a list of texts, of which one must match.
    pub artifact_depends: Map<String, Value>,
    pub clears_artifact_provides: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    pub format: String,
    pub version: u8,
}

/// One payload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Update {
    pub type_info: TypeInfo,
    pub files: Vec<File>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub meta_data: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TypeInfo {
    /// `null` for an artifact that only sets provides.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct File {
    pub name: String,
    /// sha256, hexadecimal.
    pub checksum: String,
    pub size: u64,
    /// When the file was last changed, RFC 3339.
    pub date: String,
}

impl Detail {
    /// The depends besides the device type, as canonical JSON: two artifacts of one name for one device type are the
    /// same unless this differs.
    pub fn depends_key(&self) -> String {
        let others: BTreeMap<_, _> =
            self.artifact_depends.iter().filter(|(key, _)| *key != "device_type").collect();
        serde_json::to_string(&others).unwrap_or_default()
    }

    /// Names the first depends that `provides` does not meet. With `partial`, `provides` is not the whole of what the
    /// device has, and a key that it lacks may be met.
    pub fn unmet(&self, provides: &BTreeMap<String, String>, partial: bool) -> Option<String> {
        for (key, wanted) in &self.artifact_depends {
            let wanted: Vec<&str> = match wanted {
                Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
                Value::String(value) => vec![value],
                _ => Vec::new(),
            };
            match provides.get(key) {
                Some(has) if wanted.contains(&has.as_str()) => {}
                Some(has) => {
                    return Some(format!(
                        "it needs {key} to be {}, the device has {has}",
                        wanted.join(" or ")
                    ))
                }
                None if partial => {}
                None => {
                    return Some(format!("it needs {key} to be {}, the device has none", wanted.join(" or ")))
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn detail(depends: Value) -> Detail {
        Detail { artifact_depends: depends.as_object().unwrap().clone(), ..Default::default() }
    }

    #[test]
    fn depends_are_met_by_one_of_the_values() {
        let detail = detail(json!({"device_type": ["a", "b"], "rootfs-image.version": "1"}));
        let mut provides = BTreeMap::from([("device_type".to_owned(), "b".to_owned())]);
        assert_eq!(detail.unmet(&provides, true), None);
        assert!(detail.unmet(&provides, false).unwrap().contains("rootfs-image.version to be 1"));
        provides.insert("rootfs-image.version".into(), "2".into());
        assert!(detail.unmet(&provides, true).unwrap().contains("the device has 2"));
    }

    #[test]
    fn the_key_leaves_the_device_type_out() {
        assert_eq!(detail(json!({"device_type": ["a"]})).depends_key(), "{}");
        assert_eq!(detail(json!({"device_type": ["a"], "x": "y"})).depends_key(), r#"{"x":"y"}"#);
    }
}
