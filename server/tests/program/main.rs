//! The program as a person runs it: commands, configuration, start and stop.
#[path = "../common/mod.rs"]
mod common;

use common::artifacts::{form, named, noise};
use common::device::{next, report, tls, Device};
use common::{run, signal, wait_for, Body, Server, EMAIL, PASSWORD, PROGRAM};
use serde_json::json;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

fn observe(_: &str, _: &str, _: u16) {}

fn try_run(data: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).arg("--data").arg(data).output().unwrap()
}

fn openssl(data: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(data.join("tls")).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn init_makes_what_is_missing_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d");
    let first = run(&data, &["init", "--host", "server.lan", "--host", "10.0.0.7"]);
    let password = first.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
    assert!(
        password.len() >= 16 && first.contains("admin@localhost") && first.contains("tls/ca.pem"),
        "{first}"
    );
    let certificate = openssl(&data, &["x509", "-in", "server.pem", "-noout", "-text"]);
    for name in [
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "IP Address:0:0:0:0:0:0:0:1",
        "DNS:server.lan",
        "IP Address:10.0.0.7",
    ] {
        assert!(certificate.contains(name), "{name} is not in {certificate}");
    }
    // Devices whose clock is late by a day accept it.
    let yesterday = (chrono::Utc::now() - chrono::Duration::hours(23)).timestamp().to_string();
    let verified = openssl(&data, &["verify", "-attime", &yesterday, "-CAfile", "ca.pem", "server.pem"]);
    assert_eq!(verified.trim(), "server.pem: OK");
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let files = ["secret", "tls/ca.pem", "tls/ca-key.pem", "tls/server.pem", "tls/server-key.pem"];
    let before = files.map(read);
    let second = run(&data, &["init"]);
    assert!(second.contains("as before") && !second.contains("password"), "{second}");
    assert_eq!(files.map(read), before);
    run(&data, &["init", "--host", "new.lan"]);
    let after = files.map(read);
    assert_eq!((&after[..3], after[3] != before[3]), (&before[..3], true));
    assert!(openssl(&data, &["x509", "-in", "server.pem", "-noout", "-text"]).contains("DNS:server.lan"));
    let server = Server::serve(&data, &[]);
    server.sign_in("admin@localhost", &password).expect(200);
}

#[test]
fn serve_alone_makes_everything_and_keeps_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d");
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let sign_in = lines.next().unwrap().unwrap();
    assert!(sign_in.contains("sign in as admin@localhost with password "), "{sign_in}");
    assert!(lines.next().unwrap().unwrap().contains("listening on https://127.0.0.1:"));
    let second = try_run(&data, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another rota-server is at work"));
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn configuration_comes_from_file_environment_and_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d");
    let file = folder.path().join("rota.toml");
    let serve = |more: &[&str]| {
        let file = file.to_str().unwrap();
        let mut arguments = vec!["serve", "--config", file];
        arguments.extend(more);
        String::from_utf8(try_run(&data, &arguments).stderr).unwrap()
    };
    std::fs::write(&file, "listne = \"x\"\n").unwrap();
    assert!(serve(&[]).contains("no such key listne; did you mean listen?"));
    std::fs::write(&file, "device_token_life = \"soon\"\n").unwrap();
    assert!(serve(&[]).contains("device_token_life: expected seconds"));
    std::fs::write(&file, "listen = \"256.0.0.1:1\"\n").unwrap();
    assert!(serve(&[]).contains("cannot listen on 256.0.0.1:1"));
    let (cert, key) = (folder.path().join("none.pem"), folder.path().join("none-key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let answer = serve(&["--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key]);
    assert!(answer.contains("cannot use the certificate"), "{answer}");
}

#[test]
fn a_certificate_of_ones_own_and_a_proxy_in_front() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    run(&other, &["init"]);
    let file = |name: &str| other.join("tls").join(name).to_str().unwrap().to_owned();
    let data = folder.path().join("d");
    run(&data, &["init", "--email", EMAIL, "--password", PASSWORD]);
    let environment = [("ROTA_TLS_CERT", &file("server.pem")[..]), ("ROTA_TLS_KEY", &file("server-key.pem"))];
    let server = Server::serve(&data, &environment);
    let agent = common::agent(&other);
    let reply = agent.get(format!("{}/health/live", server.url)).call().unwrap();
    assert!(reply.headers().contains_key("strict-transport-security"));
    drop(server);

    let server = Server::serve(&data, &[("ROTA_PLAIN_HTTP", "true"), ("ROTA_LOG_FORMAT", "json")]);
    assert!(server.url.starts_with("http://"));
    let admin = server.admin();
    let id = admin.upload(&named("r")).expect(201).id();
    let path = format!("/api/management/v1/deployments/artifacts/{id}/download");
    let headers = [
        admin.headers()[0].clone(),
        ("X-Forwarded-Proto", "https".to_owned()),
        ("X-Forwarded-Host", "updates.example.com".to_owned()),
    ];
    let link = server.send("GET", &path, &headers, Body::None).expect(200).json();
    assert!(link["uri"].as_str().unwrap().starts_with("https://updates.example.com/api/devices/"), "{link}");
    let log = std::fs::read_to_string(data.join("test.log")).unwrap();
    let line = log.lines().find(|line| line.contains("artifact uploaded")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(line["span"]["id"].is_string(), "{line}");
    drop(server);
    let server = Server::serve(&data, &[("ROTA_PUBLIC_URL", "https://public.example.com/")]);
    let link = server.admin().get(&path).expect(200).json();
    assert!(link["uri"].as_str().unwrap().starts_with("https://public.example.com/api/devices/"), "{link}");
}

