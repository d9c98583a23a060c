use crate::common::artifacts::named;
use crate::common::device::{next, report, text, Device};
use crate::common::{Client, Server};
use serde_json::{json, Value};

const BASE: &str = "/api/management/v1/deployments/deployments";

pub fn section() {
    let server = Server::start();
    let admin = server.admin();
    for name in ["rel-1", "rel-2", "rel-3"] {
        admin.upload(&named(name)).expect(201);
    }
    let joined: Vec<_> = (1..=3).map(|number| Device::new(number).join(&admin)).collect();
    let ids: Vec<_> = joined.iter().map(|(id, _)| id.as_str()).collect();
    create(&admin, &ids);
    let devices: Vec<_> = joined.iter().map(|(_, client)| client).collect();
    progress(&admin, &ids, &devices);
    history(&admin, ids[0], devices[0]);
    configuration(&admin, ids[0]);
    connect(&admin, ids[0]);
    retry(&admin, ids[2], devices[2]);
}

fn create(admin: &Client, ids: &[&str]) {
    let new = |more: Value| {
        let mut body = json!({ "name": "first", "artifact_name": "rel-1" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    admin.post(BASE, new(json!({}))).expect(400);
    admin.post(BASE, new(json!({ "devices": ["none"] }))).expect(400);
    admin.post(BASE, new(json!({ "devices": [ids[0]], "all_devices": true }))).expect(400);
    admin.post(BASE, new(json!({ "devices": [ids[0]], "name": "" }))).expect(400);
    admin.post(BASE, new(json!({ "devices": [ids[0]], "artifact_name": "none" }))).expect(422);
    let created = admin.post(BASE, new(json!({ "all_devices": true }))).expect(201);
    assert_eq!(created.header("location"), format!("{BASE}/{}", created.id()));
    admin.post(BASE, new(json!({ "devices": ids }))).expect(409);
    let shown = admin.get(&format!("{BASE}/{}", created.id())).expect(200).json();
    assert_eq!(shown["status"], "pending");
    assert_eq!((shown["device_count"].as_u64(), shown["type"].as_str()), (Some(3), Some("software")));
    assert_eq!(shown["statistics"]["status"]["pending"], 3);
    assert_eq!(shown["artifacts"].as_array().unwrap().len(), 1);
    admin.get(&format!("{BASE}/none")).expect(404);
    let abort =
        |id: &str, status: &str| admin.put(&format!("{BASE}/{id}/status"), json!({ "status": status }));
    abort(&created.id(), "odd").expect(400);
    abort("none", "aborted").expect(404);
    abort(&created.id(), "aborted").expect(204);
    abort(&created.id(), "aborted").expect(422);

    let group = format!("{BASE}/group/lab");
    admin.post(&group, new(json!({}))).expect(400);
    let members = "/api/management/v1/inventory/groups/lab/devices";
    admin.patch(members, json!([ids[0], ids[1]])).expect(200);
    admin.post(&group, new(json!({ "artifact_name": "none" }))).expect(422);
    let id = admin.post(&group, new(json!({}))).expect(201).id();
    admin.post(&group, new(json!({}))).expect(409);
    let shown = admin.get(&format!("{BASE}/{id}")).json();
    assert_eq!((shown["groups"].clone(), shown["device_count"].as_u64()), (json!(["lab"]), Some(2)));
    abort(&id, "aborted").expect(204);

    let list = |query: &str| admin.get(&format!("{BASE}?{query}")).expect(200);
    assert_eq!(list("").header("x-total-count"), "2");
    assert_eq!(
        list("status=finished&type=software&search=irs&created_after=1&sort=asc&per_page=1").json()[0]["id"],
        created.id()
    );
    assert_eq!(list("created_before=1").json(), json!([]));
    assert_eq!(list("status=pending").json(), json!([]));
    admin.get(&format!("{BASE}?status=odd")).expect(400);
    let v2 = "/api/management/v2/deployments/deployments";
    let shown = admin.get(&format!("{v2}?id={id}&name=first&status=finished")).expect(200).json();
    assert_eq!(
        (shown[0]["id"].as_str(), shown[0]["phases"][0]["batch_size"].as_u64()),
        (Some(id.as_str()), Some(100))
    );
    admin.get(&format!("{v2}?sort=odd")).expect(400);
}

fn why(admin: &Client, deployment: &str, device: &str) -> (String, String) {
    let why = admin.get(&format!("{BASE}/{deployment}/devices/{device}/why")).expect(200).json();
    (text(&why["code"]), text(&why["reason"]))
}

fn progress(admin: &Client, ids: &[&str], devices: &[&Client]) {
    let id = admin.deploy("second", "rel-2", ids);
    let path = format!("{BASE}/{id}");
    let later = admin.deploy("third", "rel-3", &ids[..1]);
    assert_eq!(why(admin, &id, ids[0]).0, "not_seen");
    assert_eq!(why(admin, &later, ids[0]).0, "behind_another");
    next(devices[0], "devA", "rel-1").expect(200);
    assert_eq!(why(admin, &id, ids[0]).0, "told");
    report(devices[0], &id, "downloading").expect(204);
    assert_eq!(admin.get(&path).json()["status"], "inprogress");
    assert_eq!(why(admin, &id, ids[0]), ("under_way".into(), "the device is downloading".into()));
    report(devices[0], &id, "success").expect(204);
    assert_eq!(why(admin, &id, ids[0]).0, "done");
    next(devices[1], "devX", "rel-1").expect(204);
    let (code, reason) = why(admin, &id, ids[1]);
    assert_eq!(code, "skipped");
    assert!(reason.contains("no artifact for device type devX; it has devA"), "{reason}");
    next(devices[2], "devA", "rel-1").expect(200);
    let status = format!("/api/devices/v1/deployments/device/deployments/{id}/status");
    devices[2]
        .put(&status, json!({ "status": "failure", "substate": "slot B was booted once and not committed" }))
        .expect(204);
    assert_eq!(why(admin, &id, ids[2]), ("failed".into(), "slot B was booted once and not committed".into()));
    let log = json!({ "messages": [{ "timestamp": "2026-11-23T03:00:00Z", "level": "error", "message": "no init" }] });
    devices[2].put(&format!("/api/devices/v1/deployments/device/deployments/{id}/log"), log).expect(204);

    let statistics = admin.get(&format!("{path}/statistics")).expect(200).json();
    assert_eq!(
        (&statistics["success"], &statistics["failure"], &statistics["noartifact"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(statistics.as_object().unwrap().len(), 12);
    admin.get(&format!("{BASE}/none/statistics")).expect(404);
    let many =
        admin.post(&format!("{BASE}/statistics/list"), json!({ "deployment_ids": [id, "none"] })).expect(200);
    assert_eq!(many.json(), json!([{ "id": id, "stats": statistics }]));
    admin.post(&format!("{BASE}/statistics/list"), json!({ "deployment_ids": [] })).expect(400);
    assert_eq!(admin.get(&path).json()["status"], "finished");

    let all = admin.get(&format!("{path}/devices")).expect(200).json();
    assert_eq!(all.as_array().unwrap().len(), 3);
    admin.get(&format!("{path}/devices?status=odd")).expect(400);
    admin.get(&format!("{BASE}/none/devices")).expect(404);
    let failed = admin.get(&format!("{path}/devices/list?status=failure")).expect(200);
    assert_eq!(failed.header("x-total-count"), "1");
    let failed = failed.json()[0].clone();
    assert_eq!((failed["id"].as_str(), failed["log"].as_bool()), (Some(ids[2]), Some(true)));
    assert_eq!(failed["device_type"], "devA");
    assert_eq!(failed["image"]["meta_artifact"]["name"], "rel-2");
    for field in ["created", "started", "finished", "substate", "reason"] {
        assert!(failed[field].is_string(), "{field}");
    }
    assert_eq!(
        admin
            .get(&format!("{path}/devices/list?status=finished&per_page=2&page=2"))
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    admin.get(&format!("{path}/devices/list?per_page=0")).expect(400);
    admin.get(&format!("{BASE}/none/devices/list")).expect(404);
    assert_eq!(admin.get(&format!("{path}/device_list")).expect(200).json().as_array().unwrap().len(), 3);
    admin.get(&format!("{BASE}/none/device_list")).expect(404);
    let log = admin.get(&format!("{path}/devices/{}/log", ids[2])).expect(200);
    assert!(log.header("content-type").starts_with("text/plain"));
    assert_eq!(log.text(), "2026-11-23T03:00:00Z error: no init\n");
    admin.get(&format!("{path}/devices/{}/log", ids[0])).expect(404);
    admin.get(&format!("{path}/devices/none/why")).expect(404);
}

fn history(admin: &Client, id: &str, device: &Client) {
    let path = format!("{BASE}/devices/{id}");
    let list = admin.get(&path).expect(200);
    assert_eq!(list.header("x-total-count"), "4");
    assert_eq!(list.json()[0]["deployment"]["name"], "third");
    assert_eq!(list.json()[0]["device"]["status"], "pending");
    assert_eq!(admin.get(&format!("{path}?status=success")).json().as_array().unwrap().len(), 1);
    admin.get(&format!("{path}?per_page=21")).expect(400);
    next(device, "devA", "rel-2").expect(200);
    admin.delete(&path, ()).expect(204);
    let third = text(&list.json()[0]["deployment"]["id"]);
    report(device, &third, "downloading").expect(409);
    assert_eq!(why(admin, &third, id).0, "aborted");
    admin.delete(&format!("{path}/history"), ()).expect(204);
    assert_eq!(admin.get(&path).json(), json!([]));
}

fn configuration(admin: &Client, id: &str) {
    let path = format!("/api/management/v1/deviceconfig/configurations/device/{id}");
    let none = "/api/management/v1/deviceconfig/configurations/device/none";
    assert_eq!(admin.get(&path).expect(200).json(), json!({ "id": id, "configured": {}, "reported": {} }));
    admin.get(none).expect(404);
    admin.put(&path, json!({ "timezone": "UTC" })).expect(204);
    admin.put(&path, json!({ "timezone": 3 })).expect(400);
    admin.put(none, json!({})).expect(404);
    admin.post(&format!("{none}/deploy"), json!({})).expect(404);
    admin.post(&format!("{path}/deploy"), json!({ "retries": 1000 })).expect(400);
    let deployment = text(
        &admin.post(&format!("{path}/deploy"), json!({ "retries": 0 })).expect(200).json()["deployment_id"],
    );
    let shown = admin.get(&format!("{BASE}/{deployment}")).json();
    assert_eq!(
        (&shown["type"], &shown["configuration"]),
        (&json!("configuration"), &json!({ "timezone": "UTC" }))
    );
    let shown = admin.get(&path).json();
    assert_eq!(shown["deployment_id"], deployment.as_str());
    assert!(shown["updated_ts"].is_string());
    let listed = admin.get(&format!("{BASE}?type=configuration")).expect(200);
    assert_eq!(listed.header("x-total-count"), "1");
    admin.put(&format!("{BASE}/{deployment}/status"), json!({ "status": "aborted" })).expect(204);
}

fn connect(admin: &Client, id: &str) {
    let base = "/api/management/v1/deviceconnect/devices";
    assert_eq!(admin.get(&format!("{base}/{id}")).expect(200).json()["status"], "unknown");
    admin.get(&format!("{base}/none")).expect(404);
    for (device, status) in [(id, 409), ("none", 404)] {
        admin.get(&format!("{base}/{device}/download?path=/x")).expect(status);
        admin.put(&format!("{base}/{device}/upload"), ()).expect(status);
        admin.post(&format!("{base}/{device}/check-update"), ()).expect(status);
        admin.post(&format!("{base}/{device}/send-inventory"), ()).expect(status);
    }
}

fn retry(admin: &Client, id: &str, device: &Client) {
    let body = json!({ "name": "tries", "artifact_name": "rel-3", "devices": [id], "retries": 1 });
    let deployment = admin.post(BASE, body).expect(201).id();
    next(device, "devA", "rel-1").expect(200);
    report(device, &deployment, "failure").expect(204);
    let (code, reason) = why(admin, &deployment, id);
    assert_eq!((code.as_str(), reason.contains("retry 1 of 1")), ("again", true), "{reason}");
    next(device, "devA", "rel-0").expect(200);
    report(device, &deployment, "failure").expect(204);
    assert_eq!(why(admin, &deployment, id).0, "failed");
    assert_eq!(admin.get(&format!("{BASE}/{deployment}")).json()["status"], "finished");
}
