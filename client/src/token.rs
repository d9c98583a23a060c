//! Keys in hardware: on a token that has a PKCS#11 module, such as a secure element, an HSM or, by `tpm2-pkcs11`, a TPM 2.0. Where
//! a key's file could stand in the configuration, the URI of such a key (RFC 7512) may stand. Feature `pkcs11`.

use std::path::Path;

#[cfg(feature = "pkcs11")]
pub use with::*;

/// The URI, when that is what stands in the place of a key's file.
pub fn uri(key: &Path) -> Option<&str> {
    key.to_str().filter(|text| text.starts_with("pkcs11:"))
}

/// What to call a key: its file, or its URI without the PIN.
pub fn name(key: &Path) -> String {
    match uri(key) {
        // The part before the question mark names the key; what follows is how to get at it.
        Some(uri) => {
            let named = uri.split('?').next().unwrap_or_default();
            let shown: Vec<&str> = named.split(';').filter(|part| !part.contains("pin-value=")).collect();
            shown.join(";")
        }
        None => key.display().to_string(),
    }
}

#[cfg(not(feature = "pkcs11"))]
mod without {
    use std::path::Path;
    use std::sync::Arc;

    use rustls::sign::SigningKey;

    use crate::key::DeviceKey;

    fn missing(uri: &str) -> String {
        let name = super::name(Path::new(uri));
        format!("{name}: this rota has no keys in hardware built in; build it with the feature pkcs11, or name a file")
    }

    /// The device's key, tried.
    pub fn device_key(uri: &str) -> Result<DeviceKey, String> {
        Err(missing(uri))
    }

    /// The key of the certificate that this device shows.
    pub fn tls_key(uri: &str) -> Result<Arc<dyn SigningKey>, String> {
        Err(missing(uri))
    }
}
#[cfg(not(feature = "pkcs11"))]
pub use without::*;

#[cfg(feature = "pkcs11")]
mod with {
    use std::sync::Arc;

    use rota_artifact::ecdsa_raw_to_der;
    pub use rota_artifact::token::Key;
    use rota_artifact::token::{Algorithm, Scheme};
    use rustls::pki_types::SubjectPublicKeyInfoDer;
    use rustls::sign::{Signer, SigningKey};
    use rustls::{SignatureAlgorithm, SignatureScheme};

    use crate::key::DeviceKey;

    /// The device's key, tried.
    pub fn device_key(uri: &str) -> Result<DeviceKey, String> {
        let key = Key::new(uri).map_err(|error| error.to_string())?;
        key.algorithm().map_err(|error| error.to_string())?;
        Ok(DeviceKey::Token(Box::new(key)))
    }

    /// A signature as the server checks it (device API: authentication): over SHA-256, whatever the curve.
    pub fn sign(key: &Key, body: &[u8]) -> Result<Vec<u8>, String> {
        let (algorithm, _) = key.algorithm().map_err(|error| error.to_string())?;
        let scheme = match algorithm {
            Algorithm::Rsa => Scheme::RsaPkcs1,
            Algorithm::P256 | Algorithm::P384 => Scheme::EcdsaSha256,
        };
        signature(key, scheme, body)
    }

    fn signature(key: &Key, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, String> {
        let signature = key.sign(scheme, message).map_err(|error| error.to_string())?;
        Ok(match scheme {
            Scheme::RsaPkcs1 | Scheme::RsaPss => signature,
            Scheme::EcdsaSha256 | Scheme::EcdsaSha384 => ecdsa_raw_to_der(&signature),
        })
    }

    /// The key of the certificate that this device shows. The token is looked for in every handshake: it may come later.
    pub fn tls_key(uri: &str) -> Result<Arc<dyn SigningKey>, String> {
        let key = Key::new(uri).map_err(|error| error.to_string())?;
        Ok(Arc::new(TlsKey(key)))
    }

    #[derive(Debug)]
    struct TlsKey(Key);

    impl TlsKey {
        fn scheme(&self, offered: &[SignatureScheme]) -> Result<(SignatureScheme, Scheme), String> {
            let (algorithm, has_pss) = self.0.algorithm().map_err(|error| error.to_string())?;
            let schemes: &[(SignatureScheme, Scheme)] = match algorithm {
                Algorithm::Rsa if has_pss => &[
                    (SignatureScheme::RSA_PSS_SHA256, Scheme::RsaPss),
                    (SignatureScheme::RSA_PKCS1_SHA256, Scheme::RsaPkcs1),
                ],
                Algorithm::Rsa => &[(SignatureScheme::RSA_PKCS1_SHA256, Scheme::RsaPkcs1)],
                Algorithm::P256 => &[(SignatureScheme::ECDSA_NISTP256_SHA256, Scheme::EcdsaSha256)],
                Algorithm::P384 => &[(SignatureScheme::ECDSA_NISTP384_SHA384, Scheme::EcdsaSha384)],
            };
            let found = schemes.iter().find(|(scheme, _)| offered.contains(scheme)).copied();
            found.ok_or_else(|| {
                let uri = self.0.uri();
                match has_pss || algorithm != Algorithm::Rsa {
                    true => format!(
                        "{uri}: the server takes no signature that this key makes; use an ECDSA P-256 key"
                    ),
                    false => format!(
                        "{uri}: its token makes no RSA-PSS, which TLS 1.3 asks for; use an ECDSA P-256 key"
                    ),
                }
            })
        }
    }

    impl SigningKey for TlsKey {
        /// Without a scheme, a signer that says why: otherwise the connection would go on without a certificate.
        fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            let (scheme, act) = match self.scheme(offered) {
                Ok((scheme, ours)) => (scheme, Ok((self.0.clone(), ours))),
                Err(why) => (*offered.first()?, Err(why)),
            };
            Some(Box::new(TlsSigner { scheme, act }))
        }

        fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
            self.0.public_key().ok().map(SubjectPublicKeyInfoDer::from)
        }

        /// Asked on the side of servers only.
        fn algorithm(&self) -> SignatureAlgorithm {
            match self.0.algorithm() {
                Ok((Algorithm::Rsa, _)) => SignatureAlgorithm::RSA,
                _ => SignatureAlgorithm::ECDSA,
            }
        }
    }

    #[derive(Debug)]
    struct TlsSigner {
        scheme: SignatureScheme,
        act: Result<(Key, Scheme), String>,
    }

    impl Signer for TlsSigner {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
            let (key, scheme) = self.act.as_ref().map_err(|why| rustls::Error::General(why.clone()))?;
            signature(key, *scheme, message).map_err(rustls::Error::General)
        }

        fn scheme(&self) -> SignatureScheme {
            self.scheme
        }
    }
}
