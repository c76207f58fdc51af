//! What a worker does, and how much of it at a time.

use crate::{helpers::Helpers, registry::Registry};
use mediamill_shared::{config::Config, jobs::Pool, units::ByteCount};
use std::time::Duration;

/// Pictures in hand for each one that is decoded: most of a picture's time goes by while its bytes come and go, and its rows are
/// committed.
const IN_HAND: usize = 4;

/// One pool's share of a worker.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// The pool.
    pub pool: Pool,
    /// Jobs at a time.
    pub slots: usize,
    /// Messages at hand, those of running jobs included; at least `slots`.
    pub prefetch: u16,
}

/// What a worker does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pools it serves.
    pub pools: Vec<PoolSettings>,
    /// All the memory that it and its helpers may take.
    pub memory: ByteCount,
    /// Processors for pixels and hashes.
    pub processors: usize,
    /// Where pictures are decoded.
    pub helpers: Helpers,
    /// How long a helper process may work on one picture.
    pub helper_time: Duration,
    /// What it can do.
    pub registry: Registry,
}

impl Settings {
    /// Every pool, sized by the configuration; pictures are decoded in this process until [`Settings::decoding`] says
    /// otherwise, since only the program knows whether it can be its own helper.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let slots = config.worker_media_slots.max(1);
        let media = slots.saturating_mul(IN_HAND);
        Self {
            pools: vec![
                PoolSettings {
                    pool: Pool::Media,
                    slots: media,
                    prefetch: prefetch(media * 2),
                },
                PoolSettings {
                    pool: Pool::Fetch,
                    // They wait for others nearly all the time; what they fetched is admitted and decoded in turn with the rest.
                    slots: 64,
                    prefetch: 128,
                },
                PoolSettings {
                    pool: Pool::Provision,
                    // More than are made at a time: those that wait are made together.
                    slots: 16,
                    prefetch: 32,
                },
                PoolSettings {
                    pool: Pool::Maintenance,
                    // Moves of a storage that is emptied wait for its row, and uploads behind them.
                    slots: 8,
                    prefetch: 32,
                },
            ],
            memory: config.worker_memory,
            processors: slots,
            helpers: Helpers::Inline,
            helper_time: config.media_helper_timeout,
            registry: Registry::standard(),
        }
    }

    /// These pools only.
    #[must_use]
    pub fn only(mut self, pools: &[Pool]) -> Self {
        self.pools.retain(|settings| pools.contains(&settings.pool));
        self
    }

    /// With pictures decoded there.
    #[must_use]
    pub fn decoding(mut self, helpers: Helpers) -> Self {
        self.helpers = helpers;
        self
    }
}

pub(super) fn prefetch(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
