use crate::common::artifacts::{fields_only, form, form_with, make, named, noise, Plan};
use crate::common::{run, wait_for, Body, Client, Server};
use serde_json::{json, Value};
use std::io::{Read, Write};

const BASE: &str = "/api/management/v1/deployments/artifacts";

pub fn section() {
    let server = Server::start_with(&[("ROTA_ARTIFACT_LIMIT", "3MiB"), ("ROTA_UPLOADS_AT_ONCE", "2")]);
    let admin = server.admin();
    upload(&admin);
    bad_uploads(&admin);
    lists(&admin);
    describe_and_delete(&admin);
    generate(&admin);
    direct(&server, &admin);
    too_many(&server, &admin);
    let checked = run(&server.data, &["check"]);
    assert!(checked.contains("all well"), "{checked}");
}

fn upload(admin: &Client) {
    let content = noise(1 << 20, 1);
    let plan = Plan {
        name: "big",
        device_types: &["devA", "devB"],
        file: ("image", &content),
        ..Default::default()
    };
    let artifact = make(&plan);
    let reply = admin.upload(&artifact).expect(201);
    assert_eq!(reply.header("location"), format!("{BASE}/{}", reply.id()));
    let shown = admin.get(&format!("{BASE}/{}", reply.id())).expect(200).json();
    assert_eq!(shown["name"], "big");
    assert_eq!(shown["description"], "d");
    assert_eq!(shown["device_types_compatible"], json!(["devA", "devB"]));
    assert_eq!(shown["info"], json!({ "format": "mender", "version": 3 }));
    assert_eq!(shown["signed"], false);
    assert_eq!(shown["size"], artifact.len());
    assert_eq!(shown["updates"][0]["type_info"]["type"], "test");
    let file = &shown["updates"][0]["files"][0];
    assert_eq!((file["name"].as_str(), file["size"].as_u64()), (Some("image"), Some(1 << 20)));
    assert_eq!(file["checksum"].as_str().unwrap().len(), 64);
    assert_eq!(shown["artifact_provides"]["artifact_name"], "big");
    assert_eq!(shown["artifact_depends"]["device_type"], json!(["devA", "devB"]));
    assert_eq!(shown["clears_artifact_provides"], json!(["rootfs-image.test.*"]));
    assert!(shown["modified"].is_string());
    let link = admin.get(&format!("{BASE}/{}/download", reply.id())).expect(200).json();
    assert!(link["expire"].is_string());
    let download = admin.server.send("GET", link["uri"].as_str().unwrap(), &[], Body::None).expect(200);
    assert_eq!(download.bytes, artifact);
    admin.get(&format!("{BASE}/none")).expect(404);
    admin.get(&format!("{BASE}/none/download")).expect(404);
    let used = admin.get("/api/management/v1/deployments/limits/storage").expect(200).json();
    assert_eq!(used, json!({ "limit": 0, "usage": artifact.len() }));
}

fn bad_uploads(admin: &Client) {
    let before = admin.get(BASE).json();
    let clash =
        admin.upload(&make(&Plan { name: "big", device_types: &["devB", "devC"], ..Default::default() }));
    let clash = clash.expect(409).json();
    assert_eq!(clash["metadata"]["conflicts"][0]["device_type"], "devB");
    assert!(clash["request_id"].is_string());
    let good = named("bad");
    let mut changed = good.clone();
    let at = changed.windows(6).rposition(|part| part == b"hello\n").unwrap();
    changed[at] = b'j';
    for (what, bytes) in [
        ("cut", &good[..good.len() / 2]),
        ("changed", &changed[..]),
        ("empty", b""),
        ("noise", &noise(4096, 3)[..]),
        ("junk at its end", &[&good[..], &noise(512, 4)].concat()),
    ] {
        let reply = admin.upload(bytes).expect(400);
        assert!(reply.json()["error"].as_str().unwrap().len() > 20, "{what}");
    }
    let large = make(&Plan { name: "large", file: ("image", &noise(4 << 20, 2)), ..Default::default() });
    admin.upload(&large).expect(413);
    // The same without saying its size before.
    let (kind, body) = form(&[], &large);
    admin.post(BASE, Body::Typed(&kind, body)).expect(413);
    admin.post(BASE, json!({})).expect(400);
    let (kind, body) = form_with("other", &[], b"x");
    admin.post(BASE, Body::Typed(&kind, body)).expect(400);
    // What comes before the file has a limit of its own: a name without an end, and fields without an end.
    let endless = [("n".repeat(2 << 20), 1), ("other".to_owned(), 20_000)];
    for (name, count) in &endless {
        let (kind, body) = form(&vec![(name.as_str(), &b"x"[..]); *count], &good);
        admin.post(BASE, Body::Typed(&kind, body)).expect(413);
    }
    assert_eq!(admin.get(BASE).json(), before);
}

