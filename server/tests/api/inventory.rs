use crate::common::device::{text, Device};
use crate::common::{Client, Server};
use serde_json::{json, Value};

const V1: &str = "/api/management/v1/inventory";
const V2: &str = "/api/management/v2/inventory";

pub fn section() {
    let server = Server::start();
    let admin = server.admin();
    let ids: Vec<_> = (1..=3).map(|number| device(&admin, number)).collect();
    read(&admin, &ids);
    tags(&admin, &ids[0]);
    groups(&admin, &ids);
    search(&admin, &ids);
    admin.delete(&format!("{V1}/devices/{}", ids[2]), ()).expect(204);
    admin.delete(&format!("{V1}/devices/none"), ()).expect(404);
    let left = admin.get(&format!("{V1}/devices/{}", ids[2])).expect(200).json();
    assert_eq!(value(&left, "kernel"), None);
}

/// A device with an inventory.
fn device(admin: &Client, number: u64) -> String {
    let (id, device) = Device::new(number).join(admin);
    let path = "/api/devices/v1/inventory/device/attributes";
    let list = json!([
        { "name": "kernel", "value": format!("6.{number}") },
        { "name": "memory", "value": number * 100 },
        { "name": "ips", "value": ["10.0.0.1", format!("10.0.1.{number}")], "description": "addresses" },
        { "name": "a.b$c", "value": "dots" },
    ]);
    device.put(path, list).expect(200);
    id
}

fn value(device: &Value, name: &str) -> Option<Value> {
    let list = device["attributes"].as_array().unwrap();
    list.iter().find(|one| one["name"] == name).map(|one| one["value"].clone())
}

fn found(reply: crate::common::Reply) -> Vec<String> {
    reply.expect(200).json().as_array().unwrap().iter().map(|device| text(&device["id"])).collect()
}

fn read(admin: &Client, ids: &[String]) {
    let list = |query: &str| found(admin.get(&format!("{V1}/devices?{query}")));
    assert_eq!(list("").len(), 3);
    assert_eq!(list("kernel=6.2"), [ids[1].clone()]);
    assert_eq!(list("memory=300"), [ids[2].clone()]);
    assert_eq!(list("ips=10.0.1.1"), [ids[0].clone()]);
    assert_eq!(list("sort=memory:desc")[0], ids[2]);
    assert_eq!(list("sort=kernel:asc&per_page=1&page=2"), [ids[1].clone()]);
    assert_eq!(list("status=accepted").len(), 3);
    assert_eq!(list("a.b%24c=dots").len(), 3);
    admin.get(&format!("{V1}/devices?sort=kernel:up")).expect(400);
    admin.get(&format!("{V1}/devices?has_group=x")).expect(400);
    let page = admin.get(&format!("{V1}/devices?per_page=2"));
    assert_eq!(page.header("x-total-count"), "3");
    assert!(page.header("link").contains("rel=\"next\""));
    let one = admin.get(&format!("{V1}/devices/{}", ids[0])).expect(200);
    assert!(!one.header("etag").is_empty());
    let one = one.json();
    assert_eq!(value(&one, "ips"), Some(json!(["10.0.0.1", "10.0.1.1"])));
    assert_eq!(value(&one, "memory"), Some(json!(100)));
    assert_eq!(value(&one, "status"), Some(json!("accepted")));
    let mac = one["attributes"].as_array().unwrap().iter().find(|one| one["name"] == "mac").unwrap();
    assert_eq!(mac["scope"], "identity");
    admin.get(&format!("{V1}/devices/none")).expect(404);
}

fn tags(admin: &Client, id: &str) {
    let path = format!("{V1}/devices/{id}/tags");
    let tag = |name: &str| json!({ "name": name, "value": "v" });
    admin.put(&path, json!([tag("a"), tag("b")])).expect(200);
    admin.patch(&path, json!([tag("c")])).expect(200);
    let shown = admin.get(&format!("{V1}/devices/{id}")).expect(200);
    let (etag, shown) = (shown.header("etag").to_owned(), shown.json());
    for name in ["a", "b", "c"] {
        assert_eq!(value(&shown, name), Some(json!("v")));
    }
    for method in ["PUT", "PATCH"] {
        admin.with(method, &path, ("If-Match", "\"old\""), json!([tag("x")])).expect(412);
    }
    admin.with("PUT", &path, ("If-Match", &etag), json!([tag("x")])).expect(200);
    let many: Vec<_> = (0..21).map(|number| tag(&number.to_string())).collect();
    admin.put(&path, json!(many)).expect(400);
    admin.patch(&path, json!(many[..20])).expect(400);
    let none = format!("{V1}/devices/none/tags");
    admin.put(&none, json!([tag("a")])).expect(404);
    admin.patch(&none, json!([tag("a")])).expect(404);
}

