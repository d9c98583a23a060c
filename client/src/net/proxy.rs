//! Which HTTP proxy a connection goes through: `server.proxy`, else what the environment says, as other programs read it.

use std::net::IpAddr;

use ureq::http::Uri;
use ureq::Proxy;

use crate::config::Config;

/// The proxies, and the hosts that are reached without one.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<String>,
}

impl Proxies {
    /// `variable` reads the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, those in lower case first.
    pub fn new(config: &Config, variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |name: &str| {
            let set = |name: &str| variable(name).filter(|value| !value.is_empty());
            set(&name.to_lowercase()).or_else(|| set(name))
        };
        let from = |name: &str| {
            let address = config.proxy.clone().or_else(|| either(name)).or_else(|| either("ALL_PROXY"))?;
            let proxy = parse(&address);
            if proxy.is_none() {
                log::warn!("{name}: expected an address such as http://proxy:3128, found {address}; no proxy is used");
            }
            proxy
        };
        let except = either("NO_PROXY").unwrap_or_default().to_lowercase();
        Proxies {
            http: from("HTTP_PROXY"),
            https: from("HTTPS_PROXY"),
            except: except
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The proxy for a connection to this address.
    pub fn for_uri(&self, uri: &str) -> Option<Proxy> {
        let uri: Uri = uri.parse().ok()?;
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let proxy = if is_https { &self.https } else { &self.http };
        proxy.clone().filter(|_| !self.except.iter().any(|entry| excepts(entry, &host, port)))
    }
}

/// A proxy that connections are asked of with CONNECT.
fn parse(address: &str) -> Option<Proxy> {
    let is_http = !address.contains("://") || address.to_lowercase().starts_with("http://");
    Proxy::new(address).ok().filter(|_| is_http)
}

/// Whether an entry of `NO_PROXY` is for this host: `*`, a domain with all below it, an address, `10.0.0.0/8`; a port limits it.
fn excepts(entry: &str, host: &str, port: u16) -> bool {
    let entry = match entry.rsplit_once(':') {
        Some((entry, limit)) if !entry.contains(':') || entry.ends_with(']') => {
            if limit != port.to_string() {
                return false;
            }
            entry
        }
        _ => entry,
    };
    let entry = entry.trim_start_matches('[').trim_end_matches(']');
    if let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse()) {
        return within(network, bits, address).unwrap_or(false);
    }
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    match domain {
        "" => entry == "*",
        domain => host == domain || host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')),
    }
}

fn within(network: &str, bits: &str, address: IpAddr) -> Option<bool> {
    let bits: u32 = bits.parse().ok()?;
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let ((network, width), (address, found)) = (number(network.parse().ok()?), number(address));
    let rest = u32::checked_sub(width, bits)?;
    Some(width == found && network.checked_shr(rest).unwrap_or(0) == address.checked_shr(rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Proxies::new(&Config::default(), |name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    fn host(proxies: &Proxies, uri: &str) -> Option<String> {
        proxies.for_uri(uri).map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn each_scheme_has_its_variable_and_lower_case_comes_first() {
        let both = proxies(&[
            ("HTTPS_PROXY", "http://one:3128"),
            ("http_proxy", "two:8080"),
            ("HTTP_PROXY", "http://no"),
        ]);
        assert_eq!(host(&both, "https://host/a").as_deref(), Some("one:3128"));
        assert_eq!(host(&both, "http://host/a").as_deref(), Some("two:8080"));
        let all = proxies(&[("all_proxy", "http://all:1"), ("HTTPS_PROXY", "")]);
        assert_eq!(host(&all, "https://host").as_deref(), Some("all:1"));
        assert_eq!(host(&proxies(&[("HTTPS_PROXY", "socks5://x:1")]), "https://host"), None);
        assert_eq!(host(&proxies(&[]), "https://host"), None);
        let config = Config { proxy: Some("http://own:9".into()), ..Config::default() };
        let own = Proxies::new(&config, |name| (name == "https_proxy").then(|| "http://x:1".into()));
        assert_eq!(host(&own, "https://host").as_deref(), Some("own:9"));
    }

    #[test]
    fn exceptions_are_domains_addresses_and_networks() {
        let with = |except: &str| proxies(&[("https_proxy", "http://p:1"), ("NO_PROXY", except)]);
        for (except, uri, direct) in [
            ("example.com", "https://example.com/", true),
            ("example.com", "https://a.EXAMPLE.com/", true),
            (".example.com,other", "https://a.example.com/", true),
            ("*.example.com", "https://a.example.com/", true),
            ("x  other", "https://other/", true),
            ("example.com", "https://notexample.com/", false),
            ("example.com:8443", "https://example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("10.0.0.0/99", "https://10.1.2.3/", false),
            ("0.0.0.0/0", "https://11.1.2.3/", true),
            ("fd00::/8", "https://[fd12::1]:8443/", true),
            ("::1", "https://[::1]/", true),
            ("[::1]:443", "https://[::1]/", true),
            ("*", "https://anything/", true),
            ("", "https://anything/", false),
            (",,", "https://anything/", false),
        ] {
            assert_eq!(with(except).for_uri(uri).is_none(), direct, "{except} {uri}");
        }
    }
}