fn lists(admin: &Client) {
    for name in ["r-1", "r-2", "other"] {
        admin.upload(&named(name)).expect(201);
    }
    let names = |path: &str| -> Vec<String> {
        let list = admin.get(path).expect(200).json();
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(BASE).len(), 4);
    let list = format!("{BASE}/list");
    assert_eq!(names(&format!("{list}?sort=name:asc")), ["big", "other", "r-1", "r-2"]);
    assert_eq!(names(&format!("{list}?name=r-*&sort=name:desc")), ["r-2", "r-1"]);
    assert_eq!(names(&format!("{list}?device_type=devB")), ["big"]);
    assert_eq!(names(&format!("{list}?description=nothing")).len(), 0);
    let page = admin.get(&format!("{list}?per_page=3&page=2&sort=name")).expect(200);
    assert_eq!((page.header("x-total-count"), page.json().as_array().unwrap().len()), ("4", 1));
    admin.get(&format!("{list}?sort=size")).expect(400);
    let v2 = "/api/management/v2/deployments/artifacts";
    assert_eq!(names(&format!("{v2}?name=r-1&name=other&sort=name:asc")), ["other", "r-1"]);
    admin.get(&format!("{v2}?page=x")).expect(400);
}

fn describe_and_delete(admin: &Client) {
    let id = admin.upload(&named("deleted")).expect(201).id();
    let path = format!("{BASE}/{id}");
    admin.put(&path, json!({ "description": "new" })).expect(204);
    admin.put(&path, json!({ "description": 1 })).expect(400);
    admin.put(&format!("{BASE}/none"), json!({ "description": "new" })).expect(404);
    assert_eq!(admin.get(&path).json()["description"], "new");
    let (device, _) = crate::common::device::Device::new(1).join(admin);
    let deployment = admin.deploy("uses it", "deleted", &[&device]);
    let refused = admin.delete(&path, ()).expect(409).json();
    assert!(refused["error"].as_str().unwrap().contains(&deployment), "{refused}");
    let status = format!("/api/management/v1/deployments/deployments/{deployment}/status");
    admin.put(&status, json!({ "status": "aborted" })).expect(204);
    admin.delete(&path, ()).expect(204);
    admin.delete(&path, ()).expect(404);
}

fn generate(admin: &Client) {
    let path = format!("{BASE}/generate");
    let args = json!({ "filename": "motd", "dest_dir": "/etc", "software_filesystem": "data", "software_name": "motd" });
    let send = |name: &str, args: &Value, content: &[u8]| {
        let args = args.to_string();
        let fields = [
            ("name", name.as_bytes()),
            ("description", b"made"),
            ("device_types_compatible", b"devA, devB"),
            ("type", b"single_file"),
            ("args", args.as_bytes()),
        ];
        let (kind, body) = form_with("file", &fields, content);
        admin.post(&path, Body::Typed(&kind, body))
    };
    let id = send("gen-1", &args, b"welcome\n").expect(201).id();
    let shown = admin.get(&format!("{BASE}/{id}")).expect(200).json();
    assert_eq!(shown["updates"][0]["type_info"]["type"], "single-file");
    assert_eq!(shown["updates"][0]["files"].as_array().unwrap().len(), 4);
    assert_eq!(shown["artifact_provides"]["data.motd.version"], "gen-1");
    assert_eq!(shown["clears_artifact_provides"], json!(["data.motd.*"]));
    assert_eq!(shown["device_types_compatible"], json!(["devA", "devB"]));
    send("gen-1", &args, b"again").expect(409);
    send("gen-2", &json!({ "filename": "../x", "dest_dir": "/etc" }), b"x").expect(400);
    send("gen-2", &json!({ "filename": "x", "dest_dir": "etc" }), b"x").expect(400);
    send("gen 2", &args, b"x").expect(400);
    send("gen-2", &json!({}), b"x").expect(400);
    send("gen-2", &args, &noise(4 << 20, 5)).expect(413);
}

