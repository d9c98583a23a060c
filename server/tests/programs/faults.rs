//! What a server that is killed, or whose disk is full, has promised.
use crate::common::artifacts::{make, noise, Plan};
use crate::common::device::{next, report, Device};
use crate::common::{run, wait_for, Body, Client, Server};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

const MOMENTS: u64 = 50;
const ARTIFACTS: &str = "/api/management/v1/deployments/artifacts";

/// A status that was acknowledged, and one that was sent and not answered.
type Status = (String, Option<String>);

/// What the server acknowledged, by all threads.
#[derive(Default)]
struct Acknowledged {
    /// Id to the bytes.
    artifacts: Mutex<BTreeMap<String, Vec<u8>>>,
    /// `(deployment, device)` to the last status.
    statuses: Mutex<BTreeMap<(String, String), Status>>,
    /// Device to its last inventory, likewise.
    inventories: Mutex<BTreeMap<String, (u64, Option<u64>)>>,
    count: AtomicU64,
}

/// A request that may be cut by the kill.
fn cut(act: impl FnOnce() -> crate::common::Reply) -> Option<crate::common::Reply> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).ok()
}

#[test]
fn killed_at_fifty_moments_it_loses_nothing_it_acknowledged() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("ROTA_SEED").map_or(seed, |text| text.parse().unwrap());
    println!("ROTA_SEED={seed}");
    // Threads that are cut panic inside of `cut`; that is no news.
    std::panic::set_hook(Box::new(|info| {
        if std::thread::current().name() != Some("load") {
            eprintln!("{info}");
        }
    }));
    let mut server = Server::start();
    let (data, folder) = (server.data.clone(), server.folder.take());
    let admin_token = server.admin().token;
    let devices: Vec<_> = (0..2).map(|number| Device::new(number + 1).join(&server.admin())).collect();
    let devices: Vec<_> = devices.into_iter().map(|(id, client)| (id, client.token)).collect();
    let first = make(&Plan { name: "rel-1", file: ("image", &noise(100_000, 1)), ..Default::default() });
    server.admin().upload(&first).expect(201);
    let acknowledged = Acknowledged::default();
    for moment in 0..MOMENTS {
        let wait = Duration::from_millis(40 + noise(1, seed.wrapping_add(moment))[0] as u64 * 2);
        under_load(&mut server, &acknowledged, (&admin_token, &devices), moment, wait);
        server = Server::serve(&data, &[]);
        verify(&server, &acknowledged, &admin_token);
    }
    server.stop();
    println!("{MOMENTS} kills, {} requests acknowledged", acknowledged.count.load(Ordering::Relaxed));
    let repaired = run(&data, &["check", "--repair"]);
    assert!(repaired.contains("all well"), "{repaired}");
    drop(folder);
}

/// Uploads, polls and reports, until the server is killed in the middle.
fn under_load(
    server: &mut Server,
    acknowledged: &Acknowledged,
    (admin, devices): (&str, &[(String, String)]),
    moment: u64,
    wait: Duration,
) {
    let over = AtomicBool::new(false);
    let pid = server.child.id();
    let (shared, over): (&Server, &AtomicBool) = (server, &over);
    std::thread::scope(|scope| {
        let server = shared;
        load(scope, over, move |round| upload(server, acknowledged, admin, moment * 1000 + round));
        for (id, token) in devices {
            load(scope, over, move |round| {
                work(server, acknowledged, (admin, id, token), moment * 1000 + round)
            });
        }
        std::thread::sleep(wait);
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        assert!(killed.success());
        over.store(true, Ordering::Relaxed);
    });
    server.child.wait().unwrap();
}

