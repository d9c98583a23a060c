//! Fetching an artifact: one stream of bytes, however often the connection breaks (device API: download).
//!
//! It ends for certain: a broken connection is taken up again a limited number of times without progress worth the name, an
//! address that has expired is replaced once between two such, and everything else that is not as announced is the end.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::{header, Request, Response};
use ureq::{Body, BodyReader};

use super::pace::{Pace, Rate, CREEP};
use super::{explain, header_text, refuses_certificate, retry_after, Server};
use crate::config::Config;
use crate::signals::Signals;
use crate::sys::watchdog;

/// Bytes after which the retries are counted anew.
const PROGRESS: u64 = 64 << 10;
/// What a server may ask for with `Retry-After` at most.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Asks for the artifact's present address, when the one that is known has expired.
pub type Renew<'a> = Box<dyn FnMut() -> Result<String, String> + 'a>;

/// What a download asks before it goes on.
pub trait Gate {
    /// How many bytes may come now; 0: none, for the time being.
    fn allows(&mut self) -> u64;
    /// So many have come.
    fn took(&mut self, bytes: u64);
    /// Waits until some may come. An error is the end of the download.
    fn wait(&mut self) -> io::Result<()>;
}

/// A running download. Reads continue where a broken connection ended; an error means that it is over.
pub struct Download<'a> {
    server: Server,
    /// Whether the address may be `http://`.
    plain: bool,
    uri: String,
    renew: Option<Renew<'a>>,
    renewed: bool,
    body: Option<BodyReader<'static>>,
    /// Why the last connection is over.
    broken: Option<String>,
    /// Bytes handed out.
    offset: u64,
    /// Length of the whole; without it nothing can be resumed.
    total: Option<u64>,
    /// What the server calls this very content.
    etag: Option<String>,
    retries: u32,
    left: u32,
    /// Bytes handed out when the retries were counted anew.
    counted: u64,
    wait: Duration,
    pace: Pace,
    rate: Rate,
    gate: Option<Box<dyn Gate + 'a>>,
    signals: &'a Signals,
}

/// Why a try to go on failed, and whether another can do better.
enum Failure {
    /// After a wait, which the server may have asked for.
    Passing(String, Option<Duration>),
    /// With another address.
    Expired(String),
    Final(String),
}

