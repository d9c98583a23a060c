use crate::common::artifacts::{make, named, Plan};
use crate::common::device::{next, report, text, Device};
use crate::common::{Body, Client, Server};
use serde_json::{json, Value};
use std::process::Command;

const AUTH: &str = "/api/devices/v1/authentication/auth_requests";
const V1: &str = "/api/devices/v1/deployments/device/deployments";

pub fn section() {
    let server = Server::start();
    let admin = server.admin();
    requests(&server);
    keys(&server);
    for name in ["rel-1", "rel-2"] {
        admin.upload(&named(name)).expect(201);
    }
    let (id, device) = Device::new(1).join(&admin);
    polls(&admin, &id, &device);
    depends(&admin, &id, &device);
    statuses(&admin, &id, &device);
    inventory(&device);
    configuration(&server, &admin, &id, &device);
}

fn requests(server: &Server) {
    let device = Device::new(70);
    let body = device.body();
    let send = |signature: Option<String>, body: &[u8]| {
        let headers: Vec<_> = signature.map(|text| ("X-MEN-Signature", text)).into_iter().collect();
        server.send("POST", AUTH, &headers, Body::Bytes(body))
    };
    send(None, &body).expect(400);
    send(Some(device.sign(&body)), b"{").expect(400);
    send(Some("no base64".into()), &body).expect(401);
    // Every byte is signed, the newline at the end too.
    send(Some(device.sign(&body[..body.len() - 1])), &body).expect(401);
    let broken = br#"{"id_data":"{\"a\":\"b\"}","pubkey":"no key"}"#;
    send(Some(device.sign(broken)), broken).expect(400);
    let nobody = json!({ "id_data": "[]", "pubkey": device.pubkey() }).to_string().into_bytes();
    send(Some(device.sign(&nobody)), &nobody).expect(400);
    let reply = send(Some(device.sign(&body)), &body).expect(401);
    assert_eq!(reply.json()["error"], "dev auth: unauthorized");
    assert_eq!(reply.json()["request_id"], reply.header("x-men-requestid"));
}

/// Keys of every kind, signed by another program.
fn keys(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let admin = server.admin();
    for (number, kind) in ["RSA", "ED25519", "P-224", "P-256", "P-384", "P-521"].iter().enumerate() {
        match *kind {
            "RSA" => {
                openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "k"])
            }
            "ED25519" => openssl(&["genpkey", "-algorithm", "ED25519", "-out", "k"]),
            curve => openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                &format!("ec_paramgen_curve:{curve}"),
                "-out",
                "k",
            ]),
        };
        let public = String::from_utf8(openssl(&["pkey", "-in", "k", "-pubout"])).unwrap();
        let identity = json!({ "kind": kind, "number": number.to_string() }).to_string();
        let body = json!({ "id_data": identity, "pubkey": public }).to_string();
        std::fs::write(folder.path().join("body"), &body).unwrap();
        let sign: &[&str] = match *kind {
            "ED25519" => &["pkeyutl", "-sign", "-inkey", "k", "-rawin", "-in", "body"],
            _ => &["dgst", "-sha256", "-sign", "k", "body"],
        };
        let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, openssl(sign));
        let ask = |body: &str| {
            server.send("POST", AUTH, &[("X-MEN-Signature", signature.clone())], Body::Bytes(body.as_bytes()))
        };
        ask(&body).expect(401);
        let all = admin.get("/api/management/v2/devauth/devices?status=pending").json();
        let device = all.as_array().unwrap().iter().find(|one| one["identity_data"]["kind"] == *kind);
        let device = device.unwrap_or_else(|| panic!("{kind} was not taken")).clone();
        let path = format!(
            "/api/management/v2/devauth/devices/{}/auth/{}/status",
            text(&device["id"]),
            text(&device["auth_sets"][0]["id"])
        );
        admin.put(&path, json!({ "status": "accepted" })).expect(204);
        ask(&body).expect(200);
        ask(&body.replace("number", "nimber")).expect(401);
    }
}