/// Does something again and again, in a thread of its own, until it is cut.
fn load<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    over: &'s AtomicBool,
    act: impl Fn(u64) -> Option<()> + Send + 's,
) {
    let run = move || {
        for round in 0.. {
            if over.load(Ordering::Relaxed) || act(round).is_none() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("load".into()).spawn_scoped(scope, run).unwrap();
}

/// `None`: it was cut.
fn upload(server: &Server, acknowledged: &Acknowledged, admin: &str, number: u64) -> Option<()> {
    let content = noise(200_000, number + 7);
    let bytes = make(&Plan { name: &format!("u-{number}"), file: ("image", &content), ..Default::default() });
    let client = server.client(admin);
    let reply = cut(|| client.upload(&bytes))?.expect(201);
    acknowledged.artifacts.lock().unwrap().insert(reply.id(), bytes);
    acknowledged.count.fetch_add(1, Ordering::Relaxed);
    Some(())
}

/// A device sends its inventory and goes through a deployment. `None`: it was cut.
fn work(
    server: &Server,
    acknowledged: &Acknowledged,
    (admin, id, token): (&str, &str, &str),
    number: u64,
) -> Option<()> {
    let (admin, device) = (server.client(admin), server.client(token));
    let inventory = json!([{ "name": "round", "value": number }]);
    acknowledged.inventories.lock().unwrap().entry(id.to_owned()).or_insert((0, None)).1 = Some(number);
    cut(|| device.put("/api/devices/v1/inventory/device/attributes", inventory))?.expect(200);
    acknowledged.inventories.lock().unwrap().insert(id.to_owned(), (number, None));
    let body = json!({ "name": format!("{id} {number}"), "artifact_name": "rel-1", "devices": [id] });
    let made = cut(|| admin.post("/api/management/v1/deployments/deployments", body))?.expect(201).id();
    acknowledged.statuses.lock().unwrap().insert((made, id.to_owned()), ("pending".into(), None));
    // It may be told to go on with an older one first.
    let told = cut(|| next(&device, "devA", "rel-0"))?.expect(200).json();
    let deployment = told["id"].as_str().unwrap().to_owned();
    let key = (deployment.clone(), id.to_owned());
    for status in ["downloading", "installing", "success"] {
        if let Some(known) = acknowledged.statuses.lock().unwrap().get_mut(&key) {
            known.1 = Some(status.into());
        }
        cut(|| report(&device, &deployment, status))?.expect(204);
        if let Some(known) = acknowledged.statuses.lock().unwrap().get_mut(&key) {
            *known = (status.into(), None);
        }
        acknowledged.count.fetch_add(1, Ordering::Relaxed);
    }
    Some(())
}

/// All that was acknowledged is there; of what was not, nothing is half there. What is found is what is known from now on.
fn verify(server: &Server, acknowledged: &Acknowledged, admin: &str) {
    let admin = server.client(admin);
    let listed = admin.get(ARTIFACTS).expect(200).json();
    let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
    let mut known = acknowledged.artifacts.lock().unwrap();
    for id in known.keys() {
        assert!(listed.iter().any(|one| one["id"] == id.as_str()), "artifact {id} is lost");
    }
    for one in &listed {
        let id = one["id"].as_str().unwrap();
        let link = admin.get(&format!("{ARTIFACTS}/{id}/download")).expect(200).json();
        let bytes = server.send("GET", link["uri"].as_str().unwrap(), &[], Body::None).expect(200).bytes;
        assert_eq!(bytes.len() as u64, one["size"].as_u64().unwrap(), "artifact {id} is half there");
        match known.get(id) {
            Some(sent) => assert!(*sent == bytes, "artifact {id} has changed"),
            None => assert!(rota_server::parse::artifact(bytes.as_slice()).is_ok(), "artifact {id} is bad"),
        }
        // Keep the work of the next rounds small.
        if one["name"] != "rel-1" {
            admin.delete(&format!("{ARTIFACTS}/{id}"), ()).expect(204);
            known.remove(id);
        }
    }
    let mut statuses = acknowledged.statuses.lock().unwrap();
    for ((deployment, device), (status, sent)) in statuses.iter_mut() {
        let path = format!("/api/management/v1/deployments/deployments/{deployment}/devices/list");
        let is = admin.get(&path).expect(200).json()[0]["status"].as_str().unwrap().to_owned();
        assert!(
            is == *status || Some(&is) == sent.as_ref(),
            "{deployment} {device}: {is} instead of {status} {sent:?}"
        );
        (*status, *sent) = (is, None);
    }
    statuses.retain(|_, (status, _)| status != "success");
    for (device, (number, sent)) in acknowledged.inventories.lock().unwrap().iter_mut() {
        let shown = admin.get(&format!("/api/management/v1/inventory/devices/{device}")).expect(200).json();
        let list = shown["attributes"].as_array().unwrap();
        let round = list.iter().find(|one| one["name"] == "round").and_then(|one| one["value"].as_u64());
        let good =
            round == Some(*number) || round.is_some() && round == *sent || round.is_none() && *number == 0;
        assert!(good, "{device}: {round:?} instead of {number} {sent:?}");
        (*number, *sent) = (round.unwrap_or(0), None);
    }
}

/// A small file system of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> SmallDisk {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(done.unwrap().success(), "a tmpfs can be mounted (this test needs root)");
        SmallDisk(folder)
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let disk = SmallDisk::mount();
    let data = disk.path().join("data");
    run(&data, &["init", "--email", crate::common::EMAIL, "--password", crate::common::PASSWORD]);
    // The log is elsewhere: what is to be seen is what became of the data.
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("log"), data.join("test.log")).unwrap();
    let server = Server::serve(&data, &[]);
    let admin = server.admin();
    let (id, device) = Device::new(1).join(&admin);
    let small = make(&Plan { name: "small", file: ("image", &noise(100_000, 1)), ..Default::default() });
    admin.upload(&small).expect(201);
    let large = make(&Plan { name: "large", file: ("image", &noise(40 << 20, 2)), ..Default::default() });
    let refused = admin.upload(&large).expect(507);
    assert_eq!(refused.json()["error"], "the server's disk is full");
    // What was written of it is gone: there is room for others.
    let middle = make(&Plan { name: "middle", file: ("image", &noise(8 << 20, 3)), ..Default::default() });
    wait_for("the room is free again", || admin.upload(&middle).status == 201);
    // Now there is none at all.
    fill(&data.join("filler"));
    let inventory = |value: &str| {
        let list: Vec<_> =
            (0..90).map(|number| json!({ "name": number.to_string(), "value": value })).collect();
        device.put("/api/devices/v1/inventory/device/attributes", json!(list))
    };
    let began = Instant::now();
    while inventory(&"x".repeat(4000)).status == 200 {
        assert!(began.elapsed() < crate::common::PATIENCE, "the disk does not fill up");
    }
    inventory(&"x".repeat(4000)).expect(507);
    // Reading goes on; polls too.
    admin.get(ARTIFACTS).expect(200);
    next(&device, "devA", "rel-0").expect(204);
    std::fs::remove_file(data.join("filler")).unwrap();
    inventory("room again").expect(200);
    let deployment = admin.deploy("d", "small", &[&id]);
    next(&device, "devA", "rel-0").expect(200);
    report(&device, &deployment, "success").expect(204);
    drop(server);
    let server = Server::serve(&data, &[]);
    let names = names(&server.admin());
    assert_eq!(names, ["middle", "small"]);
    drop(server);
    assert!(run(&data, &["check"]).contains("2 artifacts, all well"));
}

fn names(admin: &Client) -> Vec<String> {
    let list = admin.get(&format!("{ARTIFACTS}/list?sort=name:asc")).expect(200).json();
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}
