//! A device that is not there: its key, its requests.
use super::{Body, Client, Reply, Server};
use base64::Engine;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{json, Value};

const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;

pub struct Device {
    pub mac: String,
    pub key: Ed25519KeyPair,
    pub tenant_token: String,
}

impl Device {
    /// The `number` makes its identity and its key.
    pub fn new(number: u64) -> Device {
        let mut seed = [9u8; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        Device {
            mac: format!("02:00:{:012x}", number),
            key: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(),
            tenant_token: String::new(),
        }
    }

    /// The same identity with another key.
    pub fn with_key_of(&self, number: u64) -> Device {
        Device { mac: self.mac.clone(), ..Device::new(number) }
    }

    pub fn pubkey(&self) -> String {
        // The fixed beginning of an Ed25519 SPKI.
        let mut spki = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        spki.extend_from_slice(self.key.public_key().as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(spki))
    }

    pub fn identity(&self) -> Value {
        json!({ "mac": self.mac })
    }

    /// A request as the Go client makes it, with a newline at its end.
    pub fn body(&self) -> Vec<u8> {
        let body = json!({
            "id_data": self.identity().to_string(),
            "pubkey": self.pubkey(),
            "tenant_token": self.tenant_token,
        });
        format!("{body}\n").into_bytes()
    }

    pub fn sign(&self, body: &[u8]) -> String {
        BASE64.encode(self.key.sign(body).as_ref())
    }

    pub fn ask(&self, server: &Server) -> Reply {
        let body = self.body();
        let headers = [
            ("X-MEN-Signature", self.sign(&body)),
            ("Authorization", "Bearer whatever".to_owned()),
            ("Content-Type", "application/json".to_owned()),
        ];
        server.send("POST", "/api/devices/v1/authentication/auth_requests", &headers, Body::Bytes(&body))
    }

    /// Asks and is accepted: its id and its token.
    pub fn join<'a>(&self, admin: &Client<'a>) -> (String, Client<'a>) {
        assert_eq!(self.ask(admin.server).status, 401);
        let device = self.find(admin);
        let (id, set) = (text(&device["id"]), text(&device["auth_sets"][0]["id"]));
        let path = format!("/api/management/v2/devauth/devices/{id}/auth/{set}/status");
        admin.put(&path, json!({ "status": "accepted" })).expect(204);
        let token = self.ask(admin.server).expect(200).text();
        (id, Client { server: admin.server, token })
    }

    /// What the server knows of it.
    pub fn find(&self, admin: &Client) -> Value {
        let all = admin.get("/api/management/v2/devauth/devices?per_page=500").expect(200).json();
        let mine = |device: &&Value| device["identity_data"]["mac"] == self.mac.as_str();
        all.as_array().unwrap().iter().find(mine).unwrap_or_else(|| panic!("no device {}", self.mac)).clone()
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Asks what to do, in the newest way.
pub fn next(device: &Client, device_type: &str, artifact_name: &str) -> Reply {
    let provides = json!({ "device_type": device_type, "artifact_name": artifact_name });
    let path = "/api/devices/v2/deployments/device/deployments/next";
    device.post(path, json!({ "device_provides": provides }))
}

/// Reports a status.
pub fn report(device: &Client, deployment: &str, status: &str) -> Reply {
    let path = format!("/api/devices/v1/deployments/device/deployments/{deployment}/status");
    device.put(&path, json!({ "status": status }))
}

/// A connection to a server, for requests that no client makes.
pub fn tls(server: &Server) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    use rustls_pki_types::pem::PemObject;
    let ca = rustls_pki_types::CertificateDer::from_pem_file(server.data.join("tls/ca.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connection = rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    let stream = std::net::TcpStream::connect(server.url.rsplit('/').next().unwrap()).unwrap();
    stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
    rustls::StreamOwned::new(connection, stream)
}
