use crate::common::device::{text, Device};
use crate::common::Server;
use serde_json::json;

const BASE: &str = "/api/management/v2/devauth";

pub fn section() {
    let server = Server::start_with(&[("ROTA_MAX_DEVICES", "3")]);
    let admin = server.admin();
    let devices = format!("{BASE}/devices");
    let all: Vec<_> = (1..=4).map(Device::new).collect();
    for device in &all {
        device.ask(&server).expect(401);
        device.ask(&server).expect(401);
    }
    let listed = admin.get(&devices).expect(200);
    assert_eq!(listed.header("x-total-count"), "4");
    assert!(listed.header("link").contains("rel=\"first\""));
    let shown = all[0].find(&admin);
    assert_eq!(shown["status"], "pending");
    assert_eq!(shown["auth_sets"][0]["pubkey"], all[0].pubkey());
    assert_eq!(shown["auth_sets"].as_array().unwrap().len(), 1);
    for field in ["id", "created_ts", "updated_ts"] {
        assert!(shown[field].is_string(), "{field}");
    }
    assert_eq!(shown["decommissioning"], false);
    let page = admin.get(&format!("{devices}?page=2&per_page=3&status=pending")).expect(200);
    assert_eq!(page.json().as_array().unwrap().len(), 1);
    assert!(page.header("link").contains("page=1&per_page=3>; rel=\"prev\""), "{}", page.header("link"));
    admin.get(&format!("{devices}?status=odd")).expect(400);
    admin.get(&format!("{devices}?page=0")).expect(400);
    let ids: Vec<_> = all.iter().map(|device| text(&device.find(&admin)["id"])).collect();
    let some = admin.get(&format!("{devices}?id={}&id={}", ids[0], ids[2])).expect(200).json();
    assert_eq!(some.as_array().unwrap().len(), 2);
    let search = json!({ "id": [ids[1]], "status": ["pending"] });
    assert_eq!(admin.post(&format!("{devices}/search"), search).expect(200).json()[0]["id"], ids[1].as_str());
    admin.post(&format!("{devices}/search"), json!({ "status": "odd" })).expect(400);
    assert_eq!(admin.get(&format!("{devices}/count?status=pending")).expect(200).json()["count"], 4);
    admin.get(&format!("{devices}/count?status=odd")).expect(400);
    assert_eq!(admin.get(&format!("{BASE}/limits/max_devices")).expect(200).json()["limit"], 3);
    admin.get(&format!("{devices}/{}", ids[0])).expect(200);
    admin.get(&format!("{devices}/none")).expect(404);
    statuses(&server, &all, &ids);
    keys(&server, &all[0], &ids[0]);
    preauthorize(&server);
    admin.delete(&format!("{devices}/{}", ids[1]), ()).expect(204);
    admin.delete(&format!("{devices}/{}", ids[1]), ()).expect(404);
    all[1].ask(&server).expect(401);
}

