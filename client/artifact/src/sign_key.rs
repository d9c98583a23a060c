//! Private keys from PEM files, for signing.
use ring::{
    rand::SystemRandom,
    signature::{
        EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, ECDSA_P256_SHA256_FIXED_SIGNING, RSA_PKCS1_SHA256,
    },
};

use crate::{
    der::{self, BIT_STRING, INTEGER, OCTET_STRING, OID, SEQUENCE},
    key::{key_error, parse_pem, rsa_bits, KeyKind, OID_EC, OID_ED25519, OID_P256, OID_RSA},
    Error, Signer, VerifyKey,
};

/// A private key: PKCS#1 (RSA), SEC1 (EC) or PKCS#8.
pub struct SignKey(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SignKey {
    /// Reads the first private key of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let (label, der) = parse_pem(pem)?;
        match label.as_str() {
            "RSA PRIVATE KEY" => Self::rsa(&der),
            "EC PRIVATE KEY" => Self::sec1(&der, None),
            "PRIVATE KEY" => Self::pkcs8(&der),
            other => {
                Err(key_error(format!("expected a private key (PKCS#1, SEC1 or PKCS#8), found {other}")))
            }
        }
    }

    /// The public half.
    pub fn verify_key(&self) -> VerifyKey {
        let (kind, key) = match &self.0 {
            Pair::Rsa(pair) => (KeyKind::Rsa, pair.public().as_ref()),
            Pair::Ecdsa(pair) => (KeyKind::EcdsaP256, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => (KeyKind::Ed25519, pair.public_key().as_ref()),
        };
        VerifyKey::from_parts(kind, key)
    }

    fn rsa(pkcs1: &[u8]) -> Result<Self, Error> {
        let malformed = || key_error("the DER of the RSA key is malformed".to_owned());
        // A PKCS#1 private key is a version number and then what the public key has.
        let mut numbers = der::take(&mut &*pkcs1, SEQUENCE).ok_or_else(malformed)?;
        der::take(&mut numbers, INTEGER).ok_or_else(malformed)?;
        let bits = rsa_bits(numbers).ok_or_else(malformed)?;
        match bits {
            2048..=4096 => (),
            4097..=8192 => return Err(Error::KeyTooLarge { bits }),
            _ => return Err(Error::KeyUnsupported { found: format!("an RSA key of {bits} bits") }),
        }
        let pair = RsaKeyPair::from_der(pkcs1).map_err(|error| {
            key_error(format!("the RSA key is refused ({error}); its exponent has to be 65537 or more"))
        })?;
        Ok(Self(Pair::Rsa(pair)))
    }

    /// `curve` is what a PKCS#8 envelope says; without one the key has to name it.
    fn sec1(der: &[u8], curve: Option<&[u8]>) -> Result<Self, Error> {
        let malformed = || key_error("the DER of the EC key is malformed".to_owned());
        let sec1 = Sec1::parse(der).ok_or_else(malformed)?;
        if sec1.curve.or(curve) != Some(OID_P256) {
            return Err(Error::KeyUnsupported { found: "an EC key of another curve than P-256".to_owned() });
        }
        let lacks = "the EC key lacks its public half as an uncompressed point; \
                     `openssl ec -in KEY -conv_form uncompressed -out NEW` adds it";
        let public = sec1.public.filter(|point| point.first() == Some(&4));
        let public = public.ok_or_else(|| key_error(lacks.to_owned()))?;
        let mut private = [0; 32];
        let start = 32usize.checked_sub(sec1.private.len()).ok_or_else(malformed)?;
        private[start..].copy_from_slice(sec1.private);
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, public, &SystemRandom::new())
            .map(|pair| Self(Pair::Ecdsa(pair)))
            .map_err(|error| key_error(format!("the EC key is refused: {error}")))
    }

    fn pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        let (mut algorithm, key) = split_pkcs8(pkcs8)
            .ok_or_else(|| key_error("the DER of the PKCS#8 key is malformed".to_owned()))?;
        match der::take(&mut algorithm, OID) {
            Some(OID_RSA) => Self::rsa(key),
            Some(OID_EC) => Self::sec1(key, der::take(&mut algorithm, OID)),
            Some(OID_ED25519) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                .map(|pair| Self(Pair::Ed25519(pair)))
                .map_err(|error| key_error(format!("the Ed25519 key is refused: {error}"))),
            _ => Err(Error::KeyUnsupported { found: "a private key of this algorithm".to_owned() }),
        }
    }
}

impl Signer for SignKey {
    fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let failed = |_| Error::Signing { reason: "the key cannot sign this".to_owned() };
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, manifest, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, manifest).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(manifest).as_ref().to_vec()),
        }
    }
}

/// Algorithm and key of a PKCS#8 envelope.
fn split_pkcs8(mut pkcs8: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut inner = der::take(&mut pkcs8, SEQUENCE)?;
    der::take(&mut inner, INTEGER)?;
    let algorithm = der::take(&mut inner, SEQUENCE)?;
    Some((algorithm, der::take(&mut inner, OCTET_STRING)?))
}

/// An `ECPrivateKey`: the private number, the curve and the public point.
struct Sec1<'a> {
    private: &'a [u8],
    curve: Option<&'a [u8]>,
    public: Option<&'a [u8]>,
}

impl<'a> Sec1<'a> {
    fn parse(mut der: &'a [u8]) -> Option<Self> {
        let mut inner = der::take(&mut der, SEQUENCE)?;
        der::take(&mut inner, INTEGER)?;
        let private = der::take(&mut inner, OCTET_STRING)?;
        let curve = der::take(&mut inner, 0xa0).and_then(|mut value| der::take(&mut value, OID));
        let public = der::take(&mut inner, 0xa1).and_then(|mut value| der::take(&mut value, BIT_STRING));
        Some(Self { private, curve, public: public.and_then(|bits| bits.strip_prefix(&[0])) })
    }
}
