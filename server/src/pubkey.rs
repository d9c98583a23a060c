//! Devices' public keys and their signatures (device API: authentication).
use p224::ecdsa::signature::hazmat::PrehashVerifier;
use ring::{digest, signature};
use spki::der::{DecodePem, EncodePem};
use spki::SubjectPublicKeyInfoOwned as Spki;

const ED25519: &str = "1.3.101.112";
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P224: &str = "1.3.132.0.33";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("pubkey: expected a PEM block PUBLIC KEY, found something else")]
    NotAKey,
    #[error("pubkey: expected RSA (2048 to 8192 bits), ECDSA (P-224 to P-521) or Ed25519, found {0}")]
    Unsupported(String),
}

enum Kind {
    Rsa,
    Ed25519,
    P224,
    P256,
    P384,
    P521,
}

/// A device's public key.
pub struct PublicKey {
    kind: Kind,
    spki: Spki,
}

impl PublicKey {
    /// Reads a PEM block `PUBLIC KEY`.
    pub fn parse(pem: &str) -> Result<PublicKey, Error> {
        let spki = Spki::from_pem(pem.trim()).map_err(|_| Error::NotAKey)?;
        let curve = || {
            let parameters = spki.algorithm.parameters.as_ref()?;
            parameters.decode_as::<spki::ObjectIdentifier>().ok().map(|curve| curve.to_string())
        };
        let kind = match spki.algorithm.oid.to_string().as_str() {
            ED25519 => Kind::Ed25519,
            RSA => Kind::Rsa,
            EC => match curve().as_deref() {
                Some(P224) => Kind::P224,
                Some(P256) => Kind::P256,
                Some(P384) => Kind::P384,
                Some(P521) => Kind::P521,
                other => {
                    return Err(Error::Unsupported(format!("the curve {}", other.unwrap_or("of its own"))))
                }
            },
            other => return Err(Error::Unsupported(format!("algorithm {other}"))),
        };
        let key = PublicKey { kind, spki };
        key.check()?;
        Ok(key)
    }

    /// The key as this program writes it, however it was written before.
    pub fn to_pem(&self) -> String {
        self.spki.to_pem(spki::der::pem::LineEnding::LF).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        self.spki.subject_public_key.raw_bytes()
    }

    /// Refuses what no signature could ever be checked with.
    fn check(&self) -> Result<(), Error> {
        let bytes = self.bytes();
        let good = match self.kind {
            Kind::Ed25519 => bytes.len() == 32,
            Kind::P224 => p224::ecdsa::VerifyingKey::from_sec1_bytes(bytes).is_ok(),
            Kind::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(bytes).is_ok(),
            Kind::P256 => bytes.len() == 65 || bytes.len() == 33,
            Kind::P384 => bytes.len() == 97 || bytes.len() == 49,
            // A modulus of 2048 bits makes 270 bytes; of 8192, 1038.
            Kind::Rsa if bytes.len() < 260 || bytes.len() > 1100 => {
                return Err(Error::Unsupported("an RSA key of another size".into()))
            }
            Kind::Rsa => true,
        };
        if good {
            Ok(())
        } else {
            Err(Error::NotAKey)
        }
    }

    /// Whether `signature` is this key's over `message`: RSA PKCS#1 v1.5 and ECDSA (DER) with SHA-256, Ed25519 pure.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm| {
            signature::UnparsedPublicKey::new(algorithm, self.bytes()).verify(message, signature).is_ok()
        };
        match self.kind {
            Kind::Rsa => by(&signature::RSA_PKCS1_2048_8192_SHA256),
            Kind::Ed25519 => by(&signature::ED25519),
            Kind::P256 => by(&signature::ECDSA_P256_SHA256_ASN1),
            Kind::P384 => by(&signature::ECDSA_P384_SHA256_ASN1),
            Kind::P224 => {
                let hash = digest::digest(&digest::SHA256, message);
                let key = p224::ecdsa::VerifyingKey::from_sec1_bytes(self.bytes());
                let signature = p224::ecdsa::DerSignature::try_from(signature);
                matches!((key, signature), (Ok(key), Ok(sig)) if key.verify_prehash(hash.as_ref(), &sig).is_ok())
            }
            Kind::P521 => {
                // The hash is shorter than half a field element, which the crate wants at least: zeros before it
                // leave the number as it is.
                let mut hash = [0u8; 66];
                hash[34..].copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(self.bytes());
                let signature = p521::ecdsa::DerSignature::try_from(signature)
                    .ok()
                    .and_then(|der| p521::ecdsa::Signature::try_from(der).ok());
                matches!((key, signature), (Ok(key), Some(sig)) if key.verify_prehash(&hash, &sig).is_ok())
            }
        }
    }
}
