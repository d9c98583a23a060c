//! A strict fake server: it checks every request field by field, and answers as it is told to.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ring::signature::{
    UnparsedPublicKey, ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{json, Value};

pub use super::http::{certificates, Certificates, Reply, Request};
use super::http::{from_base64, pem_body, read, write};
use super::Folder;

pub const DEPLOYMENT: &str = "0b3e5ac2-3f1e-4f5e-9c55-0d8b3a3f9a11";
const DEADLINE: Duration = Duration::from_secs(100);

/// What the client did, as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Refused,
    Authorised,
    Polled(Value),
    Status(String, Option<String>),
    Log(Vec<String>),
    Inventory(BTreeMap<String, Value>),
    Download { from: usize },
}

type Trick = Box<dyn FnMut(&Request) -> Option<Reply> + Send>;

#[derive(Default)]
struct State {
    refusals: u32,
    identity: Value,
    key: Option<String>,
    token: u32,
    revoked: bool,
    deployment: Option<(String, Vec<u8>)>,
    finished: bool,
    events: Vec<Event>,
    violations: Vec<String>,
    trick: Option<Trick>,
    old: bool,
    clock: Option<String>,
}

/// The server; it ends with the test.
pub struct Server {
    pub url: String,
    pub ca: PathBuf,
    shared: Arc<(Mutex<State>, Condvar)>,
    _folder: Folder,
}

impl Server {
    /// A server that admits the device and has no deployment.
    pub fn start() -> Server {
        Server::with(certificates(false))
    }

    /// The same, with certificates of one's own.
    pub fn with(certificates: Certificates) -> Server {
        let (ca, config) = (certificates.ca, certificates.server);
        let folder = Folder::new();
        std::fs::write(folder.join("ca.pem"), ca).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let (ours, base) = (shared.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, config, base) = (ours.clone(), config.clone(), base.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream, config, &shared, &base);
                });
            }
        });
        Server { url, ca: folder.join("ca.pem"), shared, _folder: folder }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Does not admit the device the next times it asks.
    pub fn refuse(&self, times: u32) {
        self.state().refusals = times;
    }

    /// The token that the device has is worth nothing any more.
    pub fn revoke(&self) {
        self.state().revoked = true;
    }

    /// From now on there is a deployment of this artifact.
    pub fn deploy(&self, name: &str, artifact: Vec<u8>) {
        let mut state = self.state();
        state.deployment = Some((name.to_owned(), artifact));
        state.finished = false;
    }

    /// A server that lacks version 2 of asking for a deployment, and POST for it.
    pub fn be_old(&self) {
        self.state().old = true;
    }

    /// What every answer says that the time is, for example `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn set_clock(&self, date: &str) {
        self.state().clock = Some(date.to_owned());
    }

    /// Asked first about every request.
    pub fn trick(&self, trick: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        self.state().trick = Some(Box::new(trick));
    }

    pub fn no_trick(&self) {
        self.state().trick = None;
    }

    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    pub fn forget_events(&self) {
        self.state().events.clear();
    }

    /// Every reported status with its substate.
    pub fn statuses(&self) -> Vec<String> {
        let status = |event| match event {
            Event::Status(status, _) => Some(status),
            _ => None,
        };
        self.events().into_iter().filter_map(status).collect()
    }

    /// What the last report of a failure said: the reason, and the deployment log.
    pub fn failure(&self) -> (String, String) {
        let mut failure = (String::new(), String::new());
        for event in self.events() {
            match event {
                Event::Status(status, Some(substate)) if status == "failure" => failure.0 = substate,
                Event::Log(messages) => failure.1 = messages.join("\n"),
                _ => {}
            }
        }
        failure
    }

    /// Who the device says it is, and its public key in PEM form.
    pub fn identity(&self) -> (Value, String) {
        let state = self.state();
        (state.identity.clone(), state.key.clone().unwrap_or_default())
    }

    pub fn inventory(&self) -> BTreeMap<String, Value> {
        let inventory = |event| match event {
            Event::Inventory(attributes) => Some(attributes),
            _ => None,
        };
        self.events().into_iter().filter_map(inventory).next_back().expect("an inventory")
    }

    /// Waits a little for something to happen; false when it is late.
    pub fn wait(&self, since: Instant) -> bool {
        let state = self.state();
        let _ = self.shared.1.wait_timeout(state, Duration::from_millis(20)).unwrap();
        since.elapsed() < DEADLINE
    }

    /// Whatever the client did against the device API.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.violations(), Vec::<String>::new());
        }
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    shared: &(Mutex<State>, Condvar),
    base: &str,
) -> io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    while let Some(request) = read(&mut stream)? {
        let mut state = shared.0.lock().unwrap();
        let mut trick = state.trick.take();
        let tricked = trick.as_mut().and_then(|trick| trick(&request));
        state.trick = trick;
        let checked = handle(&mut state, &request, base);
        let clock = state.clock.clone();
        drop(state);
        shared.1.notify_all();
        let mut reply = tricked.unwrap_or(checked);
        reply.headers.extend(clock.map(|clock| ("Date", clock)));
        if write(&mut stream, &reply)? {
            return Ok(());
        }
    }
    Ok(())
}