fn statuses(server: &Server, all: &[Device], ids: &[String]) {
    let admin = server.admin();
    let set = |number: usize| text(&all[number].find(&admin)["auth_sets"][0]["id"]);
    let path = |number: usize| format!("{BASE}/devices/{}/auth/{}/status", ids[number], set(number));
    let to = |status: &str| json!({ "status": status });
    assert_eq!(admin.get(&path(0)).expect(200).json()["status"], "pending");
    admin.get(&format!("{BASE}/devices/{}/auth/none/status", ids[0])).expect(404);
    admin.put(&path(0), to("accepted")).expect(204);
    admin.put(&path(0), to("accepted")).expect(204);
    admin.put(&path(0), to("preauthorized")).expect(400);
    admin.put(&path(0), to("odd")).expect(400);
    admin.put(&format!("{BASE}/devices/{}/auth/none/status", ids[0]), to("accepted")).expect(404);
    let token = all[0].ask(server).expect(200);
    assert_eq!(token.header("content-type"), "application/jwt");
    let device = server.client(&token.text());
    let config = "/api/devices/v1/deviceconfig/configuration";
    device.get(config).expect(200);
    // Rejecting makes the token void at once; accepting again does not bring it back.
    admin.put(&path(0), to("rejected")).expect(204);
    device.get(config).expect(401);
    all[0].ask(server).expect(401);
    admin.put(&path(0), to("accepted")).expect(204);
    device.get(config).expect(401);
    let device = server.client(&all[0].ask(server).expect(200).text());
    device.get(config).expect(200);
    // So does revoking it, and the device gets another one.
    admin.delete(&format!("{BASE}/tokens/{}", set(0)), ()).expect(204);
    admin.delete(&format!("{BASE}/tokens/none"), ()).expect(404);
    device.get(config).expect(401);
    server.client(&all[0].ask(server).expect(200).text()).get(config).expect(200);
    admin.put(&path(0), to("pending")).expect(204);
    admin.put(&path(0), to("accepted")).expect(204);
    // The limit is three.
    admin.put(&path(1), to("accepted")).expect(204);
    admin.put(&path(2), to("accepted")).expect(204);
    admin.put(&path(3), to("accepted")).expect(422);
    admin.put(&path(2), to("rejected")).expect(204);
}

/// A device comes with another key.
fn keys(server: &Server, old: &Device, id: &str) {
    let admin = server.admin();
    let new = old.with_key_of(100);
    new.ask(server).expect(401);
    let shown = new.find(&admin);
    assert_eq!((shown["id"].as_str(), shown["status"].as_str()), (Some(id), Some("accepted")));
    let sets = shown["auth_sets"].as_array().unwrap();
    assert_eq!(sets.len(), 2);
    let pending = sets.iter().find(|set| set["status"] == "pending").unwrap();
    let path = format!("{BASE}/devices/{id}/auth/{}", text(&pending["id"]));
    admin.put(&format!("{path}/status"), json!({ "status": "accepted" })).expect(204);
    new.ask(server).expect(200);
    old.ask(server).expect(401);
    let first = text(&sets.iter().find(|set| set["id"] != pending["id"]).unwrap()["id"]);
    admin.delete(&format!("{BASE}/devices/{id}/auth/{first}"), ()).expect(204);
    admin.delete(&format!("{BASE}/devices/{id}/auth/{first}"), ()).expect(404);
    assert_eq!(new.find(&admin)["auth_sets"].as_array().unwrap().len(), 1);
}

fn preauthorize(server: &Server) {
    let admin = server.admin();
    let device = Device::new(50);
    let path = format!("{BASE}/devices");
    let body = |device: &Device, force: bool| json!({ "identity_data": device.identity(), "pubkey": device.pubkey(), "force": force });
    let id = admin.post(&path, body(&device, false)).expect(201).id();
    assert_eq!(admin.post(&path, body(&device, false)).expect(409).json()["id"], id.as_str());
    let second = admin.post(&path, body(&device, true)).expect(201).id();
    assert_ne!(id, second);
    admin.post(&path, json!({ "identity_data": {}, "pubkey": device.pubkey() })).expect(400);
    admin.post(&path, json!({ "identity_data": { "a": "b" }, "pubkey": "x" })).expect(400);
    assert_eq!(device.find(&admin)["status"], "preauthorized");
    // Meanwhile another key was accepted: its token is void once the preauthorised one is there.
    let other = device.with_key_of(51);
    other.ask(server).expect(401);
    let sets = device.find(&admin)["auth_sets"].clone();
    let pending = sets.as_array().unwrap().iter().find(|set| set["status"] == "pending").unwrap();
    let status = format!("{path}/{second}/auth/{}/status", text(&pending["id"]));
    admin.put(&status, json!({ "status": "accepted" })).expect(204);
    let other = server.client(&other.ask(server).expect(200).text());
    let config = "/api/devices/v1/deviceconfig/configuration";
    other.get(config).expect(200);
    device.ask(server).expect(200);
    other.get(config).expect(401);
    assert_eq!(device.find(&admin)["status"], "accepted");
}
