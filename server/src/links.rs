//! Links that need no token because they are signed: they name one thing, and expire.
use crate::clock::{self, Millis};
use base64::Engine;
use ring::hmac;

const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a device's link lives; a client that resumes a download must not lose it within a day.
pub const DEVICE_LIFE: Millis = clock::DAY;
/// How long a user's link lives.
pub const USER_LIFE: Millis = 15 * clock::MINUTE;

fn message(method: &str, path: &str, expire: &str, tenant: &str) -> String {
    format!("{method}\n{path}\nx-men-expire={expire}\ntenant_id={tenant}\n")
}

/// Signs `path` for `method`: the path with its query, and when it expires.
pub fn sign(key: &hmac::Key, method: &str, path: &str, tenant: &str, life: Millis) -> (String, Millis) {
    let expires = (clock::now() + life) / clock::SECOND;
    let signature = hmac::sign(key, message(method, path, &expires.to_string(), tenant).as_bytes());
    let signature = BASE64.encode(signature.as_ref());
    (
        format!("{path}?x-men-expire={expires}&tenant_id={tenant}&x-men-signature={signature}"),
        expires * clock::SECOND,
    )
}

/// Whether this is a link that `sign` made and that has not expired.
pub fn is_valid(
    key: &hmac::Key,
    method: &str,
    path: &str,
    expire: &str,
    tenant: &str,
    signature: &str,
) -> bool {
    let in_time = expire.parse::<i64>().is_ok_and(|at| at * clock::SECOND > clock::now());
    let Ok(signature) = BASE64.decode(signature) else { return false };
    in_time && hmac::verify(key, message(method, path, expire, tenant).as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_for_one_thing_and_time() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
        let (link, _) = sign(&key, "GET", "/a/b", "t", clock::DAY);
        let part = |name: &str| {
            let rest = link.split_once(&format!("{name}=")).unwrap().1;
            rest.split('&').next().unwrap().to_owned()
        };
        let (expire, signature) = (part("x-men-expire"), part("x-men-signature"));
        let valid =
            |method, path, expire: &str, tenant| is_valid(&key, method, path, expire, tenant, &signature);
        assert!(valid("GET", "/a/b", &expire, "t"));
        assert!(!valid("PUT", "/a/b", &expire, "t"));
        assert!(!valid("GET", "/a/c", &expire, "t"));
        assert!(!valid("GET", "/a/b", &expire, "u"));
        assert!(!valid("GET", "/a/b", "99999999999", "t"));
        let (late, _) = sign(&key, "GET", "/a", "t", -clock::MINUTE);
        let expire = late.split_once("x-men-expire=").unwrap().1.split('&').next().unwrap();
        let signature = late.split_once("x-men-signature=").unwrap().1;
        assert!(!is_valid(&key, "GET", "/a", expire, "t", signature));
    }
}