/// What a good server answers. Every deviation from the device API is noted.
fn handle(state: &mut State, request: &Request, base: &str) -> Reply {
    let route = format!("{} {}", request.method, request.path.split('?').next().unwrap_or_default());
    let deployments = "/api/devices/v1/deployments/device/deployments";
    if route.starts_with("GET /artifact") {
        return download(state, request);
    }
    if route == "POST /api/devices/v1/authentication/auth_requests" {
        return authorise(state, request);
    }
    let length = request.headers.get("content-length").and_then(|length| length.parse().ok());
    if request.method != "GET" && length != Some(request.body.len()) {
        state
            .violations
            .push(format!("{route}: a body of {length:?} bytes by its header, {}", request.body.len()));
    }
    let token = format!("Bearer token-{}", state.token);
    if state.revoked || request.headers.get("authorization") != Some(&token) {
        return Reply { body: br#"{"error":"unauthorized"}"#.to_vec(), ..Reply::code(401) };
    }
    if request.method != "GET"
        && request.headers.get("content-type").map(String::as_str) != Some("application/json")
    {
        state.violations.push(format!("{route}: Content-Type is not application/json"));
    }
    if route.ends_with("/deployments/next") {
        return next(state, request, &route, base);
    }
    match route.as_str() {
        "PUT /api/devices/v1/inventory/device/attributes" => inventory(state, request),
        route if route == format!("PUT {deployments}/{DEPLOYMENT}/status") => status(state, request),
        route if route == format!("PUT {deployments}/{DEPLOYMENT}/log") => log(state, request),
        other => {
            state.violations.push(format!("there is no {other}"));
            Reply::code(404)
        }
    }
}

/// Notes keys that are missing or that nobody knows.
fn has_keys(state: &mut State, whose: &str, object: &Value, must: &[&str], may: &[&str]) {
    let keys: Vec<&str> =
        object.as_object().into_iter().flat_map(|object| object.keys()).map(String::as_str).collect();
    if !must.iter().all(|key| keys.contains(key)) {
        state.violations.push(format!("{whose} lacks a key of {must:?}: {object}"));
    }
    if let Some(odd) = keys.iter().find(|key| !must.contains(key) && !may.contains(key)) {
        state.violations.push(format!("{whose} has the key {odd}: {object}"));
    }
}

fn authorise(state: &mut State, request: &Request) -> Reply {
    let body = request.json();
    if request.headers.get("content-type").map(String::as_str) != Some("application/json") {
        state.violations.push("an authorisation whose Content-Type is not application/json".into());
    }
    has_keys(state, "an authorisation", &body, &["id_data", "pubkey"], &["tenant_token"]);
    let id_data = body["id_data"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    state.identity = id_data.clone().unwrap_or_default();
    if !id_data.is_some_and(|id| id.as_object().is_some_and(|id| !id.is_empty())) {
        state.violations.push(format!("id_data is no text of a JSON object: {}", body["id_data"]));
    }
    let key = body["pubkey"].as_str().unwrap_or_default();
    let signature = request.headers.get("x-men-signature").map(String::as_str).unwrap_or_default();
    let (der, signature) = (pem_body(key), from_base64(signature));
    // What comes before the key itself in SPKI is as long as the kind of key has it.
    let good = match der.len() {
        44 => UnparsedPublicKey::new(&ED25519, &der[12..]).verify(&request.body, &signature).is_ok(),
        91 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &der[26..])
            .verify(&request.body, &signature)
            .is_ok(),
        120 => UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &der[23..])
            .verify(&request.body, &signature)
            .is_ok(),
        25.. => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der[24..])
            .verify(&request.body, &signature)
            .is_ok(),
        _ => false,
    };
    if !good {
        state.violations.push("the signature is not one of the body by pubkey".into());
    }
    if state.key.get_or_insert_with(|| key.to_owned()) != key {
        state.violations.push("the device came with another key".into());
    }
    if state.refusals > 0 {
        state.refusals -= 1;
        state.events.push(Event::Refused);
        return Reply { body: br#"{"error":"dev auth: unauthorized"}"#.to_vec(), ..Reply::code(401) };
    }
    state.events.push(Event::Authorised);
    state.token += 1;
    state.revoked = false;
    let body = format!("token-{}", state.token).into_bytes();
    Reply { body, ..Reply::code(200) }.with("Content-Type", "application/jwt")
}

