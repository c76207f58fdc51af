//! When each of many retried jobs is due.

use crate::units::Millis;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Jobs a second: 0.001 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rate(f64);

/// A number is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is 0.001 to 10000 jobs a second, not {0}")]
pub struct RateError(String);

impl Rate {
    const SLOWEST: f64 = 0.001;
    const FASTEST: f64 = 10_000.0;
}

impl TryFrom<f64> for Rate {
    type Error = RateError;
    fn try_from(rate: f64) -> Result<Self, RateError> {
        if (Self::SLOWEST..=Self::FASTEST).contains(&rate) {
            return Ok(Self(rate));
        }
        Err(RateError(rate.to_string()))
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

impl FromStr for Rate {
    type Err = RateError;
    fn from_str(text: &str) -> Result<Self, RateError> {
        let rate: f64 = text.parse().map_err(|_| RateError(format!("{text:?}")))?;
        rate.try_into()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When the next job is due: now, or evenly spread from a beginning on.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    rate: Option<Rate>,
    begin: Millis,
    given: u64,
}

impl Pace {
    /// From `begin` on, at `rate`; without one, all at once.
    #[must_use]
    pub const fn new(rate: Option<Rate>, begin: Millis) -> Self {
        Self { rate, begin, given: 0 }
    }

    /// The rate.
    #[must_use]
    pub const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// When the next one is due: where one part of the work ends the next begins.
    #[must_use]
    pub fn due(&self) -> Millis {
        let Some(Rate(rate)) = self.rate else { return self.begin };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a whole number of milliseconds, exact for longer than anybody waits; what is larger saturates"
        )]
        let offset = (self.given as f64 * 1_000.0 / rate) as i64;
        Millis::new(self.begin.get().saturating_add(offset))
    }

    /// Takes the next moment, which is not before `now`.
    pub(super) fn next(&mut self, now: Millis) -> Millis {
        let due = self.due();
        self.given = self.given.saturating_add(1);
        due.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_within_bounds() {
        for good in ["1", "0.5", "10000", "0.001", "1e2"] {
            assert!(good.parse::<Rate>().is_ok(), "{good}");
        }
        for bad in ["0", "-1", "10001", "0.0001", "NaN", "inf", "1/s", "", "1e99"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        let refused = "-3".parse::<Rate>().unwrap_err();
        assert_eq!(refused.to_string(), "a rate is 0.001 to 10000 jobs a second, not -3");
        assert!(serde_json::from_str::<Rate>("0").is_err());
    }

    #[test]
    fn jobs_are_spread_evenly_and_a_second_part_goes_on() {
        let now = Millis::new(1_000);
        let mut pace = Pace::new(Some("4".parse().unwrap()), now);
        let due: Vec<i64> = (0..4).map(|_| pace.next(now).get()).collect();
        assert_eq!(due, [1_000, 1_250, 1_500, 1_750]);
        let mut rest = Pace::new(pace.rate(), pace.due());
        assert_eq!(rest.next(Millis::new(1_100)).get(), 2_000);
        // Whoever comes late does not begin in the past.
        assert_eq!(rest.next(Millis::new(9_000)).get(), 9_000);
        let mut at_once = Pace::new(None, now);
        assert_eq!((at_once.next(now), at_once.next(now)), (now, now));
    }
}
