//! What an artifact says about itself before any payload byte: name, compatibility, scripts and payload types.
use std::collections::BTreeMap;

use crate::{json, json_write, Error};

/// The key of the artifact's name in a device's provides.
pub const ARTIFACT_NAME: &str = "artifact_name";
/// The key of the artifact's group in a device's provides.
pub const ARTIFACT_GROUP: &str = "artifact_group";
/// The key of the device type, in what a device reports and in `artifact_depends`.
pub const DEVICE_TYPE: &str = "device_type";

/// The facts of `header.tar` (artifact format: header-info), and of `header-augment.tar` when there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The version of the format: 2 or 3.
    pub version: u64,
    /// The name of the release; never empty.
    pub artifact_name: String,
    /// The group that the artifact brings the device into.
    pub artifact_group: Option<String>,
    /// What the device has to be.
    pub depends: Depends,
    /// State scripts, in the order of the archive.
    pub scripts: Vec<Script>,
    /// One for each payload; never empty.
    pub payloads: Vec<PayloadHeader>,
    /// Is this an augmented artifact? What is augmented is never signed.
    pub augmented: bool,
}

/// What a device has to be for the whole artifact. An empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Depends {
    /// Compatible device types; never empty in an artifact.
    pub device_types: Vec<String>,
    /// Names of artifacts, one of which has to be installed.
    pub artifact_names: Vec<String>,
    /// Groups, of which the device has to be in one.
    pub artifact_groups: Vec<String>,
}

/// A state script (artifact format: scripts).
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Checked: `ArtifactInstall_Enter_00` and the like.
    pub name: String,
    /// The program itself.
    pub bytes: Vec<u8>,
}

/// The facts of one payload (artifact format: type-info, meta-data).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PayloadHeader {
    /// The payload's type, which is the name of the update module; `None` for an empty payload (bootstrap artifacts).
    pub payload_type: Option<String>,
    /// Facts that the device has after the installation.
    pub provides: BTreeMap<String, String>,
    /// Facts that the device needs before: for each key the values that will do.
    pub depends: BTreeMap<String, Vec<String>>,
    /// Globs of the facts that the device loses; `None` is not the same as an empty list, see [`crate::provides`].
    pub clears: Option<Vec<String>>,
    /// A JSON object as text; empty when there is none.
    pub meta_data: Vec<u8>,
    /// Payload file names that version 2 lists in the header; empty in version 3.
    pub files: Vec<String>,
}

impl Header {
    /// Checks that a device of `device_type` with these provides may install the artifact (artifact format: depends).
    pub fn matches(&self, device_type: &str, provides: &BTreeMap<String, String>) -> Result<(), Error> {
        let Depends { device_types, artifact_names, artifact_groups } = &self.depends;
        if !device_types.iter().any(|compatible| compatible == device_type) {
            return Err(Error::Device { found: device_type.to_owned(), compatible: device_types.clone() });
        }
        let found = |key: &str| match key {
            DEVICE_TYPE => Some(device_type),
            _ => provides.get(key).map(String::as_str),
        };
        let listed = [(ARTIFACT_NAME, artifact_names), (ARTIFACT_GROUP, artifact_groups)];
        let listed = listed.into_iter().filter(|(_, wanted)| !wanted.is_empty());
        let keyed = self.payloads.iter().flat_map(|payload| &payload.depends);
        for (key, wanted) in listed.chain(keyed.map(|(key, wanted)| (key.as_str(), wanted))) {
            if !found(key).is_some_and(|found| wanted.iter().any(|wanted| wanted == found)) {
                let found = found(key).map(str::to_owned);
                return Err(Error::Depends { key: key.to_owned(), found, wanted: wanted.clone() });
            }
        }
        Ok(())
    }
}

impl Header {
    /// The JSON text of `header-info`, as the artifact has it or would have it in version 3.
    pub fn info(&self) -> Result<Vec<u8>, Error> {
        let types = self.payloads.iter().map(|payload| payload.payload_type.as_deref());
        json_write::header_info(&self.artifact_name, self.artifact_group.as_deref(), &self.depends, types)
    }

    /// Lays the header of the augmented part over this one (artifact format: augmented artifacts).
    pub(crate) fn augment(&mut self, augmented: Header) -> Result<(), Error> {
        if augmented.payloads.len() != self.payloads.len() {
            let (here, there) = (augmented.payloads.len(), self.payloads.len());
            let reason = format!("header-augment.tar has {here} payloads, header.tar has {there}");
            return Err(Error::json("header-info", reason));
        }
        self.augmented = true;
        for (payload, over) in self.payloads.iter_mut().zip(augmented.payloads) {
            payload.payload_type = over.payload_type.or(payload.payload_type.take());
            payload.provides.extend(over.provides);
            payload.depends.extend(over.depends);
            payload.clears = over.clears.or(payload.clears.take());
            payload.meta_data = json::merge_meta_data(&payload.meta_data, over.meta_data)?;
        }
        Ok(())
    }
}

impl PayloadHeader {
    /// The JSON text of `type-info`, likewise.
    pub fn info(&self) -> Result<Vec<u8>, Error> {
        json_write::type_info("type-info", self)
    }
}

/// The states whose scripts an artifact brings (artifact format: scripts).
pub const SCRIPT_STATES: [&str; 6] = [
    "ArtifactInstall",
    "ArtifactReboot",
    "ArtifactCommit",
    "ArtifactRollback",
    "ArtifactRollbackReboot",
    "ArtifactFailure",
];

/// Checks the name of a state script in an artifact: `Artifact<State>_<Enter|Leave|Error>_<two digits>[_<text>]`.
pub fn check_script_name(name: &str) -> Result<(), Error> {
    let valid = || {
        let mut parts = name.splitn(4, '_');
        let (state, edge, order, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        let order_fits = order.len() == 2 && order.bytes().all(|byte| byte.is_ascii_digit());
        let text_fits = text.map_or(true, |text| !text.is_empty() && !text.contains(is_no_text));
        (SCRIPT_STATES.contains(&state)
            && ["Enter", "Leave", "Error"].contains(&edge)
            && order_fits
            && text_fits)
            .then_some(())
    };
    valid().ok_or_else(|| Error::ScriptName { name: name.to_owned() })
}

fn is_no_text(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '/'
}

/// Checks the name of a payload file: a plain name of letters, digits and `.,_-`, at most 100 bytes long.
pub fn check_file_name(name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".,_-".contains(&byte);
    if (1..=100).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::FileName { name: name.to_owned() })
}
