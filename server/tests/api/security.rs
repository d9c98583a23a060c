//! Who may call what: every route, with every kind of token that must not do.
use crate::common::artifacts::named;
use crate::common::device::{next, text, tls, Device};
use crate::common::{run, Body, Client, Reply, Server};
use rota_server::clock;
use rota_server::store::Tenant;
use rota_server::token::Tokens;
use serde_json::{json, Value};
use std::io::{Read, Write};

/// Of a tenant, one of everything that has an id.
struct Things {
    user: String,
    token: String,
    device: String,
    auth_set: String,
    artifact: String,
    deployment: String,
    integration: String,
}

const RELEASE: &str = "rel-of-a";
const GROUP: &str = "group-of-a";

fn things(admin: &Client) -> (Things, String) {
    admin.upload(&named(RELEASE)).expect(201);
    let device = Device::new(1);
    let (id, client) = device.join(admin);
    let known = device.find(admin);
    let group = format!("/api/management/v1/inventory/devices/{id}/group");
    admin.put(&group, json!({ "group": GROUP })).expect(204);
    let deployment = admin.deploy("of a", RELEASE, &[&id]);
    next(&client, "devA", "rel-0").expect(200);
    let log = format!("/api/devices/v1/deployments/device/deployments/{deployment}/log");
    client
        .put(&log, json!({ "messages": [{ "timestamp": "t", "level": "l", "message": "of a" }] }))
        .expect(204);
    admin.post("/api/management/v1/useradm/settings/tokens", json!({ "name": "of-a" })).expect(200);
    let credentials = json!({ "type": "http", "http": { "url": "http://127.0.0.1:1/" } });
    let body = json!({ "provider": "webhook", "credentials": credentials });
    let integration = admin.post("/api/management/v1/iot-manager/integrations", body).expect(201).id();
    let first = |path: &str| text(&admin.get(path).expect(200).json()[0]["id"]);
    let things = Things {
        user: first("/api/management/v1/useradm/users"),
        token: first("/api/management/v1/useradm/settings/tokens"),
        artifact: first("/api/management/v1/deployments/artifacts"),
        auth_set: text(&known["auth_sets"][0]["id"]),
        device: id,
        deployment,
        integration,
    };
    (things, client.token)
}

impl Things {
    fn ids(&self) -> [&str; 9] {
        let Things { user, token, device, auth_set, artifact, deployment, integration } = self;
        [user, token, device, auth_set, artifact, deployment, integration, RELEASE, GROUP]
    }

    /// The path of an operation, with this tenant's ids in it.
    fn fill(&self, path: &str) -> String {
        let id = match path {
            path if path.contains("/users/") => &self.user,
            path if path.contains("/settings/tokens/") => &self.token,
            path if path.contains("/devauth/tokens/") => &self.auth_set,
            path if path.contains("/artifacts/") || path.contains("/download/artifact/") => &self.artifact,
            path if path.contains("/integrations/") => &self.integration,
            path if path.contains("/deployments/deployments/devices/{id}") => &self.device,
            path if path.contains("/deployments/") => &self.deployment,
            _ => &self.device,
        };
        let name = if path.contains("/group") { GROUP } else { RELEASE };
        path.replace("{id}", id)
            .replace("{aid}", &self.auth_set)
            .replace("{device}", &self.device)
            .replace("{name}", name)
            .replace("{integration}", &self.integration)
            .replace("{device_type}", "devA")
    }
}

struct Operation {
    method: String,
    path: String,
    /// `user`, `device`, or nothing.
    needs: String,
}

fn operations() -> Vec<Operation> {
    let api: Value = serde_json::from_str(&rota_server::api::openapi().to_json().unwrap()).unwrap();
    let mut list = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"][0].as_object();
            let needs = security.and_then(|one| one.keys().next().cloned()).unwrap_or_default();
            list.push(Operation { method: method.to_uppercase(), path: path.clone(), needs });
        }
    }
    list
}

fn call(server: &Server, operation: &Operation, path: &str, token: Option<&str>) -> Reply {
    let headers: Vec<_> =
        token.map(|token| ("Authorization", format!("Bearer {token}"))).into_iter().collect();
    server.send(&operation.method, path, &headers, Body::Json(json!({})))
}

