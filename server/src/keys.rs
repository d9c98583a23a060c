//! The server's one secret, and the keys that are derived from it, one for each use.
use ring::hmac;
use std::path::Path;

/// Keys of this server. Whoever has the secret file can make tokens and links.
pub struct Keys {
    /// Signs device tokens.
    pub device_tokens: Vec<u8>,
    /// Signs user tokens.
    pub user_tokens: Vec<u8>,
    /// Signs download and upload links.
    pub links: hmac::Key,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: expected a line of 64 hexadecimal digits, found something else; restore it from a backup")]
pub struct BadSecret {
    path: String,
}

impl Keys {
    /// Reads the secret, or makes it when there is no such file.
    pub fn open(path: &Path) -> anyhow::Result<Keys> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = hex(&random::<32>());
                crate::files::write_private(path, text.as_bytes())?;
                text
            }
            Err(error) => return Err(crate::files::Error::new("read", path, error).into()),
        };
        let secret = unhex(text.trim()).filter(|bytes| bytes.len() == 32);
        let secret = secret.ok_or_else(|| BadSecret { path: path.display().to_string() })?;
        Ok(Keys::from_secret(&secret))
    }

    pub fn from_secret(secret: &[u8]) -> Keys {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |label: &str| hmac::sign(&root, label.as_bytes()).as_ref().to_vec();
        Keys {
            device_tokens: derive("device tokens"),
            user_tokens: derive("user tokens"),
            links: hmac::Key::new(hmac::HMAC_SHA256, &derive("links")),
        }
    }
}

/// Bytes from the system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn equal(one: &str, other: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>());
    hmac::verify(&key, one.as_bytes(), hmac::sign(&key, other.as_bytes()).as_ref()).is_ok()
}

/// A text of `length` letters and digits that are hard to mistake for each other, for people to type.
pub fn random_text(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let bytes = random::<64>();
    bytes.iter().take(length).map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
