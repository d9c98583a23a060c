//! Private keys on tokens: whatever has a PKCS#11 module, a TPM 2.0 by `tpm2-pkcs11` too. A key never leaves its token, which is
//! asked for every signature.
mod error;
mod session;
mod uri;

use cryptoki::{
    mechanism::{
        rsa::{PkcsMgfType, PkcsPssParams},
        Mechanism, MechanismType,
    },
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
};
use ring::digest::{digest, SHA256, SHA384};

pub use self::{error::Error, uri::Uri};
use crate::{
    der::{self, BIT_STRING, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE},
    key::{OID_EC, OID_P256, OID_RSA},
    Signer,
};
use session::Session;

#[cfg(target_feature = "crt-static")]
compile_error!("feature pkcs11 loads a token's module at run time, which a static program cannot: build without the feature");

const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA of any size.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
}

/// How a message is signed. Signatures of ECDSA are `R‖S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// PKCS#1 v1.5 over SHA-256.
    RsaPkcs1,
    /// PSS over SHA-256, with a salt of 32 bytes.
    RsaPss,
    /// ECDSA over SHA-256.
    EcdsaSha256,
    /// ECDSA over SHA-384.
    EcdsaSha384,
}

/// A private key on a token. The token is looked for when it is needed, and once more when it has gone meanwhile.
#[derive(Clone, Debug)]
pub struct Key {
    uri: Uri,
}

impl Key {
    /// The key that the URI names; nothing is opened yet.
    pub fn new(uri: &str) -> Result<Self, Error> {
        Ok(Self { uri: Uri::parse(uri)? })
    }

    /// The name of the key.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What it is for, and whether its token does RSA's PSS, which TLS 1.3 asks for.
    pub fn algorithm(&self) -> Result<(Algorithm, bool), Error> {
        session::with(&self.uri, |session| {
            let algorithm = algorithm(session, &self.uri, session.private()?)?;
            Ok((algorithm, session.has_pss))
        })
    }

    /// The DER of its `SubjectPublicKeyInfo`: from the public key on the token, or from a certificate there.
    pub fn public_key(&self) -> Result<Vec<u8>, Error> {
        session::with(&self.uri, |session| public_key(session, &self.uri))
    }

    /// The signature of `message`, made by the token.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, Error> {
        let hash = if scheme == Scheme::EcdsaSha384 { &SHA384 } else { &SHA256 };
        let digest = digest(hash, message);
        let (mechanism, data) = match scheme {
            Scheme::RsaPkcs1 => (Mechanism::RsaPkcs, digest_info(digest.as_ref())),
            Scheme::RsaPss => {
                let (hash_alg, mgf) = (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256);
                let parameters = PkcsPssParams { hash_alg, mgf, s_len: 32.into() };
                (Mechanism::RsaPkcsPss(parameters), digest.as_ref().to_vec())
            }
            Scheme::EcdsaSha256 | Scheme::EcdsaSha384 => (Mechanism::Ecdsa, digest.as_ref().to_vec()),
        };
        session::with(&self.uri, |session| session.sign(&mechanism, &data))
    }
}

/// Signs artifacts.
impl Signer for Key {
    fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, crate::Error> {
        let failed = |error: Error| crate::Error::Signing { reason: error.to_string() };
        match self.algorithm().map_err(failed)?.0 {
            Algorithm::Rsa => Key::sign(self, Scheme::RsaPkcs1, manifest).map_err(failed),
            Algorithm::P256 => Key::sign(self, Scheme::EcdsaSha256, manifest).map_err(failed),
            Algorithm::P384 => Err(crate::Error::KeyUnsupported {
                found: "an EC key of another curve than P-256".to_owned(),
            }),
        }
    }
}

/// DER of a `DigestInfo` of SHA-256.
fn digest_info(digest: &[u8]) -> Vec<u8> {
    let algorithm = [der::wrap(OID, OID_SHA256), der::wrap(NULL, &[])].concat();
    der::wrap(SEQUENCE, &[der::wrap(SEQUENCE, &algorithm), der::wrap(OCTET_STRING, digest)].concat())
}

fn algorithm(session: &Session, uri: &Uri, key: ObjectHandle) -> Result<Algorithm, Error> {
    // Tokens answer a question for what an object lacks with an error or with nothing.
    let curve = session.attributes(key, &[AttributeType::EcParams]).unwrap_or_default();
    if let Some(Attribute::EcParams(curve)) = curve.first() {
        return of_curve(der::take(&mut &**curve, OID), uri);
    }
    match session.attributes(key, &[AttributeType::KeyType])?.first() {
        Some(Attribute::KeyType(cryptoki::object::KeyType::RSA)) => Ok(Algorithm::Rsa),
        // The private key says nothing of its curve.
        Some(Attribute::KeyType(cryptoki::object::KeyType::EC)) => of_spki(&public_key(session, uri)?, uri),
        Some(Attribute::KeyType(kind)) => Err(unsupported(uri, &kind.to_string())),
        _ => Err(unsupported(uri, "a key without a type")),
    }
}