#[test]
fn no_route_answers_who_may_not_ask() {
    let server = Server::start();
    let admin = server.admin();
    let (of_a, device_token) = things(&admin);
    let logged_out = server.admin();
    logged_out.post("/api/management/v1/useradm/auth/logout", ()).expect(202);
    let keys = server.keys();
    let late = Tokens::new(&keys, -clock::MINUTE, Vec::new());
    let tenant = Tenant::new("default");
    let expired = [
        late.for_user(&tenant, &of_a.user, "none", Some(clock::now() - clock::MINUTE)),
        late.for_device(&tenant, &of_a.device, &of_a.auth_set, 0),
    ];
    let revoked_device = Device::new(9);
    let (id, revoked) = revoked_device.join(&admin);
    let set = text(&revoked_device.find(&admin)["auth_sets"][0]["id"]);
    admin
        .put(
            &format!("/api/management/v2/devauth/devices/{id}/auth/{set}/status"),
            json!({ "status": "rejected" }),
        )
        .expect(204);
    let forged = rota_server::keys::Keys::from_secret(&[1; 32]);
    let forged = Tokens::new(&forged, clock::DAY, Vec::new());
    let before = snapshot(&admin, &of_a);
    let mut walked = 0;
    for operation in operations() {
        let path = of_a.fill(&operation.path);
        let other = if operation.needs == "user" { &device_token } else { &admin.token };
        let tokens = [
            None,
            Some("nonsense".to_owned()),
            Some(other.clone()),
            Some(expired[0].clone()),
            Some(expired[1].clone()),
            Some(logged_out.token.clone()),
            Some(revoked.token.clone()),
            Some(forged.for_user(&tenant, &of_a.user, "x", None)),
            Some(forged.for_device(&tenant, &of_a.device, &of_a.auth_set, 0)),
        ];
        for token in tokens {
            let reply = call(&server, &operation, &path, token.as_deref());
            walked += 1;
            let refusals: &[u16] = if operation.needs.is_empty() { &[400, 401, 403] } else { &[401] };
            assert!(
                refusals.contains(&reply.status),
                "{} {path} with {token:?}: {} {}",
                operation.method,
                reply.status,
                reply.text()
            );
            assert!(reply.json()["request_id"].is_string());
        }
    }
    assert_eq!(snapshot(&admin, &of_a), before);
    println!("{walked} requests refused");
}

/// Everything that others could have changed.
fn snapshot(admin: &Client, of: &Things) -> Vec<Value> {
    let paths = [
        format!("/api/management/v1/useradm/users/{}", of.user),
        "/api/management/v1/useradm/settings".into(),
        "/api/management/v1/deployments/artifacts".into(),
        "/api/management/v1/deployments/deployments".into(),
        format!("/api/management/v2/devauth/devices/{}/auth/{}/status", of.device, of.auth_set),
        format!("/api/management/v1/inventory/devices/{}/group", of.device),
        format!("/api/management/v1/deployments/deployments/{}/devices/list", of.deployment),
        format!("/api/management/v1/deployments/deployments/devices/{}", of.device),
        format!("/api/management/v1/deviceconfig/configurations/device/{}", of.device),
        format!("/api/management/v2/deployments/deployments/releases/{RELEASE}"),
        "/api/management/v1/iot-manager/integrations".into(),
    ];
    paths.iter().map(|path| admin.get(path).expect(200).json()).collect()
}

