//! One leader at a time: a lease with a fence, any number standing by.

use mediamill_shared::{
    cache::{CachePort, Fence},
    services::Services,
};
use std::time::Duration;

/// The lease's name.
const LEASE: &str = "scheduler";
/// A leader that was not heard of for so long is replaced.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(15);
/// How often it is heard of.
pub(crate) const RENEW: Duration = Duration::from_secs(5);

/// Who this process is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs the timers, under this fence.
    Leads(Fence),
    /// Somebody else runs them.
    StandsBy,
    /// The cache does not answer, so nobody can tell: timers repeat harmlessly, so everybody runs them.
    Alone,
}

/// This process's claim to lead.
#[derive(Debug, Clone)]
pub struct Leader {
    owner: String,
}

impl Leader {
    /// A claim of `owner`.
    #[must_use]
    pub const fn new(owner: String) -> Self {
        Self { owner }
    }

    /// Who claims.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Takes or renews the lease.
    pub async fn standing(&self, services: &Services) -> Standing {
        match services.cache.acquire(LEASE, &self.owner, LEASE_TTL).await {
            Ok(Some(fence)) => Standing::Leads(fence),
            Ok(None) => Standing::StandsBy,
            Err(_) => Standing::Alone,
        }
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub async fn resign(&self, services: &Services) {
        if let Err(error) = services.cache.release(LEASE, &self.owner).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the scheduler's lease ends by itself"
            );
        }
    }
}
