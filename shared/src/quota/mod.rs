//! Counting what a tenant uses.
//!
//! - **Reserve** at accept: a fast counter in the cache holds what is stored plus what open jobs may add, and refuses in
//!   one step what would pass the limit.
//! - **Settle** in the worker: the ledger's line is written in the transaction of the media rows
//!   ([`crate::tenancy::TenantTx::settle`]), then the counter is corrected by the difference.
//! - **Release** on failure or delete.
//!
//! The ledger and the job rows are the truth, the counter is a guess with a short life: it is seeded from them, and
//! again when its time is up, so drift has an end. A tenant without limits has no counters.
//!
//! What is used in a period is in `rates.rs` (uploads an hour) and [`crate::control::metering`] (bytes out a month, and
//! what was used hour by hour); [`roll_up`] and [`watch`] are what timers do with it.

pub mod export;
mod overview;
mod periods;
mod rates;
pub mod roll_up;
pub mod watch;

pub use overview::Consumption;
pub use periods::Period;
pub use rates::{OverRate, RateError, Standing, Taken};

use crate::{
    cache::{Added, Cache, CachePort},
    control::jobs,
    db::{Db, DbError},
    ids::TenantId,
    tenancy::{Limit, Tenant, TenantDb, store::usage::Usage},
    units::ByteCount,
};
use std::time::Duration;

/// Life of a counter: the longest that drift lasts.
const COUNTER_TTL: Duration = Duration::from_secs(300);
/// Seeding races with other seeders at most so often before the answer comes from the database alone.
const SEED_ATTEMPTS: u32 = 3;

/// What is counted fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    Media,
    StoredBytes,
}

impl Counter {
    const fn limit(self) -> Limit {
        match self {
            Self::Media => Limit::Media,
            Self::StoredBytes => Limit::StoredBytes,
        }
    }
}

/// What is stored, and what open jobs may add: bytes, and how many there are.
struct Rows {
    stored: Usage,
    reserved: (ByteCount, i64),
}

impl Rows {
    fn of(&self, resource: Counter) -> i64 {
        let (bytes, jobs) = self.reserved;
        match resource {
            Counter::Media => self.stored.media.saturating_add(jobs),
            Counter::StoredBytes => self.stored.bytes.plus(bytes).get(),
        }
    }
}

/// What a job may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Pictures.
    pub media: i64,
    /// Bytes.
    pub bytes: ByteCount,
}

/// A fast counter that is not what the rows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// Of which limit.
    pub resource: Limit,
    /// What the counter says.
    pub counted: i64,
    /// What is stored, and what open jobs may add.
    pub used: i64,
}

/// A limit would be passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{used} of {limit} {} are used or reserved, {asked} more do not fit", resource.as_str())]
pub struct OverQuota {
    /// Which limit.
    pub resource: Limit,
    /// Used and reserved.
    pub used: i64,
    /// The limit.
    pub limit: i64,
    /// What was asked for.
    pub asked: i64,
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// It does not fit.
    #[error(transparent)]
    Over(#[from] OverQuota),
    /// Neither counter nor database answered.
    #[error("usage could not be read")]
    Db(#[source] DbError),
}

/// The counters. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Quota {
    control: Db,
    cache: Cache,
}

fn key(tenant: &TenantId, resource: Counter) -> String {
    format!("quota:{tenant}:{}", resource.limit().as_str())
}

impl Quota {
    /// Counters in `cache` over the rows of `control`.
    #[must_use]
    pub const fn new(control: Db, cache: Cache) -> Self {
        Self { control, cache }
    }

    /// Reserves `claim`, both parts or neither.
    ///
    /// # Errors
    /// When a limit would be passed, or nothing answers.
    pub async fn reserve(&self, tenant: &Tenant, db: &TenantDb, claim: Claim) -> Result<(), ReserveError> {
        let limits = tenant.context().limits;
        self.reserve_one(tenant.id(), db, Counter::Media, limits.media, claim.media)
            .await?;
        let bytes = self
            .reserve_one(
                tenant.id(),
                db,
                Counter::StoredBytes,
                limits.stored_bytes,
                claim.bytes.get(),
            )
            .await;
        if bytes.is_err() && limits.media > 0 {
            self.add(tenant.id(), Counter::Media, -claim.media).await;
        }
        bytes
    }

