//! Ways to the server: proxies, certificates of the client, several servers, and the place of a Mender client.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rota::slot::Slot;
use rota::update::Exit;
use support::artifact::{image, Artifact};
use support::machine::Machine;
use support::server::{certificates, Event, Reply, Server};

/// An HTTP proxy that opens tunnels, and remembers what it was asked.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that answers like this; 200 opens the tunnel.
    fn start(code: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://user:secret@{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ours = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = ours.clone();
                std::thread::spawn(move || tunnel(stream, code, &asked));
            }
        });
        Proxy { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn tunnel(mut client: TcpStream, code: u16, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    asked.lock().unwrap().push(head.clone());
    write!(client, "HTTP/1.1 {code} Whatever\r\n\r\n")?;
    if code != 200 {
        return Ok(());
    }
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let server = TcpStream::connect(target.replace("localhost", "127.0.0.1"))?;
    let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut up, &mut down);
        down.shutdown(std::net::Shutdown::Write)
    });
    let mut server = server;
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

/// A whole update.
fn updates(server: &Server, machine: &Machine) {
    server.deploy("rel-2", Artifact::new("rel-2", &image(4, 200_000)).bytes());
    assert_eq!(machine.run_to_report(server), Exit::Restarting);
    assert_eq!(machine.power_on(), Slot::B);
    machine.run_to_report(server);
    assert_eq!(machine.artifact_name(), "rel-2");
}

#[test]
fn everything_goes_through_the_proxy() {
    let (server, proxy) = (Server::start(), Proxy::start(200));
    let mut machine = Machine::new(&server);
    machine.config.proxy = Some(proxy.address.clone());
    updates(&server, &machine);
    let asked = proxy.asked();
    let tunnel = format!("CONNECT {} HTTP/1.1\r\n", server.url.trim_start_matches("https://"));
    assert!(asked.iter().all(|head| head.starts_with(&tunnel)), "{asked:?}");
    assert!(asked[0].to_lowercase().contains("proxy-authorization: basic dxnlcjpzzwnyzxq="), "{asked:?}");
}

