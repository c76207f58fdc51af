//! How often somebody did something in the last minute.
//!
//! Counted by every process for itself, and in the cache for all of them together; without the cache the former has to do.

use mediamill_shared::cache::{Added, Cache, CachePort};
use moka::future::Cache as Memory;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// How long it is counted, from the first time on.
const WINDOW: Duration = Duration::from_secs(60);
/// Names that a process counts for at a time.
const NAMES: u64 = 10_000;

/// The counts, by name. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Recent {
    cache: Cache,
    own: Memory<String, Arc<AtomicI64>>,
    most: i64,
}

impl Recent {
    /// Nothing counted by this process yet; `most` times in a minute are not too many.
    pub(crate) fn new(cache: Cache, most: i64) -> Self {
        let own = Memory::builder().max_capacity(NAMES).time_to_live(WINDOW).build();
        Self { cache, own, most }
    }

    /// Whether once more would be too often.
    pub(crate) async fn too_many(&self, name: &str) -> bool {
        if let Some(count) = self.own.get(name).await
            && count.load(Ordering::Relaxed) >= self.most
        {
            return true;
        }
        // An addition of nothing is a look.
        match self.cache.add_within(name, 0, None).await {
            Ok(Added::Now(count) | Added::Over(count)) => count >= self.most,
            Ok(Added::Absent) | Err(_) => false,
        }
    }

    /// Counts once.
    pub(crate) async fn count(&self, name: &str) {
        let own = self.own.get_with_by_ref(name, async { Arc::default() }).await;
        own.fetch_add(1, Ordering::Relaxed);
        let added = self.cache.add_within(name, 1, None).await;
        // Somebody else may seed at the same time: then one of two is not counted, which nobody gains by. A cache that is
        // away counts nothing: this process does.
        if matches!(added, Ok(Added::Absent)) {
            let _ = self.cache.seed(name, 1, WINDOW).await;
        }
    }
}
