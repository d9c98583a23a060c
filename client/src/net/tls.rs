//! TLS for ureq on rustls, with our own clock for certificates and plain words for what is wrong with one.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore, SignatureScheme,
    StreamOwned,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::verify::{Clock, Verifier};
use crate::config::Config;
use crate::token;

/// Where distributions keep the CAs they trust.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The TLS settings of all connections, and what checks certificates in them: only `server.ca` is trusted, or the system's CAs
/// when none is configured, or both with `server.system_ca`.
pub fn settings(config: &Config, clock: Clock) -> Result<(Arc<ClientConfig>, Arc<Verifier>), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(roots(config)?, provider.clone(), clock.clone())?);
    let builder = ClientConfig::builder_with_details(provider, Arc::new(clock))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous() // The verifier is WebPKI's, with our clock.
        .with_custom_certificate_verifier(verifier.clone());
    let settings = match (&config.client_certificate, &config.client_key) {
        (Some(certificate), Some(key)) => {
            let wrong = |file: &Path, what: &dyn fmt::Display| format!("{}: {what}", file.display());
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
            let chain: Vec<_> = chain.map_err(|error| wrong(certificate, &error))?;
            match token::uri(key) {
                Some(uri) => {
                    let certified = CertifiedKey::new(chain, token::tls_key(uri)?);
                    builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
                }
                None => {
                    let pem = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                    builder.with_client_auth_cert(chain, pem).map_err(|error| wrong(certificate, &error))?
                }
            }
        }
        _ => builder.with_no_client_auth(),
    };
    Ok((Arc::new(settings), verifier))
}

/// Whether the key of the client certificate signs, where that shows only in a handshake: in hardware.
pub fn try_client_key(certificate: &Path, key: &Path) -> Result<(), String> {
    let Some(uri) = token::uri(key) else { return Ok(()) };
    let key = token::tls_key(uri)?;
    let every = [
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA256,
    ];
    let signer = key.choose_scheme(&every).ok_or("it makes no signature that TLS has")?;
    signer.sign(b"").map_err(|error| match error {
        rustls::Error::General(why) => why,
        other => other.to_string(),
    })?;
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| format!("{}: {error}", certificate.display()))?;
    CertifiedKey::new(chain, key)
        .keys_match()
        .map_err(|_| format!("the certificate in {} is for another key", certificate.display()))
}

/// One source of CAs that is good is enough.
fn roots(config: &Config) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let mut faults = Vec::new();
    if let Some(file) = &config.ca {
        faults.extend(add(&mut roots, file).err());
    }
    if config.ca.is_none() || config.system_ca {
        match system_roots() {
            Some(file) => faults.extend(add(&mut roots, &file).err()),
            None => faults.push("no server.ca is configured and the system has no CA certificates".into()),
        }
    }
    if roots.is_empty() {
        return Err(faults.swap_remove(0));
    }
    for fault in faults {
        log::warn!("TLS: {fault}");
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let wrong = |what: &str| format!("{}: {what}", file.display());
    let pem =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    match roots.add_parsable_certificates(pem.filter_map(Result::ok)) {
        (0, _) => Err(wrong("holds no certificate in PEM form")),
        _ => Ok(()),
    }
}

/// The file of the CAs that the system trusts.
pub fn system_roots() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_ROOTS.iter().map(PathBuf::from)).find(|file| file.is_file())
}

/// Whether it is the server's certificate that is refused.
pub fn refuses_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

/// What is wrong, in the words of a person who looks after servers; `None` when it is not TLS that failed.
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            // A bad signature is an issuer of the name that is trusted, but with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => "TLS: unknown issuer".into(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("TLS: the server's certificate has expired{}", at(certificate))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("TLS: the server's certificate is not valid yet{}", at(certificate))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "TLS: the server's certificate is for another name".into()
            }
            CertificateError::Other(other) => {
                format!("TLS: the server's certificate is not acceptable: {}", other.0)
            }
            other => format!("TLS: the server's certificate is not acceptable: {other}"),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "TLS: the server wants a certificate of this device; set server.client_certificate and server.client_key".into()
        }
        // What a key in hardware says.
        rustls::Error::General(why) => format!("TLS: {why}"),
        other => format!("TLS: {other}"),
    })
}

/// The dates that were compared.
fn at(error: &CertificateError) -> String {
    let (clock, word, limit) = match error {
        CertificateError::ExpiredContext { time, not_after } => (time, "until", not_after),
        CertificateError::NotValidYetContext { time, not_before } => (time, "from", not_before),
        _ => return String::new(),
    };
    let date = |time: &UnixTime| crate::date::rfc3339(time.as_secs());
    format!(" (valid {word} {}; this device's clock says {})", date(limit), date(clock))
}

/// When everything that is sent and received now must be over. ureq's own limits are those of single waits: what comes in
/// drops outlasts them.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Arc<Mutex<Option<Instant>>>);

impl Deadline {
    /// Whatever `act` does on connections ends within `limit`.
    pub fn within<T>(&self, limit: Duration, act: impl FnOnce() -> T) -> T {
        let set = |at| *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
        set(Instant::now().checked_add(limit));
        let done = act();
        set(None);
        done
    }

    fn left(&self) -> Duration {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// Wraps the connections to `https` addresses in TLS, and ends every read that brings nothing within `stall`.
pub struct TlsConnector {
    /// When what goes on must be over.
    pub deadline: Deadline,
    /// As [`settings`] made them.
    pub config: Arc<ClientConfig>,
    /// Longest wait for the next byte.
    pub stall: Duration,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<Stalling<In>, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        let transport = Stalling { transport, stall: self.stall, deadline: self.deadline.clone() };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name =
            ServerName::try_from(host).map_err(|_| ureq::Error::BadUri(details.uri.to_string()))?.to_owned();
        let conn = ClientConnection::new(self.config.clone(), name)
            .map_err(|error| ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let stream = StreamOwned { conn, sock: TransportAdapter::new(transport.boxed()) };
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// A transport whose every wait is bounded, also where the whole answer may take hours.
#[derive(Debug)]
pub struct Stalling<T> {
    transport: T,
    stall: Duration,
    deadline: Deadline,
}

impl<T> Stalling<T> {
    fn bound(&self, timeout: NextTimeout) -> Result<NextTimeout, ureq::Error> {
        match self.stall.min(self.deadline.left()) {
            Duration::ZERO => Err(ureq::Error::Timeout(ureq::Timeout::Global)),
            left => Ok(NextTimeout { after: timeout.after.min(left.into()), ..timeout }),
        }
    }
}

impl<T: Transport> Transport for Stalling<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = self.bound(timeout)?;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = self.bound(timeout)?;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }
}

/// A connection in TLS.
pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl TlsTransport {
    /// For a connection that is broken, what the server said before it closed it (RFC 8446, section 6): it tells more.
    fn explained(&mut self, error: io::Error) -> io::Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData};
        let StreamOwned { conn, sock } = &mut self.stream;
        while matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) {
            if let Err(alert) = conn.process_new_packets() {
                return io::Error::new(InvalidData, alert);
            }
            if !matches!(conn.read_tls(sock), Ok(1..)) {
                break;
            }
        }
        error
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let sent = self.stream.write_all(&self.buffers.output()[..amount]);
        Ok(sent.map_err(|error| self.explained(error))?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        // What could not be sent fails here, too.
        let amount = self.stream.read(self.buffers.input_append_buf());
        let amount = amount.map_err(|error| self.explained(error))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
