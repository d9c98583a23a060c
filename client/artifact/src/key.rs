//! Keys that verify and sign artifacts: RSA, ECDSA P-256, and Ed25519, which is rota's own (artifact format: manifest.sig).
use base64::{engine::general_purpose::STANDARD, Engine as _};
use ring::signature::{
    UnparsedPublicKey, VerificationAlgorithm, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256,
};

use crate::{
    der::{self, BIT_STRING, INTEGER, NULL, OID, SEQUENCE},
    Checksum, Error,
};

pub(crate) const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(crate) const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(crate) const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The kinds of keys that artifacts are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// PKCS#1 v1.5 over SHA-256; 2048 to 8192 bits.
    Rsa,
    /// P-256 over SHA-256; the signature is `R‖S` of 64 bytes, or DER when hardware made it.
    EcdsaP256,
    /// rota's own: Mender's readers refuse it.
    Ed25519,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyKey {
    kind: KeyKind,
    /// As the algorithm wants it: PKCS#1 `RSAPublicKey`, an uncompressed point, or 32 bytes.
    key: Vec<u8>,
    spki: Vec<u8>,
}

impl VerifyKey {
    /// Reads a PEM file with a `PUBLIC KEY` (or the `RSA PUBLIC KEY` of PKCS#1).
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let (label, der) = parse_pem(pem)?;
        match label.as_str() {
            "PUBLIC KEY" => Self::from_spki(&der),
            "RSA PUBLIC KEY" => Self::rsa(&der),
            other => Err(key_error(format!("expected a PUBLIC KEY, found {other}"))),
        }
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    pub fn from_spki(spki: &[u8]) -> Result<Self, Error> {
        let malformed = || key_error("the DER of the public key is malformed".to_owned());
        let (algorithm, key) = split_spki(spki).ok_or_else(malformed)?;
        let mut algorithm = algorithm;
        let oid = der::take(&mut algorithm, OID).ok_or_else(malformed)?;
        match oid {
            OID_RSA => Self::rsa(key),
            OID_EC if der::take(&mut algorithm, OID) != Some(OID_P256) => {
                Err(Error::KeyUnsupported { found: "an EC key of another curve than P-256".to_owned() })
            }
            OID_EC => Self::from_p256_point(key),
            OID_ED25519 if key.len() == 32 => Ok(Self::from_parts(KeyKind::Ed25519, key)),
            _ => Err(Error::KeyUnsupported { found: "a key of this algorithm".to_owned() }),
        }
    }

    /// A P-256 key from its uncompressed point.
    pub fn from_p256_point(point: &[u8]) -> Result<Self, Error> {
        if point.len() != 65 || point[0] != 4 {
            return Err(Error::KeyUnsupported {
                found: "an EC key that is no uncompressed point of P-256".to_owned(),
            });
        }
        Ok(Self::from_parts(KeyKind::EcdsaP256, point))
    }

    /// A key as its algorithm has it, in an envelope made for it.
    pub(crate) fn from_parts(kind: KeyKind, key: &[u8]) -> Self {
        let oid = |oid| der::wrap(OID, oid);
        let algorithm = match kind {
            KeyKind::Rsa => [oid(OID_RSA), der::wrap(NULL, &[])].concat(),
            KeyKind::EcdsaP256 => [oid(OID_EC), oid(OID_P256)].concat(),
            KeyKind::Ed25519 => oid(OID_ED25519),
        };
        let bits = der::wrap(BIT_STRING, &[&[0], key].concat());
        let spki = der::wrap(SEQUENCE, &[der::wrap(SEQUENCE, &algorithm), bits].concat());
        Self { kind, key: key.to_vec(), spki }
    }

