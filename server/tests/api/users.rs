use crate::common::{Body, Server, EMAIL, PASSWORD};
use serde_json::json;

const BASE: &str = "/api/management/v1/useradm";

pub fn section() {
    sign_in(&Server::start());
    let server = Server::start();
    users(&server);
    settings(&server);
    tokens(&server);
}

fn sign_in(server: &Server) {
    let login = format!("{BASE}/auth/login");
    let reply = server.sign_in(EMAIL, PASSWORD).expect(200);
    assert_eq!(reply.header("content-type"), "application/jwt");
    assert_eq!(reply.text().split('.').count(), 3);
    server.sign_in(&EMAIL.to_uppercase(), PASSWORD).expect(200);
    server.sign_in(EMAIL, "wrong").expect(401);
    server.sign_in("nobody@example.com", PASSWORD).expect(401);
    server.send("POST", &login, &[], Body::None).expect(401);
    let headers = [("Authorization", "Basic YWRtaW5AZXhhbXBsZS5jb206Y29ycmVjdCBob3JzZQ==".to_owned())];
    server.send("POST", &login, &headers, Body::Bytes(b"{")).expect(400);
    let forever = server.send("POST", &login, &headers, json!({ "no_expiry": true }).into()).expect(200);
    let client = server.client(&forever.text());
    client.get(&format!("{BASE}/users/me")).expect(200);
    client.post(&format!("{BASE}/auth/logout"), ()).expect(202);
    client.get(&format!("{BASE}/users/me")).expect(401);
    // The cookie does as well, unless another site made the browser send it.
    let token = server.sign_in(EMAIL, PASSWORD).text();
    let cookie = [("Cookie", format!("a=b; JWT={token}"))];
    server.send("GET", &format!("{BASE}/users/me"), &cookie, Body::None).expect(200);
    let foreign = [cookie[0].clone(), ("Sec-Fetch-Site", "cross-site".to_owned())];
    server.send("GET", &format!("{BASE}/users/me"), &foreign, Body::None).expect(401);
    for _ in 0..8 {
        server.sign_in("guessed@example.com", "wrong");
    }
    let wait = server.sign_in("guessed@example.com", "wrong").expect(429);
    assert!(wait.header("retry-after").parse::<u32>().unwrap() >= 1);
}

fn users(server: &Server) {
    let token = token(server);
    let admin = server.client(&token);
    let users = format!("{BASE}/users");
    let me = admin.get(&format!("{users}/me")).expect(200).json();
    assert_eq!(me["email"], EMAIL);
    for field in ["id", "created_ts", "updated_ts", "login_ts"] {
        assert!(me[field].is_string(), "{field}");
    }
    let new = json!({ "email": "Ann@example.com", "password": "12345678" });
    let ann = admin.post(&users, new.clone()).expect(201).id();
    admin.post(&users, new).expect(422);
    admin.post(&users, json!({ "email": "bob@example.com", "password": "short" })).expect(422);
    admin.post(&users, json!({ "email": "nobody", "password": "12345678" })).expect(400);
    let list = admin.get(&users).expect(200).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(list[0].get("password").is_none());
    assert_eq!(admin.get(&format!("{users}?email=ann@example.com")).json()[0]["id"], ann.as_str());
    assert_eq!(
        admin.get(&format!("{users}?id={ann}&created_after=1&updated_before=99999999999")).json()[0]["id"],
        ann.as_str()
    );
    assert_eq!(admin.get(&format!("{users}?created_before=1")).json(), json!([]));
    admin.get(&format!("{users}?created_after=x")).expect(400);
    let path = format!("{users}/{ann}");
    assert_eq!(admin.get(&path).expect(200).json()["email"], "ann@example.com");
    admin.get(&format!("{users}/nobody")).expect(404);

    let ann_token = server.sign_in("ann@example.com", "12345678").expect(200).text();
    let as_ann = server.client(&ann_token);
    let other = server.client(&server.sign_in("ann@example.com", "12345678").expect(200).text());
    as_ann.put(&format!("{users}/me"), json!({ "password": "87654321" })).expect(422);
    let change = json!({ "password": "87654321", "current_password": "12345678" });
    as_ann.put(&format!("{users}/me"), change).expect(204);
    as_ann.get(&path).expect(200);
    other.get(&path).expect(401);
    as_ann.put(&format!("{users}/me"), json!({})).expect(400);
    let v2 = "/api/management/v2/useradm/users/me";
    as_ann.put(v2, json!({ "password": "abcdefgh", "current_password": "87654321" })).expect(204);
    as_ann.put(v2, json!({ "password": "abcdefgh", "current_password": "87654321" })).expect(422);
    as_ann.put(v2, json!({})).expect(400);

    admin.put(&path, json!({ "email": "anna@example.com" })).expect(204);
    admin.put(&path, json!({ "email": EMAIL })).expect(422);
    admin.put(&path, json!({ "email": "x" })).expect(400);
    admin.put(&format!("{users}/nobody"), json!({ "email": "a@b" })).expect(404);
    admin.delete(&path, ()).expect(204);
    admin.delete(&path, ()).expect(404);
    as_ann.get(&format!("{users}/me")).expect(401);
    let last = me["id"].as_str().unwrap();
    admin.delete(&format!("{users}/{last}"), ()).expect(409);
    assert_eq!(admin.get(&format!("{BASE}/plans")).expect(200).json()[0]["name"], "enterprise");
    assert_eq!(admin.get(&format!("{BASE}/plan_binding")).expect(200).json()["plan"]["name"], "enterprise");
}