fn groups(admin: &Client, ids: &[String]) {
    let group = format!("{V1}/devices/{}/group", ids[0]);
    assert_eq!(admin.get(&group).expect(200).json(), json!({ "group": null }));
    admin.put(&group, json!({ "group": "lab" })).expect(204);
    admin.put(&group, json!({ "group": "no/slash" })).expect(400);
    admin.put(&format!("{V1}/devices/none/group"), json!({ "group": "lab" })).expect(404);
    admin.get(&format!("{V1}/devices/none/group")).expect(404);
    assert_eq!(admin.get(&group).json(), json!({ "group": "lab" }));
    let members = format!("{V1}/groups/lab/devices");
    let joined = admin.patch(&members, json!([ids[0], ids[1], "none"])).expect(200).json();
    assert_eq!(joined, json!({ "updated_count": 1, "matched_count": 2 }));
    admin.patch(&members, json!([])).expect(400);
    assert_eq!(admin.get(&format!("{members}?per_page=1")).expect(200).header("x-total-count"), "2");
    admin.get(&format!("{members}?per_page=x")).expect(400);
    admin.get(&format!("{V1}/groups/none/devices")).expect(404);
    assert_eq!(admin.get(&format!("{V1}/groups?status=accepted")).expect(200).json(), json!(["lab"]));
    assert_eq!(found(admin.get(&format!("{V1}/devices?group=lab"))).len(), 2);
    assert_eq!(found(admin.get(&format!("{V1}/devices?has_group=false"))), [ids[2].clone()]);
    admin.delete(&format!("{group}/lab"), ()).expect(204);
    admin.delete(&format!("{group}/lab"), ()).expect(404);
    assert_eq!(admin.delete(&members, json!([ids[1]])).expect(200).json()["updated_count"], 1);
    admin.delete(&members, json!([])).expect(400);
    admin.put(&group, json!({ "group": "lab" })).expect(204);
    assert_eq!(admin.delete(&format!("{V1}/groups/lab"), ()).expect(200).json()["updated_count"], 1);
    admin.delete(&format!("{V1}/groups/lab"), ()).expect(404);
}

fn search(admin: &Client, ids: &[String]) {
    let path = format!("{V2}/filters/search");
    let filter = |scope: &str, attribute: &str, kind: &str, value: Value| {
        let filter = json!({ "scope": scope, "attribute": attribute, "type": kind, "value": value });
        let mut ids = found(admin.post(&path, json!({ "filters": [filter] })));
        ids.sort();
        ids
    };
    let some = |numbers: &[usize]| {
        let mut list: Vec<_> = numbers.iter().map(|number| ids[*number].clone()).collect();
        list.sort();
        list
    };
    for (attribute, kind, wanted, expected) in [
        ("kernel", "$eq", json!("6.1"), some(&[0])),
        ("kernel", "$ne", json!("6.1"), some(&[1, 2])),
        ("memory", "$gt", json!(100), some(&[1, 2])),
        ("memory", "$gte", json!(200), some(&[1, 2])),
        ("memory", "$lt", json!(200), some(&[0])),
        ("memory", "$lte", json!(200), some(&[0, 1])),
        ("memory", "$ltne", json!(200), some(&[0, 1])),
        ("kernel", "$in", json!(["6.1", "6.3"]), some(&[0, 2])),
        ("kernel", "$nin", json!(["6.1", "6.3"]), some(&[1])),
        ("kernel", "$exists", json!(true), some(&[0, 1, 2])),
        ("nothing", "$exists", json!(false), some(&[0, 1, 2])),
        ("kernel", "$regex", json!("^6\\.[12]$"), some(&[0, 1])),
        ("ips", "$eq", json!("10.0.0.1"), some(&[0, 1, 2])),
    ] {
        assert_eq!(filter("inventory", attribute, kind, wanted), expected, "{attribute} {kind}");
    }
    assert_eq!(filter("identity", "status", "$eq", json!("pending")), some(&[]));
    assert_eq!(filter("system", "created_ts", "$gt", json!("2020-01-01T00:00:00Z")).len(), 3);
    let body = json!({
        "page": 1, "per_page": 1, "text": "6.",
        "sort": [{ "scope": "inventory", "attribute": "memory", "order": "desc" }],
        "attributes": [{ "scope": "inventory", "attribute": "kernel" }],
    });
    let reply = admin.post(&path, body).expect(200);
    assert_eq!(reply.header("x-total-count"), "3");
    assert_eq!(reply.json()[0]["attributes"].as_array().unwrap().len(), 1);
    assert_eq!(reply.json()[0]["id"], ids[2].as_str());
    assert_eq!(found(admin.post(&path, json!({ "device_ids": [ids[1]] }))), some(&[1]));
    for bad in [
        json!({ "filters": [{ "scope": "inventory", "attribute": "a", "type": "$odd", "value": 1 }] }),
        json!({ "filters": [{ "scope": "inventory", "attribute": "a", "type": "$in", "value": 1 }] }),
        json!({ "filters": [{ "scope": "inventory", "attribute": "a", "type": "$regex", "value": "(" }] }),
        json!({ "per_page": 501 }),
        json!({ "sort": [{ "scope": "a", "attribute": "b", "order": "up" }] }),
    ] {
        admin.post(&path, bad).expect(400);
    }
    let known = admin.get(&format!("{V2}/filters/attributes")).expect(200).json();
    let kernel = known.as_array().unwrap().iter().find(|one| one["name"] == "kernel").unwrap().clone();
    assert_eq!(kernel, json!({ "name": "kernel", "scope": "inventory", "count": 3 }));
    let statistics = admin.get(&format!("{V2}/statistics")).expect(200).json();
    assert_eq!(statistics["devices_by_status"]["accepted"]["standard"], 3);
    let identities = "/api/management/v2alpha1/inventory/identities/search";
    let body = json!({ "scope": "identity", "name": "mac", "value_prefix": "02:00:" });
    assert_eq!(found(admin.post(identities, body)).len(), 3);
    admin.post(identities, json!({ "scope": "inventory", "name": "kernel" })).expect(400);
}
