//! Maintenance windows: the times of the week at which an update may be downloaded, installed, or restarted into, in the
//! device's time zone.

use std::fmt;

use crate::sys::zone;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// How far ahead is looked for what comes next, in minutes: two weeks, since clocks may leap over a window of the first.
const AHEAD: u64 = 15 * DAY as u64;

/// One time of each of some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// On which days it opens: the lowest bit is Monday.
    days: u8,
    /// Minutes after midnight. One that does not close later than it opens closes on the next day.
    opens: u16,
    closes: u16,
}

impl Window {
    /// One that never opens.
    pub const NEVER: Window = Window { days: 0, opens: 0, closes: DAY };

    /// Reads `[DAYS ]HH:MM-HH:MM`, where the days are `Sat`, `Mon-Fri` or several of these with commas between.
    pub fn parse(text: &str) -> Option<Window> {
        let (days, times) = text.split_once(' ').unwrap_or(("Mon-Sun", text));
        let (opens, closes) = times.split_once('-')?;
        let window = Window { days: parse_days(days)?, opens: minute(opens)?, closes: minute(closes)? };
        (window.opens < DAY && window.opens != window.closes).then_some(window)
    }

    /// Whether it is open at this local time.
    fn is_open(self, at: Local) -> bool {
        let opens_on = |day: i64| self.days & 1 << (day + 3).rem_euclid(7) != 0;
        match self.opens < self.closes {
            true => opens_on(at.day) && (self.opens..self.closes).contains(&at.minute),
            false => {
                (opens_on(at.day) && at.minute >= self.opens)
                    || (opens_on(at.day - 1) && at.minute < self.closes)
            }
        }
    }
}

fn parse_days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|known| *known == name);
    text.split(',').try_fold(0, |days, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        let mut days = days | 1 << at;
        while at != last {
            at = (at + 1) % 7;
            days |= 1 << at;
        }
        Some(days)
    })
}

/// `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().ok(),
        false => None,
    };
    let (hour, minute) = (number(hour)?, number(minute).filter(|minute| *minute < 60)?);
    Some(hour * 60 + minute).filter(|minute| *minute <= DAY)
}

/// A moment as a clock on the device's wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Days since 1970-01-01.
    pub day: i64,
    minute: u16,
}

impl Local {
    /// What the wall's clock shows at `unix`.
    pub fn at(unix: u64) -> Local {
        Local::ahead(unix, zone::offset(unix))
    }

    /// What it shows where local time is so many seconds ahead of UTC.
    fn ahead(unix: u64, offset: i64) -> Local {
        let seconds = i64::try_from(unix).unwrap_or(i64::MAX / 2) + offset;
        let minute = seconds.rem_euclid(86_400) / 60;
        Local { day: seconds.div_euclid(86_400), minute: minute as u16 }
    }
}

/// `Sat 02:00`.
impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS[(self.day + 3).rem_euclid(7) as usize];
        write!(f, "{day} {:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

/// Whether one of them is open at `unix`. Without any, it always is.
pub fn is_open(windows: &[Window], unix: u64) -> bool {
    is_open_at(windows, Local::at(unix))
}

fn is_open_at(windows: &[Window], at: Local) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.is_open(at))
}

/// When one of them is open next, after `unix`.
pub fn opens(windows: &[Window], unix: u64) -> Option<u64> {
    next(unix, &zone::offset, |at| is_open_at(windows, at))
}

/// When the local day after that of `unix` begins.
pub fn next_day(unix: u64) -> Option<u64> {
    let today = Local::at(unix).day;
    next(unix, &zone::offset, |at| at.day > today)
}

/// The first full minute after `unix` of which this is true. Minute by minute, since clocks leap twice a year; they do that at
/// quarters of an hour.
fn next(unix: u64, zone: &dyn Fn(u64) -> i64, is: impl Fn(Local) -> bool) -> Option<u64> {
    let first = unix / 60 + 1;
    let mut offset = zone(first * 60);
    (first..=first + AHEAD).map(|minute| minute * 60).find(|unix| {
        if unix % 900 == 0 {
            offset = zone(*unix);
        }
        is(Local::ahead(*unix, offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 2026-11-28T00:00:00Z.
    const SATURDAY: u64 = 1_795_824_000;

    fn utc(_: u64) -> i64 {
        0
    }

    /// Open or not at this time of the Saturday (`HH:MM`), or of a day so many days later.
    fn open(window: &str, day: u64, time: &str) -> bool {
        let unix = SATURDAY + day * 86_400 + u64::from(minute(time).unwrap()) * 60;
        Window::parse(window).unwrap().is_open(Local::ahead(unix, 0))
    }

    #[test]
    fn windows_open_at_their_days_and_times() {
        assert!(open("Sat 02:00-05:00", 0, "02:00") && open("Sat 02:00-05:00", 0, "04:59"));
        assert!(!open("Sat 02:00-05:00", 0, "01:59") && !open("Sat 02:00-05:00", 0, "05:00"));
        assert!(!open("Sat 02:00-05:00", 1, "03:00"));
        assert!((0..7).all(|day| open("02:00-04:00", day, "03:00") && open("00:00-24:00", day, "23:59")));
        for (day, is_open) in [(0, true), (1, true), (2, false), (5, false), (6, true)] {
            assert_eq!(open("Fri-Sun,Fri 10:00-11:00", day, "10:30"), is_open, "{day}");
        }
    }

    #[test]
    fn one_that_goes_over_midnight_belongs_to_the_day_it_opens_on() {
        let nights = "Mon-Fri 22:00-04:00";
        assert!(open(nights, 0, "03:59") && !open(nights, 0, "04:00") && !open(nights, 0, "22:00"));
        assert!(!open(nights, 2, "03:00") && open(nights, 2, "22:00") && open(nights, 3, "03:00"));
    }

    #[test]
    fn what_is_no_window() {
        for text in [
            "",
            "Sat",
            "Sat 02:00",
            "Sat 2:00-5:00",
            "02:00-02:00",
            "24:00-02:00",
            "02:00-24:01",
            "02:60-03:00",
            "Sat,, 02:00-03:00",
            "Someday 02:00-03:00",
            "Sat 02:00 - 05:00 x",
            "sat 02:00-05:00",
            "Sat  02:00-05:00",
            "+2:00-05:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_next_opening_is_found_over_the_leaps_of_the_clocks() {
        let sunday = [Window::parse("Sun 02:00-03:00").unwrap(), Window::parse("Sun 02:30-04:00").unwrap()];
        let opening = |from: u64, zone: &dyn Fn(u64) -> i64| next(from, zone, |at| is_open_at(&sunday, at));
        assert_eq!(opening(SATURDAY + 59, &utc), Some(SATURDAY + 26 * 3600));
        assert_eq!(opening(SATURDAY, &|_| 3600), Some(SATURDAY + 25 * 3600));
        // At 02:00 on that Sunday the clocks are put forward to 03:00: the second window is open then, the first one never.
        let leap = move |unix| if unix >= SATURDAY + 26 * 3600 { 3600 } else { 0 };
        assert_eq!(opening(SATURDAY, &leap), Some(SATURDAY + 26 * 3600));
        assert_eq!(
            next(SATURDAY, &leap, |at| is_open_at(&sunday[..1], at)),
            Some(SATURDAY + (8 * 24 + 1) * 3600)
        );
        assert_eq!(Local::ahead(SATURDAY + 3 * 3600 + 300, 0).to_string(), "Sat 03:05");
        assert_eq!(Local::ahead(SATURDAY, -60).to_string(), "Fri 23:59");
    }
}
