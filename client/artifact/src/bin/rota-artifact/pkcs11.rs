//! Keys on a token, by PKCS#11 URI (RFC 7512).
use std::path::Path;

use cryptoki::{
    context::{CInitializeArgs, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use rota_artifact::{Checksum, Error, Signer, VerifyKey};

use crate::fail::{Fail, ARGUMENTS, SYSTEM};

/// DER of a `DigestInfo` of SHA-256, less the digest.
const DIGEST_INFO: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];
/// Where p11-kit gives access to every module that is configured.
const PROXIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so",
    "/usr/lib/aarch64-linux-gnu/p11-kit-proxy.so",
    "p11-kit-proxy.so",
];

/// What a URI says.
#[derive(Default)]
struct Uri {
    token: Option<String>,
    serial: Option<String>,
    object: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    module: Option<String>,
    pin: Option<String>,
}

impl Uri {
    fn parse(text: &str) -> Result<Self, Fail> {
        let wrong = |what: &str| Fail::new(ARGUMENTS, format_args!("PKCS#11 URI {text:?}: {what}"));
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| wrong("expected it to begin with pkcs11:"))?;
        let mut uri = Self::default();
        for attribute in rest.split([';', '?', '&']).filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| wrong("expected NAME=VALUE"))?;
            let bytes = percent_decode(value).ok_or_else(|| wrong("a percent sign needs two hex digits"))?;
            let string = || String::from_utf8(bytes.clone()).map_err(|_| wrong("a value is no text"));
            match name {
                "token" => uri.token = Some(string()?),
                "serial" => uri.serial = Some(string()?),
                "object" => uri.object = Some(bytes),
                "id" => uri.id = Some(bytes),
                "module-path" => uri.module = Some(string()?),
                "pin-value" => uri.pin = Some(string()?),
                "pin-source" => {
                    let path = string()?;
                    let pin = crate::files::read(Path::new(path.strip_prefix("file:").unwrap_or(&path)))?;
                    uri.pin = Some(String::from_utf8_lossy(&pin).trim_end().to_owned());
                }
                _ => (), // type, manufacturer, model and the like narrow nothing that is needed
            }
        }
        Ok(uri)
    }

    /// The module to load: of the URI, of the environment, or p11-kit's.
    fn module(&self) -> String {
        let environment = || std::env::var("PKCS11_MODULE_PATH").ok();
        let proxy = || PROXIES.iter().find(|path| Path::new(path).exists()).unwrap_or(&"p11-kit-proxy.so");
        self.module.clone().or_else(environment).unwrap_or_else(|| (*proxy()).to_owned())
    }

    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let label = self.object.iter().cloned().map(Attribute::Label);
        let id = self.id.iter().cloned().map(Attribute::Id);
        [Attribute::Class(class)].into_iter().chain(label).chain(id).collect()
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

/// A private key on a token, in a session that is logged in.
pub struct Key {
    session: Session,
    key: ObjectHandle,
    kind: KeyType,
}

impl Key {
    /// The private key that the URI names.
    pub fn open(uri: &str) -> Result<Self, Fail> {
        let parsed = Uri::parse(uri)?;
        let session = session(&parsed)?;
        let key = find(&session, &parsed, ObjectClass::PRIVATE_KEY)?;
        match attributes(&session, key, &[AttributeType::KeyType])?.as_slice() {
            [Attribute::KeyType(kind)] => Ok(Self { session, key, kind: *kind }),
            _ => Err(Fail::new(ARGUMENTS, "the key on the token has no type")),
        }
    }

