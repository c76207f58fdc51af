//! Everything of a tenant that is counted, beside its limit.

use super::{Period, Quota};
use crate::{
    control::{jobs, metering},
    db::DbError,
    tenancy::{Limit, Tenant, TenantDb},
    units::Millis,
};

/// How much of one limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumption {
    /// Which limit.
    pub resource: Limit,
    /// Used now, or in this period.
    pub used: i64,
    /// What open jobs may add at most.
    pub reserved: i64,
    /// The limit; 0 is none.
    pub limit: i64,
    /// When it begins anew, where it counts by the hour or the month.
    pub resets_at: Option<Millis>,
}

impl Consumption {
    /// What still fits; `None`: there is no limit.
    #[must_use]
    pub fn left(&self) -> Option<i64> {
        let taken = self.used.saturating_add(self.reserved);
        (self.limit > 0).then(|| self.limit.saturating_sub(taken).max(0))
    }
}

impl Quota {
    /// What `tenant` uses of everything that is counted: pictures, stored bytes, together and of each kind, uploads of this hour,
    /// bytes out of this month as far as they were added up, users, keys, jobs in the fullest pool, those that are held as reserved.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn overview(&self, tenant: &Tenant, db: &TenantDb, now: Millis) -> Result<Vec<Consumption>, DbError> {
        let limits = &tenant.context().limits;
        let (usage, people, keys) = (db.usage().await?, db.user_counts().await?, db.key_count().await?);
        let (bytes, open) = jobs::reserved(&self.control, tenant.id()).await?;
        let uploads = self.uploads_standing(tenant, now).await?;
        let (in_flight, held) = jobs::in_flight(&self.control, tenant.id()).await?;
        let still = usage.bytes.minus(usage.animation_bytes).get();
        let month = Period::month_of(now);
        let out = metering::bytes_out(&self.control, tenant.id(), month).await?;
        let one = |resource: Limit, used: i64, reserved: i64, resets_at: Option<Millis>| Consumption {
            resource,
            used,
            reserved,
            limit: limits.get(resource),
            resets_at,
        };
        Ok(vec![
            one(Limit::Media, usage.media, open, None),
            one(Limit::StoredBytes, usage.bytes.get(), bytes.get(), None),
            one(Limit::ImageBytes, still, 0, None),
            one(Limit::AnimationBytes, usage.animation_bytes.get(), 0, None),
            one(Limit::UploadsHour, uploads.used, 0, Some(uploads.period.end)),
            one(Limit::BytesOutMonth, out.get(), 0, Some(month.end)),
            one(Limit::Users, people.users, 0, None),
            one(Limit::ApiKeys, keys, 0, None),
            one(Limit::JobsInFlight, in_flight, held, None),
        ])
    }
}
