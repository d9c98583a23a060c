//! The server's own CA and certificate.
use crate::files;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Devices whose clock is a day behind must accept it.
const BACKDATED: Duration = Duration::hours(24);
const CA_LIFE: Duration = Duration::days(20 * 365);
const LIFE: Duration = Duration::days(10 * 365);

/// Where the certificates are.
pub struct Files {
    /// What clients have to trust.
    pub ca: PathBuf,
    ca_key: PathBuf,
    /// The server's own, and the CA's.
    pub chain: PathBuf,
    pub key: PathBuf,
    /// The names in the server's certificate, one a line.
    names: PathBuf,
}

impl Files {
    pub fn new(folder: &Path) -> Files {
        let file = |name: &str| folder.join(name);
        Files {
            ca: file("ca.pem"),
            ca_key: file("ca-key.pem"),
            chain: file("server.pem"),
            key: file("server-key.pem"),
            names: file("names"),
        }
    }
}

/// Makes what is missing: a CA, and a certificate for `hosts` besides this machine's own names. The certificate is made anew
/// when a host is not in it; the CA never is.
pub fn ensure(folder: &Path, hosts: &[String]) -> anyhow::Result<Files> {
    files::private_dir(folder)?;
    let files = Files::new(folder);
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|error| files::Error::new("read", path, error));
    // Only before a certificate was ever made: a CA that devices trust is never replaced.
    let issued = files.chain.try_exists()? || files.names.try_exists()?;
    let whole = files.ca.try_exists()? && files.ca_key.try_exists()?;
    if !issued && !whole {
        let key = KeyPair::generate()?;
        let ca = ca_params()?.self_signed(&key)?;
        files::write_private(&files.ca_key, key.serialize_pem().as_bytes())?;
        files::write_public(&files.ca, ca.pem().as_bytes())?;
    }
    let old = std::fs::read_to_string(&files.names).unwrap_or_default();
    let mut names: Vec<String> = old.lines().map(str::to_owned).collect();
    let fixed = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    for name in fixed.iter().chain(hosts) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let wanted = names.join("\n") + "\n";
    if wanted == old && files.chain.exists() && files.key.exists() {
        return Ok(files);
    }
    let ca = read(&files.ca)?;
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read(&files.ca_key)?)?)?;
    let key = KeyPair::generate()?;
    // Written last, so that a certificate and a key that do not belong together are made anew.
    files::write_public(&files.names, b"")?;
    let certificate = server_params(names)?.signed_by(&key, &issuer)?;
    files::write_private(&files.key, key.serialize_pem().as_bytes())?;
    files::write_public(&files.chain, format!("{}{ca}", certificate.pem()).as_bytes())?;
    files::write_public(&files.names, wanted.as_bytes())?;
    Ok(files)
}

fn ca_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "rota server CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    life(&mut params, CA_LIFE);
    Ok(params)
}

fn server_params(names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let common = names.iter().find(|name| name.parse::<IpAddr>().is_err()).cloned();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common.unwrap_or_else(|| "rota-server".into()));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    life(&mut params, LIFE);
    Ok(params)
}

fn life(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_was_used_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let files = ensure(folder.path(), &[]).unwrap();
        let ca = std::fs::read(&files.ca).unwrap();
        std::fs::rename(&files.ca_key, folder.path().join("offline")).unwrap();
        assert!(ensure(folder.path(), &[]).is_ok(), "serving goes on without the CA's key");
        let error = ensure(folder.path(), &["new.example".into()]).err().unwrap().to_string();
        assert!(error.contains("ca-key.pem"), "{error}");
        assert_eq!(std::fs::read(&files.ca).unwrap(), ca);
    }

    #[test]
    fn a_certificate_that_was_not_finished_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let files = ensure(folder.path(), &[]).unwrap();
        let chain = std::fs::read(&files.chain).unwrap();
        std::fs::write(&files.names, "").unwrap();
        ensure(folder.path(), &[]).unwrap();
        assert_ne!(std::fs::read(&files.chain).unwrap(), chain);
    }
}