#[test]
fn users_and_tenants_from_the_command_line() {
    let server = Server::start();
    let data = &server.data;
    let added = run(data, &["user", "add", "Ann@example.com"]);
    let password = added.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
    server.sign_in("ann@example.com", password).expect(200);
    assert!(!try_run(data, &["user", "add", "ann@example.com"]).status.success());
    assert!(!try_run(data, &["user", "add", "nobody"]).status.success());
    assert!(!try_run(data, &["user", "add", "bob@example.com", "--password", "short"]).status.success());
    assert!(!try_run(data, &["user", "add", "bob@example.com", "--tenant", "none"]).status.success());
    assert_eq!(run(data, &["user", "list"]).lines().count(), 2);
    run(data, &["user", "password", "ann@example.com", "--password", "another word"]);
    server.sign_in("ann@example.com", password).expect(401);
    server.sign_in("ann@example.com", "another word").expect(200);
    run(data, &["user", "remove", "ann@example.com"]);
    server.sign_in("ann@example.com", "another word").expect(401);
    assert!(!try_run(data, &["user", "remove", "ann@example.com"]).status.success());
    run(data, &["tenant", "add", "second"]);
    assert!(!try_run(data, &["tenant", "add", "second"]).status.success());
    assert!(!try_run(data, &["tenant", "add", "../x"]).status.success());
    assert_eq!(run(data, &["tenant", "list"]), "default\nsecond\n");
}

#[test]
fn a_backup_of_a_running_server_is_all_there_is() {
    let mut server = Server::start();
    let admin = server.admin();
    let artifact = common::artifacts::make(&common::artifacts::Plan {
        file: ("image", &noise(1 << 20, 1)),
        ..Default::default()
    });
    let id = admin.upload(&artifact).expect(201).id();
    let device = Device::new(1);
    let (device_id, client) = device.join(&admin);
    let deployment = admin.deploy("d", "rel-1", &[&device_id]);
    let (token, device_token) = (admin.token.clone(), client.token.clone());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.tar");
    let file_name = file.to_str().unwrap();
    assert!(run(&server.data, &["backup", file_name]).contains("1 artifacts"));
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions()) & 0o777,
        0o600
    );
    let refused = try_run(&server.data, &["restore", file_name]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("holds data already"));
    server.stop();

    let data = folder.path().join("restored");
    assert!(run(&data, &["restore", file_name]).contains("1 artifacts, all well"));
    let server = Server::serve(&data, &[]);
    // Tokens, CA, releases and devices are as they were.
    let admin = server.client(&token);
    let link =
        admin.get(&format!("/api/management/v1/deployments/artifacts/{id}/download")).expect(200).json();
    assert_eq!(
        server.send("GET", link["uri"].as_str().unwrap(), &[], Body::None).expect(200).bytes,
        artifact
    );
    let client = server.client(&device_token);
    assert_eq!(next(&client, "devA", "rel-0").expect(200).json()["id"], deployment.as_str());

    std::fs::write(folder.path().join("no-backup"), noise(4096, 1)).unwrap();
    for (name, bytes) in
        [("noise", noise(4096, 1)), ("cut", std::fs::read(&file).unwrap()[..200_000].to_vec())]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let into = folder.path().join(format!("into-{name}"));
        assert!(!try_run(&into, &["restore", path.to_str().unwrap()]).status.success(), "{name}");
        // Nothing half restored is left: the good one goes into the same folder.
        assert!(run(&into, &["restore", file_name]).contains("1 artifacts, all well"), "{name}");
    }
    std::fs::remove_file(data.join("rota.db")).unwrap();
    let refused = try_run(&data, &["restore", file_name]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("holds data already"));
}

#[test]
fn a_folder_without_data_is_not_taken_for_an_empty_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mistyped");
    let file = folder.path().join("backup.tar");
    for arguments in [
        &["check"][..],
        &["check", "--repair"],
        &["user", "list"],
        &["tenant", "list"],
        &["backup", file.to_str().unwrap()],
    ] {
        let refused = try_run(&data, arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("holds no data"), "{arguments:?}: {said}");
        assert!(!data.exists() && !file.exists(), "{arguments:?}");
    }
}

