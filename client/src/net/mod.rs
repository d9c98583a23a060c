//! Talking to the server: authorisation, requests with the token, fail-over between addresses.
//!
//! Every wait is bounded, every answer is read up to a limit, and no redirect is followed.

pub mod api;
pub mod backoff;
pub mod download;
mod pace;
pub mod proxy;
pub mod tls;
pub(crate) mod verify;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{self, header, Method, StatusCode};
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};

use crate::config::Config;
use crate::date;
use crate::identity::Identity;
use crate::sys::watchdog;
use proxy::Proxies;
use tls::{Deadline, TlsConnector};
use verify::{Clock, Verifier};

/// Longest time to open a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Time that a request gets however late it is.
const SHORTEST: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const ANSWER: u64 = 1 << 20;

/// Why a request did not do what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No server is configured.
    NoServer,
    /// There was no answer over verified TLS: address and why.
    Unreachable { url: String, why: String },
    /// The server answered with a status that means no success.
    Status { act: &'static str, code: u16, message: String, retry_after: Option<Duration> },
    /// The server's answer is not what the device API says: act and what was found.
    Answer { act: &'static str, found: String },
    /// The device cannot say who it is.
    Identity(String),
}

impl Error {
    /// Whether a server with a good certificate answered at all.
    pub fn reached(&self) -> bool {
        matches!(self, Error::Status { .. } | Error::Answer { .. })
    }

    /// The HTTP status, if there was one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoServer => f.write_str("no server is configured; set server.url in rota.toml"),
            Error::Unreachable { url, why } => write!(f, "{url}: {why}"),
            Error::Status { act: api::AUTHORISE, code: 401, message, .. } => {
                write!(f, "the server does not admit this device (401 {message})")
            }
            Error::Status { act, code, message, .. } => {
                write!(f, "cannot {act}: the server answered {code} {message}")
            }
            Error::Answer { act, found } => {
                write!(f, "cannot {act}: the server's answer is not understood: {found}")
            }
            Error::Identity(why) => write!(f, "this device cannot say who it is: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// At most 1 MiB.
    pub body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Answer {
    /// The error that this answer is when it is no success.
    fn error(&self, act: &'static str) -> Error {
        let json = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let message = json.as_ref().and_then(|json| json["error"].as_str());
        let reason = StatusCode::from_u16(self.code).ok().and_then(|code| code.canonical_reason());
        let message = message.or(reason).unwrap_or_default().chars().take(200).collect();
        Error::Status { act, code: self.code, message, retry_after: self.retry_after }
    }
}

/// Tells who this device is.
type WhoAmI = dyn Fn() -> Result<Identity, String>;

/// The server, as this device knows it. A clone begins with the same token.
#[derive(Clone)]
pub struct Server {
    agent: Result<ureq::Agent, String>,
    proxies: Proxies,
    limit: Deadline,
    verifier: Option<Arc<Verifier>>,
    deadline: Option<Instant>,
    timeout: Duration,
    urls: Vec<String>,
    tenant_token: Option<String>,
    identity: Rc<WhoAmI>,
    session: Option<Session>,
    /// Index into the forms of asking for a deployment; the later ones are for servers that lack the first.
    next_form: usize,
}

/// What authorisation gave: the token, and the server that gave it.
#[derive(Clone)]
struct Session {
    url: String,
    token: String,
}

impl Server {
    /// A server reached as `config` says. `identity` is asked at every authorisation.
    pub fn new(config: &Config, identity: Box<WhoAmI>) -> Server {
        let limit = Deadline::default();
        let (agent, verifier) = match tls::settings(config, Clock(Arc::new(date::reading))) {
            Ok((tls, verifier)) => {
                let (stall, deadline) = (config.server_timeout, limit.clone());
                let tls = TlsConnector { config: tls, stall, deadline };
                let connector =
                    ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
                (Ok(agent(connector, DefaultResolver::default(), config.server_timeout)), Some(verifier))
            }
            Err(why) => (Err(why), None),
        };
        let proxies = Proxies::new(config, |name| std::env::var(name).ok());
        Server { verifier, proxies, limit, ..Server::over(agent, config, identity) }
    }

    /// A server behind this agent; why there is none is told when it is needed.
    pub fn over(agent: Result<ureq::Agent, String>, config: &Config, identity: Box<WhoAmI>) -> Server {
        Server {
            agent,
            proxies: Proxies::default(),
            limit: Deadline::default(),
            verifier: None,
            deadline: None,
            timeout: config.server_timeout,
            urls: config.urls.clone(),
            tenant_token: config.tenant_token.clone(),
            identity: identity.into(),
            session: None,
            next_form: 0,
        }
    }

    /// Until this is called again, requests end by `deadline`; one that begins late gets a little time all the same.
    pub fn end_by(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Forgets the token, so that the next request asks for a new one.
    pub fn forget_token(&mut self) {
        self.session = None;
    }

    /// Asks each server for something without being admitted: whatever it answers over verified TLS, it is reached.
    pub fn reach(&mut self) -> Vec<(String, Result<u16, Error>)> {
        let urls = self.urls.clone().into_iter();
        urls.map(|url| {
            let answer = self.send(&url, Method::GET, api::NEXT_V1, &[], None).map(|answer| answer.code);
            (url, answer)
        })
        .collect()
    }

    /// Asks each server in turn to admit this device, until one does (device API: authentication).
    pub fn authorise(&mut self) -> Result<(), Error> {
        self.session = None;
        let identity = (self.identity)().map_err(Error::Identity)?;
        let request = identity.auth_request(self.tenant_token.as_deref());
        let (body, signature) = request.map_err(Error::Identity)?;
        let mut last = Error::NoServer;
        for url in self.urls.clone() {
            let headers = [("X-MEN-Signature", signature.as_str())];
            let answer = self.send(&url, Method::POST, api::AUTH_PATH, &headers, Some(&body));
            let error = match answer {
                Ok(answer) if answer.code == 200 => match std::str::from_utf8(&answer.body).map(str::trim) {
                    Ok(token) if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                        log::info!("authorised by {url}");
                        self.session = Some(Session { url, token: token.to_owned() });
                        return Ok(());
                    }
                    _ => Error::Answer { act: api::AUTHORISE, found: "no token in it".into() },
                },
                Ok(answer) => answer.error(api::AUTHORISE),
                Err(error) => error,
            };
            log::debug!("{error}");
            // A server that answered tells more than one that did not.
            if error.reached() || !last.reached() {
                last = error;
            }
        }
        Err(last)
    }

    /// One request with the token. Without one, or when it is refused, authorisation comes first, once.
    fn call(&mut self, method: Method, path: &str, body: Option<&[u8]>) -> Result<Answer, Error> {
        let mut fresh = self.session.is_none();
        loop {
            let session = match &self.session {
                Some(session) => session.clone(),
                None => {
                    self.authorise()?;
                    continue;
                }
            };
            let token = format!("Bearer {}", session.token);
            let result = self.send(&session.url, method.clone(), path, &[("Authorization", &token)], body);
            match &result {
                Ok(answer) if answer.code == 401 && !fresh => {
                    self.session = None;
                    fresh = true;
                }
                // Another server may do; the next request asks them all.
                Err(_) => {
                    self.session = None;
                    return result;
                }
                _ => return result,
            }
        }
    }

    fn send(
        &mut self,
        url: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, Error> {
        let unreachable = |why: String| Error::Unreachable { url: url.to_owned(), why };
        let agent = self.agent.as_ref().map_err(|why| unreachable(format!("TLS: {why}")))?;
        let mut request = http::Request::builder().method(method).uri(format!("{url}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.unwrap_or(self.timeout).max(SHORTEST).min(self.timeout);
        let proxy = self.proxies.for_uri(url);
        watchdog::alive_for(limit);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(body).map_err(|error| unreachable(error.to_string()))?;
        self.limit.within(limit, || {
            let answer = match request.into_parts() {
                (head, Some(body)) => {
                    let request = agent.configure_request(http::Request::from_parts(head, body));
                    agent.run(request.timeout_global(Some(limit)).proxy(proxy).build())
                }
                (head, None) => {
                    let request = agent.configure_request(http::Request::from_parts(head, ()));
                    agent.run(request.timeout_global(Some(limit)).proxy(proxy).build())
                }
            };
            self.receive(url, answer.map_err(|error| unreachable(explain(&error)))?)
        })
    }

    /// Reads an answer to its end.
    fn receive(&self, url: &str, mut answer: http::Response<ureq::Body>) -> Result<Answer, Error> {
        let date = header_text(answer.headers(), header::DATE).and_then(date::from_http);
        let verifier = self.verifier.as_ref().filter(|_| url.starts_with("https://"));
        match (date, verifier) {
            (Some(date), Some(verifier)) if verifier.believes(date) => date::is_now(date),
            (Some(date), Some(_)) => log::warn!(
                "{url} says it is {}, when its own certificate has expired; that is not believed",
                date::rfc3339(date)
            ),
            _ => {}
        }
        let retry_after = retry_after(answer.headers());
        let code = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
        // Its beginning had come over verified TLS: the server is there.
        let body = body.map_err(|error| Error::Answer {
            act: "read the answer",
            found: format!("{code}, and then: {}", explain(&error)),
        })?;
        Ok(Answer { code, body, retry_after })
    }
}

/// How long the server asks to wait, in either form; from a second to a day.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    const LONGEST: u64 = 24 * 3600;
    let text = header_text(headers, header::RETRY_AFTER)?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = match is_number {
        true => text.parse().unwrap_or(LONGEST),
        false => date::from_http(text)?.saturating_sub(date::now()),
    };
    Some(Duration::from_secs(seconds.clamp(1, LONGEST)))
}

fn header_text(headers: &http::HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The HTTP agent over such connections: bounded waits, statuses as they are, no redirects.
pub fn agent(connector: impl Connector, resolver: impl Resolver, timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("rota/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(timeout))
        .timeout_resolve(Some(timeout.min(CONNECT)))
        .timeout_connect(Some(timeout.min(CONNECT)))
        .proxy(None)
        .max_idle_connections(1)
        .max_idle_age(Duration::from_secs(30))
        .build();
    ureq::Agent::with_parts(config, connector, resolver)
}

/// Whether there was no answer because the server's certificate is refused.
fn refuses_certificate(error: &ureq::Error) -> bool {
    let ureq::Error::Io(error) = error else { return false };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    tls::refuses_certificate(error) || inner.is_some_and(refuses_certificate)
}

/// Why there was no answer, in plain words.
fn explain(error: &ureq::Error) -> String {
    match error {
        // rustls says it with a page to read.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".into()
        }
        ureq::Error::Io(error) => tls::explain(error).unwrap_or_else(|| match error.get_ref() {
            Some(inner) => inner.downcast_ref().map_or_else(|| error.to_string(), explain),
            None => error.to_string(),
        }),
        ureq::Error::HostNotFound => "the name cannot be resolved".into(),
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        ureq::Error::BodyExceedsLimit(limit) => format!("it is longer than {limit} bytes"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_asks_to_wait_is_read_in_both_forms_and_bounded() {
        let read = |text: &str| {
            let headers = http::HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!((read("7"), read(" 120 "), read("0")), (Some(7), Some(120), Some(1)));
        assert_eq!((read("99999999999999999999999"), read("86401")), (Some(86_400), Some(86_400)));
        assert_eq!((read("-5"), read("soon"), read(""), read("1.5")), (None, None, None, None));
        assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), Some(86_400));
        assert_eq!(read("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
    }
}