fn direct(server: &Server, admin: &Client) {
    let ask = || admin.post(&format!("{BASE}/directupload"), ()).expect(200).json();
    let link = ask();
    let (id, uri) = (link["id"].as_str().unwrap(), link["uri"].as_str().unwrap());
    let send = |uri: &str, bytes: &[u8]| server.send("PUT", uri, &[], Body::Bytes(bytes));
    let complete = format!("{BASE}/directupload/{id}/complete");
    admin.post(&complete, ()).expect(404);
    send(uri, b"nothing").expect(400);
    send(&uri.replace("signature=", "signature=A"), b"").expect(403);
    send(uri, &make(&Plan { name: "large", file: ("image", &noise(4 << 20, 2)), ..Default::default() }))
        .expect(413);
    // While one sends, nobody else does; once it went away, the link is free again.
    let path = &uri[server.url.len()..];
    let first = stall(server, &format!("PUT {path}"), "");
    send(uri, &named("direct")).expect(409);
    drop(first);
    wait_for("the link is free", || send(uri, &named("direct")).status == 200);
    send(uri, &named("direct")).expect(409);
    admin.get(&format!("{BASE}/{id}")).expect(404);
    admin.post(&complete, ()).expect(202);
    assert_eq!(admin.get(&format!("{BASE}/{id}")).expect(200).json()["name"], "direct");
    let again = ask();
    send(again["uri"].as_str().unwrap(), &named("direct")).expect(200);
    admin.post(&format!("{BASE}/directupload/{}/complete", again["id"].as_str().unwrap()), ()).expect(409);
}

/// Two uploads that do not go on: a third of any kind must wait.
fn too_many(server: &Server, admin: &Client) {
    let link = admin.post(&format!("{BASE}/directupload"), ()).expect(200).json();
    let (kind, _) = form(&[], b"");
    let stalled: Vec<_> = (0..2).map(|_| stall_form(server, admin, &kind)).collect();
    let (kind, body) = form(&[], &named("waits"));
    let refused = admin.post(BASE, Body::Typed(&kind, body.clone())).expect(429);
    assert_eq!(refused.header("retry-after"), "10");
    let (kind_of_file, file) = form_with("file", &[], b"x");
    admin.post(&format!("{BASE}/generate"), Body::Typed(&kind_of_file, file)).expect(429);
    server.send("PUT", link["uri"].as_str().unwrap(), &[], Body::Bytes(b"x")).expect(429);
    drop(stalled);
    // The clients went away: their places are free again.
    wait_for("an upload is taken", || admin.post(BASE, Body::Typed(&kind, body.clone())).status == 201);
}

/// Sends the beginning of a form.
fn stall_form(server: &Server, admin: &Client, kind: &str) -> impl Sized {
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: {kind}\r\n", admin.token);
    let mut stream = stall(server, &format!("POST {BASE}"), &headers);
    stream.write_all(&fields_only(&[("description", b"stalls")])).unwrap();
    stream.flush().unwrap();
    stream
}

/// Begins an upload, until the server has taken it up and asks for its body.
fn stall(server: &Server, request: &str, headers: &str) -> impl Write {
    let mut stream = crate::common::device::tls(server);
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer.as_slice(), b"HTTP/1.1 100");
    stream
}
