//! What a worker does, and how much of it at a time.

use crate::registry::Registry;
use mediamill_shared::{config::Config, jobs::Pool, units::ByteCount};

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
    /// Budget for pictures in memory.
    pub memory: ByteCount,
    /// Processors for pixels and hashes.
    pub processors: usize,
    /// What it can do.
    pub registry: Registry,
}

impl Settings {
    /// Every pool, sized by the configuration.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let slots = config.worker_media_slots.max(1);
        // One more than run: its bytes arrive while the others' pixels keep the processors busy.
        let media = slots + 1;
        Self {
            pools: vec![
                PoolSettings {
                    pool: Pool::Media,
                    slots: media,
                    prefetch: prefetch(media * 2),
                },
                PoolSettings {
                    pool: Pool::Provision,
                    // More than are made at a time: those that wait are made together.
                    slots: 16,
                    prefetch: 32,
                },
                PoolSettings {
                    pool: Pool::Maintenance,
                    slots: 64,
                    prefetch: 256,
                },
            ],
            memory: config.worker_memory,
            processors: slots,
            registry: Registry::standard(),
        }
    }

    /// These pools only.
    #[must_use]
    pub fn only(mut self, pools: &[Pool]) -> Self {
        self.pools.retain(|settings| pools.contains(&settings.pool));
        self
    }
}

pub(super) fn prefetch(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