    /// Gives a reservation back: its job failed, or was never accepted.
    pub async fn release(&self, tenant: &Tenant, claim: Claim) {
        self.correct(
            tenant,
            Usage {
                media: -claim.media,
                bytes: ByteCount::new(-claim.bytes.get()),
                ..Usage::default()
            },
        )
        .await;
    }

    /// Corrects the counters after a settlement: by what was stored less what was reserved, or by what was removed.
    pub async fn correct(&self, tenant: &Tenant, change: Usage) {
        let limits = tenant.context().limits;
        if limits.media > 0 && change.media != 0 {
            self.add(tenant.id(), Counter::Media, change.media).await;
        }
        if limits.stored_bytes > 0 && change.bytes != ByteCount::ZERO {
            self.add(tenant.id(), Counter::StoredBytes, change.bytes.get()).await;
        }
    }

    /// Throws the counters away: the next reservation reads the rows.
    pub async fn forget(&self, tenant: &TenantId) {
        for resource in [Counter::Media, Counter::StoredBytes] {
            if let Err(error) = self.cache.remove(&key(tenant, resource)).await {
                tracing::debug!(tenant.id = %tenant, error = %error, "a counter stays until its time is up");
            }
        }
    }

    /// Counters of `tenant` that are not what its rows say. What is being accepted or settled in this very moment looks like drift
    /// once; drift stays.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn drift(&self, tenant: &Tenant, db: &TenantDb) -> Result<Vec<Drift>, DbError> {
        let limits = tenant.context().limits;
        let mut counters = Vec::new();
        for resource in [Counter::Media, Counter::StoredBytes] {
            let key = key(tenant.id(), resource);
            // A cache that does not answer, and a counter that is not there, say nothing wrong.
            if limits.get(resource.limit()) > 0
                && let Ok(Added::Now(counted)) = self.cache.add_within(&key, 0, None).await
            {
                counters.push((resource, counted));
            }
        }
        if counters.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows(tenant.id(), db).await?;
        let drifts = counters.into_iter().map(|(resource, counted)| Drift {
            resource: resource.limit(),
            counted,
            used: rows.of(resource),
        });
        Ok(drifts.filter(|drift| drift.counted != drift.used).collect())
    }

    async fn add(&self, tenant: &TenantId, resource: Counter, delta: i64) {
        // Lost corrections end with the counter's life.
        if let Err(error) = self.cache.add_within(&key(tenant, resource), delta, None).await {
            tracing::debug!(tenant.id = %tenant, error = %error, "a counter was not corrected");
        }
    }

    async fn reserve_one(
        &self,
        tenant: &TenantId,
        db: &TenantDb,
        resource: Counter,
        limit: i64,
        asked: i64,
    ) -> Result<(), ReserveError> {
        if limit == 0 || asked == 0 {
            return Ok(());
        }
        let over = |used| {
            ReserveError::Over(OverQuota {
                resource: resource.limit(),
                used,
                limit,
                asked,
            })
        };
        for _ in 0..SEED_ATTEMPTS {
            match self.cache.add_within(&key(tenant, resource), asked, Some(limit)).await {
                Ok(Added::Now(_)) => return Ok(()),
                Ok(Added::Over(used)) => return Err(over(used)),
                Ok(Added::Absent) => {
                    let used = self.used(tenant, db, resource).await.map_err(ReserveError::Db)?;
                    if self
                        .cache
                        .seed(&key(tenant, resource), used, COUNTER_TTL)
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(tenant.id = %tenant, error = %error, "checking a limit against the rows: the cache did not answer");
                    break;
                }
            }
        }
        let used = self.used(tenant, db, resource).await.map_err(ReserveError::Db)?;
        if used.saturating_add(asked) > limit {
            Err(over(used))
        } else {
            Ok(())
        }
    }

    async fn used(&self, tenant: &TenantId, db: &TenantDb, resource: Counter) -> Result<i64, DbError> {
        Ok(self.rows(tenant, db).await?.of(resource))
    }

    async fn rows(&self, tenant: &TenantId, db: &TenantDb) -> Result<Rows, DbError> {
        let stored = db.usage().await?;
        let reserved = jobs::reserved(&self.control, tenant).await?;
        Ok(Rows { stored, reserved })
    }
}

#[cfg(test)]
mod tests;