fn token(server: &Server) -> String {
    server.sign_in(EMAIL, PASSWORD).expect(200).text()
}

fn settings(server: &Server) {
    let token = token(server);
    let admin = server.client(&token);
    for path in ["settings", "settings/me"].map(|end| format!("{BASE}/{end}")) {
        let first = admin.get(&path).expect(200);
        assert_eq!(first.json(), json!({}));
        admin.post(&path, json!({ "a": 1 })).expect(201);
        let read = admin.get(&path).expect(200);
        assert_eq!(read.json(), json!({ "a": 1 }));
        let etag = read.header("etag").to_owned();
        assert!(etag.starts_with('"'));
        admin.with("POST", &path, ("If-Match", &etag), json!({ "a": 2 })).expect(201);
        admin.with("POST", &path, ("If-Match", &etag), json!({ "a": 3 })).expect(412);
        assert_eq!(admin.get(&path).json(), json!({ "a": 2 }));
        admin.post(&path, json!([])).expect(400);
    }
}

fn tokens(server: &Server) {
    let token = token(server);
    let admin = server.client(&token);
    let path = format!("{BASE}/settings/tokens");
    let made = admin.post(&path, json!({ "name": "ci", "expires_in": 3600 })).expect(200);
    assert_eq!(made.header("content-type"), "application/jwt");
    let personal = server.client(&made.text());
    personal.get(&format!("{BASE}/users/me")).expect(200);
    admin.post(&path, json!({ "name": "ci" })).expect(409);
    admin.post(&path, json!({ "name": "" })).expect(400);
    admin.post(&path, json!({ "name": "x", "expires_in": 31_536_001 })).expect(400);
    for number in 1..10 {
        admin.post(&path, json!({ "name": format!("t{number}") })).expect(200);
    }
    admin.post(&path, json!({ "name": "one too many" })).expect(422);
    let list = admin.get(&path).expect(200).json();
    let ci = list.as_array().unwrap().iter().find(|token| token["name"] == "ci").unwrap();
    assert!(ci["last_used"].is_string() && ci["expiration_date"].is_string() && ci["created_ts"].is_string());
    let one = format!("{path}/{}", ci["id"].as_str().unwrap());
    admin.delete(&one, ()).expect(204);
    admin.delete(&one, ()).expect(404);
    personal.get(&format!("{BASE}/users/me")).expect(401);
}
