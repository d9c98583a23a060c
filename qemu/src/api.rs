//! The server's management API, as far as scenarios use it.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;
use std::time::Duration;

use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Value};
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::error::{Context, Error, Result};

const BOUNDARY: &str = "----rota-qemu-6f1f0a7c";

/// A signed-in user.
pub struct Api {
    agent: Agent,
    base: String,
    token: String,
}

impl Api {
    /// Signs in at `base` (`https://host:port`), trusting the authority `ca` (PEM) alone.
    pub fn sign_in(base: &str, ca: &[u8], email: &str, password: &str) -> Result<Api> {
        let ca = Certificate::from_pem(ca).map_err(|error| Error::Unexpected {
            what: "the server's CA".into(),
            expected: "a certificate as PEM".into(),
            found: error.to_string(),
        })?;
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let config = Agent::config_builder().tls_config(tls).http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(180))).build().new_agent();
        let mut api = Api { agent, base: base.into(), token: String::new() };
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{email}:{password}")));
        let login = Request::post(api.url("/useradm/auth/login", "v1")).header("Authorization", basic);
        api.token = text(api.send("sign in", login.body(SendBody::none()), &[200])?)?;
        Ok(api)
    }

    /// Reads a resource, for example `get("v2", "/devauth/devices")`.
    pub fn get(&self, version: &str, path: &str) -> Result<Value> {
        let response = self.send(path, self.request("GET", version, path).body(SendBody::none()), &[200])?;
        let text = text(response)?;
        serde_json::from_str(&text).map_err(|_| Error::Server {
            request: format!("GET {path}"),
            expected: "JSON".into(),
            found: text,
        })
    }

    /// Reads a resource that is plain text.
    pub fn get_text(&self, version: &str, path: &str) -> Result<String> {
        text(self.send(path, self.request("GET", version, path).body(SendBody::none()), &[200])?)
    }

    /// Changes a resource.
    pub fn put(&self, version: &str, path: &str, body: &Value) -> Result<()> {
        self.with_body("PUT", version, path, body).map(drop)
    }

    /// Makes a resource; returns the last part of its location, which is its id.
    pub fn post(&self, version: &str, path: &str, body: &Value) -> Result<String> {
        Ok(location(&self.with_body("POST", version, path, body)?))
    }

    /// Uploads an artifact; returns its id.
    pub fn upload(&self, artifact: &Path) -> Result<String> {
        let path = "/deployments/artifacts";
        let size = fs::metadata(artifact).context("look at", artifact.display())?.len();
        let file = File::open(artifact).context("open", artifact.display())?;
        let mut head = String::new();
        for (name, value) in [("size", size.to_string()), ("description", String::new())] {
            head += &format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        head += &format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"artifact\"; filename=\"artifact.mender\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let body = Cursor::new(head).chain(file).chain(Cursor::new(tail));
        let request = self
            .request("POST", "v1", path)
            .header("Content-Type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(SendBody::from_owned_reader(body));
        Ok(location(&self.send(path, request, &[201])?))
    }

    fn with_body(&self, method: &str, version: &str, path: &str, body: &Value) -> Result<Response<Body>> {
        let request = self
            .request(method, version, path)
            .header("Content-Type", "application/json")
            .body(SendBody::from_owned_reader(Cursor::new(body.to_string())));
        self.send(path, request, &[200, 201, 202, 204])
    }

    fn request(&self, method: &str, version: &str, path: &str) -> ureq::http::request::Builder {
        let bearer = format!("Bearer {}", self.token);
        Request::builder().method(method).uri(self.url(path, version)).header("Authorization", bearer)
    }

    fn url(&self, path: &str, version: &str) -> String {
        format!("{}/api/management/{version}{path}", self.base)
    }

    fn send(
        &self,
        what: &str,
        request: ureq::http::Result<Request<SendBody<'_>>>,
        wanted: &[u16],
    ) -> Result<Response<Body>> {
        let failed = |found: String| Error::Server {
            request: what.into(),
            expected: wanted.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
            found,
        };
        let request = request.map_err(|error| failed(error.to_string()))?;
        let response = self.agent.run(request).map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        if wanted.contains(&status) {
            return Ok(response);
        }
        Err(failed(format!("{status} {}", text(response)?.trim())))
    }
}

/// The body of a new deployment to one device.
pub fn new_deployment(name: &str, release: &str, device: &str) -> Value {
    json!({ "name": name, "artifact_name": release, "devices": [device] })
}

fn text(mut response: Response<Body>) -> Result<String> {
    response.body_mut().read_to_string().map_err(|error| Error::Server {
        request: "the answer's body".into(),
        expected: "text".into(),
        found: error.to_string(),
    })
}

fn location(response: &Response<Body>) -> String {
    let location =
        response.headers().get("Location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    location.rsplit('/').next().unwrap_or_default().into()
}
