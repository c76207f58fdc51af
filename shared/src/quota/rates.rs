//! Uploads an hour: counted where uploads are accepted, in calendar hours (UTC).
//!
//! A counter in the cache takes and refuses in one step. It is seeded from the rows of the jobs that were accepted in the
//! hour, once an hour or whenever the cache has lost it, and lives as long as the hour. While the cache is away the rows
//! alone are asked: uploads that arrive in the same moment may then pass the limit together.

use super::{Quota, SEED_ATTEMPTS, periods::Period};
use crate::{
    cache::{Added, CachePort},
    control::jobs,
    db::DbError,
    ids::TenantId,
    tenancy::{Limit, Tenant},
    units::Millis,
};
use std::time::Duration;

/// A counter outlives its hour by so much: clocks of processes differ.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// How much of a limit with a period is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which limit.
    pub resource: Limit,
    /// Its value; 0 is none.
    pub limit: i64,
    /// Used in this period.
    pub used: i64,
    /// The period.
    pub period: Period,
}

impl Standing {
    /// What is left of it; 0 also where more was used.
    #[must_use]
    pub fn left(&self) -> i64 {
        self.limit.saturating_sub(self.used).max(0)
    }

    /// Goes on when `asked` more fit.
    ///
    /// # Errors
    /// When they do not.
    pub fn room_for(self, asked: i64, now: Millis) -> Result<(), OverRate> {
        if self.limit == 0 || self.used.saturating_add(asked) <= self.limit {
            return Ok(());
        }
        Err(OverRate {
            standing: self,
            asked,
            retry_after: self.period.seconds_left(now),
        })
    }
}

/// A limit with a period would be passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {} {} are used, {asked} more do not fit before this period ends in {retry_after} s", standing.used, standing.limit, standing.resource.as_str())]
pub struct OverRate {
    /// How it stands.
    pub standing: Standing,
    /// What was asked for.
    pub asked: i64,
    /// When it begins anew, in seconds.
    pub retry_after: u64,
}

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum RateError {
    /// It does not fit.
    #[error(transparent)]
    Over(#[from] OverRate),
    /// Neither counter nor database answered.
    #[error("uploads of this hour could not be counted")]
    Db(#[source] DbError),
}

/// Uploads that were counted for a request. What is not accepted after all is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what is not accepted has to be given back"]
pub struct Taken {
    uploads: i64,
    standing: Standing,
}

impl Taken {
    /// How the limit stands with them.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// How it stands once they are given back.
    #[must_use]
    pub fn standing_without(&self) -> Standing {
        Standing {
            used: self.standing.used.saturating_sub(self.uploads).max(0),
            ..self.standing
        }
    }
}

fn key(tenant: &TenantId, period: Period) -> String {
    format!("rate:{tenant}:{}:{}", Limit::UploadsHour.as_str(), period.start.get())
}

impl Quota {
    /// Counts `uploads` against this hour's limit, all or none. `None`: the tenant has no such limit.
    ///
    /// # Errors
    /// When they do not fit, or nothing answers.
    pub async fn take_uploads(&self, tenant: &Tenant, uploads: i64, now: Millis) -> Result<Option<Taken>, RateError> {
        let limit = tenant.context().limits.uploads_hour;
        if limit == 0 {
            return Ok(None);
        }
        let mut standing = Standing {
            resource: Limit::UploadsHour,
            limit,
            used: 0,
            period: Period::hour_of(now),
        };
        match self
            .count(tenant.id(), standing.period, uploads, Some(limit), now)
            .await
        {
            Ok(Added::Now(used)) => standing.used = used,
            Ok(Added::Over(used)) => {
                standing.used = used;
                standing.room_for(uploads, now)?;
            }
            // The cache is away.
            Ok(Added::Absent) => {
                standing.used = self
                    .accepted(tenant.id(), standing.period)
                    .await
                    .map_err(RateError::Db)?;
                standing.room_for(uploads, now)?;
                standing.used = standing.used.saturating_add(uploads);
            }
            Err(error) => return Err(RateError::Db(error)),
        }
        Ok(Some(Taken { uploads, standing }))
    }

    /// Gives back what [`Quota::take_uploads`] took: the uploads were not accepted.
    pub async fn give_back(&self, tenant: &Tenant, taken: Taken) {
        let key = key(tenant.id(), taken.standing.period);
        // Lost, it is missing until the hour ends.
        if let Err(error) = self.cache.add_within(&key, -taken.uploads, None).await {
            tracing::debug!(tenant.id = %tenant.id(), error = %error, "uploads that were not accepted stay counted");
        }
    }

    /// How this hour's uploads stand. Where the tenant has no limit they are counted in the rows.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn uploads_standing(&self, tenant: &Tenant, now: Millis) -> Result<Standing, DbError> {
        let (limit, period) = (tenant.context().limits.uploads_hour, Period::hour_of(now));
        let counted = if limit == 0 {
            Added::Absent
        } else {
            self.count(tenant.id(), period, 0, None, now).await?
        };
        let used = match counted {
            Added::Now(used) | Added::Over(used) => used,
            Added::Absent => self.accepted(tenant.id(), period).await?,
        };
        Ok(Standing {
            resource: Limit::UploadsHour,
            limit,
            used,
            period,
        })
    }

    /// Adds to the counter, which is seeded where it is not there. [`Added::Absent`]: the cache is away.
    async fn count(
        &self,
        tenant: &TenantId,
        period: Period,
        uploads: i64,
        ceiling: Option<i64>,
        now: Millis,
    ) -> Result<Added, DbError> {
        let key = key(tenant, period);
        for _ in 0..SEED_ATTEMPTS {
            match self.cache.add_within(&key, uploads, ceiling).await {
                Ok(Added::Absent) => {
                    let used = self.accepted(tenant, period).await?;
                    let life = period.end.since(now).saturating_add(AFTERLIFE);
                    if self.cache.seed(&key, used, life).await.is_err() {
                        break;
                    }
                }
                Ok(added) => return Ok(added),
                Err(error) => {
                    tracing::debug!(tenant.id = %tenant, error = %error, "counting this hour's uploads in the rows: the cache did not answer");
                    break;
                }
            }
        }
        Ok(Added::Absent)
    }

    async fn accepted(&self, tenant: &TenantId, period: Period) -> Result<i64, DbError> {
        jobs::accepted_between(&self.control, tenant, period.start, period.end).await
    }
}

#[cfg(test)]
mod tests;
