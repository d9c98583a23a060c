//! `manifest.sig`: a signature over the exact bytes of the manifest (artifact format: manifest.sig).
use base64::{engine::general_purpose::STANDARD, Engine as _};

use crate::{Error, VerifyKey};

/// A signature that is not verified yet, with what it signs.
#[derive(Clone, Debug)]
pub struct Signature {
    bytes: Vec<u8>,
    manifest: Vec<u8>,
}

impl Signature {
    /// Parses the member `manifest.sig`: base64 on one line, without an end of line.
    pub(crate) fn parse(text: &[u8], manifest: Vec<u8>) -> Result<Self, Error> {
        let fault = |reason: &str| Error::SignatureSyntax { reason: reason.to_owned() };
        if text.is_empty() {
            return Err(fault("the signature is empty"));
        }
        let bytes =
            STANDARD.decode(text).map_err(|_| fault("the signature is not base64 text on one line"))?;
        Ok(Self { bytes, manifest })
    }

    /// The text of the member `manifest.sig`.
    pub fn encode(signature: &[u8]) -> String {
        STANDARD.encode(signature)
    }

    /// Lets `signer` sign `manifest`, and gives the text of the member. What has the length of no signature is refused:
    /// it would make an artifact that nobody can verify.
    pub(crate) fn make(signer: &dyn Signer, manifest: &[u8]) -> Result<String, Error> {
        let signature = signer.sign(manifest)?;
        match signature.len() {
            64 | 256..=1024 => Ok(Self::encode(&signature)),
            length => Err(Error::Signing {
                reason: format!(
                    "the signature has {length} bytes, expected 64 (ECDSA P-256, Ed25519) or 256 to 1024 (RSA)"
                ),
            }),
        }
    }

    /// The signature itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first of the keys that verifies it, by its index.
    pub fn verify(&self, keys: &[VerifyKey]) -> Result<usize, Error> {
        let verifies = |key: &VerifyKey| key.verifies(&self.manifest, &self.bytes);
        keys.iter().position(verifies).ok_or(Error::SignatureInvalid { keys: keys.len() })
    }
}

/// Signs manifests.
pub trait Signer {
    /// The signature over `manifest`, in the form of the format: see [`VerifyKey`].
    fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, Error>;
}