    /// The public key that the URI names.
    pub fn open_public(uri: &str) -> Result<VerifyKey, Fail> {
        let parsed = Uri::parse(uri)?;
        let session = session(&parsed)?;
        let key = find(&session, &parsed, ObjectClass::PUBLIC_KEY)?;
        let wanted = [AttributeType::Modulus, AttributeType::PublicExponent, AttributeType::EcPoint];
        let key = match attributes(&session, key, &wanted)?.as_slice() {
            [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] => {
                VerifyKey::from_rsa_numbers(modulus, exponent)
            }
            // The point is wrapped as a DER octet string.
            [Attribute::EcPoint(point)] => {
                VerifyKey::from_p256_point(point.strip_prefix(&[4, 65]).unwrap_or(point))
            }
            _ => Err(Error::KeyUnsupported { found: "a key of this kind on a token".to_owned() }),
        };
        key.map_err(|error| Fail::new(ARGUMENTS, error))
    }
}

impl Signer for Key {
    fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = Checksum::of(manifest).0;
        let (mechanism, data) = match self.kind {
            KeyType::RSA => (Mechanism::RsaPkcs, [DIGEST_INFO, &digest].concat()),
            KeyType::EC => (Mechanism::Ecdsa, digest.to_vec()),
            other => {
                return Err(Error::KeyUnsupported { found: format!("a key of type {other} on a token") })
            }
        };
        let signature = self.session.sign(&mechanism, self.key, &data);
        let signature =
            signature.map_err(|error| Error::Signing { reason: format!("the token refuses: {error}") })?;
        if self.kind == KeyType::EC && signature.len() != 64 {
            return Err(Error::KeyUnsupported { found: "an EC key of another curve than P-256".to_owned() });
        }
        Ok(signature)
    }
}

fn session(uri: &Uri) -> Result<Session, Fail> {
    let module = uri.module();
    let failed = |act: &str, error: cryptoki::error::Error| {
        Fail::new(SYSTEM, format_args!("PKCS#11 module {module}: {act}: {error}"))
    };
    let context = Pkcs11::new(&module).map_err(|error| failed("cannot load it", error))?;
    context.initialize(CInitializeArgs::OsThreads).map_err(|error| failed("cannot initialise it", error))?;
    let slots = context
        .get_slots_with_initialized_token()
        .map_err(|error| failed("cannot list the tokens", error))?;
    let mut fitting = Vec::new();
    for slot in slots {
        let token = context.get_token_info(slot).map_err(|error| failed("cannot read a token", error))?;
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().map_or(true, |wanted| wanted == found.trim_end())
        };
        if fits(&uri.token, token.label()) && fits(&uri.serial, token.serial_number()) {
            fitting.push(slot);
        }
    }
    let [slot] = fitting[..] else {
        let count = fitting.len();
        return Err(Fail::new(
            ARGUMENTS,
            format_args!(
                "PKCS#11 module {module}: {count} tokens fit the URI, expected one; name it with token="
            ),
        ));
    };
    let session = context.open_ro_session(slot).map_err(|error| failed("cannot open a session", error))?;
    if let Some(pin) = &uri.pin {
        let pin = AuthPin::new(pin.clone());
        session.login(UserType::User, Some(&pin)).map_err(|error| failed("cannot log in", error))?;
    }
    Ok(session)
}

fn find(session: &Session, uri: &Uri, class: ObjectClass) -> Result<ObjectHandle, Fail> {
    let found = session.find_objects(&uri.template(class));
    let found = found
        .map_err(|error| Fail::new(SYSTEM, format_args!("the token's objects cannot be listed: {error}")))?;
    match found[..] {
        [key] => Ok(key),
        [] => Err(Fail::new(
            ARGUMENTS,
            "no key on the token fits the URI; private keys are seen only with pin-value= or pin-source=",
        )),
        _ => Err(Fail::new(
            ARGUMENTS,
            format_args!("{} keys on the token fit the URI; name one with object= or id=", found.len()),
        )),
    }
}

fn attributes(
    session: &Session,
    key: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<Vec<Attribute>, Fail> {
    let read = session.get_attributes(key, wanted);
    read.map_err(|error| Fail::new(SYSTEM, format_args!("the token's key cannot be read: {error}")))
}