#[test]
fn a_tenant_sees_and_changes_nothing_of_another() {
    let mut server = Server::start();
    let token = run(&server.data, &["tenant", "add", "b"]).trim().to_owned();
    run(&server.data, &["user", "add", "b@example.com", "--password", "12345678", "--tenant", "b"]);
    let admin = server.admin();
    let (of_a, _) = things(&admin);
    let user = server.client(&server.sign_in("b@example.com", "12345678").expect(200).text());
    // The same identity and key as a device of the first tenant's.
    let device = Device { tenant_token: token, ..Device::new(1) };
    let (id, as_device) = device.join(&user);
    assert_ne!(id, of_a.device);
    let before = snapshot(&admin, &of_a);
    let own = user.token.clone();
    // These are last: they end what the others need.
    let mut list = operations();
    list.sort_by_key(|operation| operation.path.ends_with("/logout"));
    for operation in list.iter().filter(|operation| !operation.needs.is_empty()) {
        if operation.path.ends_with("/v1/events") {
            continue;
        }
        let path = of_a.fill(&operation.path);
        let token = if operation.needs == "user" { &own } else { &as_device.token };
        let reply = call(&server, operation, &path, Some(token));
        assert!(reply.status < 500, "{} {path}: {}", operation.method, reply.text());
        let names_one = operation.path.contains('{');
        // Without effect, and without a word about what is there.
        let silent = ["/history", "/state", "/iot-manager/devices/{id}", "/deployments/devices/{id}"];
        let silent = silent.iter().any(|end| operation.path.ends_with(end));
        if names_one && reply.status < 300 && !silent {
            panic!("{} {path}: {} {}", operation.method, reply.status, reply.text());
        }
        let text = reply.text();
        for id in of_a.ids() {
            let told = text.contains(id) && reply.status < 300;
            assert!(!told, "{} {path} tells {id}: {text}", operation.method);
        }
    }
    assert_eq!(snapshot(&admin, &of_a), before);
    unknown_tenant(&server);
    server.stop();
}

fn unknown_tenant(server: &Server) {
    let stranger = Device { tenant_token: "of nobody".into(), ..Device::new(77) };
    stranger.ask(server).expect(401);
    let all = server.admin().get("/api/management/v2/devauth/devices/count").json();
    assert_eq!(all["count"], 1);
}

#[test]
fn requests_have_limits_and_answers_have_headers() {
    let server = Server::start();
    let admin = server.admin();
    let reply = admin.get("/api/management/v1/useradm/users/me").expect(200);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        assert_eq!(reply.header(name), value);
    }
    let given =
        admin.with("GET", "/api/management/v1/none", ("X-MEN-RequestID", "my-own-id"), ()).expect(404);
    assert_eq!(
        (given.header("x-men-requestid"), given.json()["request_id"].as_str()),
        ("my-own-id", Some("my-own-id"))
    );
    let odd = admin.with("GET", "/api/management/v1/none", ("X-MEN-RequestID", "<script>"), ()).expect(404);
    assert_ne!(odd.header("x-men-requestid"), "<script>");
    let large = json!({ "description": "x".repeat(1 << 20) });
    admin.put("/api/management/v1/deployments/artifacts/x", large).expect(413);
    admin.patch("/api/management/v1/useradm/users", json!({})).expect(405);

    // More headers than the limit end the request.
    let mut stream = tls(&server);
    let _ = stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n");
    for number in 0..4000 {
        if stream.write_all(format!("X-Filler-{number}: {}\r\n", "y".repeat(64)).as_bytes()).is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("204"), "{answer}");
    assert!(server.send("GET", "/health/live", &[], Body::None).status == 204);

    let log = std::fs::read_to_string(server.data.join("test.log")).unwrap();
    for secret in [crate::common::PASSWORD, admin.token.as_str()] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    let stored = std::fs::metadata(server.data.join("secret")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&stored.permissions()) & 0o777, 0o600);
}

#[test]
fn names_never_reach_the_disk() {
    let server = Server::start();
    let admin = server.admin();
    for path in ["..%2f..%2fsecret", "%2e%2e", "..", "a%00b"] {
        let reply = admin.get(&format!("/api/management/v1/deployments/artifacts/{path}"));
        assert!(matches!(reply.status, 400 | 404), "{path}: {}", reply.status);
    }
    let evil = crate::common::artifacts::Plan { name: "../../../evil", ..Default::default() };
    let reply = admin.upload(&crate::common::artifacts::make(&evil));
    if reply.status == 201 {
        let link =
            admin.get(&format!("/api/management/v1/deployments/artifacts/{}/download", reply.id())).json();
        server.send("GET", link["uri"].as_str().unwrap(), &[], Body::None).expect(200);
    }
    let files: Vec<_> = std::fs::read_dir(server.data.join("blobs/artifacts/default")).unwrap().collect();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(uuid::Uuid::parse_str(&name).is_ok(), "{name}");
    }
}