fn unsupported(uri: &Uri, found: &str) -> Error {
    Error::Unsupported { uri: uri.to_string(), found: found.to_owned() }
}

fn of_curve(curve: Option<&[u8]>, uri: &Uri) -> Result<Algorithm, Error> {
    match curve {
        Some(OID_P256) => Ok(Algorithm::P256),
        Some(OID_P384) => Ok(Algorithm::P384),
        _ => Err(unsupported(uri, "a key on another curve")),
    }
}

fn of_spki(spki: &[u8], uri: &Uri) -> Result<Algorithm, Error> {
    let mut algorithm = der::take(&mut &*spki, SEQUENCE)
        .and_then(|mut inner| der::take(&mut inner, SEQUENCE))
        .ok_or_else(|| unsupported(uri, "a certificate that is malformed"))?;
    match der::take(&mut algorithm, OID) {
        Some(OID_RSA) => Ok(Algorithm::Rsa),
        Some(OID_EC) => of_curve(der::take(&mut algorithm, OID), uri),
        _ => Err(unsupported(uri, "a key of another algorithm")),
    }
}

fn public_key(session: &Session, uri: &Uri) -> Result<Vec<u8>, Error> {
    // Without a PIN the private key cannot be seen.
    let private = session.private().ok();
    let public = session.beside(ObjectClass::PUBLIC_KEY, private)?;
    // An RSA key has its public numbers in the private object, too.
    for key in public.into_iter().chain(private) {
        if let Some(spki) = from_object(session, key) {
            return of_spki(&spki, uri).map(|_| spki);
        }
    }
    for certificate in session.beside(ObjectClass::CERTIFICATE, private)? {
        let value = session.attributes(certificate, &[AttributeType::Value])?;
        if let Some(Attribute::Value(der)) = value.first() {
            if let Some(spki) = from_certificate(der) {
                return of_spki(&spki, uri).map(|_| spki);
            }
        }
    }
    // What is missing is the key itself, or its public half.
    session.private().and_then(|_| Err(Error::NoPublic { uri: uri.to_string() }))
}

fn from_object(session: &Session, key: ObjectHandle) -> Option<Vec<u8>> {
    let get = |wanted: &[AttributeType]| session.attributes(key, wanted).unwrap_or_default();
    let envelope = |algorithm: Vec<u8>, key: &[u8]| {
        let bits = der::wrap(BIT_STRING, &[&[0], key].concat());
        der::wrap(SEQUENCE, &[der::wrap(SEQUENCE, &algorithm), bits].concat())
    };
    match get(&[AttributeType::Modulus, AttributeType::PublicExponent]).as_slice() {
        [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] if !modulus.is_empty() => {
            let numbers =
                [modulus, exponent].map(|number| der::wrap(INTEGER, &crate::key::positive(number))).concat();
            let algorithm = [der::wrap(OID, OID_RSA), der::wrap(NULL, &[])].concat();
            return Some(envelope(algorithm, &der::wrap(SEQUENCE, &numbers)));
        }
        _ => {}
    }
    match get(&[AttributeType::EcParams, AttributeType::EcPoint]).as_slice() {
        [Attribute::EcParams(curve), Attribute::EcPoint(wrapped)] => {
            // The point is wrapped as a DER octet string, or should be.
            let mut rest = wrapped.as_slice();
            let point = der::take(&mut rest, OCTET_STRING).filter(|_| rest.is_empty()).unwrap_or(wrapped);
            Some(envelope([der::wrap(OID, OID_EC), curve.clone()].concat(), point))
        }
        _ => None,
    }
}

/// The public key of an X.509 certificate.
fn from_certificate(certificate: &[u8]) -> Option<Vec<u8>> {
    let mut body = der::take(&mut der::take(&mut &*certificate, SEQUENCE)?, SEQUENCE)?;
    der::take(&mut body, 0xa0); // version, which the oldest certificates leave out
    der::take(&mut body, INTEGER)?;
    for _algorithm_issuer_validity_subject in 0..4 {
        der::take(&mut body, SEQUENCE)?;
    }
    Some(der::wrap(SEQUENCE, der::take(&mut body, SEQUENCE)?))
}