fn next(state: &mut State, request: &Request, route: &str, base: &str) -> Reply {
    let provides = match route {
        "POST /api/devices/v2/deployments/device/deployments/next" => {
            request.json()["device_provides"].clone()
        }
        "POST /api/devices/v1/deployments/device/deployments/next" => request.json(),
        _ => json!({ "query": request.path.split('?').nth(1) }),
    };
    let all = ["artifact_name", "device_type"];
    match route.starts_with("POST") {
        true if route.contains("/v2/") => {
            has_keys(state, route, &request.json(), &["device_provides"], &[]);
            let flat = provides.as_object().is_some_and(|facts| facts.values().all(Value::is_string));
            if !flat {
                state.violations.push(format!("{route}: device_provides is not flat: {provides}"));
            }
        }
        true => has_keys(state, route, &provides, &all, &["artifact_provides"]),
        false => {}
    }
    if state.old && request.method == "POST" {
        return Reply::code(404);
    }
    if provides["query"].is_null()
        && !(provides["device_type"].is_string() && provides["artifact_name"].is_string())
    {
        state.violations.push(format!("{route}: device_type or artifact_name is missing: {provides}"));
    }
    state.events.push(Event::Polled(provides));
    match &state.deployment {
        Some((name, _)) if !state.finished => {
            let body = json!({ "id": DEPLOYMENT, "artifact": {
                "id": "a", "artifact_name": name, "device_types_compatible": ["test-board"],
                "source": { "uri": format!("{base}/artifact?signed=1"), "expire": "2099-01-01T00:00:00Z" },
            }});
            Reply { body: body.to_string().into_bytes(), ..Reply::code(200) }
        }
        _ => Reply::code(204),
    }
}

fn status(state: &mut State, request: &Request) -> Reply {
    let body = request.json();
    has_keys(state, "a status", &body, &["status"], &["substate"]);
    let known = ["downloading", "installing", "rebooting", "success", "failure"];
    let status = body["status"].as_str().unwrap_or_default().to_owned();
    let substate = body["substate"].as_str().map(str::to_owned);
    if !known.contains(&status.as_str()) {
        state.violations.push(format!("there is no status {status}"));
    }
    if substate.as_ref().is_some_and(|substate| substate.chars().count() > 200) {
        state.violations.push(format!("the substate is too long: {substate:?}"));
    }
    state.finished |= ["success", "failure"].contains(&status.as_str());
    state.events.push(Event::Status(status, substate));
    Reply::code(204)
}

fn log(state: &mut State, request: &Request) -> Reply {
    let body = request.json();
    has_keys(state, "a log", &body, &["messages"], &[]);
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let text = |message: &Value, key: &str| message[key].as_str().unwrap_or_default().to_owned();
    let whole =
        |message: &Value| ["timestamp", "level", "message"].iter().all(|key| !text(message, key).is_empty());
    if messages.is_empty() || !messages.iter().all(whole) {
        state.violations.push(format!("a log without messages, or messages without all their keys: {body}"));
    }
    let texts = messages.iter().map(|message| text(message, "message")).collect();
    state.events.push(Event::Log(texts));
    Reply::code(204)
}

fn inventory(state: &mut State, request: &Request) -> Reply {
    let list = request.json().as_array().cloned().unwrap_or_default();
    let value = |value: &Value| {
        value.is_string() || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
    };
    let mut attributes = BTreeMap::new();
    for attribute in list {
        has_keys(state, "an attribute", &attribute, &["name", "value"], &["description"]);
        match attribute["name"].as_str() {
            Some(name) if value(&attribute["value"]) => {
                drop(attributes.insert(name.to_owned(), attribute["value"].clone()))
            }
            _ => {
                state.violations.push(format!("an attribute without name or with an odd value: {attribute}"))
            }
        }
    }
    state.events.push(Event::Inventory(attributes));
    Reply::code(200)
}

fn download(state: &mut State, request: &Request) -> Reply {
    if request.headers.contains_key("authorization") {
        state.violations.push("the download carries the token".into());
    }
    if ["content-type", "x-men-signature"].iter().any(|name| request.headers.contains_key(*name)) {
        state.violations.push("the download carries headers of the device API".into());
    }
    let Some((_, artifact)) = &state.deployment else { return Reply::code(404) };
    let range =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from: usize = range.and_then(|from| from.parse().ok()).unwrap_or(0);
    let reply = match range {
        None => Reply { body: artifact.clone(), ..Reply::code(200) },
        Some(_) => {
            let total = artifact.len();
            Reply { body: artifact[from..].to_vec(), ..Reply::code(206) }
                .with("Content-Range", format!("bytes {from}-{}/{total}", total - 1))
        }
    };
    state.events.push(Event::Download { from });
    reply
}
