//! The private key that the server knows this device by: in a file, or in hardware.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::SignatureScheme;

use crate::base64;
use crate::config::Paths;
use crate::sys::disk;
use crate::token;

/// What the server takes (device API: authentication): Ed25519 pure, RSA PKCS #1 v1.5 and ECDSA in ASN.1, both over SHA-256.
const SCHEMES: &[SignatureScheme] =
    &[SignatureScheme::ED25519, SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

/// Most bytes of a key's file that are read.
const LIMIT: u64 = 64 << 10;

/// What comes before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A device's private key: Ed25519, RSA from 2048 to 4096 bits, or ECDSA P-256; on a token also of P-384.
#[derive(Debug)]
pub enum DeviceKey {
    /// Read from a file.
    File(Arc<dyn SigningKey>),
    /// In hardware.
    #[cfg(feature = "pkcs11")]
    Token(Box<token::Key>),
}

impl DeviceKey {
    /// Reads the key. An Ed25519 key is made only when there is no file at all: one that cannot be read may come back, a second
    /// key cannot be taken back.
    pub fn load(paths: &Paths, configured: Option<&Path>) -> Result<DeviceKey, String> {
        let file = file(paths, configured);
        if !exists(&file) {
            make(&file).map_err(|what| wrong(&file, &what))?;
        }
        DeviceKey::read(&file)
    }

    /// Reads the key that is in `file`, or tries the one that is on a token.
    pub fn read(file: &Path) -> Result<DeviceKey, String> {
        if let Some(uri) = token::uri(file) {
            return token::device_key(uri).map_err(|what| format!("device key {what}"));
        }
        const UNKNOWN: &str =
            "expected an Ed25519, RSA (2048 to 4096 bits) or ECDSA P-256 private key in PEM form without a \
                               passphrase; remove the file to have a new key made";
        let pem =
            disk::read(file, LIMIT).map_err(|error| wrong(file, &format!("cannot be read: {error}")))?;
        let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wrong(file, UNKNOWN))?;
        let key = any_supported_type(&der).map_err(|_| wrong(file, UNKNOWN))?;
        key.choose_scheme(SCHEMES).map(|_| DeviceKey::File(key)).ok_or_else(|| wrong(file, UNKNOWN))
    }

    /// The signature of exactly these bytes, in base64.
    pub fn sign(&self, body: &[u8]) -> Result<String, String> {
        let signature = match self {
            DeviceKey::File(key) => {
                let signer = key.choose_scheme(SCHEMES).ok_or("the device key cannot sign for the server")?;
                signer.sign(body).map_err(|error| error.to_string())?
            }
            #[cfg(feature = "pkcs11")]
            DeviceKey::Token(key) => token::sign(key, body)?,
        };
        Ok(base64::encode(&signature))
    }

    /// PEM of the public key's SPKI.
    pub fn public_key(&self) -> Result<String, String> {
        match self {
            DeviceKey::File(key) => {
                let key = key.public_key().ok_or("the device key has no public key")?;
                Ok(pem("PUBLIC KEY", &key))
            }
            #[cfg(feature = "pkcs11")]
            DeviceKey::Token(key) => {
                key.public_key().map(|der| pem("PUBLIC KEY", &der)).map_err(|error| error.to_string())
            }
        }
    }
}

/// Where the key is: in the `configured` file, else in ours, else in the one of a Mender client. Without any, it will be in ours.
pub fn file(paths: &Paths, configured: Option<&Path>) -> PathBuf {
    let ours = paths.data.join("device-key.pem");
    let menders = paths.mender_data.join("mender-agent.pem");
    match configured {
        Some(file) => file.to_owned(),
        None if is_absent(&ours) && !is_absent(&menders) => menders,
        None => ours,
    }
}

/// Whether there is such a file. What is on a token is taken to be there: no other key is made in its place.
pub fn exists(file: &Path) -> bool {
    token::uri(file).is_some() || !is_absent(file)
}

