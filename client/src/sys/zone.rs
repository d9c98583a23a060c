//! The device's time zone, as the C library knows it: `TZ`, otherwise `/etc/localtime`, otherwise UTC. musl reads the same,
//! in static programs, too.
#![allow(unsafe_code)]

use nix::libc::{self, time_t, tm};

extern "C" {
    fn tzset();
}

/// How many seconds local time is ahead of UTC (east of Greenwich) at `unix`. A zone that was changed since counts with
/// glibc; musl reads it once.
pub fn offset(unix: u64) -> i64 {
    let Ok(time) = time_t::try_from(unix) else { return 0 };
    // SAFETY: all of `tm` may be zero; it is filled in below.
    let mut local: tm = unsafe { std::mem::zeroed() };
    // SAFETY: `tzset` reads the environment, which no thread of this program changes; the other gets two valid pointers.
    let known = unsafe {
        tzset();
        libc::localtime_r(&time, &mut local)
    };
    match known.is_null() {
        true => 0,
        #[allow(clippy::useless_conversion)] // Smaller machines have it in 32 bits.
        false => local.tm_gmtoff.into(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_zone_is_further_than_a_day_from_greenwich() {
        for unix in [0, 1_798_761_599, u64::MAX] {
            assert!(super::offset(unix).abs() <= 86_400);
        }
    }
}
