//! PKCS#11 URIs (RFC 7512).
use std::{fmt, fs, path::Path};

use super::Error;

/// Where p11-kit gives access to every module that is configured; the loader finds the last.
const PROXIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so",
    "/usr/lib/aarch64-linux-gnu/p11-kit-proxy.so",
    "/usr/lib/arm-linux-gnueabihf/p11-kit-proxy.so",
    "p11-kit-proxy.so",
];

/// The name of a key on a token. It is shown without its PIN.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Uri {
    shown: String,
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) slot: Option<u64>,
    pub(super) object: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
    module: Option<String>,
    pin: Option<String>,
    pin_source: Option<String>,
}

impl Uri {
    /// Whether this text is meant as such a URI.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("pkcs11:")
    }

    /// Reads a URI. Attributes that narrow nothing here (`type` and the like) are passed over.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let rest = text.strip_prefix("pkcs11:");
        let mut uri = Self { shown: "pkcs11:".to_owned(), ..Self::default() };
        let rest = rest.ok_or_else(|| Error::Uri {
            uri: text.split(['?', ';', '&']).next().unwrap_or_default().to_owned(),
            what: "expected it to begin with pkcs11:".to_owned(),
        })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let attributes = path.split(';').map(|attribute| (';', attribute));
        let attributes = attributes.chain(query.split('&').map(|attribute| ('&', attribute)));
        for (separator, attribute) in attributes.filter(|(_, attribute)| !attribute.is_empty()) {
            if !attribute.starts_with("pin-value=") {
                uri.show(separator, attribute);
            }
            uri.take(attribute).map_err(|what| Error::Uri { uri: uri.shown.clone(), what })?;
        }
        Ok(uri)
    }

    fn show(&mut self, separator: char, attribute: &str) {
        match separator {
            '&' if !self.shown.contains('?') => self.shown.push('?'),
            _ if self.shown.ends_with(':') => {}
            _ => self.shown.push(separator),
        }
        self.shown.push_str(attribute);
    }

    fn take(&mut self, attribute: &str) -> Result<(), String> {
        let (name, value) =
            attribute.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, found {attribute}"))?;
        let bytes = percent_decode(value)
            .ok_or_else(|| format!("{name}: a percent sign needs two hex digits after it"))?;
        let text = || String::from_utf8(bytes.clone()).map_err(|_| format!("{name}: expected a text"));
        match name {
            "token" => self.token = Some(text()?),
            "serial" => self.serial = Some(text()?),
            "manufacturer" => self.manufacturer = Some(text()?),
            "model" => self.model = Some(text()?),
            "slot-id" => {
                let number =
                    text()?.parse().map_err(|_| format!("slot-id: expected a number, found {value}"));
                self.slot = Some(number?);
            }
            "object" => self.object = Some(bytes),
            "id" => self.id = Some(bytes),
            "module-path" => self.module = Some(text()?),
            "pin-value" => self.pin = Some(text()?),
            "pin-source" => self.pin_source = Some(text()?),
            _ => (), // type, library-version and the like narrow nothing that is needed
        }
        Ok(())
    }

    /// The module to load: of the URI, of the environment, or p11-kit's.
    pub(super) fn module(&self) -> String {
        let environment = || std::env::var("PKCS11_MODULE_PATH").ok().filter(|path| !path.is_empty());
        let proxy = || PROXIES.iter().find(|path| Path::new(path).exists()).unwrap_or(&"p11-kit-proxy.so");
        self.module.clone().or_else(environment).unwrap_or_else(|| (*proxy()).to_owned())
    }

    /// The PIN, if the URI has one; a file is read each time.
    pub(super) fn pin(&self) -> Result<Option<String>, Error> {
        let Some(source) = &self.pin_source else { return Ok(self.pin.clone()) };
        let path = source.strip_prefix("file:").unwrap_or(source);
        let path = path.strip_prefix("//").unwrap_or(path);
        match fs::read(path) {
            Ok(pin) => Ok(Some(String::from_utf8_lossy(&pin).trim_end_matches(['\n', '\r']).to_owned())),
            Err(error) => Err(Error::PinSource { uri: self.to_string(), file: path.to_owned(), error }),
        }
    }
}

/// The URI without the PIN.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_read_and_shown_without_its_pin() {
        let uri = "pkcs11:token=my%20token;id=%00%ff;object=a&b;slot-id=7;type=private\
                   ?module-path=/lib/m.so?&pin-value=12%2634";
        let read = Uri::parse(uri).unwrap();
        assert_eq!(read.token.as_deref(), Some("my token"));
        assert_eq!(read.id.as_deref(), Some(&[0, 255][..]));
        assert_eq!(read.object.as_deref(), Some(&b"a&b"[..]));
        assert_eq!((read.slot, read.module()), (Some(7), "/lib/m.so?".to_owned()));
        assert_eq!(read.pin().unwrap().as_deref(), Some("12&34"));
        assert_eq!(read.to_string(), uri.split("&pin-value").next().unwrap());
        // Where libp11 and Mender's examples have it.
        let read = Uri::parse("pkcs11:pin-value=1;token=t").unwrap();
        assert_eq!((read.pin().unwrap().as_deref(), read.to_string()), (Some("1"), "pkcs11:token=t".into()));
    }

    #[test]
    fn what_is_no_uri_says_why() {
        for (uri, why) in [
            ("token=t;pin-value=1", "begin with pkcs11:"),
            ("pkcs11:token", "NAME=VALUE"),
            ("pkcs11:token=%9", "percent"),
            ("pkcs11:token=%+9", "percent"),
            ("pkcs11:token=%ff", "expected a text"),
            ("pkcs11:slot-id=x", "expected a number"),
        ] {
            let said = Uri::parse(uri).unwrap_err().to_string();
            assert!(said.contains(why) && !said.contains("pin-value"), "{said}");
        }
        let none = Uri::parse("pkcs11:token=t?pin-source=file:///nowhere/pin").unwrap();
        assert!(none.pin().unwrap_err().to_string().contains("/nowhere/pin"));
    }
}
