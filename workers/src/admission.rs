//! Memory: a worker admits jobs by what they will need, against a budget of bytes.

use mediamill_shared::units::ByteCount;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Grain of the budget: semaphores count in 32 bits.
const GRAIN: u64 = 64 * 1024;
/// What a worker and its helpers hold beside the pictures in hand, at most: the program, files on their way to the store,
/// memory that allocators keep. By `loadtests mixed`, which sums all of it.
const OWN: u64 = 192 * 1024 * 1024;
/// And at most one part in so many of all that there is.
const OWN_PART: u64 = 4;

/// The budget. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Admission {
    total: u32,
    free: Arc<Semaphore>,
}

/// Bytes that a job may use. Given back when dropped, panics included.
#[must_use = "dropped, it gives the memory back"]
#[derive(Debug)]
pub struct Permit(OwnedSemaphorePermit);

impl Permit {
    /// Gives back what is beyond `bytes`. It never grows: whoever waited for more while holding some could wait for itself.
    pub fn shrink(&mut self, bytes: u64) {
        let beyond = self
            .0
            .num_permits()
            .saturating_sub(usize::try_from(grains(bytes)).unwrap_or(usize::MAX));
        drop(self.0.split(beyond));
    }
}

/// A job that would not fit even alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job needs {needed} of memory, this worker has {total} for pictures")]
pub struct TooLarge {
    /// What it needs.
    pub needed: ByteCount,
    /// The whole budget.
    pub total: ByteCount,
}

fn grains(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(GRAIN)).unwrap_or(u32::MAX)
}

impl Admission {
    /// What pictures may take of all the memory that a worker may have.
    #[must_use]
    pub fn within(all: ByteCount) -> Self {
        let all = all.unsigned();
        let own = OWN.min(all / OWN_PART);
        Self::new(ByteCount::of_u64(all.saturating_sub(own)))
    }

    /// A budget of `bytes`, at least one grain of 64 KiB.
    #[must_use]
    pub fn new(bytes: ByteCount) -> Self {
        let total = grains(bytes.unsigned()).max(1);
        Self {
            total,
            free: Arc::new(Semaphore::new(usize::try_from(total).unwrap_or(usize::MAX))),
        }
    }

    /// Waits for `bytes` of the budget. First come, first served: a large job is not overtaken for ever. Cancel-safe.
    ///
    /// # Errors
    /// When the whole budget is smaller.
    pub async fn admit(&self, bytes: u64) -> Result<Permit, TooLarge> {
        let too_large = || TooLarge {
            needed: ByteCount::of_u64(bytes),
            total: self.total(),
        };
        let asked = grains(bytes).max(1);
        if asked > self.total {
            return Err(too_large());
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.free)
            .acquire_many_owned(asked)
            .await
            .map_err(|_| too_large())?;
        Ok(Permit(permit))
    }

    /// The whole budget.
    #[must_use]
    pub fn total(&self) -> ByteCount {
        ByteCount::of_u64(u64::from(self.total) * GRAIN)
    }

    /// What is in use.
    #[must_use]
    pub fn used(&self) -> ByteCount {
        let free = u64::try_from(self.free.available_permits()).unwrap_or(0);
        ByteCount::of_u64(u64::from(self.total).saturating_sub(free) * GRAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn the_budget_is_never_passed_and_comes_back() {
        let admission = Admission::new(ByteCount::new(1_048_576));
        let first = admission.admit(700_000).await.unwrap();
        assert!(
            admission.admit(700_000).now_or_never().is_none(),
            "two do not fit at once"
        );
        drop(first);
        let again = admission.admit(1_048_576).await.unwrap();
        assert_eq!(admission.used(), admission.total());
        drop(again);
        assert_eq!(admission.used(), ByteCount::ZERO);
        let mut some = admission.admit(700_000).await.unwrap();
        some.shrink(100_000);
        assert_eq!(admission.used().get(), 2 * 65_536);
        some.shrink(900_000);
        assert_eq!(admission.used().get(), 2 * 65_536);
        let _others = admission.admit(900_000).await.unwrap();
        drop(some);
        assert_eq!(admission.used().get(), 14 * 65_536);
    }

    #[test]
    fn a_worker_keeps_a_part_for_itself() {
        let pictures = |all: i64| Admission::within(ByteCount::new(all << 20)).total().get() >> 20;
        assert_eq!([4, 512, 2_048].map(pictures), [3, 384, 1_856]);
    }

    #[tokio::test]
    async fn what_can_never_fit_is_refused_at_once() {
        let admission = Admission::new(ByteCount::new(1_048_576));
        let error = admission.admit(1_048_577).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the job needs 1.0 MB of memory, this worker has 1.0 MB for pictures"
        );
    }
}
