//! What the client trusts: the CA, the keys of artifacts, the clock; and, when asked to, the server.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rota_artifact::VerifyKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;

use super::x509::validity;
use super::Doctor;
use crate::clock::Source;
use crate::date;
use crate::finding::Finding;
use crate::identity::Identity;
use crate::net::verify::Clock;
use crate::net::{tls, Server};
use crate::token;
use crate::update::clock_fault;
use crate::update::journal::Journal;
use crate::window::Local;

/// The CA of the server, and the keys of artifacts.
pub fn certificates(doctor: &mut Doctor) -> Vec<Finding> {
    const CA: &str = "CA certificates";
    let config = &doctor.device.config;
    let mut findings = Vec::new();
    if let Some(file) = &config.ca {
        findings.push(certificate_file(CA, file, "server.ca in rota.toml"));
    }
    if config.ca.is_none() || config.system_ca {
        findings.push(match tls::system_roots() {
            Some(file) => certificate_file(CA, &file, "the system's (package ca-certificates)"),
            None => Finding::wrong(
                CA,
                "the CA of the server, or the system's CAs",
                "no server can be trusted by what the system has",
                "set server.ca in rota.toml, or install ca-certificates",
            ),
        });
    }
    findings.extend(client_certificate(doctor));
    findings.extend(verify_keys(doctor));
    findings.push(epoch(doctor));
    findings
}

/// What this device shows to servers that ask for a certificate.
fn client_certificate(doctor: &Doctor) -> Vec<Finding> {
    const CERTIFICATE: &str = "client certificate";
    let config = &doctor.device.config;
    let (Some(certificate), Some(key)) = (&config.client_certificate, &config.client_key) else {
        return Vec::new();
    };
    let mut findings =
        vec![certificate_file(CERTIFICATE, certificate, "server.client_certificate in rota.toml")];
    findings.extend(super::data::exposed(CERTIFICATE, key));
    let settings = tls::settings(config, Clock(Arc::new(date::reading)));
    match settings.map(drop).and_then(|()| tls::try_client_key(certificate, key)) {
        Ok(()) if token::uri(key).is_some() => {
            findings.push(Finding::ok(CERTIFICATE, format!("{} signs in its hardware", token::name(key))));
        }
        Ok(()) => {}
        Err(why) => findings.push(Finding::wrong(
            CERTIFICATE,
            format!("{}, the private key of {}", token::name(key), certificate.display()),
            why,
            "correct server.client_key and server.client_certificate in rota.toml",
        )),
    }
    findings
}

/// The floor for releases.
fn epoch(doctor: &Doctor) -> Finding {
    const EPOCH: &str = "epoch";
    let device = &doctor.device;
    match (crate::epoch::of_image(&device.paths), crate::epoch::peek(&device.paths)) {
        (Err(why), _) => Finding::wrong(
            EPOCH,
            "a number, and a newline",
            why,
            "build the image anew with ROTA_EPOCH (Yocto), or BR2_PACKAGE_ROTA_EPOCH (Buildroot)",
        ),
        (Ok(_), 0) => Finding::ok(EPOCH, "none: whatever is signed is installed, older releases too"),
        (Ok(_), floor) if device.config.verify_keys.is_none() => Finding::wrong(
            EPOCH,
            "artifact.verify_keys, since an epoch counts only in signed artifacts",
            format!("epoch {floor} without keys: older releases are installed all the same"),
            "set artifact.verify_keys in rota.toml, and sign artifacts",
        ),
        (Ok(_), floor) => Finding::ok(EPOCH, format!("releases below {floor} are refused")),
    }
}

/// Whether a file of certificates is readable, holds some, and they are valid now.
fn certificate_file(check: &'static str, file: &Path, whose: &str) -> Finding {
    let name = file.display();
    let wrong = |found: String| {
        let remedy = format!(
            "correct {whose}, or put the file there; `openssl x509 -in {name} -noout -dates` shows one"
        );
        Finding::wrong(
            check,
            format!("{name} with certificates in PEM form that are valid now"),
            found,
            remedy,
        )
    };
    let certificates = match CertificateDer::pem_file_iter(file) {
        Ok(certificates) => certificates,
        Err(error) => return wrong(error.to_string()),
    };
    let valid: Vec<(u64, u64)> = certificates.filter_map(|der| validity(&der.ok()?)).collect();
    let now = date::now();
    let (Some(first), Some(last)) = (valid.iter().map(|v| v.0).min(), valid.iter().map(|v| v.1).max()) else {
        return wrong("no certificate in PEM form".into());
    };
    match valid.iter().filter(|(from, until)| (from..=until).contains(&&now)).count() {
        0 if now < first => {
            wrong(format!("valid from {} on; it is {}", date::rfc3339(first), date::rfc3339(now)))
        }
        0 => wrong(format!(
            "they have expired, the last on {}; it is {}",
            date::rfc3339(last),
            date::rfc3339(now)
        )),
        count => {
            let until =
                valid.iter().map(|(_, until)| *until).filter(|until| *until >= now).min().unwrap_or(last);
            Finding::ok(
                check,
                format!(
                    "{name} holds {count} that are valid, the first of them until {}",
                    date::rfc3339(until)
                ),
            )
        }
    }
}