impl<'a> Download<'a> {
    /// Asks for the artifact at `uri`. No token is sent: the address itself is the permission.
    pub fn start(
        server: &Server,
        config: &Config,
        uri: &str,
        renew: Option<Renew<'a>>,
        gate: Option<Box<dyn Gate + 'a>>,
        signals: &'a Signals,
    ) -> io::Result<Download<'a>> {
        Self::open(server, config, uri, renew, gate, config.verify_keys.is_some(), signals)
    }

    /// The same at the word of a person, who may name a plain `http://` address.
    pub fn start_by_hand(
        server: &Server,
        config: &Config,
        uri: &str,
        gate: Option<Box<dyn Gate + 'a>>,
        signals: &'a Signals,
    ) -> io::Result<Download<'a>> {
        if uri.starts_with("http://") && config.verify_keys.is_none() {
            log::warn!("nothing proves who sends the artifact: {uri} is not https://, and artifact.verify_keys is not set");
        }
        Self::open(server, config, uri, None, gate, true, signals)
    }

    fn open(
        server: &Server,
        config: &Config,
        uri: &str,
        renew: Option<Renew<'a>>,
        gate: Option<Box<dyn Gate + 'a>>,
        plain: bool,
        signals: &'a Signals,
    ) -> io::Result<Download<'a>> {
        let mut download = Download {
            server: server.clone(),
            plain,
            uri: uri.to_owned(),
            renew,
            renewed: false,
            body: None,
            broken: None,
            offset: 0,
            total: None,
            etag: None,
            retries: config.download_retries,
            left: config.download_retries,
            counted: 0,
            wait: config.download_retry_interval,
            pace: Pace::new(config.server_timeout),
            rate: Rate::new(config.max_rate),
            gate,
            signals,
        };
        download.check_address().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        download.connect()?;
        Ok(download)
    }

    /// Length of the artifact, if the server said it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    fn check_address(&self) -> Result<(), String> {
        let uri = &self.uri;
        match uri.starts_with("https://") || (self.plain && uri.starts_with("http://")) {
            true => Ok(()),
            false => Err(format!(
                "{uri}: expected an https:// address (http:// only where artifact.verify_keys is set)"
            )),
        }
    }

    /// Opens the stream at `offset`, trying again after a wait while that can help.
    fn connect(&mut self) -> io::Result<()> {
        let over = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        loop {
            if self.signals.stopped() {
                return Err(io::Error::other("stopped while downloading"));
            }
            match self.request() {
                Ok(body) => {
                    self.body = Some(body);
                    self.pace.begin();
                    return Ok(());
                }
                Err(Failure::Final(why)) => return over(why),
                Err(Failure::Expired(why)) => match self.renew_address() {
                    Some(Ok(())) => log::info!("{why}; going on with a new address"),
                    Some(Err(no_address)) => {
                        return over(format!("{why}; there is no new address: {no_address}"))
                    }
                    None => return over(why),
                },
                Err(Failure::Passing(why, asked)) => self.pause(&why, asked)?,
            }
        }
    }

    /// `None` when nobody can be asked, or has just been.
    fn renew_address(&mut self) -> Option<Result<(), String>> {
        if std::mem::replace(&mut self.renewed, true) {
            return None;
        }
        let renewed = self.renew.as_mut()?();
        Some(renewed.and_then(|uri| {
            self.uri = uri;
            self.check_address()
        }))
    }

    /// Waits before the next try, or ends when there is none left.
    fn pause(&mut self, why: &str, asked: Option<Duration>) -> io::Result<()> {
        let over = |kind, what: String| Err(io::Error::new(kind, what));
        if self.left == 0 {
            let tries = self.retries;
            return over(
                io::ErrorKind::ConnectionAborted,
                format!("download failed at byte {}: {why}; gave up after {tries} retries", self.offset),
            );
        }
        self.left -= 1;
        let wait = asked.map_or(self.wait, |asked| asked.clamp(self.wait, LONGEST_ASKED.max(self.wait)));
        log::warn!("download broke off at byte {}: {why}; next try in {} s", self.offset, wait.as_secs());
        if self.signals.sleep(wait) {
            return over(io::ErrorKind::Other, "stopped while waiting to resume the download".into());
        }
        Ok(())
    }

    /// How many bytes may be read now. While none may, the connection is closed, and taken up again afterwards: `None`.
    fn allowed(&mut self) -> io::Result<Option<u64>> {
        let gate = match (&mut self.gate, self.total) {
            (Some(gate), Some(_)) => gate.allows(),
            // What cannot be resumed has to go on.
            _ => u64::MAX,
        };
        if gate == 0 {
            log::info!("the download pauses at byte {}", self.offset);
            (self.body, self.broken) = (None, None);
            if let Some(gate) = &mut self.gate {
                gate.wait()?;
            }
            // The address may have expired meanwhile, and the link be another.
            (self.counted, self.left, self.renewed) = (self.offset, self.retries, false);
            return Ok(None);
        }
        Ok(match self.signals.sleep(self.rate.wait()) {
            true => None,
            false => Some(gate.min(self.rate.most())),
        })
    }

    fn request(&mut self) -> Result<BodyReader<'static>, Failure> {
        let mut request = Request::get(&self.uri);
        if self.offset > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.offset));
            if let Some(etag) = &self.etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        let request = request.body(()).map_err(|error| Failure::Final(format!("{}: {error}", self.uri)))?;
        let agent = self.server.agent.as_ref().map_err(|why| Failure::Final(why.clone()))?;
        // The whole may take hours; the connector bounds every single wait instead.
        let request = agent.configure_request(request).timeout_global(None);
        let request = request.proxy(self.server.proxies.for_uri(&self.uri)).build();
        // To find the name, and for all the rest.
        watchdog::alive_for(self.server.timeout * 2);
        let answer = self.server.limit.within(self.server.timeout, || agent.run(request));
        let answer = answer.map_err(|error| {
            let why = explain(&error);
            // A certificate that was never good does not become so by waiting.
            match self.offset == 0 && refuses_certificate(&error) {
                true => Failure::Final(why),
                false => Failure::Passing(why, None),
            }
        })?;
        let code = answer.status().as_u16();
        let again = "the server sends the whole artifact again (200) instead of the rest (206)";
        match code {
            200 if self.offset == 0 => {
                self.total = answer.body().content_length();
                let etag = header_text(answer.headers(), header::ETAG);
                self.etag = etag.filter(|etag| etag.starts_with('"')).map(str::to_owned);
            }
            206 if self.offset > 0 => self.check_range(&answer).map_err(Failure::Final)?,
            200 => return Err(Failure::Final(again.into())),
            300..=399 => {
                let to = header_text(answer.headers(), header::LOCATION).unwrap_or("another address");
                return Err(Failure::Final(format!(
                    "the server answered {code}, a redirect to {to:.200}; artifact addresses must be final"
                )));
            }
            408 | 429 | 500..=599 => {
                let asked = retry_after(answer.headers());
                return Err(Failure::Passing(format!("the server answered {code}"), asked));
            }
            401 | 403 | 404 | 410 => {
                return Err(Failure::Expired(format!(
                    "the server answered {code}; the address may have expired"
                )))
            }
            _ => return Err(Failure::Final(format!("the server answered {code}"))),
        }
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// A 206 must continue exactly where we stopped, in a whole that is as long as before.
    fn check_range(&self, answer: &Response<Body>) -> Result<(), String> {
        let found = header_text(answer.headers(), header::CONTENT_RANGE).unwrap_or("nothing");
        let total = self.total.unwrap_or_default();
        let expected = format!("bytes {}-{}/", self.offset, total.saturating_sub(1));
        let rest = found.strip_prefix(expected.as_str());
        let length = answer.body().content_length();
        if rest.is_some_and(|rest| rest == "*" || rest == total.to_string())
            && length.map_or(true, |length| length == total - self.offset)
        {
            return Ok(());
        }
        Err(format!(
            "expected Content-Range {expected}{total}, found {found:.200}; the artifact may have been changed"
        ))
    }

    /// So many bytes have come.
    fn progress(&mut self, bytes: u64) {
        self.offset += bytes;
        self.rate.took(bytes);
        if let Some(gate) = &mut self.gate {
            gate.took(bytes);
        }
        if self.offset - self.counted >= PROGRESS {
            (self.counted, self.left, self.renewed) = (self.offset, self.retries, false);
        }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.signals.stopped() {
                return Err(io::Error::other("stopped while downloading"));
            }
            if buf.is_empty() || self.total == Some(self.offset) {
                return Ok(0);
            }
            let Some(allowed) = self.allowed()? else { continue };
            let Some(body) = &mut self.body else {
                if let Some(why) = self.broken.take() {
                    self.pause(&why, None)?;
                }
                self.connect()?;
                continue;
            };
            // More than announced is not asked for.
            let rest = self.total.map_or(u64::MAX, |total| total - self.offset);
            let most = buf.len().min(usize::try_from(rest.min(allowed)).unwrap_or(usize::MAX));
            let since = Instant::now();
            watchdog::alive_for(self.server.timeout);
            let (came, why) = match (body.read(&mut buf[..most]), self.total) {
                (Ok(0), None) => return Ok(0),
                (Ok(0), Some(total)) => (0, format!("the connection ended before byte {total}")),
                (Ok(n), total) => {
                    self.progress(n as u64);
                    if !self.pace.creeps(n as u64, since.elapsed()) {
                        return Ok(n);
                    }
                    let why = format!("fewer than {CREEP} bytes a second came");
                    if total.is_none() {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                    }
                    (n, why)
                }
                (Err(error), Some(_)) => (0, explain(&ureq::Error::Io(error))),
                (Err(error), None) => return Err(error),
            };
            (self.body, self.broken) = (None, Some(why));
            if came > 0 {
                return Ok(came);
            }
        }
    }
}