fn abort(admin: &Client, deployment: &str) {
    let path = format!("/api/management/v1/deployments/deployments/{deployment}/status");
    admin.put(&path, json!({ "status": "aborted" })).expect(204);
}

fn polls(admin: &Client, id: &str, device: &Client) {
    let get = |query: &str| device.get(&format!("{V1}/next?{query}"));
    let post = |body: Value| device.post(&format!("{V1}/next"), body);
    get("artifact_name=rel-1&device_type=devA").expect(204);
    post(json!({ "artifact_name": "rel-1", "device_type": "devA" })).expect(204);
    next(device, "devA", "rel-1").expect(204);
    get("artifact_name=rel-1").expect(400);
    post(json!({ "artifact_name": "", "device_type": "devA" })).expect(400);
    device
        .post("/api/devices/v2/deployments/device/deployments/next", json!({ "device_provides": {} }))
        .expect(400);

    let deployment = admin.deploy("one", "rel-2", &[id]);
    let told = get("artifact_name=rel-1&device_type=devA").expect(200).json();
    assert_eq!(told["id"], deployment.as_str());
    assert_eq!(told["artifact"]["artifact_name"], "rel-2");
    assert_eq!(told["artifact"]["device_types_compatible"], json!(["devA"]));
    assert!(told["artifact"]["source"]["expire"].is_string());
    // Asked again the answer is the same, but for the link.
    assert_eq!(get("artifact_name=rel-1&device_type=devA").expect(200).json()["id"], deployment.as_str());
    download(admin, &told, &named("rel-2"));
    // A device that says something else has lost its mind.
    get("artifact_name=rel-0&device_type=devA").expect(409);
    let shown =
        admin.get(&format!("/api/management/v1/deployments/deployments/{deployment}/devices/list")).json();
    assert_eq!(shown[0]["status"], "failure");
    for (round, poll) in [0, 1].into_iter().zip(["post", "v2"]) {
        let deployment = admin.deploy(&format!("two {round}"), "rel-2", &[id]);
        let ask = |name: &str| match poll {
            "post" => post(
                json!({ "artifact_name": name, "device_type": "devA", "artifact_provides": { "a": "b" } }),
            ),
            _ => next(device, "devA", name),
        };
        assert_eq!(ask("rel-1").expect(200).json()["id"], deployment.as_str());
        ask("rel-0").expect(409);
    }
    // It runs the release already, unless it is forced.
    let deployment = admin.deploy("three", "rel-2", &[id]);
    next(device, "devA", "rel-2").expect(204);
    let path = format!("/api/management/v1/deployments/deployments/{deployment}");
    assert_eq!(admin.get(&format!("{path}/devices/list")).json()[0]["status"], "already-installed");
    let forced =
        json!({ "name": "four", "artifact_name": "rel-2", "devices": [id], "force_installation": true });
    let deployment = admin.post("/api/management/v1/deployments/deployments", forced).expect(201).id();
    next(device, "devA", "rel-2").expect(200);
    abort(admin, &deployment);
}

