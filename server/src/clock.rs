//! Time as this program keeps it: unix milliseconds.
use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since 1970.
pub type Millis = i64;

pub const SECOND: Millis = 1000;
pub const MINUTE: Millis = 60 * SECOND;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;

pub fn now() -> Millis {
    Utc::now().timestamp_millis()
}

/// `2026-11-23T03:00:00.123Z`, as the API writes times.
pub fn rfc3339(millis: Millis) -> String {
    DateTime::from_timestamp_millis(millis).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A new random id: a UUID in lower case with hyphens.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// For serde: milliseconds as RFC 3339 text.
pub mod text {
    pub fn serialize<S: serde::Serializer>(millis: &super::Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::rfc3339(*millis))
    }

    /// The same for a time that may be unknown. Use with `skip_serializing_if = "Option::is_none"`.
    pub mod option {
        pub fn serialize<S: serde::Serializer>(
            millis: &Option<crate::clock::Millis>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match millis {
                Some(millis) => super::serialize(millis, to),
                None => to.serialize_none(),
            }
        }
    }
}
