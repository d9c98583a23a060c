//! Keys in hardware: on a token (SoftHSM) and in a TPM 2.0 (swtpm, by tpm2-pkcs11), for the device and for TLS.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::machine::Machine;
use support::program::rota;
use support::server::{certificates, Event, Server};
use support::Folder;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const DEADLINE: Duration = Duration::from_secs(100);

/// A program that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A token named `rota`, with the PIN 1234 in a file.
struct Token {
    folder: Folder,
    module: String,
    environment: Vec<(&'static str, String)>,
    tpm: Option<Tpm>,
}

/// A TPM 2.0: a program that listens on a port and the next one.
struct Tpm {
    port: u16,
    program: Program,
}

impl Tpm {
    /// Starts with the state in `folder`, on a port where it and the next one are free, or on that one.
    fn start(folder: &Folder, port: Option<u16>) -> Tpm {
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < DEADLINE, "swtpm does not listen");
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let port = port.unwrap_or_else(free);
            let mut program = Command::new("swtpm")
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
                .arg(format!("--tpmstate=dir={}", folder.display()))
                .arg(format!("--server=type=tcp,port={port}"))
                .arg(format!("--ctrl=type=tcp,port={}", port.wrapping_add(1)))
                .stderr(Stdio::null())
                .spawn()
                .map(Program)
                .expect("swtpm; scripts/deps installs it");
            while since.elapsed() < DEADLINE {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Tpm { port, program };
                }
                // One of the ports was taken meanwhile.
                if program.0.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Token {
    fn soft() -> Token {
        let folder = Folder::new();
        fs::create_dir(folder.join("tokens")).unwrap();
        let conf = folder.join("softhsm2.conf");
        fs::write(&conf, format!("directories.tokendir = {}\n", folder.join("tokens").display())).unwrap();
        let environment = vec![("SOFTHSM2_CONF", conf.display().to_string())];
        Token { folder, module: SOFTHSM.into(), environment, tpm: None }.initialised()
    }

    fn tpm() -> Token {
        let folder = Folder::new();
        let tpm = Tpm::start(&folder, None);
        let environment = vec![
            ("TPM2_PKCS11_STORE", folder.display().to_string()),
            ("TPM2_PKCS11_TCTI", format!("swtpm:host=127.0.0.1,port={}", tpm.port)),
            ("TSS2_LOG", "all+none".to_owned()),
        ];
        let machine = Command::new("uname").arg("-m").output().unwrap().stdout;
        let machine = String::from_utf8(machine).unwrap();
        let module = format!("/usr/lib/{}-linux-gnu/pkcs11/libtpm2_pkcs11.so", machine.trim());
        Token { folder, module, environment, tpm: Some(tpm) }.initialised()
    }

    fn initialised(self) -> Token {
        fs::write(self.folder.join("pin"), "1234\n").unwrap();
        self.tool("--slot-index 0 --init-token --label rota --so-pin 5678");
        self.tool("--token-label rota --init-pin --so-pin 5678 --pin 1234");
        self
    }

    fn tool(&self, line: &str) {
        self.run("pkcs11-tool", &format!("--module {} {line}", self.module));
    }

    fn run(&self, program: &str, line: &str) {
        let mut command = Command::new(program);
        command.args(line.split(' ')).envs(self.environment.iter().cloned()).current_dir(&*self.folder);
        let output = command.output().unwrap_or_else(|_| panic!("{program}; scripts/deps installs it"));
        assert!(output.status.success(), "{program} {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Switches a TPM off and on. Nobody keeps house in it as the kernel does in /dev/tpmrm0: what a program that was killed
    /// left there is in the way otherwise.
    fn restart(&mut self) {
        if let Some(Tpm { port, program }) = self.tpm.take() {
            drop(program);
            self.tpm = Some(Tpm::start(&self.folder, Some(port)));
        }
    }

    /// Makes a key of this kind and name, and returns its SPKI.
    fn make(&self, kind: &str, name: &str) -> Vec<u8> {
        let id = format!("{:02x}", name.len());
        let spki = self.folder.join("spki");
        if self.tpm.is_some() {
            let line = "--token-label rota --login --pin 1234";
            self.tool(&format!("{line} --keypairgen --key-type {kind} --label {name} --id {id}"));
            let line = format!("{line} --read-object --type pubkey --label {name} --output-file");
            self.tool(&format!("{line} {}", spki.display()));
        } else {
            let option = match kind.split_once(':') {
                Some(("EC", curve)) => format!("-algorithm EC -pkeyopt ec_paramgen_curve:{curve}"),
                _ => "-algorithm RSA".to_owned(),
            };
            self.run("openssl", &format!("genpkey {option} -out key"));
            self.run("openssl", "pkey -in key -pubout -outform DER -out spki");
            let line = format!("--import key --token rota --label {name} --id {id} --pin 1234");
            self.run("softhsm2-util", &line);
        }
        fs::read(spki).unwrap()
    }

    fn uri(&self, name: &str) -> String {
        let (module, pin) = (&self.module, self.folder.join("pin"));
        format!(
            "pkcs11:token=rota;object={name};type=private?module-path={module}&pin-source={}",
            pin.display()
        )
    }

    /// The program with this token, and with the key of this name as the device's.
    fn rota(&self, machine: &Machine, words: &[&str], key: &str) -> Command {
        let mut command = rota(machine, words);
        command.envs(self.environment.iter().cloned()).env("ROTA_DEVICE_KEY", key);
        command
    }

    /// What the doctor says of the keys.
    fn doctor(&self, machine: &Machine, key: &str) -> String {
        let output = self.rota(machine, &["doctor"], key).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn wait_for(server: &Server, enough: impl Fn(&[Event]) -> bool) {
    let since = Instant::now();
    while !enough(&server.events()) {
        assert!(server.wait(since), "the server saw {:#?}", server.events());
    }
}

fn authorised(events: &[Event]) -> usize {
    events.iter().filter(|event| **event == Event::Authorised).count()
}

fn polled(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Polled(_)))
}

/// The device comes with the key of the token, by TLS with another key of the token.
fn works_with(mut token: Token, kind: &str) {
    let (device, tls) = (token.make(kind, "device"), token.make(kind, "connection"));
    let made = certificates(true);
    let certificate = token.folder.join("client.crt");
    fs::write(&certificate, made.client_with(tls)).unwrap();
    let server = Server::with(made);
    let machine = Machine::new(&server);
    let start = |token: &Token, words: &[&str]| {
        let mut command = token.rota(&machine, words, &token.uri("device"));
        command
            .env("ROTA_SERVER_CLIENT_CERTIFICATE", &certificate)
            .env("ROTA_SERVER_CLIENT_KEY", token.uri("connection"));
        command
    };
    let daemon = Program(start(&token, &["daemon"]).stderr(Stdio::null()).spawn().unwrap());
    wait_for(&server, polled);
    drop(daemon);
    token.restart();
    assert_eq!(support::http::pem_body(&server.identity().1), device, "{kind}");
    assert!(!machine.paths.data.join("device-key.pem").exists(), "a second key was made");
    let doctor = String::from_utf8(start(&token, &["doctor"]).output().unwrap().stdout).unwrap();
    assert_eq!(doctor.matches("signs in its hardware").count(), 2, "{doctor}");
}

#[test]
fn the_keys_are_on_a_token() {
    for kind in ["rsa:2048", "EC:secp384r1"] {
        works_with(Token::soft(), kind);
    }
}

#[test]
fn the_keys_are_in_a_tpm() {
    works_with(Token::tpm(), "EC:prime256v1");
}

/// An RSA key for the device, too; but this module makes no RSA signatures as TLS 1.3 wants them, and that is said.
#[test]
fn an_rsa_key_in_a_tpm_is_for_the_device_alone() {
    let mut token = Token::tpm();
    let spki = token.make("rsa:2048", "device");
    let server = Server::start();
    let machine = Machine::new(&server);
    let daemon = token.rota(&machine, &["daemon"], &token.uri("device")).stderr(Stdio::null()).spawn();
    let daemon = Program(daemon.unwrap());
    wait_for(&server, polled);
    drop(daemon);
    token.restart();

    let made = certificates(true);
    let certificate = token.folder.join("client.crt");
    fs::write(&certificate, made.client_with(spki)).unwrap();
    let server = Server::with(made);
    let machine = Machine::new(&server);
    let mut command = token.rota(&machine, &["daemon"], &token.uri("device"));
    command.env("ROTA_SERVER_CLIENT_CERTIFICATE", &certificate).stderr(Stdio::null());
    let daemon = Program(command.env("ROTA_SERVER_CLIENT_KEY", token.uri("device")).spawn().unwrap());
    let since = Instant::now();
    let fault = loop {
        assert!(since.elapsed() < DEADLINE, "no fault is told");
        match machine.journal().connection_fault {
            Some(fault) => break fault,
            None => drop(server.wait(since)),
        }
    };
    drop(daemon);
    assert!(fault.contains("TLS: pkcs11:token=rota;object=device") && fault.contains("RSA-PSS"), "{fault}");
}

/// What the TPM, or its service, lost is opened anew.
#[test]
fn a_tpm_that_was_away_is_used_again() {
    let mut token = Token::tpm();
    token.make("EC:prime256v1", "device");
    let server = Server::start();
    let machine = Machine::new(&server);
    let mut command = token.rota(&machine, &["daemon"], &token.uri("device"));
    command.env("ROTA_SERVER_POLL_INTERVAL", "1").stderr(Stdio::null());
    let daemon = Program(command.spawn().unwrap());
    wait_for(&server, polled);
    token.restart();
    let before = authorised(&server.events());
    server.revoke();
    wait_for(&server, |events| authorised(events) > before);
    drop(daemon);
}

#[test]
fn what_is_wrong_with_a_key_in_hardware_is_named() {
    let token = Token::soft();
    token.make("EC:prime256v1", "device");
    let server = Server::start();
    let machine = Machine::new(&server);
    let module = format!("?module-path={SOFTHSM}");
    for (uri, words) in [
        (format!("pkcs11:token=rota;object=none{module}&pin-value=1234"), "no key on the token fits"),
        (format!("pkcs11:token=rota;object=device{module}&pin-value=4321"), "cannot log in: "),
        (format!("pkcs11:token=rota;object=device{module}"), "seen only with pin-source="),
        (format!("pkcs11:token=other;object=device{module}&pin-value=1234"), "(there are \"rota\")"),
        ("pkcs11:token=rota?module-path=/nowhere.so".into(), "PKCS#11 module /nowhere.so: cannot load it"),
        (format!("pkcs11:token=rota{module}&pin-source=/nowhere/pin"), "/nowhere/pin cannot be read"),
        ("pkcs11:token=%zz".into(), "a percent sign needs two hex digits"),
    ] {
        let said = token.doctor(&machine, &uri);
        assert!(said.contains(words) && !said.contains("1234") && !said.contains("4321"), "{uri}: {said}");
    }
    assert!(!machine.paths.data.join("device-key.pem").exists());
    assert_eq!(server.events(), []);
}

/// Tokens lock themselves after a few wrong PINs.
#[test]
fn a_pin_that_is_refused_is_not_tried_again_until_it_is_another() {
    let token = Token::soft();
    token.make("EC:prime256v1", "device");
    fs::write(token.folder.join("pin"), "4321").unwrap();
    let server = Server::start();
    let machine = Machine::new(&server);
    let mut daemon = token.rota(&machine, &["daemon"], &token.uri("device"));
    daemon.env("ROTA_LOG_TARGET", "stderr").env("ROTA_LOG_LEVEL", "debug").stderr(Stdio::piped());
    let mut daemon = Program(daemon.spawn().unwrap());
    let lines = BufReader::new(daemon.0.stderr.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains("cannot log in: ") && !line.contains("refused before")));
    assert!(lines.any(|line| line.contains("this PIN was refused before")));
    // What the daemon says further is read, so that it can go on.
    let reader = std::thread::spawn(move || lines.count());
    fs::write(token.folder.join("pin"), "1234").unwrap();
    wait_for(&server, polled);
    drop(daemon);
    reader.join().unwrap();
}