fn download(admin: &Client, told: &Value, artifact: &[u8]) {
    let uri = text(&told["artifact"]["source"]["uri"]);
    let get = |uri: &str, headers: &[(&str, String)]| admin.server.send("GET", uri, headers, Body::None);
    let whole = get(&uri, &[]).expect(200);
    assert_eq!(whole.bytes, artifact);
    assert_eq!(whole.header("content-type"), "application/vnd.mender-artifact");
    assert_eq!(whole.header("content-length"), artifact.len().to_string());
    let etag = whole.header("etag").to_owned();
    let part = get(&uri, &[("Range", "bytes=100-".into())]).expect(206);
    assert_eq!(part.bytes, &artifact[100..]);
    let last = artifact.len() - 1;
    assert_eq!(part.header("content-range"), format!("bytes 100-{last}/{}", artifact.len()));
    let part = get(&uri, &[("Range", format!("bytes=100-{last}")), ("If-Range", etag)]).expect(206);
    assert_eq!(part.bytes, &artifact[100..]);
    get(&uri, &[("Range", "bytes=100-".into()), ("If-Range", "\"other\"".into())]).expect(200);
    let beyond = get(&uri, &[("Range", "bytes=99999999-".into())]).expect(416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", artifact.len()));
    get(&uri.replace("signature=", "signature=A"), &[]).expect(403);
    get(&uri.replace("expire=", "expire=9"), &[]).expect(403);
    let keys = admin.server.keys();
    let path = "/api/devices/v1/deployments/download/artifact/none";
    let sign = |life| rota_server::links::sign(&keys.links, "GET", path, "default", life).0;
    get(&sign(60_000), &[]).expect(404);
    get(&sign(-60_000), &[]).expect(403);
}

/// Of a release's artifacts the one that fits best is chosen.
fn depends(admin: &Client, id: &str, device: &Client) {
    let plan = |depends: &'static [(&'static str, &'static str)]| Plan {
        name: "choice",
        depends,
        ..Default::default()
    };
    let plain = admin.upload(&make(&plan(&[]))).expect(201).id();
    let picky = admin.upload(&make(&plan(&[("rootfs-image.checksum", "aa")]))).expect(201).id();
    let ask = |checksum: Option<&str>| {
        let deployment = admin.deploy("choose", "choice", &[id]);
        let mut provides = json!({ "device_type": "devA", "artifact_name": "rel-1" });
        if let Some(checksum) = checksum {
            provides["rootfs-image.checksum"] = checksum.into();
        }
        let path = "/api/devices/v2/deployments/device/deployments/next";
        let told = device.post(path, json!({ "device_provides": provides })).expect(200).json();
        abort(admin, &deployment);
        text(&told["artifact"]["id"])
    };
    assert_eq!(ask(Some("aa")), picky);
    assert_eq!(ask(Some("bb")), plain);
    assert_eq!(ask(None), plain);
    admin.delete(&format!("/api/management/v1/deployments/artifacts/{plain}"), ()).expect(204);
    let deployment = admin.deploy("none fits", "choice", &[id]);
    next(device, "devA", "rel-1").expect(204);
    let why = format!("/api/management/v1/deployments/deployments/{deployment}/devices/{id}/why");
    let reason = text(&admin.get(&why).json()["reason"]);
    assert!(reason.contains("needs rootfs-image.checksum to be aa, the device has none"), "{reason}");
}

fn statuses(admin: &Client, id: &str, device: &Client) {
    let deployment = admin.deploy("statuses", "rel-2", &[id]);
    let status = |of: &str, body: Value| device.put(&format!("{V1}/{of}/status"), body);
    next(device, "devA", "rel-1").expect(200);
    for one in
        ["downloading", "downloading", "installing", "rebooting", "installing", "pause_before_committing"]
    {
        report(device, &deployment, one).expect(204);
    }
    let body = json!({ "status": "installing", "substate": "Executing script: ArtifactInstall_Enter_00" });
    status(&deployment, body).expect(204);
    status(&deployment, json!({ "status": "odd" })).expect(400);
    status(&deployment, json!({ "status": "aborted" })).expect(400);
    status(&deployment, json!({ "status": "installing", "substate": "x".repeat(201) })).expect(400);
    status("none", json!({ "status": "installing" })).expect(404);
    let log = |of: &str, body: Value| device.put(&format!("{V1}/{of}/log"), body);
    let message = |text: &str| json!({ "timestamp": "t", "level": "error", "message": text });
    report(device, &deployment, "failure").expect(204);
    log(&deployment, json!({ "messages": [] })).expect(400);
    log(&deployment, json!({ "messages": [{ "level": "error" }] })).expect(400);
    log("none", json!({ "messages": [message("x")] })).expect(404);
    log(&deployment, json!({ "messages": [message(&"x".repeat(1 << 20))] })).expect(413);
    log(&deployment, json!({ "messages": [message("disk on fire")] })).expect(204);
    let path = format!("/api/management/v1/deployments/deployments/{deployment}/devices/list");
    // The script's progress is no reason; the log's last error is.
    assert_eq!(admin.get(&path).json()[0]["reason"], "disk on fire");
    // A late report still counts.
    report(device, &deployment, "success").expect(204);
    assert_eq!(admin.get(&path).json()[0]["status"], "success");
    let deployment = admin.deploy("aborted", "rel-2", &[id]);
    next(device, "devA", "rel-1").expect(200);
    abort(admin, &deployment);
    report(device, &deployment, "installing").expect(409);
}

