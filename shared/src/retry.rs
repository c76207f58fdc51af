//! How long to wait before trying again. The one module that knows the crate `backoff`.
//!
//! `backoff` is unmaintained (RUSTSEC-2025-0012), so it is used as a curve only: no clock, no chance and no giving up
//! of its own. To replace it, compute `initial * multiplier^n`, capped, here.

use backoff::{ExponentialBackoff, backoff::Backoff};
use std::time::Duration;

/// A capped exponential curve with full control over attempts and jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Delay after the first failed attempt.
    pub initial: Duration,
    /// No delay is longer, jitter included.
    pub max: Duration,
    /// Growth from one delay to the next, at least 1.
    pub multiplier: f64,
    /// Share of the delay that chance takes away, 0 to 1.
    pub jitter: f64,
    /// Attempts in all, the first included; `None` never gives up.
    pub attempts: Option<u32>,
}

impl RetryPolicy {
    /// For connections: from 100 ms to 5 s, for ever.
    pub const RECONNECT: Self = Self {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(5),
        multiplier: 2.0,
        jitter: 0.5,
        attempts: None,
    };

    /// For jobs: 1 s to 10 min, twelve attempts, about an hour in all.
    pub const JOB: Self = Self {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(600),
        multiplier: 2.5,
        jitter: 0.2,
        attempts: Some(12),
    };

    /// The delay after failed attempt number `attempt` (the first is 1); `None` when there are no more attempts.
    /// `chance` is a number from 0 to 1.
    #[must_use]
    pub fn delay_after(&self, attempt: u32, chance: f64) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| attempt >= attempts) {
            return None;
        }
        let mut curve = ExponentialBackoff {
            current_interval: self.initial,
            initial_interval: self.initial,
            randomization_factor: 0.0,
            multiplier: self.multiplier.max(1.0),
            max_interval: self.max,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // Past 64 steps every curve has reached its cap or stands still.
        let steps = attempt.clamp(1, 64);
        let mut delay = self.initial;
        for _ in 0..steps {
            delay = curve.next_backoff().unwrap_or(self.max);
        }
        let taken = self.jitter.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0);
        Some(delay.min(self.max).mul_f64(1.0 - taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_grow_to_the_cap_and_attempts_end() {
        let policy = RetryPolicy {
            jitter: 0.0,
            attempts: Some(5),
            max: Duration::from_secs(3),
            ..RetryPolicy::RECONNECT
        };
        let delays: Vec<_> = (1..=5)
            .map(|n| policy.delay_after(n, 0.9).map(|d| d.as_millis()))
            .collect();
        assert_eq!(delays, [Some(100), Some(200), Some(400), Some(800), None]);
        let endless = RetryPolicy {
            attempts: None,
            ..policy
        };
        assert_eq!(endless.delay_after(1_000_000, 0.0), Some(Duration::from_secs(3)));
    }

    proptest! {
        #[test]
        fn jitter_only_shortens(attempt in 1_u32..200, chance in 0.0_f64..1.0) {
            let policy = RetryPolicy { attempts: None, ..RetryPolicy::JOB };
            let longest = policy.delay_after(attempt, 0.0).unwrap();
            let delay = policy.delay_after(attempt, chance).unwrap();
            prop_assert!(delay <= longest && delay >= longest.mul_f64(1.0 - policy.jitter - 1e-9));
        }
    }
}
