//! The time, in seconds since 1970 (UTC), and dates as logs and HTTP write them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::clock;
use crate::sys::host;

/// The latest time that an authenticated server told.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// By how much the server's clock, as it told last, is ahead of the time since this machine started; 0: it told nothing yet.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// An authenticated server (now, or before the last restart) said that it is `unix`.
pub fn told(unix: u64) {
    // What lies beyond the year 9999 is no time.
    let unix = unix.min(253_402_300_799);
    TOLD.fetch_max(unix, Ordering::Relaxed);
}

/// An authenticated server says that it is `unix` now.
pub fn is_now(unix: u64) {
    told(unix);
    // A server whose clock was never set tells nothing.
    if UNIX_EPOCH + Duration::from_secs(unix) >= clock::built() {
        AHEAD.store(unix as i64 - uptime(), Ordering::Relaxed);
    }
}

/// The latest time that a server told.
pub fn last_told() -> Option<u64> {
    Some(TOLD.load(Ordering::Relaxed)).filter(|unix| *unix > 0)
}

/// The clock that counts here: the latest of the system's, the build's and what servers told.
pub fn reading() -> clock::Reading {
    clock::now(last_told().map(|unix| UNIX_EPOCH + Duration::from_secs(unix)))
}

/// Seconds since 1970 by [`reading`].
pub fn now() -> u64 {
    reading().time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether a server has told the time since this client started.
pub fn is_told() -> bool {
    AHEAD.load(Ordering::Relaxed) != 0
}

/// The time that windows and budgets go by, in seconds since 1970: the server's, once it has told it, counted on without the
/// system clock, which may leap; [`now`] before that.
pub fn by_server() -> u64 {
    #[cfg(any(test, feature = "faults"))]
    if let Some(unix) = PRETENDED.get() {
        return unix;
    }
    match AHEAD.load(Ordering::Relaxed) {
        0 => now(),
        ahead => u64::try_from(ahead + uptime()).unwrap_or(0),
    }
}

fn uptime() -> i64 {
    host::uptime().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
}

#[cfg(any(test, feature = "faults"))]
thread_local! {
    static PRETENDED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// For tests: from now on, this is the time in this thread that windows and budgets go by.
#[cfg(any(test, feature = "faults"))]
pub fn pretend(unix: Option<u64>) {
    PRETENDED.set(unix);
}

/// `2026-11-23T03:00:00Z`.
pub fn rfc3339(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days as i64);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Reads the date of an HTTP header in its one current form, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn from_http(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_ascii_whitespace().skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next().filter(|name| name.len() == 3).and_then(|name| MONTHS.find(name))?;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|n| *n <= 60));
    let seconds = clock.next()?? * 3600 + clock.next()?? * 60 + clock.next()??;
    if month % 3 != 0 || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    Some(days_since_1970(year, month as i64 / 3 + 1, day) as u64 * 86_400 + seconds)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (years that begin in March make leap days the last).
pub fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day
        - 1
        - 719_468
}

/// The inverse of [`days_since_1970`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day_of_year - (153 * ((month + 9) % 12) + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn http_dates_are_read_and_nonsense_is_not() {
        assert_eq!(from_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(from_http("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for nonsense in [
            "",
            "soon",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(from_http(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in 0..146_097 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days_since_1970(year, month, of_month), day);
        }
    }
}