fn inventory(device: &Client) {
    let path = "/api/devices/v1/inventory/device/attributes";
    device.put(path, json!([{ "name": "a", "value": "1" }, { "name": "b", "value": [1, "x"] }])).expect(200);
    device.patch(path, json!([{ "name": "a", "value": 2 }])).expect(200);
    for bad in [
        json!({}),
        json!([{ "name": "", "value": "x" }]),
        json!([{ "name": "x", "value": { "deep": 1 } }]),
        json!((0..101).map(|number| json!({ "name": number.to_string(), "value": "x" })).collect::<Vec<_>>()),
    ] {
        device.put(path, bad).expect(400);
    }
    let most: Vec<_> = (0..99).map(|number| json!({ "name": number.to_string(), "value": "x" })).collect();
    device.patch(path, json!(most)).expect(400);
}

fn configuration(server: &Server, admin: &Client, id: &str, device: &Client) {
    let path = "/api/devices/v1/deviceconfig/configuration";
    let managed = format!("/api/management/v1/deviceconfig/configurations/device/{id}");
    assert_eq!(device.get(path).expect(200).json(), json!({}));
    admin.put(&managed, json!({ "timezone": "UTC" })).expect(204);
    assert_eq!(device.get(path).expect(200).json(), json!({ "timezone": "UTC" }));
    device.put(path, json!({ "timezone": "CET" })).expect(204);
    device.put(path, json!({ "timezone": { "deep": 1 } })).expect(400);
    assert_eq!(admin.get(&managed).json()["reported"], json!({ "timezone": "CET" }));
    let deployment = text(&admin.post(&format!("{managed}/deploy"), ()).expect(200).json()["deployment_id"]);
    let told = next(device, "dev A/1", "rel-1").expect(200).json();
    assert_eq!(told["id"], deployment.as_str());
    let uri = text(&told["artifact"]["source"]["uri"]);
    let get = |uri: &str, range: Option<&str>| {
        let headers: Vec<_> = range.map(|range| ("Range", range.to_owned())).into_iter().collect();
        server.send("GET", uri, &headers, Body::None)
    };
    let artifact = get(&uri, None).expect(200);
    assert!(artifact.header("content-disposition").contains("artifact.mender"));
    let (name, detail) = rota_server::parse::artifact(artifact.bytes.as_slice()).unwrap();
    assert_eq!(told["artifact"]["artifact_name"], name.as_str());
    assert_eq!(detail.updates[0].type_info.kind.as_deref(), Some("mender-configure"));
    assert_eq!(detail.updates[0].meta_data, json!({ "timezone": "UTC" }));
    assert_eq!(detail.device_types_compatible, ["dev A/1"]);
    assert_eq!(get(&uri, Some("bytes=7-")).expect(206).bytes, &artifact.bytes[7..]);
    get(&uri, Some("bytes=9999999-")).expect(416);
    get(&uri.replace("signature=", "signature=A"), None).expect(403);
    let other = "/api/devices/v1/deployments/download/configuration/none/devA/none";
    get(&rota_server::links::sign(&server.keys().links, "GET", other, "default", 60_000).0, None).expect(404);
    report(device, &deployment, "success").expect(204);
}
