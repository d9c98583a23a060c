//! HTTP/1.1 and TLS, as much as the fake server needs.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, RemoteKeyPair, SignatureAlgorithm};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;

/// One request.
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Whether it reports this status.
    pub fn reports(&self, status: &str) -> bool {
        self.path.ends_with("/status") && self.json()["status"] == status
    }
}

/// One answer.
#[derive(Clone, Default)]
pub struct Reply {
    pub code: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// The connection brings exactly this instead, and ends.
    pub raw: Option<Vec<u8>>,
    /// The body comes in drops of so many bytes, with this time between.
    pub drops: Option<(usize, Duration)>,
    /// Everything comes so much later.
    pub late: Duration,
}

impl Reply {
    pub fn code(code: u16) -> Reply {
        Reply { code, ..Reply::default() }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// What a CA made.
pub struct Certificates {
    /// Its own certificate, in PEM form.
    pub ca: String,
    /// Certificate and key of a client.
    pub client: (String, String),
    /// A server that is `localhost`.
    pub server: Arc<ServerConfig>,
    authority: (rcgen::Certificate, KeyPair),
}

impl Certificates {
    /// A certificate of a client, in PEM form, for the key of this SPKI.
    pub fn client_with(&self, spki: Vec<u8>) -> String {
        let params = CertificateParams::new(Vec::new()).unwrap();
        let key = KeyPair::from_remote(Box::new(OfAnother::new(&spki))).unwrap();
        params.signed_by(&key, &self.authority.0, &self.authority.1).unwrap().pem()
    }
}

/// A key of which the public half alone is known.
struct OfAnother(Vec<u8>, &'static SignatureAlgorithm);

impl OfAnother {
    fn new(spki: &[u8]) -> OfAnother {
        let (head, algorithm) = match spki.len() {
            91 => (26, &rcgen::PKCS_ECDSA_P256_SHA256),
            120 => (23, &rcgen::PKCS_ECDSA_P384_SHA384),
            _ => (24, &rcgen::PKCS_RSA_SHA256),
        };
        OfAnother(spki[head..].to_vec(), algorithm)
    }
}

impl RemoteKeyPair for OfAnother {
    fn public_key(&self) -> &[u8] {
        &self.0
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Err(rcgen::Error::RemoteKeyError)
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.1
    }
}

/// Makes a CA, and a server that asks clients for a certificate of it, or does not.
pub fn certificates(asking: bool) -> Certificates {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &ca, &ca_key).unwrap();
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = match asking {
        false => builder.unwrap().with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(ca.der().to_vec())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.unwrap().with_client_cert_verifier(verifier.unwrap())
        }
    };
    let config = builder.with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(Vec::new()).unwrap().signed_by(&client_key, &ca, &ca_key).unwrap();
    Certificates {
        ca: ca.pem(),
        client: (client.pem(), client_key.serialize_pem()),
        server: Arc::new(config.unwrap()),
        authority: (ca, ca_key),
    }
}

/// Reads a request; `None` at the end of the connection.
pub fn read(stream: &mut impl Read) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body }))
}

/// Writes an answer, or none at all where its code is 0; true when the connection is over.
pub fn write(stream: &mut impl Write, reply: &Reply) -> io::Result<bool> {
    std::thread::sleep(reply.late);
    if reply.code == 0 && reply.raw.is_none() {
        return Ok(true);
    }
    if let Some(raw) = &reply.raw {
        stream.write_all(raw)?;
        stream.flush()?;
        return Ok(true);
    }
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.code);
    if !reply.headers.iter().any(|(name, _)| *name == "Content-Length") && reply.code != 204 {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let cut = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
    let (size, pause) = reply.drops.unwrap_or((usize::MAX, Duration::ZERO));
    for drop in reply.body[..cut].chunks(size) {
        std::thread::sleep(pause);
        stream.write_all(drop)?;
        stream.flush()?;
    }
    stream.flush()?;
    Ok(reply.cut.is_some())
}

/// What is between the lines BEGIN and END.
pub fn pem_body(pem: &str) -> Vec<u8> {
    from_base64(&pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
}

pub fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for value in text.bytes().filter_map(|byte| ALPHABET.iter().position(|letter| *letter == byte)) {
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
