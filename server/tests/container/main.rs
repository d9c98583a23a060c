//! The container image: built, started, asked, and updated, where an engine can run.
#[path = "../common/mod.rs"]
mod common;

use common::artifacts::named;
use common::device::Device;
use common::{wait_for, Body, Server, PROGRAM};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;

fn observe(_: &str, _: &str, _: u16) {}

/// A container engine with images and containers named by this run.
struct Engine {
    folder: tempfile::TempDir,
    name: String,
}

impl Engine {
    fn podman(&self, arguments: &[&str]) -> Output {
        self.command("podman", &[&["--runtime", "runc"], arguments].concat())
    }

    /// `server/deploy/compose.yaml` with this run's names and port.
    fn compose(&self, arguments: &[&str]) -> Output {
        let file = self.folder.path().join("compose.yaml");
        let options = ["--podman-run-args=--runtime=runc", "-p", &self.name, "-f", file.to_str().unwrap()];
        self.command("podman-compose", &[&options[..], arguments].concat())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf"));
        let output = command.args(arguments).output();
        output.unwrap_or_else(|error| panic!("{program} is installed (scripts/deps): {error}"))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.podman(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn named(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.podman(&["logs", &self.named("server")]);
            eprintln!("{}{}", String::from_utf8_lossy(&logs.stdout), String::from_utf8_lossy(&logs.stderr));
        }
        self.compose(&["down", "--volumes"]);
        self.podman(&["network", "rm", &format!("{}_default", self.name)]);
        self.podman(&["rm", "--force", &self.named("server")]);
        self.podman(&["volume", "rm", "--force", &self.named("data")]);
        for version in ["1", "2"] {
            self.podman(&["rmi", "--force", &format!("localhost/{}:{version}", self.name)]);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_image_serves_and_is_updated() {
    let engine =
        Engine { folder: tempfile::tempdir().unwrap(), name: format!("rota-test-{}", std::process::id()) };
    let folder = engine.folder.path().to_owned();
    // Limits that a confined machine may not raise.
    let limits = "[containers]\ndefault_ulimits=[\"nofile=10000:10000\",\"nproc=1000:1000\"]\n";
    std::fs::write(folder.join("containers.conf"), limits).unwrap();
    let deploy = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"));
    let gathered =
        Command::new(deploy.join("gather")).arg(PROGRAM).arg(folder.join("root")).status().unwrap();
    assert!(gathered.success());
    let file = deploy.join("Containerfile");
    for version in ["1", "2"] {
        let tag = format!("localhost/{}:{version}", engine.name);
        let label = format!("version={version}");
        let (file, context) = (file.to_str().unwrap(), folder.to_str().unwrap());
        let build = ["build", "--quiet", "--format", "docker", "--build-arg", "ROOT=root", "--label", &label];
        engine.run(&[&build[..], &["--tag", &tag, "--file", file, context]].concat());
    }
    if let Some(why) = cannot_run(&engine) {
        let _ =
            writeln!(std::io::stderr(), "no container can be started here, the image was only built: {why}");
        return;
    }
    let port = free_port();
    start(&engine, "1", port);
    let server = connect(&engine, port);
    let id = checks(&engine, &server);
    let token = server.admin().token;
    drop(server);

    // An update: the new image with the same volume.
    engine.run(&["stop", "--time", "30", &engine.named("server")]);
    engine.run(&["rm", &engine.named("server")]);
    start(&engine, "2", port);
    let server = connect(&engine, port);
    let shown = server.client(&token).get("/api/management/v1/deployments/artifacts").expect(200).json();
    assert_eq!(shown[0]["id"], id.as_str());
    drop(server);
    composed(&engine);
}

/// The commands of the README but the first, with `compose.yaml`: the image is built.
fn composed(engine: &Engine) {
    let port = free_port();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/compose.yaml")).unwrap();
    let (before, build) = text.split_once("    build:").unwrap();
    let (_, after) = build.split_once("    restart:").unwrap();
    let text = format!("{before}    restart:{after}")
        .replace("8443:8443", &format!("127.0.0.1:{port}:8443"))
        .replace("rota-server:latest", &format!("localhost/{}:2", engine.name));
    std::fs::write(engine.folder.path().join("compose.yaml"), text).unwrap();
    let compose = |arguments: &[&str]| {
        let output = engine.compose(arguments);
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "podman-compose {arguments:?}: {}{}", said[0], said[1]);
        said[0].clone()
    };
    let made = compose(&["run", "--rm", "-T", "server", "init", "--host", "updates.example.com"]);
    assert!(made.contains("tls/ca.pem"), "{made}");
    compose(&["up", "-d"]);
    let data = engine.folder.path().join("composed");
    std::fs::create_dir(&data).unwrap();
    let container = format!("{}_server_1:/var/lib/rota-server/tls", engine.name);
    engine.run(&["cp", &container, data.to_str().unwrap()]);
    let agent = common::agent(&data);
    wait_for("the composed server is ready", || {
        agent.get(format!("https://127.0.0.1:{port}/health/ready")).call().is_ok()
    });
}

/// Why a container cannot be started here, if it cannot: the kernel or the machine does not allow it.
fn cannot_run(engine: &Engine) -> Option<String> {
    let image = format!("localhost/{}:1", engine.name);
    let output = engine.podman(&["run", "--rm", "--network", "host", &image, "--version"]);
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn start(engine: &Engine, version: &str, port: u16) {
    let (name, volume) = (engine.named("server"), format!("{}:/var/lib/rota-server", engine.named("data")));
    let listen = format!("ROTA_LISTEN=127.0.0.1:{port}");
    let image = format!("localhost/{}:{version}", engine.name);
    let how = ["run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--network", "host"];
    let what =
        ["--add-host", "hook.test:127.0.0.1", "--env", &listen, "--volume", &volume, "--name", &name, &image];
    engine.run(&[&how[..], &what].concat());
}

/// The server in the container, once it is healthy.
fn connect(engine: &Engine, port: u16) -> Server {
    let name = engine.named("server");
    wait_for("it is healthy", || {
        engine.podman(&["exec", &name, "/bin/rota-server", "healthcheck"]).status.success()
    });
    let data = engine.folder.path().join("copy");
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir_all(&data).unwrap();
    engine.run(&["cp", &format!("{name}:/var/lib/rota-server/tls"), data.to_str().unwrap()]);
    let url = format!("https://127.0.0.1:{port}");
    let agent = common::agent(&data);
    // Something to hold: the container is the engine's.
    let child = Command::new("sleep").arg("0").spawn().unwrap();
    Server { folder: None, data, url, agent, child }
}

fn checks(engine: &Engine, server: &Server) -> String {
    let name = engine.named("server");
    let logs = engine.podman(&["logs", &name]);
    let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
    let (_, rest) =
        logs.split_once("sign in as admin@localhost with password ").unwrap_or_else(|| panic!("{logs}"));
    let token = server.sign_in("admin@localhost", rest.split_whitespace().next().unwrap()).expect(200).text();
    let admin = server.client(&token);
    // As the tests sign in.
    let add =
        ["exec", &name, "/bin/rota-server", "user", "add", common::EMAIL, "--password", common::PASSWORD];
    engine.run(&add);
    let id = admin.upload(&named("rel-1")).expect(201).id();
    let inspect = |format: &str| engine.run(&["inspect", "--format", format, &name]);
    assert_eq!(inspect("{{.Config.User}}"), "10001:10001");
    assert_eq!(inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    let pid = inspect("{{.State.Pid}}");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t10001\t10001"), "{status}");
    let size: u64 = engine
        .run(&["image", "inspect", "--format", "{{.Size}}", &format!("localhost/{}:1", engine.name)])
        .parse()
        .unwrap();
    let _ = writeln!(std::io::stderr(), "image of {} bytes, with a {} program", size, kind());
    if kind() == "release" {
        assert!(size <= 30_000_000, "the image has {size} bytes");
    }
    // A host name is resolved: a webhook arrives.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://hook.test:{}/", listener.local_addr().unwrap().port());
    let (sent, received) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).unwrap();
        sent.send(head).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    let credentials = json!({ "type": "http", "http": { "url": url } });
    let body = json!({ "provider": "webhook", "credentials": credentials });
    admin.post("/api/management/v1/iot-manager/integrations", body).expect(201);
    Device::new(1).ask(server).expect(401);
    assert_eq!(&received.recv_timeout(common::PATIENCE).unwrap(), b"POST");
    server.send("GET", "/health/ready", &[], Body::None).expect(204);
    id
}

fn kind() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}