    fn rsa(key: &[u8]) -> Result<Self, Error> {
        let bits = der::take(&mut &*key, SEQUENCE).and_then(rsa_bits);
        let bits = bits.ok_or_else(|| key_error("the DER of the RSA key is malformed".to_owned()))?;
        if !(2048..=8192).contains(&bits) {
            return Err(Error::KeyUnsupported { found: format!("an RSA key of {bits} bits") });
        }
        Ok(Self::from_parts(KeyKind::Rsa, key))
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SHA-256 of the DER of the public key: a name for it.
    pub fn fingerprint(&self) -> Checksum {
        Checksum::of(&self.spki)
    }

    /// Does `signature` over `message` come from this key?
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let with = |algorithm: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, &self.key).verify(message, signature).is_ok()
        };
        match self.kind {
            KeyKind::Rsa => with(&RSA_PKCS1_2048_8192_SHA256),
            KeyKind::EcdsaP256 if signature.len() == 64 => with(&ECDSA_P256_SHA256_FIXED),
            KeyKind::EcdsaP256 => with(&ECDSA_P256_SHA256_ASN1),
            KeyKind::Ed25519 => with(&ED25519),
        }
    }
}

/// Algorithm and key of a `SubjectPublicKeyInfo`.
fn split_spki(mut spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut inner = der::take(&mut spki, SEQUENCE)?;
    let algorithm = der::take(&mut inner, SEQUENCE)?;
    let (unused_bits, key) = der::take(&mut inner, BIT_STRING)?.split_first()?;
    (*unused_bits == 0 && inner.is_empty() && spki.is_empty()).then_some((algorithm, key))
}

/// The size of the modulus, which is the first of these numbers.
pub(crate) fn rsa_bits(mut numbers: &[u8]) -> Option<usize> {
    let modulus = der::take(&mut numbers, INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    Some(modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize))
}

/// A number as DER has it: no leading zeros, except for one that keeps it positive.
pub(crate) fn positive(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let sign: &[u8] = if digits.first().map_or(true, |byte| byte & 0x80 != 0) { &[0] } else { &[] };
    [sign, digits].concat()
}

pub(crate) fn key_error(reason: String) -> Error {
    Error::Key { reason }
}

/// Label and content of the first PEM block that holds a key.
pub(crate) fn parse_pem(pem: &[u8]) -> Result<(String, Vec<u8>), Error> {
    let text = std::str::from_utf8(pem).map_err(|_| key_error("the file is not PEM text".to_owned()))?;
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("-----BEGIN ") {
        let (label, block) = block.split_once("-----").unwrap_or((block, ""));
        let Some((body, after)) = block.split_once(&format!("-----END {label}-----")) else {
            return Err(key_error(format!("the PEM block {label:?} has no end")));
        };
        rest = after;
        if label == "EC PARAMETERS" {
            continue; // openssl writes it in front of an EC key
        }
        if label == "ENCRYPTED PRIVATE KEY" || body.contains("Proc-Type:") {
            return Err(key_error("the key is encrypted; decrypt it with `openssl pkey` first".to_owned()));
        }
        let body: String = body.split_whitespace().collect();
        let der =
            STANDARD.decode(body).map_err(|_| key_error(format!("the PEM block {label:?} is not base64")))?;
        return Ok((label.to_owned(), der));
    }
    Err(key_error("the file has no PEM block with a key".to_owned()))
}

/// The `R‖S` form of a DER signature of ECDSA P-256; `None` when it is no such signature.
pub fn ecdsa_der_to_raw(signature: &[u8]) -> Option<Vec<u8>> {
    let mut outer = signature;
    let mut inner = der::take(&mut outer, SEQUENCE)?;
    let mut raw = vec![0; 64];
    for half in raw.chunks_exact_mut(32) {
        let number = der::take(&mut inner, INTEGER)?;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = &number[zeros..];
        half.get_mut(32usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    }
    (outer.is_empty() && inner.is_empty()).then_some(raw)
}

/// The DER of an ECDSA signature `R‖S`, of whatever curve.
pub fn ecdsa_raw_to_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    der::wrap(SEQUENCE, &[r, s].map(|number| der::wrap(INTEGER, &positive(number))).concat())
}
