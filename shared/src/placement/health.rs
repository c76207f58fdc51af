//! Which places answer: a circuit breaker for each, fed by what comes of every call and by the scheduler's probe.
//!
//! A place that failed [`THRESHOLD`] times in a row is left alone for a pause, which doubles each time up to
//! [`LONGEST_PAUSE`]. Then one call is let through; what comes of it decides.

use super::Spot;
use crate::{objects::ObjectError, units::Millis};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Failures in a row that open the circuit.
const THRESHOLD: u32 = 3;
/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    failures: u32,
    /// Pauses since it answered last.
    pauses: u32,
    /// Left alone until then.
    until: Option<Millis>,
}

/// What this process knows of the places it uses.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<HashMap<Spot, Record>>);

/// Whether an error says something about the place, not about what was asked of it.
#[must_use]
pub const fn is_the_places(error: &ObjectError) -> bool {
    match error {
        ObjectError::Full { .. }
        | ObjectError::Refused { .. }
        | ObjectError::Unavailable { .. }
        | ObjectError::Address(_) => true,
        ObjectError::Missing { .. }
        | ObjectError::TooLong { .. }
        | ObjectError::Body { .. }
        | ObjectError::Range { .. }
        | ObjectError::Url { .. } => false,
    }
}

impl Health {
    /// Whether a place is well, as far as this process knows. Changes nothing.
    pub(super) fn is_well(&self, spot: &Spot) -> bool {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(spot).is_none_or(|record| record.until.is_none())
    }

    /// Whether a place may be used now. When its pause is over the first who asks is let through, and nobody else until
    /// that call has ended or another pause is over.
    pub(super) fn admits(&self, spot: &Spot, now: Millis) -> bool {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = records.get_mut(spot) else {
            return true;
        };
        match record.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                record.until = Some(now.after(pause(record.pauses)));
                true
            }
        }
    }

    /// It did what was asked of it.
    pub(super) fn answered(&self, spot: &Spot) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(spot);
    }

    /// It did not. Returns whether it is left alone from now on.
    pub(super) fn failed(&self, spot: &Spot, now: Millis) -> bool {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.entry(spot.clone()).or_default();
        record.failures = record.failures.saturating_add(1);
        if record.failures < THRESHOLD {
            return false;
        }
        let first = record.until.is_none();
        record.pauses = record.pauses.saturating_add(1);
        record.until = Some(now.after(pause(record.pauses)));
        first
    }
}

fn pause(pauses: u32) -> Duration {
    let doublings = pauses.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_fails_is_left_alone_and_tried_again() {
        let (health, spot) = (Health::default(), "01hf7y0000000000000000000a".parse().unwrap());
        let fail = |now| health.failed(&spot, now);
        let mut now = Millis::new(1_000_000);
        assert!(health.admits(&spot, now));
        assert!(!fail(now) && !fail(now));
        assert!(health.admits(&spot, now) && health.is_well(&spot));
        assert!(fail(now), "the third in a row");
        assert!(!health.admits(&spot, now) && !health.is_well(&spot));
        now = now.after(FIRST_PAUSE);
        assert!(health.admits(&spot, now), "one call");
        assert!(!health.admits(&spot, now), "and no other");
        // It fails again: twice as long.
        assert!(!fail(now), "it was left alone already");
        assert!(!health.admits(&spot, now.after(FIRST_PAUSE)));
        assert!(health.admits(&spot, now.after(FIRST_PAUSE * 2)));
        health.answered(&spot);
        assert!(health.admits(&spot, now) && health.admits(&spot, now) && health.is_well(&spot));
        assert!(!fail(now), "counted from the beginning");
    }

    #[test]
    fn pauses_double_to_a_bound() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(2), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
