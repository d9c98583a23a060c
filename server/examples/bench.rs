//! Measures the server: check-ins, memory, downloads. Started by `scripts/bench server`.
//!
//!     bench PROGRAM SECONDS
use rota_server::{clock, keys::Keys, links, store::Store, token::Tokens};
use rota_server::{store::tenants::DEFAULT, store::Tenant};
use sqlx::Connection;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that poll.
const CONNECTIONS: usize = 32;
const FILE: usize = 256 << 20;

type Any = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Any> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, program, seconds] = arguments.as_slice() else {
        return Err("usage: bench PROGRAM SECONDS".into());
    };
    let (program, window) = (PathBuf::from(program), Duration::from_secs(seconds.parse()?));
    println!(
        "{:<28} {:>14} {:>9} {:>9} {:>11} {:>11}",
        "check-ins", "per CPU-second", "seen/s", "p99 ms", "idle MiB", "loaded MiB"
    );
    for devices in [10_000, 100_000] {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        fill(&program, &data, devices)?;
        for plain in [false, true] {
            check_ins(&program, &data, devices, plain, window)?;
        }
    }
    downloads(&program)
}

/// A running server.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &Path, data: &Path, plain: bool) -> Result<Server, Any> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).env("ROTA_LOG", "warn");
        if plain {
            command.arg("--plain-http");
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let line = lines
            .find_map(|line| line.ok().filter(|line| line.contains("listening")))
            .ok_or("it did not start")?;
        let address = line.rsplit('/').next().ok_or("no address")?.to_owned();
        Ok(Server { child, address })
    }

    /// CPU time used so far, in seconds.
    fn cpu(&self) -> Result<f64, Any> {
        cpu(self.child.id())
    }

    /// Resident memory in MiB: all, and what is not a file's.
    fn memory(&self) -> Result<(f64, f64), Any> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok())
                .unwrap_or(0.0)
                / 1024.0
        };
        Ok((field("VmRSS:"), field("RssAnon:")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu(pid: u32) -> Result<f64, Any> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no stat")?.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

/// Makes a data folder with accepted devices that have an inventory.
fn fill(program: &Path, data: &Path, devices: usize) -> Result<(), Any> {
    let made =
        Command::new(program).args(["init", "--password", "bench bench", "--data"]).arg(data).output()?;
    if !made.status.success() {
        return Err("init failed".into());
    }
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)";
    let device = "printf('00000000-0000-4000-8000-%012d', i)";
    let insert = [
        format!(
            "INSERT INTO devices (tenant_id, id, identity, identity_hash, status, created, updated) {rows}
             SELECT 'default', {device}, '{{\"mac\":\"' || i || '\"}}', 'hash' || i, 'accepted', i, i FROM n"
        ),
        format!(
            "INSERT INTO auth_sets (tenant_id, id, device_id, pubkey, status, created) {rows}
             SELECT 'default', 'set' || i, {device}, 'key', 'accepted', i FROM n"
        ),
        format!(
            "INSERT INTO attributes (tenant_id, device_id, scope, name, idx, text, updated) {rows}
             SELECT 'default', {device}, 'inventory', 'attribute' || a.value, -1, 'value ' || i % 100, 1
             FROM n, json_each('[1,2,3,4,5,6,7,8,9,10]') AS a"
        ),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("rota.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
        for sql in insert {
            sqlx::query(&sql).bind(devices as i64).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    })
}

/// Polls with nothing to do, over connections that stay.
fn check_ins(program: &Path, data: &Path, devices: usize, plain: bool, window: Duration) -> Result<(), Any> {
    let server = Server::start(program, data, plain)?;
    let tokens = Arc::new(Tokens::new(&Keys::open(&data.join("secret"))?, clock::DAY, Vec::new()));
    std::thread::sleep(Duration::from_secs(2));
    let idle = server.memory()?;
    let (cpu, began) = (server.cpu()?, Instant::now());
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (tokens, address, data) = (tokens.clone(), server.address.clone(), data.to_owned());
            std::thread::spawn(move || {
                poll(&tokens, &address, &data, plain, (number, devices), began + window)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.join().map_err(|_| "a connection failed")??);
    }
    let (used, took) = (server.cpu()? - cpu, began.elapsed().as_secs_f64());
    latencies.sort_unstable();
    let count = latencies.len();
    let p99 = latencies[count * 99 / 100].as_secs_f64() * 1000.0;
    let loaded = server.memory()?;
    let name = format!("{devices} devices, {}", if plain { "plain" } else { "TLS" });
    println!(
        "{name:<28} {:>14.0} {:>9.0} {p99:>9.1} {:>11} {:>11}",
        count as f64 / used,
        count as f64 / took,
        format!("{:.1} ({:.1})", idle.0, idle.1),
        format!("{:.1} ({:.1})", loaded.0, loaded.1)
    );
    Ok(())
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(address: &str, ca: Option<&Path>) -> Result<Box<dyn Stream>, Any> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let Some(ca) = ca else { return Ok(Box::new(stream)) };
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = rustls::ClientConnection::new(config.into(), "localhost".try_into()?)?;
    Ok(Box::new(rustls::StreamOwned::new(connection, stream)))
}

fn poll(
    tokens: &Tokens,
    address: &str,
    data: &Path,
    plain: bool,
    (first, devices): (usize, usize),
    until: Instant,
) -> Result<Vec<Duration>, Any> {
    let tenant = Tenant::new(DEFAULT);
    let ca = data.join("tls/ca.pem");
    let mut stream = BufReader::new(connect(address, (!plain).then_some(ca.as_path()))?);
    let body = r#"{"device_provides":{"artifact_name":"rel-1","device_type":"bench","rootfs-image.version":"rel-1"}}"#;
    // Every connection stands for its share of the devices.
    let requests: Vec<Vec<u8>> = (first..devices)
        .step_by(CONNECTIONS)
        .take(1000)
        .map(|number| {
            let device = format!("00000000-0000-4000-8000-{:012}", number + 1);
            let token = tokens.for_device(&tenant, &device, &format!("set{}", number + 1), 0);
            format!(
                "POST /api/devices/v2/deployments/device/deployments/next HTTP/1.1\r\nHost: localhost\r\n\
                 Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        })
        .collect();
    let mut latencies = Vec::new();
    let mut line = String::new();
    for request in requests.iter().cycle() {
        let began = Instant::now();
        if began >= until {
            break;
        }
        stream.get_mut().write_all(request)?;
        stream.get_mut().flush()?;
        line.clear();
        stream.read_line(&mut line)?;
        if !line.contains(" 204") {
            return Err(format!("answered {line}").into());
        }
        while line.trim() != "" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// Reads one large file from the server and from nginx, over TLS, several times in turn.
fn downloads(program: &Path) -> Result<(), Any> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    fill(program, &data, 1)?;
    let (path, blob) = publish(&data)?;
    let root = folder.path().join("nginx");
    std::fs::create_dir_all(&root)?;
    std::fs::hard_link(&blob, root.join("file"))?;
    let server = Server::start(program, &data, false)?;
    let nginx = Nginx::start(&root, &data.join("tls"))?;
    let ca = data.join("tls/ca.pem");
    println!("\n{:<28} {:>14} {:>20}", "download of 256 MiB, TLS", "MiB/s", "MiB per CPU-second");
    let mut best = [(0.0f64, 0.0f64); 2];
    for _ in 0..3 {
        let of_server = fetch(&server.address, &ca, &path, || server.cpu())?;
        let of_nginx = fetch(&nginx.address, &ca, "/file", || nginx.cpu())?;
        for (best, now) in best.iter_mut().zip([of_server, of_nginx]) {
            *best = (best.0.max(now.0), best.1.max(now.1));
        }
    }
    for (name, (speed, per_cpu)) in ["rota-server", "nginx"].iter().zip(best) {
        println!("{name:<28} {speed:>14.0} {per_cpu:>20.0}");
    }
    println!("{:<28} {:>14.2} {:>20.2}", "ratio", best[0].0 / best[1].0, best[0].1 / best[1].1);
    Ok(())
}

/// Puts a file into the store as an artifact; its signed path, and the file.
fn publish(data: &Path) -> Result<(String, PathBuf), Any> {
    use rota_server::store::artifacts::Artifact;
    let folder = data.join("blobs/artifacts/default");
    std::fs::create_dir_all(&folder)?;
    let id = clock::new_id();
    let blob = folder.join(&id);
    std::fs::write(&blob, vec![0x5a; FILE])?;
    let artifact = Artifact {
        id: id.clone(),
        name: "bench".into(),
        description: String::new(),
        detail: Default::default(),
        size: FILE as i64,
        modified: clock::now(),
        sha256: "00".into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&data.join("rota.db")).await?;
        let added = store.add_artifact(&Tenant::new(DEFAULT), &artifact).await?;
        store.close().await;
        added.map_err(|_| "the artifact is there already")?;
        Ok::<_, Any>(())
    })?;
    let keys = Keys::open(&data.join("secret"))?;
    let path = format!("/api/devices/v1/deployments/download/artifact/{id}");
    Ok((links::sign(&keys.links, "GET", &path, DEFAULT, clock::DAY).0, blob))
}

/// MiB per second, and per second of the server's CPU time.
fn fetch(
    address: &str,
    ca: &Path,
    path: &str,
    cpu: impl Fn() -> Result<f64, Any>,
) -> Result<(f64, f64), Any> {
    let mut stream = connect(address, Some(ca))?;
    let (used, began) = (cpu()?, Instant::now());
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    while total < FILE {
        match stream.read(&mut buffer)? {
            0 => return Err(format!("{address} sent {total} bytes").into()),
            count => total += count,
        }
    }
    let size = FILE as f64 / f64::from(1 << 20);
    Ok((size / began.elapsed().as_secs_f64(), size / (cpu()? - used).max(0.01)))
}

struct Nginx {
    child: Child,
    address: String,
}

impl Nginx {
    fn start(root: &Path, tls: &Path) -> Result<Nginx, Any> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (root, tls) = (root.display(), tls.display());
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {root}/pid; error_log {root}/log; events {{}}
             http {{ access_log off; sendfile on; client_body_temp_path {root}/t; proxy_temp_path {root}/t;
             fastcgi_temp_path {root}/t; uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;
             server {{ listen 127.0.0.1:{port} ssl; root {root};
             ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server-key.pem; }} }}"
        );
        let file = format!("{root}/nginx.conf");
        std::fs::write(&file, config)?;
        let child = Command::new("nginx").args(["-c", &file]).spawn()?;
        let address = format!("127.0.0.1:{port}");
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                return Err("nginx did not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Nginx { child, address })
    }

    /// Of its worker.
    fn cpu(&self) -> Result<f64, Any> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let workers = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        workers.map(cpu).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
