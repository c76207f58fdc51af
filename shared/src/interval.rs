//! How long something lasts, by the calendar: an ISO 8601 duration such as `P1Y2M3DT4H5M6S` or `P2W`, or a number of seconds.

use crate::units::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use time::{Date, Month, OffsetDateTime, UtcDateTime};

/// Longest interval, years: a thousand.
const MOST_MONTHS: u32 = 12_000;
const MOST_SECONDS: u64 = 86_400 * 366 * 1_000;

/// A time by the calendar: months first, then what has a fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    months: u32,
    seconds: u64,
}

/// A text is no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no interval: write an ISO 8601 duration of whole numbers such as P30D, P1M or PT12H, or seconds; at least one second"
)]
pub struct IntervalError {
    text: String,
}

impl Interval {
    /// The moment so long after `start`; a month that has no such day ends with its last one. Saturates.
    #[must_use]
    pub fn after(self, start: Millis) -> Millis {
        let nanos = i128::from(start.get()).saturating_mul(1_000_000);
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
            return start;
        };
        let moved = months_later(at.date(), self.months);
        let at = moved.map_or(at, |date| at.replace_date(date));
        let at = at.saturating_add(time::Duration::seconds(i64::try_from(self.seconds).unwrap_or(i64::MAX)));
        Millis::new(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
    }
}

fn months_later(date: Date, months: u32) -> Option<Date> {
    let month = i64::from(u8::from(date.month())) - 1 + i64::from(months);
    let year = date.year().checked_add(i32::try_from(month / 12).ok()?)?;
    let month = Month::try_from(u8::try_from(month % 12 + 1).ok()?).ok()?;
    Date::from_calendar_date(year, month, date.day().min(month.length(year))).ok()
}

impl FromStr for Interval {
    type Err = IntervalError;
    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let refused = || IntervalError { text: text.to_owned() };
        let interval = match text.strip_prefix('P') {
            None => Self {
                months: 0,
                seconds: digits(text).ok_or_else(refused)?,
            },
            Some(rest) => parts(rest).ok_or_else(refused)?,
        };
        let fits = interval.months <= MOST_MONTHS && interval.seconds <= MOST_SECONDS;
        if fits && (interval.months > 0 || interval.seconds > 0) {
            Ok(interval)
        } else {
            Err(refused())
        }
    }
}

/// Digits and nothing else: no sign, no space.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What follows `P`: each unit once, in their order.
fn parts(text: &str) -> Option<Interval> {
    const DATE: [char; 4] = ['Y', 'M', 'W', 'D'];
    const TIME: [char; 3] = ['H', 'M', 'S'];
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    let [years, months, weeks, days] = units(date, DATE)?;
    let [hours, minutes, seconds] = units(time, TIME)?;
    let days = weeks.checked_mul(7)?.checked_add(days)?;
    let minutes = days
        .checked_mul(24)?
        .checked_add(hours)?
        .checked_mul(60)?
        .checked_add(minutes)?;
    Some(Interval {
        months: u32::try_from(years.checked_mul(12)?.checked_add(months)?).ok()?,
        seconds: minutes.checked_mul(60)?.checked_add(seconds)?,
    })
}

fn units<const N: usize>(mut text: &str, names: [char; N]) -> Option<[u64; N]> {
    let mut found = [0; N];
    for (place, name) in found.iter_mut().zip(names) {
        if let Some((number, rest)) = text.split_once(name) {
            // What stands before it belongs to a unit that comes after: out of order.
            if number.is_empty() {
                return None;
            }
            *place = digits(number)?;
            text = rest;
        }
    }
    text.is_empty().then_some(found)
}

impl fmt::Display for Interval {
    /// As short as can be; months are not made years of, nor hours days.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        if self.months > 0 {
            write!(f, "{}M", self.months)?;
        }
        let (days, rest) = (self.seconds / 86_400, self.seconds % 86_400);
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if rest > 0 {
            write!(f, "T{rest}S")?;
        }
        Ok(())
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment as RFC 3339 writes it.
#[must_use]
pub fn moment(text: &str) -> Option<Millis> {
    let at = UtcDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    Some(Millis::new(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Millis {
        moment(text).unwrap()
    }

    #[test]
    fn intervals_go_by_the_calendar() {
        for (start, interval, end) in [
            ("2026-01-31T12:00:00Z", "P1M", "2026-02-28T12:00:00Z"),
            ("2028-01-31T12:00:00Z", "P1M", "2028-02-29T12:00:00Z"),
            ("2028-02-29T00:00:00Z", "P1Y", "2029-02-28T00:00:00Z"),
            ("2026-12-31T23:59:59Z", "PT1S", "2027-01-01T00:00:00Z"),
            ("2026-11-26T00:00:00Z", "P1Y2M3DT4H5M6S", "2028-01-29T04:05:06Z"),
            ("2026-11-26T00:00:00Z", "P2W", "2026-12-10T00:00:00Z"),
            ("2026-11-26T00:00:00.500Z", "90", "2026-11-26T00:01:30.500Z"),
        ] {
            assert_eq!(
                interval.parse::<Interval>().unwrap().after(at(start)),
                at(end),
                "{start} {interval}"
            );
        }
        assert_eq!(
            "P1000Y".parse::<Interval>().unwrap().after(Millis::new(i64::MAX)),
            Millis::new(i64::MAX)
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "P",
            "PT",
            "P0D",
            "0",
            "-5",
            "+5",
            " 5",
            "P1",
            "PD",
            "P1DT",
            "P1D1Y",
            "P1.5D",
            "PT1H1H",
            "P1S",
            "1D",
            "p1d",
            "P99999Y",
            "P99999999999999999999D",
        ] {
            assert!(bad.parse::<Interval>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_again(text in "P?[0-9]{0,3}[YMWD]?[0-9]{0,3}[MD]?T?[0-9]{0,4}[HMS]?") {
            if let Ok(interval) = text.parse::<Interval>() {
                prop_assert_eq!(interval.to_string().parse(), Ok(interval));
                prop_assert!(interval.after(Millis::new(0)) > Millis::new(0));
            }
        }
    }
}
