//! Server certificates, checked by a clock that may be no more than a lower bound, and what they say about dates.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::clock::{Reading, Source};

/// The clock that certificates are checked by.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Reading + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = (self.0)().time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// The end of the year 9999, the last that a certificate can name.
const LATEST: u64 = 253_402_300_799;

/// Checks server certificates.
#[derive(Debug)]
pub struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    clock: Clock,
    valid_until: AtomicU64,
}

impl Verifier {
    /// Trusts what `roots` have signed, by `clock`.
    pub fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        clock: Clock,
    ) -> Result<Verifier, String> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let inner = inner.map_err(|error| error.to_string())?;
        Ok(Verifier { inner, clock, valid_until: AtomicU64::new(0) })
    }

    /// Whether a server may say that it is `date`: one whose own certificate has expired by then is wrong about the time, and
    /// to believe it would make every certificate useless for good.
    pub fn believes(&self, date: u64) -> bool {
        date <= self.valid_until.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{ExpiredContext, NotValidYetContext};
        let at =
            |time| self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time);
        // A clock that is surely behind says nothing against a certificate that begins later: the time is at least that then.
        let is_lower_bound = (self.clock.0)().source != Source::System;
        let mut time = now;
        let verified = loop {
            match at(time) {
                Err(Error::InvalidCertificate(NotValidYetContext { not_before, .. }))
                    if is_lower_bound && not_before.as_secs() > time.as_secs() =>
                {
                    time = not_before;
                }
                result => break result?,
            }
        };
        // The server's own certificate is the first that is found to have expired.
        let until = match at(UnixTime::since_unix_epoch(Duration::from_secs(LATEST))) {
            Err(Error::InvalidCertificate(ExpiredContext { not_after, .. })) => not_after.as_secs(),
            Ok(_) => LATEST,
            Err(_) => 0,
        };
        self.valid_until.store(until, Ordering::Relaxed);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rcgen::{date_time_ymd, BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    const YEAR: u64 = 31_556_952;

    /// Checks a certificate that is valid from 2030 to 2034, in the middle of `year`.
    fn check(year: u64, source: Source) -> (Verifier, Result<ServerCertVerified, Error>) {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["localhost".into()]).unwrap();
        (leaf.not_before, leaf.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2034, 1, 1));
        let leaf = leaf.signed_by(&key, &ca, &ca_key).unwrap();

        let now = Duration::from_secs((year - 1970) * YEAR + YEAR / 2);
        let time = UNIX_EPOCH + now;
        let clock = Clock(Arc::new(move || Reading { time, source, system: SystemTime::UNIX_EPOCH }));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, provider, clock).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let leaf = CertificateDer::from(leaf.der().to_vec());
        let checked = verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::since_unix_epoch(now));
        (verifier, checked)
    }

    #[test]
    fn a_clock_that_is_behind_says_nothing_against_a_certificate_that_begins_later() {
        assert!(check(2026, Source::Build).1.is_ok());
        assert!(check(2026, Source::Server).1.is_ok());
        assert!(check(2026, Source::System).1.is_err());
        for source in [Source::System, Source::Build, Source::Server] {
            assert!(check(2031, source).1.is_ok());
            assert!(check(2040, source).1.is_err(), "an expired certificate");
        }
    }

    #[test]
    fn a_date_after_the_end_of_the_servers_certificate_is_not_believed() {
        let (verifier, _) = check(2031, Source::System);
        let date = |year: u64| (year - 1970) * YEAR + YEAR / 2;
        assert!(verifier.believes(date(2033)));
        assert!(!verifier.believes(date(2034)) && !verifier.believes(date(2099)));
        let (verifier, _) = check(2040, Source::System);
        assert!(!verifier.believes(date(2033)), "nothing was verified");
    }
}