#[test]
fn a_proxy_that_refuses_or_is_silent_is_named() {
    for (code, why) in [(407, "407"), (502, "502")] {
        let (server, proxy) = (Server::start(), Proxy::start(code));
        let mut machine = Machine::new(&server);
        machine.config.proxy = Some(proxy.address.clone());
        machine.run(&server, |_| machine.journal().connection_fault.is_some());
        let fault = machine.journal().connection_fault.unwrap();
        assert!(fault.contains("proxy") && fault.contains(why), "{fault}");
        assert_eq!(server.events(), []);
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_one() {
    let made = certificates(true);
    let client = made.client.clone();
    let server = Server::with(made);
    let mut machine = Machine::new(&server);
    machine.run(&server, |_| machine.journal().connection_fault.is_some());
    let fault = machine.journal().connection_fault.unwrap();
    assert!(fault.contains("wants a certificate of this device"), "{fault}");
    assert_eq!(server.events(), []);

    let (certificate, key) = (machine.folder.join("client.crt"), machine.folder.join("client.key"));
    fs::write(&certificate, client.0).unwrap();
    fs::write(&key, client.1).unwrap();
    (machine.config.client_certificate, machine.config.client_key) = (Some(certificate), Some(key));
    updates(&server, &machine);
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_named() {
    let server = Server::start();
    let mut machine = Machine::new(&server);
    let nowhere = Some(machine.folder.join("nowhere.crt"));
    (machine.config.client_certificate, machine.config.client_key) = (nowhere.clone(), nowhere);
    machine.run(&server, |_| machine.journal().connection_fault.is_some());
    assert!(machine.journal().connection_fault.unwrap().contains("nowhere.crt"));
}

fn count(server: &Server, of: fn(&Event) -> bool) -> usize {
    server.events().iter().filter(|event| of(event)).count()
}

fn authorised(event: &Event) -> bool {
    matches!(event, Event::Authorised | Event::Refused)
}

fn polled(event: &Event) -> bool {
    matches!(event, Event::Polled(_))
}

/// Servers are asked in their order, for as long as none admits the device; the one that did is kept.
#[test]
fn the_next_server_is_asked_when_one_fails_and_the_one_that_admits_is_kept() {
    let (first, second) = (Server::start(), Server::start());
    let mut machine = Machine::new(&first);
    // One CA file for both.
    let both = machine.folder.join("both.pem");
    let read = |server: &Server| fs::read_to_string(&server.ca).unwrap();
    fs::write(&both, read(&first) + &read(&second)).unwrap();
    machine.config.ca = Some(both);
    let nobody =
        TcpListener::bind("127.0.0.1:0").map(|listener| listener.local_addr().unwrap().port()).unwrap();
    machine.config.urls = vec![format!("https://localhost:{nobody}"), first.url.clone(), second.url.clone()];
    machine.config.poll_interval = Duration::from_millis(50);

    // The first does not know the device; the second does, and gets all requests from then on.
    first.refuse(u32::MAX);
    machine.run(&second, |events| events.iter().filter(|event| polled(event)).count() >= 3);
    assert_eq!((count(&first, authorised), count(&first, polled)), (1, 0));
    assert_eq!(count(&second, authorised), 1);

    // The second breaks down; the first has got to know the device.
    first.refuse(0);
    second.trick(|_| Some(Reply { raw: Some(Vec::new()), ..Reply::default() }));
    machine.run(&first, |events| events.iter().any(polled));
    second.no_trick();
    updates(&first, &machine);
}

#[test]
fn a_token_that_is_refused_is_renewed_once_for_each_request() {
    let server = Server::start();
    let mut machine = Machine::new(&server);
    machine.config.poll_interval = Duration::from_secs(600);
    machine.config.inventory_interval = Duration::from_secs(600);
    machine.config.retry_interval = Duration::from_secs(600);
    // Whatever the token: 401. That is told, and tried again later, not at once.
    server.trick(|request| (!request.path.ends_with("/auth_requests")).then(|| Reply::code(401)));
    let since = Instant::now();
    machine.run(&server, |_| since.elapsed() > Duration::from_secs(2));
    // Inventory and poll, each with at most two authorisations.
    assert!(count(&server, authorised) <= 4, "{:#?}", server.events());
}

/// A program that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A device with a Mender client's configuration, key and scripts: the ones of Debian's package, unchanged.
#[test]
fn the_place_of_a_mender_client_is_taken_with_its_key_and_its_scripts() {
    const SCRIPTS: &str = "/usr/share/doc/mender-client/examples";
    let server = Server::start();
    let machine = Machine::new(&server);
    let at = |path: &str| machine.folder.join(path);
    for folder in ["m/etc", "m/share/identity", "m/share/inventory", "m/data"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let copy =
        |name: &str, folder: &str| fs::copy(format!("{SCRIPTS}/{name}"), at(folder).join(name)).unwrap();
    copy("mender-device-identity", "m/share/identity");
    for name in
        ["bootloader-integration", "hostinfo", "network", "os", "provides", "rootfs-type", "update-modules"]
    {
        copy(&format!("mender-inventory-{name}"), "m/share/inventory");
    }
    let conf = serde_json::json!({
        "ServerURL": format!("{}/", server.url), "ServerCertificate": server.ca, "TenantToken": "tenant",
        "UpdatePollIntervalSeconds": 3600, "InventoryPollIntervalSeconds": 3600, "RetryPollIntervalSeconds": 1,
        "RootfsPartA": machine.layout.a, "RootfsPartB": machine.layout.b, "DaemonLogLevel": "debug",
    });
    fs::write(at("m/etc/mender.conf"), conf.to_string()).unwrap();
    fs::write(at("m/data/device_type"), "device_type=test-board\n").unwrap();
    let key = at("m/data/mender-agent.pem");
    let made =
        Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&key).arg("3072").output();
    assert!(made.unwrap().status.success());
    let before = fs::read(&key).unwrap();

    let program = Command::new(env!("CARGO_BIN_EXE_rota"))
        .arg("daemon")
        .env("ROTA_CONF_DIR", machine.folder.join("no-configuration"))
        .env("ROTA_DATA_DIR", &machine.paths.data)
        .env("ROTA_RUN_DIR", &machine.paths.run)
        .env("ROTA_LIB_DIR", machine.folder.join("nothing"))
        .env("ROTA_SYSTEM_ROOT", machine.folder.join("system"))
        .env("ROTA_BOOT_BACKEND", "fake")
        .env("ROTA_BOOT_ENV_DIR", machine.folder.join("boot"))
        .env("MENDER_CONF_DIR", at("m/etc"))
        .env("MENDER_DATA_DIR", at("m/share"))
        .env("MENDER_DATASTORE_DIR", at("m/data"))
        .stderr(Stdio::null())
        .spawn();
    let program = Program(program.unwrap());
    let since = Instant::now();
    while count(&server, polled) == 0 || count(&server, |event| matches!(event, Event::Inventory(_))) == 0 {
        assert!(server.wait(since), "the server saw {:#?}", server.events());
    }
    drop(program);

    let inventory = server.inventory();
    for name in ["os", "mem_total_kB", "rootfs_type", "update_modules", "mender_bootloader_integration"] {
        assert!(inventory.contains_key(name), "{name} is missing: {inventory:#?}");
    }
    assert_eq!((&inventory["device_type"], inventory.get("faults")), (&"test-board".into(), None));
    let (id, key_seen) = server.identity();
    let mac = Command::new(format!("{SCRIPTS}/mender-device-identity")).output().unwrap().stdout;
    assert_eq!(format!("mac={}\n", id["mac"].as_str().unwrap()).into_bytes(), mac);
    let public = Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).output().unwrap().stdout;
    assert_eq!(key_seen.into_bytes(), public);
    // The key stays where it is, and no second one is made.
    assert_eq!(fs::read(&key).unwrap(), before);
    assert!(!machine.paths.data.join("device-key.pem").exists());
}
