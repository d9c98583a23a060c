//! Who this device is: its identity attributes, and the request for authorisation that is signed with its key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{json, Value};

use crate::config::Paths;
use crate::key::DeviceKey;
use crate::sys::process::{self, Output};

/// How long an identity script may take, and how much it may print.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);
const SCRIPT_OUTPUT: usize = 64 << 10;

/// A device's identity attributes and key.
pub struct Identity {
    /// A JSON object, keys sorted; the same at every boot.
    pub attributes: String,
    key: DeviceKey,
}

impl Identity {
    /// Finds out the attributes and reads the key, `device_key` when that is set; makes one when there is no file of it.
    pub fn load(paths: &Paths, device_key: Option<&Path>) -> Result<Identity, String> {
        Ok(Identity { attributes: attributes(paths)?, key: DeviceKey::load(paths, device_key)? })
    }

    /// The body of an authorisation request and its signature (device API: authentication).
    pub fn auth_request(&self, tenant_token: Option<&str>) -> Result<(Vec<u8>, String), String> {
        let mut body = json!({ "id_data": self.attributes, "pubkey": self.key.public_key()? });
        if let Some(token) = tenant_token {
            body["tenant_token"] = token.into();
        }
        let body = body.to_string().into_bytes();
        let signature = self.key.sign(&body)?;
        Ok((body, signature))
    }
}

/// The output of the product's identity script, else the address of the first Ethernet interface.
pub fn attributes(paths: &Paths) -> Result<String, String> {
    let script = [paths.lib.join("identity"), paths.mender.join("identity/mender-device-identity")]
        .into_iter()
        .find(|script| script.exists());
    let values = match script {
        Some(script) => printed_by(&script).map_err(|why| format!("{} {why}", script.display()))?,
        None => BTreeMap::from([("mac".into(), Value::from(mac(Path::new("/sys/class/net"))?))]),
    };
    Ok(json!(values).to_string())
}

/// What an identity script says; what must not be is that it says something else at the next boot.
fn printed_by(script: &Path) -> Result<BTreeMap<String, Value>, String> {
    let (mut text, mut complaint) = (String::new(), String::new());
    let ended = process::run(&mut Command::new(script), SCRIPT_LIMIT, &mut |output, line| match output {
        Output::Out if text.len() <= SCRIPT_OUTPUT => text += &format!("{line}\n"),
        Output::Out => {}
        Output::Err => complaint = line.to_owned(),
    });
    let ended = ended.map_err(|error| format!("cannot be run: {error}"))?;
    if !ended.is_success() {
        return Err(format!("{ended}: {complaint}"));
    }
    if text.len() > SCRIPT_OUTPUT {
        return Err(format!("printed more than {SCRIPT_OUTPUT} bytes"));
    }
    let values = key_values(&text);
    match values.is_empty() {
        true => Err("printed no line key=value".into()),
        false => Ok(values),
    }
}

/// Lines `key=value`; a key that comes more than once has a list. Other lines are left out.
pub fn key_values(text: &str) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for (key, value) in
        text.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| !key.is_empty())
    {
        add(&mut values, key, value);
    }
    values
}

/// Adds one more value of a key.
pub fn add(values: &mut BTreeMap<String, Value>, key: &str, value: &str) {
    match values.get_mut(key) {
        None => drop(values.insert(key.to_owned(), value.into())),
        Some(Value::Array(list)) => list.push(value.into()),
        Some(first) => *first = json!([first.take(), value]),
    }
}

/// The hardware address of the Ethernet interface with the lowest index that is not a dummy.
fn mac(interfaces: &Path) -> Result<String, String> {
    let read =
        |folder: &PathBuf, name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
    let dummy =
        |folder: &PathBuf| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dummy"));
    fs::read_dir(interfaces)
        .map_err(|error| format!("{}: {error}", interfaces.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| !dummy(folder) && read(folder, "type").as_deref() == Some("1"))
        .filter_map(|folder| {
            Some((read(&folder, "ifindex")?.parse::<u32>().ok()?, read(&folder, "address")?))
        })
        .min()
        .map(|(_, address)| address)
        .ok_or_else(|| format!("{} has no Ethernet interface", interfaces.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ethernet_interface_is_the_identity() {
        let folder = crate::testing::folder();
        for (name, kind, index, address) in [
            ("lo", "772", "1", "00:00"),
            ("dummy0", "1", "2", "d"),
            ("eth1", "1", "10", "b"),
            ("eth0", "1", "3", "a"),
        ] {
            let interface = folder.join(name);
            fs::create_dir(&interface).unwrap();
            for (file, text) in [("type", kind), ("ifindex", index), ("address", address)] {
                fs::write(interface.join(file), format!("{text}\n")).unwrap();
            }
        }
        assert_eq!(mac(&folder), Ok("a".into()));
        assert!(mac(&folder.join("eth0")).is_err());
    }

    fn script(folder: &Path, name: &str, lines: &str) {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_script_of_ours_comes_before_menders_and_a_broken_one_is_no_identity() {
        let folder = crate::testing::folder();
        let paths = Paths { lib: folder.join("lib"), mender: folder.join("mender"), ..Paths::default() };
        script(
            &paths.mender,
            "identity/mender-device-identity",
            "echo using x >&2; echo mac=m; echo serial=1",
        );
        assert_eq!(attributes(&paths).unwrap(), r#"{"mac":"m","serial":"1"}"#);
        script(&paths.lib, "identity", "echo serial=2; echo mac=n; echo mac=o");
        assert_eq!(attributes(&paths).unwrap(), r#"{"mac":["n","o"],"serial":"2"}"#);
        for (lines, why) in [
            ("echo mac=m; echo no EEPROM >&2; exit 3", "exited with code 3: no EEPROM"),
            ("echo nothing", "printed no line key=value"),
            ("yes mac=m | head -c 70000", "printed more than"),
        ] {
            script(&paths.lib, "identity", lines);
            assert!(attributes(&paths).unwrap_err().contains(why), "{lines}");
        }
        fs::set_permissions(paths.lib.join("identity"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        assert!(attributes(&paths).unwrap_err().contains("cannot be run"));
    }

    #[test]
    fn repeated_keys_become_lists() {
        let values = key_values("a=1\nb=x=y\nnonsense\na=2\na=3\n=4\n");
        assert_eq!(json!(values), json!({"a": ["1", "2", "3"], "b": "x=y"}));
    }
}
