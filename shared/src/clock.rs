//! Time and chance, as parameters: the system's in production, the test's in tests.

use crate::units::Millis;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;

/// Where the time of day comes from. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`].
    #[must_use]
    pub fn manual(start: Millis) -> Self {
        Self(Source::Manual(Arc::new(Manual {
            now: AtomicI64::new(start.get()),
            moved: Notify::new(),
        })))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the one place that asks the machine for the time"
                )]
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis::new(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Manual(manual) => Millis::new(manual.now.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock on and wakes its sleepers; the machine's clock does not take orders.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::System => {}
            Source::Manual(manual) => {
                manual
                    .now
                    .fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
                manual.moved.notify_waiters();
            }
        }
    }

    /// Waits for `duration` of this clock's time. Cancel-safe.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System => {
                #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
                tokio::time::sleep(duration).await;
            }
            Source::Manual(manual) => {
                let due = self.now().after(duration);
                loop {
                    let mut moved = std::pin::pin!(manual.moved.notified());
                    moved.as_mut().enable();
                    if self.now() >= due {
                        return;
                    }
                    moved.await;
                }
            }
        }
    }
}

/// Measures how long something takes. Never for decisions: those go by [`Clock`].
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that measures")]
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Where random bytes come from. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Entropy(Chance);

#[derive(Clone, Debug)]
enum Chance {
    System,
    Seeded(Arc<Mutex<u64>>),
}

impl Entropy {
    /// The operating system's generator: fit for keys.
    #[must_use]
    pub const fn system() -> Self {
        Self(Chance::System)
    }

    /// A fixed sequence, for tests: never for keys.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Chance::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// Fills `bytes`.
    ///
    /// # Panics
    /// When the operating system has no random numbers: nothing safe can be done without.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Chance::System => {
                if let Err(error) = getrandom::fill(bytes) {
                    panic!("the operating system has no random numbers: {error}");
                }
            }
            Chance::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for byte in bytes {
                    // SplitMix64, https://prng.di.unimi.it/splitmix64.c
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = *state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    *byte = (z ^ (z >> 31)).to_le_bytes()[0];
                }
            }
        }
    }

    /// A number from 0 up to, not including, 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        let mut bytes = [0_u8; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_its_sleepers() {
        let clock = Clock::manual(Millis::new(0));
        let sleeper = clock.sleep(Duration::from_secs(10));
        let mover = async {
            clock.advance(Duration::from_secs(4));
            clock.advance(Duration::from_secs(6));
        };
        tokio::join!(sleeper, mover);
        assert_eq!(clock.now(), Millis::new(10_000));
    }

    #[test]
    fn a_seed_repeats() {
        let (mut a, mut b) = ([0; 16], [0; 16]);
        Entropy::seeded(7).fill(&mut a);
        Entropy::seeded(7).fill(&mut b);
        assert_eq!(a, b);
        assert!((0.0..1.0).contains(&Entropy::seeded(7).fraction()));
    }
}
