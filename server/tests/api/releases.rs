use crate::common::artifacts::{make, named, Plan};
use crate::common::device::Device;
use crate::common::{Client, Server};
use serde_json::{json, Value};

const V1: &str = "/api/management/v1/deployments/deployments/releases";
const V2: &str = "/api/management/v2/deployments/deployments/releases";

pub fn section() {
    let server = Server::start();
    let admin = server.admin();
    admin.upload(&named("r-1")).expect(201);
    admin.upload(&make(&Plan { name: "r-1", device_types: &["devB"], ..Default::default() })).expect(201);
    admin.upload(&make(&Plan { name: "r-2", payload_type: "other", ..Default::default() })).expect(201);
    admin.upload(&named("with/slash")).expect(201);
    lists(&admin);
    notes_and_tags(&admin);
    software(&admin);
    delete(&admin);
}

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

fn lists(admin: &Client) {
    let all = admin.get(V1).expect(200).json();
    assert_eq!(names(&all, "Name"), ["r-1", "r-2", "with/slash"]);
    assert_eq!(
        (all[0]["ArtifactsCount"].as_u64(), all[0]["Artifacts"].as_array().unwrap().len()),
        (Some(2), 2)
    );
    let list = format!("{V1}/list");
    assert_eq!(
        names(&admin.get(&format!("{list}?name=r-&sort=name:desc")).expect(200).json(), "Name"),
        ["r-2", "r-1"]
    );
    assert_eq!(names(&admin.get(&format!("{list}?device_type=devB")).json(), "Name"), ["r-1"]);
    assert_eq!(names(&admin.get(&format!("{list}?update_type=other")).json(), "Name"), ["r-2"]);
    assert_eq!(
        names(&admin.get(&format!("{list}?sort=artifacts_count:desc&per_page=1")).json(), "Name"),
        ["r-1"]
    );
    admin.get(&format!("{list}?sort=odd")).expect(400);
    let v2 = admin.get(&format!("{V2}?per_page=2&page=2")).expect(200);
    assert_eq!(v2.header("x-total-count"), "3");
    assert_eq!(names(&v2.json(), "name"), ["with/slash"]);
    admin.get(&format!("{V2}?per_page=0")).expect(400);
    assert_eq!(admin.get(&format!("{V2}/r-1")).expect(200).json()["artifacts_count"], 2);
    assert_eq!(admin.get(&format!("{V2}/with%2Fslash")).expect(200).json()["name"], "with/slash");
    admin.get(&format!("{V2}/none")).expect(404);
    let types = admin.get("/api/management/v2/deployments/releases/all/types").expect(200).json();
    assert_eq!(types, json!(["other", "test"]));
}

fn notes_and_tags(admin: &Client) {
    admin.patch(&format!("{V2}/r-1"), json!({ "notes": "read me" })).expect(204);
    admin.patch(&format!("{V2}/r-1"), json!({ "notes": 3 })).expect(400);
    admin.patch(&format!("{V2}/none"), json!({ "notes": "x" })).expect(404);
    let tags = format!("{V2}/r-1/tags");
    admin.put(&tags, json!(["Stable", "v.1_2-3"])).expect(204);
    admin.put(&tags, json!(["white space"])).expect(400);
    let many =
        |count: usize, start: usize| -> Value { (start..start + count).map(|n| format!("t{n}")).collect() };
    admin.put(&tags, many(21, 0)).expect(400);
    admin.put(&format!("{V2}/none/tags"), json!(["a"])).expect(404);
    let shown = admin.get(&format!("{V2}/r-1")).json();
    assert_eq!((&shown["notes"], &shown["tags"]), (&json!("read me"), &json!(["stable", "v.1_2-3"])));
    assert_eq!(names(&admin.get(&format!("{V2}?tag=stable")).json(), "name"), ["r-1"]);
    let all = "/api/management/v2/deployments/releases/all/tags";
    assert_eq!(admin.get(all).expect(200).json(), json!(["stable", "v.1_2-3"]));
    // A hundred different ones are allowed.
    for number in 0..5 {
        let name = format!("many-{number}");
        admin.upload(&named(&name)).expect(201);
        let expected = if number < 4 { 204 } else { 409 };
        admin.put(&format!("{V2}/{name}/tags"), many(20, number * 20)).expect(expected);
    }
}

fn software(admin: &Client) {
    let path = "/api/management/v1alpha1/deployments/software";
    let list = admin.get(&format!("{path}?kind=release&name=r-1")).expect(200).json();
    assert_eq!((list[0]["kind"].as_str(), list[0]["name"].as_str()), (Some("release"), Some("r-1")));
    assert_eq!(admin.get(&format!("{path}?kind=manifest")).json(), json!([]));
    admin.get(&format!("{path}?kind=odd")).expect(400);
    assert_eq!(admin.get(&format!("{path}/tags")).expect(200).json().as_array().unwrap().len(), 82);
}

fn delete(admin: &Client) {
    let (device, _) = Device::new(1).join(admin);
    let deployment = admin.deploy("d", "r-2", &[&device]);
    let refused = admin.delete(&format!("{V2}?name=r-1&name=r-2"), ()).expect(409).json();
    assert_eq!(refused["active_deployments"], json!([deployment]));
    admin.get(&format!("{V2}/r-1")).expect(200);
    admin.delete(&format!("{V2}?name=r-1&name=with%2Fslash"), ()).expect(204);
    admin.delete(V2, ()).expect(400);
    admin.get(&format!("{V2}/r-1")).expect(404);
    assert_eq!(admin.get("/api/management/v1/deployments/artifacts/list?name=r-1").json(), json!([]));
}
