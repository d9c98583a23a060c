//! Fetching an artifact: one stream of bytes, however often the connection breaks (device API: download).

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{header, Request, Response};
use ureq::{Body, BodyReader};

use super::{explain, header_text, refuses_certificate, Server};
use crate::config::Config;
use crate::signals::Signals;

/// A running download. Reads continue where a broken connection ended; an error means that it is over.
pub struct Download<'a> {
    agent: ureq::Agent,
    uri: String,
    body: Option<BodyReader<'static>>,
    /// Bytes handed out.
    offset: u64,
    /// Length of the whole; without it nothing can be resumed.
    total: Option<u64>,
    retries: u32,
    left: u32,
    wait: Duration,
    signals: &'a Signals,
}

/// Why a try to go on failed, and whether another can do better.
enum Failure {
    Passing(String),
    Final(String),
}

impl<'a> Download<'a> {
    /// Asks for the artifact at `uri`. No token is sent: the address itself is the permission.
    pub fn start(
        server: &Server,
        config: &Config,
        uri: &str,
        signals: &'a Signals,
    ) -> io::Result<Download<'a>> {
        let signed = config.verify_keys.is_some();
        let acceptable = uri.starts_with("https://") || (signed && uri.starts_with("http://"));
        if !acceptable {
            let why = format!(
                "{uri}: expected an https:// address (http:// only where artifact.verify_keys is set)"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let agent = server.agent.clone().map_err(io::Error::other)?;
        let retries = config.download_retries;
        let mut download = Download {
            agent,
            uri: uri.to_owned(),
            body: None,
            offset: 0,
            total: None,
            retries,
            left: retries,
            wait: config.download_retry_interval,
            signals,
        };
        download.connect()?;
        Ok(download)
    }

    /// Length of the artifact, if the server said it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Opens the stream at `offset`, trying again after a wait while that can help.
    fn connect(&mut self) -> io::Result<()> {
        loop {
            let why = match self.request() {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(Failure::Final(why)) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
                Err(Failure::Passing(why)) => why,
            };
            self.pause(&why)?;
        }
    }

    /// Waits before the next try, or ends when there is none left.
    fn pause(&mut self, why: &str) -> io::Result<()> {
        let over = |kind, what: String| Err(io::Error::new(kind, what));
        if self.left == 0 {
            let tries = self.retries;
            return over(
                io::ErrorKind::ConnectionAborted,
                format!("download failed at byte {}: {why}; gave up after {tries} retries", self.offset),
            );
        }
        self.left -= 1;
        log::warn!(
            "download broke off at byte {}: {why}; next try in {} s",
            self.offset,
            self.wait.as_secs()
        );
        if self.signals.sleep(self.wait) {
            return over(io::ErrorKind::Other, "stopped while waiting to resume the download".into());
        }
        Ok(())
    }

    fn request(&mut self) -> Result<BodyReader<'static>, Failure> {
        let mut request = Request::get(&self.uri);
        if self.offset > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.offset));
        }
        let request = request.body(()).map_err(|error| Failure::Final(format!("{}: {error}", self.uri)))?;
        // The whole may take hours; the connector bounds every single wait instead.
        let request = self.agent.configure_request(request).timeout_global(None).build();
        let answer = self.agent.run(request).map_err(|error| {
            let why = explain(&error);
            // A certificate that was never good does not become so by waiting.
            match self.offset == 0 && refuses_certificate(&error) {
                true => Failure::Final(why),
                false => Failure::Passing(why),
            }
        })?;
        let code = answer.status().as_u16();
        match code {
            200 if self.offset == 0 => self.total = answer.body().content_length(),
            206 if self.offset > 0 => self.check_range(&answer).map_err(Failure::Final)?,
            200 => {
                return Err(Failure::Final(
                    "the server sends the whole artifact again (200) instead of the rest (206)".into(),
                ))
            }
            300..=399 => {
                let to = header_text(answer.headers(), header::LOCATION).unwrap_or("another address");
                return Err(Failure::Final(format!(
                    "the server answered {code}, a redirect to {to}; artifact addresses must be final"
                )));
            }
            408 | 429 | 500..=599 => return Err(Failure::Passing(format!("the server answered {code}"))),
            403 | 404 | 410 => {
                return Err(Failure::Final(format!(
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
            "expected Content-Range {expected}{total}, found {found}; the artifact may have been changed"
        ))
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
            let Some(body) = &mut self.body else {
                self.connect()?;
                continue;
            };
            let why = match (body.read(buf), self.total) {
                (Ok(0), None) => return Ok(0),
                (Ok(0), Some(total)) => format!("the connection ended before byte {total}"),
                (Ok(n), _) => {
                    self.offset += n as u64;
                    self.left = self.retries;
                    return Ok(n);
                }
                (Err(error), Some(_)) => explain(&ureq::Error::Io(error)),
                (Err(error), None) => return Err(error),
            };
            self.body = None;
            self.pause(&why)?;
        }
    }
}