/// The keys that must have signed artifacts.
fn verify_keys(doctor: &Doctor) -> Vec<Finding> {
    const KEYS: &str = "artifact keys";
    let Some(files) = &doctor.device.config.verify_keys else {
        return vec![Finding::not_checked(
            KEYS,
            "artifact.verify_keys is not set: this device installs artifacts that nobody signed",
        )];
    };
    let remedy = "put a public key in PEM form there (openssl pkey -pubout), or correct artifact.verify_keys";
    if files.is_empty() {
        let expected = "at least one key, since artifact.verify_keys is set";
        return vec![Finding::wrong(KEYS, expected, "none, so that every artifact is refused", remedy)];
    }
    let one = |file: &std::path::PathBuf| {
        let name = file.display();
        let key = fs::read(file)
            .map_err(|error| error.to_string())
            .and_then(|pem| VerifyKey::from_pem(&pem).map_err(|error| error.to_string()));
        match key {
            Ok(_) => Finding::ok(KEYS, name.to_string()),
            Err(why) => Finding::wrong(KEYS, format!("{name}, a public key in PEM form"), why, remedy),
        }
    };
    files.iter().map(one).collect()
}

/// The clock that certificates are checked by.
pub fn clock(doctor: &mut Doctor) -> Vec<Finding> {
    const CLOCK: &str = "clock";
    if let Some(time) = Journal::peek(&doctor.device.paths.data).server_time {
        date::told(time);
    }
    let reading = date::reading();
    let time = reading.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // What windows and budgets go by.
    let shown = format!("{} ({} in the device's zone)", date::rfc3339(time), Local::at(time));
    vec![match clock_fault() {
        Some(found) => Finding::wrong(
            CLOCK,
            "a system clock that is right",
            found,
            "start an NTP client, or fit the clock's battery; rota goes by the later time meanwhile",
        ),
        None if reading.source == Source::System => {
            Finding::ok(CLOCK, format!("{shown}, later than build, image and the server's last word"))
        }
        None => Finding::ok(CLOCK, format!("{shown}, by {}", reading.source)),
    }]
}

/// The servers: named, and with `--online` reached and asked for admission.
pub fn server(doctor: &mut Doctor) -> Vec<Finding> {
    const SERVER: &str = "server";
    let config = &doctor.device.config;
    if config.urls.is_empty() {
        return vec![Finding::not_checked(SERVER, "none is configured: artifacts are installed by hand")];
    }
    if !doctor.online {
        let why = format!("{} is asked with --online only", config.urls.join(", "));
        return vec![Finding::not_checked(SERVER, why)];
    }
    let (paths, key) = (doctor.device.paths.clone(), config.device_key.clone());
    let has_key = crate::key::exists(&crate::key::file(&paths, key.as_deref()));
    let mut server = Server::new(config, Box::new(move || Identity::load(&paths, key.as_deref())));
    let mut findings: Vec<Finding> = server
        .reach()
        .into_iter()
        .map(|(url, answer)| match answer {
            Ok(code) => Finding::ok(SERVER, format!("{url} answers over verified TLS (status {code})")),
            Err(error) => Finding::wrong(
                SERVER,
                format!("an answer of {url} over verified TLS"),
                error.to_string(),
                "check network, name service, server.url and server.ca; a trial that cannot reach the server rolls back",
            ),
        })
        .collect();
    // Without a key the device would come as a new one; the daemon does that.
    if has_key && !findings.iter().all(Finding::is_wrong) {
        findings.push(match server.authorise() {
            Ok(()) => Finding::ok(SERVER, "it admits this device"),
            Err(error) => Finding::wrong(
                SERVER,
                "admission of this device",
                error.to_string(),
                "accept the device on the server; check server.tenant_token",
            ),
        });
    }
    findings
}