fn is_absent(file: &Path) -> bool {
    file.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn make(file: &Path) -> Result<(), String> {
    let mut der = [PKCS8.as_slice(), &[0; 32]].concat();
    let filled = SystemRandom::new().fill(&mut der[PKCS8.len()..]);
    filled.map_err(|_| "the kernel gives no random numbers")?;
    let pem = pem("PRIVATE KEY", &der);
    disk::replace(file, pem.as_bytes(), 0o600).map_err(|error| format!("cannot be written: {error}"))?;
    log::info!("made the device key {}", file.display());
    Ok(())
}

fn wrong(file: &Path, what: &str) -> String {
    format!("device key {}: {what}", file.display())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths { data: folder.join("data"), mender_data: folder.join("mender"), ..Paths::default() }
    }

    /// A key as OpenSSL's command makes it.
    fn openssl(words: &str, file: &Path) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let made = Command::new("openssl").args(words.split(' ')).arg("-out").arg(file).output().unwrap();
        assert!(made.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// Whether OpenSSL's command finds the signature good.
    fn verifies(key: &DeviceKey, folder: &Path, words: &[&str]) -> bool {
        fs::write(folder.join("public.pem"), key.public_key().unwrap()).unwrap();
        fs::write(folder.join("body"), b"body").unwrap();
        fs::write(folder.join("signature.b64"), key.sign(b"body").unwrap()).unwrap();
        let decode = ["base64", "-d", "-A", "-in", "signature.b64", "-out", "signature"];
        assert!(Command::new("openssl").args(decode).current_dir(folder).status().unwrap().success());
        Command::new("openssl").args(words).current_dir(folder).output().unwrap().status.success()
    }

    #[test]
    fn keys_of_every_kind_sign_as_the_server_checks() {
        let sha256 = ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "body"];
        let raw = [
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "public.pem",
            "-rawin",
            "-in",
            "body",
            "-sigfile",
            "signature",
        ];
        let rsa = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:";
        for (make, check) in [
            ("genpkey -algorithm ED25519", raw.as_slice()),
            (&format!("{rsa}2048"), &sha256),
            ("genrsa -traditional 3072", &sha256),
            ("ecparam -name prime256v1 -genkey", &sha256),
            ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", &sha256),
        ] {
            let folder = crate::testing::folder();
            let file = folder.join("key.pem");
            // The size comes last.
            match make.strip_suffix(" 3072") {
                Some(make) => {
                    let words: Vec<&str> = make.split(' ').chain(["-out"]).collect();
                    assert!(Command::new("openssl")
                        .args(words)
                        .arg(&file)
                        .arg("3072")
                        .output()
                        .unwrap()
                        .status
                        .success());
                }
                None => openssl(make, &file),
            }
            let key = DeviceKey::load(&paths(&folder), Some(&file)).unwrap();
            assert!(verifies(&key, &folder, check), "{make}");
        }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        fs::create_dir(&paths.data).unwrap();
        let first = DeviceKey::load(&paths, None).unwrap().public_key().unwrap();
        let mode = fs::metadata(paths.data.join("device-key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(DeviceKey::load(&paths, None).unwrap().public_key().unwrap(), first);
        assert!(first.starts_with("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"));
    }

    #[test]
    fn the_key_of_a_mender_client_is_taken_over_and_left_where_it_is() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        let menders = paths.mender_data.join("mender-agent.pem");
        openssl("genpkey -algorithm ED25519", &menders);
        let taken = DeviceKey::load(&paths, None).unwrap().public_key().unwrap();
        assert!(!paths.data.exists(), "a second key was made");
        fs::create_dir(&paths.data).unwrap();
        fs::rename(&menders, paths.data.join("device-key.pem")).unwrap();
        assert_eq!(DeviceKey::load(&paths, None).unwrap().public_key().unwrap(), taken);

        // Not even one that cannot be read is replaced.
        fs::remove_file(paths.data.join("device-key.pem")).unwrap();
        fs::write(&menders, "spoilt").unwrap();
        assert!(DeviceKey::load(&paths, None).unwrap_err().contains("mender-agent.pem: expected"));
        assert!(!paths.data.join("device-key.pem").exists());
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_replaced() {
        let folder = crate::testing::folder();
        let file = folder.join("key.pem");
        let load = || DeviceKey::load(&paths(&folder), Some(&file)).unwrap_err();
        for spoilt in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&file, spoilt).unwrap();
            assert!(load().contains("remove the file"));
            assert_eq!(fs::read_to_string(&file).unwrap(), spoilt);
        }
        for foreign in ["genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", "genpkey -algorithm X25519"]
        {
            openssl(foreign, &file);
            assert!(load().contains("expected an Ed25519"), "{foreign}");
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(load().contains("cannot be read"));
    }
}
