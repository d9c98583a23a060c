//! A server to test: the program itself, in a folder of its own, on a free port.
#![allow(dead_code, reason = "every test program uses a part of it")]
pub mod artifacts;
pub mod device;

use rota_server::keys::Keys;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rota-server");
pub const EMAIL: &str = "admin@example.com";
pub const PASSWORD: &str = "correct horse";

/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// The id at the end of `Location`.
    pub fn id(&self) -> String {
        self.header("location").rsplit('/').next().unwrap().to_owned()
    }
    /// The answer, when it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A body to send.
pub enum Body<'a> {
    None,
    Json(Value),
    Bytes(&'a [u8]),
    /// With its content type.
    Typed(&'a str, Vec<u8>),
}

impl From<Value> for Body<'_> {
    fn from(value: Value) -> Self {
        Body::Json(value)
    }
}

impl From<()> for Body<'_> {
    fn from((): ()) -> Self {
        Body::None
    }
}

/// A running server. Stops when it is dropped.
pub struct Server {
    pub folder: Option<tempfile::TempDir>,
    pub data: PathBuf,
    pub url: String,
    pub agent: ureq::Agent,
    pub child: Child,
}

impl Server {
    /// With a user who can sign in.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// With environment.
    pub fn start_with(environment: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        run(&data, &["init", "--email", EMAIL, "--password", PASSWORD]);
        let mut server = Server::serve(&data, environment);
        server.folder = Some(folder);
        server
    }

    /// On data that is there.
    pub fn serve(data: &Path, environment: &[(&str, &str)]) -> Server {
        let log = std::fs::File::options().create(true).append(true).open(data.join("test.log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.envs(environment.iter().copied()).env("ROTA_LOG", "debug");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the server says where it listens").unwrap();
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Server { folder: None, data: data.to_owned(), url, agent: agent(data), child }
    }

    pub fn keys(&self) -> Keys {
        Keys::open(&self.data.join("secret")).unwrap()
    }

    /// Signs in.
    pub fn sign_in(&self, email: &str, password: &str) -> Reply {
        use base64::Engine;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{email}:{password}"));
        let headers = [("Authorization", format!("Basic {basic}"))];
        self.send("POST", "/api/management/v1/useradm/auth/login", &headers, Body::None)
    }

    /// The first user.
    pub fn admin(&self) -> Client<'_> {
        let token = self.sign_in(EMAIL, PASSWORD).expect(200).text();
        Client { server: self, token }
    }

    pub fn client(&self, token: &str) -> Client<'_> {
        Client { server: self, token: token.to_owned() }
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, String)], body: Body) -> Reply {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let mut request = http::Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let bytes = match body {
            Body::None => Vec::new(),
            Body::Json(value) => {
                request = request.header("Content-Type", "application/json");
                value.to_string().into_bytes()
            }
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Typed(kind, bytes) => {
                request = request.header("Content-Type", kind);
                bytes
            }
        };
        let request = request.body(bytes).unwrap();
        let mut response = self.agent.run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let mut bytes = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut bytes).unwrap();
        let reply = Reply { status: response.status().as_u16(), headers: response.headers().clone(), bytes };
        crate::observe(method, path, reply.status);
        reply
    }

    /// Stops it as a service manager does, and waits for it.
    pub fn stop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal(&self.child, "TERM");
            wait_for("the server stops", || self.child.try_wait().unwrap().is_some());
        }
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.data.join("test.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the server's last words");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Who talks to a server, with a token.
pub struct Client<'a> {
    pub server: &'a Server,
    pub token: String,
}

impl Client<'_> {
    pub fn headers(&self) -> [(&'static str, String); 1] {
        [("Authorization", format!("Bearer {}", self.token))]
    }
    pub fn get(&self, path: &str) -> Reply {
        self.server.send("GET", path, &self.headers(), Body::None)
    }
    pub fn post<'a>(&self, path: &str, body: impl Into<Body<'a>>) -> Reply {
        self.server.send("POST", path, &self.headers(), body.into())
    }
    pub fn put<'a>(&self, path: &str, body: impl Into<Body<'a>>) -> Reply {
        self.server.send("PUT", path, &self.headers(), body.into())
    }
    pub fn patch<'a>(&self, path: &str, body: impl Into<Body<'a>>) -> Reply {
        self.server.send("PATCH", path, &self.headers(), body.into())
    }
    pub fn delete<'a>(&self, path: &str, body: impl Into<Body<'a>>) -> Reply {
        self.server.send("DELETE", path, &self.headers(), body.into())
    }
    /// With one more header.
    pub fn with<'a>(
        &self,
        method: &str,
        path: &str,
        header: (&'static str, &str),
        body: impl Into<Body<'a>>,
    ) -> Reply {
        let [authorization] = self.headers();
        self.server.send(method, path, &[authorization, (header.0, header.1.to_owned())], body.into())
    }

    /// Uploads an artifact.
    pub fn upload(&self, artifact: &[u8]) -> Reply {
        let (kind, body) = artifacts::form(
            &[("size", artifact.len().to_string().as_bytes()), ("description", b"d")],
            artifact,
        );
        self.post("/api/management/v1/deployments/artifacts", Body::Typed(&kind, body))
    }

    /// Creates a deployment and returns its id.
    pub fn deploy(&self, name: &str, artifact_name: &str, devices: &[&str]) -> String {
        let body = serde_json::json!({ "name": name, "artifact_name": artifact_name, "devices": devices });
        self.post("/api/management/v1/deployments/deployments", body).expect(201).id()
    }
}

/// An HTTP client that trusts the server of this folder only.
pub fn agent(data: &Path) -> ureq::Agent {
    let ca = Certificate::from_pem(&std::fs::read(data.join("tls/ca.pem")).unwrap()).unwrap();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent()
}

/// Runs the program to its end.
#[track_caller]
pub fn run(data: &Path, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).arg("--data").arg(data).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rota-server {arguments:?}: {text}{errors}");
    text
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
}

/// Waits until something is so.
#[track_caller]
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
