use crate::common::artifacts::named;
use crate::common::device::{next, report, text, tls, Device};
use crate::common::{wait_for, Client, Server};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

const BASE: &str = "/api/management/v1/iot-manager";

pub fn section() {
    let server = Server::start();
    let admin = server.admin();
    stream(&server, &admin);
    webhooks(&server, &admin);
    admin.get("/api/management/v1/events?topic=odd").expect(400);
}

/// Server-sent events, by name.
fn listen(server: &Server, admin: &Client, query: &str) -> impl FnMut() -> Option<(String, Value)> {
    let mut stream = tls(server);
    let request = format!(
        "GET /api/management/v1/events?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.token
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.next().unwrap().contains("200"));
    crate::observe("GET", "/api/management/v1/events", 200);
    let mut events = move || {
        let name = lines.find_map(|line| line.strip_prefix("event: ").map(str::to_owned))?;
        let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned))?;
        Some((name, serde_json::from_str(&data).unwrap()))
    };
    assert_eq!(events().unwrap().0, "ready");
    events
}

fn stream(server: &Server, admin: &Client) {
    let mut all = listen(server, admin, "");
    let mut deployments = listen(server, admin, "topic=deployment");
    let (id, device) = Device::new(1).join(admin);
    let (name, data) = all().unwrap();
    assert_eq!((name.as_str(), &data["id"], &data["status"]), ("device", &json!(id), &json!("pending")));
    admin.upload(&named("rel-2")).expect(201);
    let deployment = admin.deploy("d", "rel-2", &[&id]);
    let (name, data) = deployments().unwrap();
    assert_eq!((name.as_str(), &data["id"]), ("deployment", &json!(deployment)));
    next(&device, "devA", "rel-1").expect(200);
    report(&device, &deployment, "downloading").expect(204);
    let expected = json!({ "id": deployment, "device_id": id, "device_status": "downloading" });
    assert_eq!(deployments().unwrap().1, expected);
    // A stream ends with the token it was opened with.
    let other = server.admin();
    let mut ends = listen(server, &other, "");
    other.post("/api/management/v1/useradm/auth/logout", ()).expect(202);
    while ends().is_some() {}
}

/// A receiver of webhooks: what it was sent, head and body.
fn receiver() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sent, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &lower;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            if sent.send((head, body)).is_err() {
                return;
            }
        }
    });
    (url, received)
}

fn webhooks(server: &Server, admin: &Client) {
    let (url, received) = receiver();
    let path = format!("{BASE}/integrations");
    let new = |provider: &str, url: &str| {
        let http = json!({ "url": url, "secret": "a1b2" });
        json!({ "provider": provider, "description": "mine", "credentials": { "type": "http", "http": http } })
    };
    admin.post(&path, new("iot-hub", &url)).expect(400);
    admin.post(&path, new("webhook", "ftp://x")).expect(400);
    let id = admin.post(&path, new("webhook", &url)).expect(201).id();
    let shown = admin.get(&path).expect(200).json();
    assert_eq!((&shown[0]["id"], &shown[0]["provider"]), (&json!(id), &json!("webhook")));
    assert!(shown[0]["credentials"]["http"].get("secret").is_none());

    let (device, _) = Device::new(2).join(admin);
    let expected = ["device-status-changed", "device-provisioned", "device-status-changed"];
    for kind in expected {
        let (head, body) = received.recv_timeout(crate::common::PATIENCE).unwrap();
        assert!(head.contains("x-men-algorithm: men-hmac-sha256-payload"), "{head}");
        let signature = rota_server::webhooks::signature("a1b2", &body);
        assert!(head.contains(&format!("x-men-signature: {signature}")), "{head}");
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (event["type"].as_str(), event["data"]["id"].as_str()),
            (Some(kind), Some(device.as_str()))
        );
    }
    wait_for("the deliveries are noted", || {
        let events = admin.get(&format!("{BASE}/events?integration_id={id}&per_page=3")).expect(200).json();
        events.as_array().unwrap().iter().all(|event| event["delivery_statuses"][0]["success"] == true)
    });
    let events = admin.get(&format!("{BASE}/events?per_page=1")).expect(200);
    assert_eq!(events.header("x-total-count"), "3");
    assert_eq!(events.json()[0]["delivery_statuses"][0]["status_code"], 204);
    admin.get(&format!("{BASE}/events?page=0")).expect(400);

    let credentials = format!("{path}/{id}/credentials");
    let nowhere = json!({ "type": "http", "http": { "url": "http://127.0.0.1:1/" } });
    admin.put(&credentials, nowhere.clone()).expect(204);
    admin.put(&credentials, json!({ "type": "http", "http": { "url": "x" } })).expect(400);
    admin.put(&format!("{path}/none/credentials"), nowhere).expect(404);
    admin.delete(&format!("/api/management/v2/devauth/devices/{device}"), ()).expect(204);
    wait_for("the failure is noted", || {
        let event = admin.get(&format!("{BASE}/events?per_page=1")).json()[0].clone();
        event["type"] == "device-decommissioned" && event["delivery_statuses"][0]["error"].is_string()
    });
    state(admin, &device, &id);
    for _ in 1..20 {
        admin.post(&path, new("webhook", &url)).expect(201);
    }
    admin.post(&path, new("webhook", &url)).expect(409);
    admin.delete(&format!("{path}/{id}"), ()).expect(204);
    admin.delete(&format!("{path}/{id}"), ()).expect(404);
    let log = std::fs::read_to_string(server.data.join("test.log")).unwrap();
    assert!(!log.contains("a1b2"), "a secret is in the log");
    assert_eq!(text(&admin.get(&path).json()[0]["description"]), "mine");
}

fn state(admin: &Client, device: &str, integration: &str) {
    let path = format!("{BASE}/devices/{device}");
    assert_eq!(admin.get(&format!("{path}/state")).expect(200).json(), json!({}));
    for (of, status) in [(integration, 409), ("none", 404)] {
        admin.get(&format!("{path}/state/{of}")).expect(status);
        admin.put(&format!("{path}/state/{of}"), json!({})).expect(status);
    }
    admin.delete(&path, ()).expect(204);
}
