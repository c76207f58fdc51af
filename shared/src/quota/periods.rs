//! Hours and months of the calendar, UTC: what limits with a period count in.

use crate::units::Millis;
use std::time::Duration;
use time::{Date, OffsetDateTime};

/// Milliseconds of an hour.
pub(crate) const HOUR: i64 = 3_600_000;

/// A stretch of time: from its start to just before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub start: Millis,
    /// The first moment of the next one.
    pub end: Millis,
}

impl Period {
    /// The hour that `now` is in.
    #[must_use]
    pub const fn hour_of(now: Millis) -> Self {
        let start = now.get().saturating_sub(now.get().rem_euclid(HOUR));
        Self {
            start: Millis::new(start),
            end: Millis::new(start.saturating_add(HOUR)),
        }
    }

    /// The month that `now` is in. Of moments that no calendar has: all time.
    #[must_use]
    pub fn month_of(now: Millis) -> Self {
        let found = OffsetDateTime::from_unix_timestamp(now.get().div_euclid(1_000)).ok();
        let ends = found.and_then(|at| {
            let (year, month) = (at.year(), at.month());
            let next = if month == time::Month::December {
                (year.checked_add(1)?, time::Month::January)
            } else {
                (year, month.next())
            };
            Some((first_day(year, month)?, first_day(next.0, next.1)?))
        });
        let (start, end) = ends.unwrap_or((i64::MIN, i64::MAX));
        Self {
            start: Millis::new(start),
            end: Millis::new(end),
        }
    }

    /// What is left of it at `now`, rounded up to a second; at least one.
    #[must_use]
    pub fn seconds_left(self, now: Millis) -> u64 {
        let left: Duration = self.end.since(now);
        u64::try_from(left.as_millis().div_ceil(1_000))
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

fn first_day(year: i32, month: time::Month) -> Option<i64> {
    let day = Date::from_calendar_date(year, month, 1).ok()?;
    day.midnight().assume_utc().unix_timestamp().checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        let format = time::format_description::well_known::Rfc3339;
        Millis::new(OffsetDateTime::parse(text, &format).unwrap().unix_timestamp() * 1_000)
    }

    #[test]
    fn hours_and_months_begin_and_end_where_the_calendar_says() {
        let now = at("2028-02-29T23:59:59Z");
        let hour = Period::hour_of(now);
        assert_eq!(
            (hour.start, hour.end),
            (at("2028-02-29T23:00:00Z"), at("2028-03-01T00:00:00Z"))
        );
        assert_eq!(Period::hour_of(hour.start), hour);
        assert_eq!(Period::hour_of(hour.end).start, hour.end);
        let month = Period::month_of(now);
        assert_eq!(
            (month.start, month.end),
            (at("2028-02-01T00:00:00Z"), at("2028-03-01T00:00:00Z"))
        );
        let december = Period::month_of(at("2027-12-31T23:59:59Z"));
        assert_eq!(december.end, at("2028-01-01T00:00:00Z"));
        assert_eq!(Period::month_of(december.end).start, december.end);
        // A month begins with an hour: what is counted by the hour adds up to it.
        assert_eq!(Period::hour_of(december.end).start, december.end);
    }

    #[test]
    fn what_is_left_is_never_nothing() {
        let hour = Period::hour_of(at("2028-02-29T23:59:59Z"));
        assert_eq!(hour.seconds_left(hour.start), 3_600);
        assert_eq!(hour.seconds_left(Millis::new(hour.end.get() - 1_500)), 2);
        assert_eq!(hour.seconds_left(Millis::new(hour.end.get() - 1)), 1);
        assert_eq!(hour.seconds_left(hour.end), 1);
    }
}