#[test]
fn check_finds_what_does_not_fit() {
    let mut server = Server::start();
    let ids: Vec<_> =
        (0..3).map(|number| server.admin().upload(&named(&format!("r-{number}"))).expect(201).id()).collect();
    assert!(run(&server.data, &["check"]).contains("3 artifacts, all well"));
    let refused = try_run(&server.data, &["check", "--repair"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another rota-server is at work"));
    server.stop();
    let blobs = server.data.join("blobs/artifacts/default");
    std::fs::remove_file(blobs.join(&ids[0])).unwrap();
    std::fs::write(blobs.join(&ids[1]), "short").unwrap();
    let mut bytes = std::fs::read(blobs.join(&ids[2])).unwrap();
    bytes[1500] ^= 1;
    std::fs::write(blobs.join(&ids[2]), bytes).unwrap();
    std::fs::write(blobs.join("4e1c63a6-0000-4000-8000-000000000000"), "nobody's").unwrap();
    let output = try_run(&server.data, &["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    for (id, fault) in [(&ids[0], "is missing"), (&ids[1], "has 5 bytes instead of"), (&ids[2], "has sha256")]
    {
        assert!(text.lines().any(|line| line.contains(id.as_str()) && line.contains(fault)), "{text}");
    }
    assert!(text.contains("belongs to nothing"), "{text}");
    let repaired = try_run(&server.data, &["check", "--repair"]);
    assert!(String::from_utf8_lossy(&repaired.stdout).contains("removed the file 4e1c63a6"));
    assert!(
        !String::from_utf8_lossy(&try_run(&server.data, &["check"]).stdout).contains("belongs to nothing")
    );
}

#[test]
fn health_metrics_and_the_description() {
    let mut server = Server::start();
    let (listen, data) = (server.url.trim_start_matches("https://").to_owned(), server.data.clone());
    let health = |listen: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("healthcheck").arg("--data").arg(&data).env("ROTA_LISTEN", listen);
        command.output().unwrap().status.success()
    };
    assert!(health(&listen));
    server.send("GET", "/health/live", &[], Body::None).expect(204);
    server.send("GET", "/health/ready", &[], Body::None).expect(204);
    let admin = server.admin();
    Device::new(1).join(&admin);
    let metrics = server.send("GET", "/metrics", &[], Body::None).expect(200).text();
    for line in [
        "rota_devices{tenant=\"default\",status=\"accepted\"} 1",
        "rota_requests_total{method=\"POST\",route=\"/api/management/v1/useradm/auth/login\",status=\"200\"} 1",
        "rota_request_seconds_count{api=\"device\"} 2",
        "# TYPE rota_request_seconds histogram",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let forwarded = [("X-Forwarded-For", "1.2.3.4".to_owned())];
    server.send("GET", "/metrics", &forwarded, Body::None).expect(401);
    let described = run(&server.data, &["openapi"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&described).unwrap()["openapi"], "3.1.0");
    server.stop();
    assert!(!health(&listen));
    let server = Server::serve(&server.data, &[("ROTA_METRICS_TOKEN", "let me see")]);
    server.send("GET", "/metrics", &[], Body::None).expect(401);
    let token = [("Authorization", "Bearer let me see".to_owned())];
    server.send("GET", "/metrics", &token, Body::None).expect(200);
}

#[test]
fn a_stop_lets_requests_in_flight_finish() {
    let mut server = Server::start();
    let admin = server.admin();
    let (kind, body) = form(&[], &named("slow"));
    let mut stream = tls(&server);
    let head = format!(
        "POST /api/management/v1/deployments/artifacts HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        admin.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..body.len() / 2]).unwrap();
    stream.flush().unwrap();
    let log = || std::fs::read_to_string(server.data.join("test.log")).unwrap();
    // The upload is under way once its file is.
    let spooled =
        || std::fs::read_dir(server.data.join("blobs/artifacts/default")).is_ok_and(|list| list.count() > 0);
    wait_for("the upload began", || spooled() || log().contains("artifacts"));
    std::thread::sleep(Duration::from_millis(200));
    signal(&server.child, "TERM");
    wait_for("it stops", || log().contains("stopping"));
    stream.write_all(&body[body.len() / 2..]).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    drop(stream);
    wait_for("it has stopped", || server.child.try_wait().unwrap().is_some());
    let server = Server::serve(&server.data, &[]);
    let list = server.admin().get("/api/management/v1/deployments/artifacts").expect(200).json();
    assert_eq!(list[0]["name"], "slow");
}

#[test]
fn a_check_in_is_written_down_at_a_stop() {
    let mut server = Server::start();
    let admin = server.admin();
    let device = Device::new(1);
    let (id, client) = device.join(&admin);
    admin.upload(&named("rel-1")).expect(201);
    let deployment = admin.deploy("d", "rel-1", &[&id]);
    next(&client, "devA", "rel-0").expect(200);
    report(&client, &deployment, "success").expect(204);
    server.stop();
    let server = Server::serve(&server.data, &[]);
    let admin = server.admin();
    assert!(device.find(&admin)["check_in_time"].is_string());
    let path = format!("/api/management/v1/deployments/deployments/{deployment}/statistics");
    assert_eq!(admin.get(&path).json()["success"], json!(1));
}
