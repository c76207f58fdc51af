//! Numbers with units. 64-bit signed inside, as both database engines hold them; arithmetic is checked or saturates.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A count of bytes, never negative when it is a size; a ledger's change may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(i64);

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// More than anything has.
    pub const MAX: Self = Self(i64::MAX);

    /// From a signed number of bytes.
    #[must_use]
    pub const fn new(bytes: i64) -> Self {
        Self(bytes)
    }

    /// From a length in memory; saturates at `i64::MAX`.
    #[must_use]
    pub fn of(length: usize) -> Self {
        Self(i64::try_from(length).unwrap_or(i64::MAX))
    }

    /// From an unsigned length; saturates at `i64::MAX`.
    #[must_use]
    pub fn of_u64(length: u64) -> Self {
        Self(i64::try_from(length).unwrap_or(i64::MAX))
    }

    /// Bytes, signed.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Bytes, unsigned; a negative count is 0.
    #[must_use]
    pub fn unsigned(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; saturates.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for ByteCount {
    /// Decimal units, as storage is sold: `4.2 MB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(i64, &str); 4] = [
            (1_000_000_000_000, "TB"),
            (1_000_000_000, "GB"),
            (1_000_000, "MB"),
            (1_000, "kB"),
        ];
        for (step, unit) in STEPS {
            if self.0.saturating_abs() >= step {
                let tenths = self.0 / (step / 10);
                return write!(f, "{}.{} {unit}", tenths / 10, (tenths % 10).abs());
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(i64);

impl Millis {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn new(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// This moment and `delay` more; saturates.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This moment less `delay`; saturates.
    #[must_use]
    pub fn before(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time; write 90s, 30m, 12h, 30d or 8w")]
pub struct SpanError(String);

/// A span of time as people write it: `90s`, `30m`, `12h`, `30d`, `8w`.
///
/// # Errors
/// When it is none, or longer than 64 bits of seconds.
pub fn span(text: &str) -> Result<Duration, SpanError> {
    let wrong = || SpanError(text.to_owned());
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .unwrap_or_default()
        .parse()
        .map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (4_250_000, "4.2 MB"),
            (-1_500, "-1.5 kB"),
        ] {
            assert_eq!(ByteCount::new(bytes).to_string(), text);
        }
    }

    #[test]
    fn moments_do_not_overflow() {
        assert_eq!(Millis::new(i64::MAX).after(Duration::from_secs(1)).get(), i64::MAX);
        assert_eq!(Millis::new(1).since(Millis::new(5)), Duration::ZERO);
    }
}
