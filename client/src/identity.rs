//! Who this device is: its identity attributes, and the key it signs its authorisation with.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{json, Value};

use crate::config::Paths;
use crate::sys::disk;
use crate::sys::process::{self, Output};

/// How long an identity script may take, and how much it may print.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);
const SCRIPT_OUTPUT: usize = 64 << 10;

/// Most bytes of a key's file that are read.
const KEY_LIMIT: u64 = 64 << 10;

/// What comes before the 32 bytes of an Ed25519 private key in PKCS #8, and of a public key in SPKI (RFC 8410).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// A device's identity attributes and key.
pub struct Identity {
    /// A JSON object, keys sorted; the same at every boot.
    pub attributes: String,
    key: Ed25519KeyPair,
}

impl Identity {
    /// Finds out the attributes and reads the key; makes the key when there is no file of it.
    pub fn load(paths: &Paths) -> Result<Identity, String> {
        Ok(Identity { attributes: attributes(paths)?, key: key(&paths.data.join("device-key.pem"))? })
    }

    /// The body of an authorisation request (device API: authentication).
    pub fn auth_request(&self, tenant_token: Option<&str>) -> Vec<u8> {
        let mut body = json!({ "id_data": self.attributes, "pubkey": self.public_key() });
        if let Some(token) = tenant_token {
            body["tenant_token"] = token.into();
        }
        body.to_string().into_bytes()
    }

    /// The signature of exactly these bytes, in base64.
    pub fn sign(&self, body: &[u8]) -> String {
        base64(self.key.sign(body).as_ref())
    }

    /// PEM of the public key's SPKI.
    pub fn public_key(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI, self.key.public_key().as_ref()].concat())
    }
}

/// A new key is made only when there is no file: one that cannot be read may come back, a second key cannot be taken back.
fn key(file: &Path) -> Result<Ed25519KeyPair, String> {
    let wrong = |what: String| format!("device key {}: {what}", file.display());
    let pem = match disk::read(file, KEY_LIMIT) {
        Ok(pem) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut der = [PKCS8.as_slice(), &[0; 32]].concat();
            let filled = SystemRandom::new().fill(&mut der[PKCS8.len()..]);
            filled.map_err(|_| wrong("the kernel gives no random numbers".into()))?;
            let pem = pem("PRIVATE KEY", &der).into_bytes();
            disk::replace(file, &pem, 0o600).map_err(|error| wrong(format!("cannot be written: {error}")))?;
            log::info!("made the device key {}", file.display());
            pem
        }
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    parse_key(file, &pem)
}

/// Whether a file holds a key that the client can use; makes none.
pub fn check_key(file: &Path) -> Result<(), String> {
    let pem = fs::read(file).map_err(|error| format!("device key {}: {error}", file.display()))?;
    parse_key(file, &pem).map(drop)
}

fn parse_key(file: &Path, pem: &[u8]) -> Result<Ed25519KeyPair, String> {
    let wrong = |what: String| format!("device key {}: {what}", file.display());
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| {
        wrong("expected an Ed25519 key as PKCS #8 in PEM form; remove the file to have a new one made".into())
    })?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|error| {
        wrong(format!("not an Ed25519 key: {error}; remove the file to have a new one made"))
    })
}

/// The output of the product's identity script, else the address of the first Ethernet interface.
pub fn attributes(paths: &Paths) -> Result<String, String> {
    let script = [paths.lib.join("identity"), paths.mender.join("identity/mender-device-identity")]
        .into_iter()
        .find(|script| script.exists());
    let values = match script {
        Some(script) => {
            let mut text = String::new();
            let ended =
                process::run(&mut Command::new(&script), SCRIPT_LIMIT, &mut |output, line| match output {
                    Output::Out if text.len() < SCRIPT_OUTPUT => text += &format!("{line}\n"),
                    Output::Out => {}
                    Output::Err => log::warn!("{}: {line}", script.display()),
                });
            let ended = ended.map_err(|error| format!("{}: {error}", script.display()))?;
            if !ended.is_success() {
                return Err(format!("{} {ended}", script.display()));
            }
            let values = key_values(&text);
            if values.is_empty() {
                return Err(format!("{} printed no line key=value", script.display()));
            }
            values
        }
        None => BTreeMap::from([("mac".into(), Value::from(mac(Path::new("/sys/class/net"))?))]),
    };
    Ok(json!(values).to_string())
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

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Base64 with the standard alphabet, padded (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= three.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ring::signature::{UnparsedPublicKey, ED25519};

    use super::*;

    #[test]
    fn base64_has_the_examples_of_its_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_signs() {
        let folder = crate::testing::folder();
        let file = folder.join("device-key.pem");
        let first = Identity { attributes: "{}".into(), key: key(&file).unwrap() };
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Identity { attributes: "{}".into(), key: key(&file).unwrap() };
        assert_eq!(first.public_key(), again.public_key());
        assert!(first.public_key().starts_with("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"));
        let public = UnparsedPublicKey::new(&ED25519, again.key.public_key().as_ref());
        public.verify(b"body", first.key.sign(b"body").as_ref()).unwrap();
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_replaced() {
        let folder = crate::testing::folder();
        let file = folder.join("device-key.pem");
        for spoilt in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&file, spoilt).unwrap();
            assert!(key(&file).unwrap_err().contains("remove the file"));
            assert_eq!(fs::read_to_string(&file).unwrap(), spoilt);
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(key(&file).unwrap_err().contains("cannot be read"));
    }

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

    #[test]
    fn repeated_keys_become_lists() {
        let values = key_values("a=1\nb=x=y\nnonsense\na=2\na=3\n=4\n");
        assert_eq!(json!(values), json!({"a": ["1", "2", "3"], "b": "x=y"}));
    }
}
