//! Telling when a tenant comes near a limit, and when it has reached it: once for each crossing.
//!
//! A mark remembers what was told. It goes when usage is under the line again or the period is over; then the next
//! crossing is told again.

use super::{Period, Quota, periods::HOUR};
use crate::{
    clock::{Clock, Entropy},
    control::{
        audit::{Actor, Entry},
        jobs, limit_marks,
        limit_marks::Mark,
        metering,
    },
    db::DbError,
    telemetry::names,
    tenancy::{Limit, Tenant, TenantDb},
    units::Millis,
};

/// The action of the audit log at 80 %.
pub const WARNING: &str = "limit.warning";
/// The action of the audit log at 100 %.
pub const REACHED: &str = "limit.reached";

/// The limits that are told of.
pub const WATCHED: [Limit; 8] = [
    Limit::Media,
    Limit::StoredBytes,
    Limit::ImageBytes,
    Limit::AnimationBytes,
    Limit::BytesOutMonth,
    Limit::UploadsHour,
    Limit::Users,
    Limit::ApiKeys,
];

/// The highest line that `used` of `limit` has reached, in percent; 0 is none.
pub(crate) fn level(used: i64, limit: i64) -> i64 {
    let (used, limit) = (i128::from(used), i128::from(limit));
    if limit == 0 {
        0
    } else if used >= limit {
        100
    } else if used * 100 >= limit * 80 {
        80
    } else {
        0
    }
}

impl Quota {
    /// Compares what `tenant` uses with its limits, and tells of lines that were crossed. Returns how many were told.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn watch(
        &self,
        tenant: &Tenant,
        db: &TenantDb,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<i64, DbError> {
        let (now, limits) = (clock.now(), &tenant.context().limits);
        let marks = limit_marks::of(&self.control, tenant.id()).await?;
        let limited = WATCHED.iter().any(|limit| limits.get(*limit) > 0);
        if !limited && marks.is_empty() {
            return Ok(0);
        }
        let usage = db.usage().await?;
        let mut told = 0;
        for limit in WATCHED {
            let most = limits.get(limit);
            let (used, period) = match limit {
                // Without a limit nothing is asked for it.
                _ if most == 0 => (0, Millis::new(0)),
                Limit::Media => (usage.media, Millis::new(0)),
                Limit::StoredBytes => (usage.bytes.get(), Millis::new(0)),
                Limit::ImageBytes => (usage.bytes.minus(usage.animation_bytes).get(), Millis::new(0)),
                Limit::AnimationBytes => (usage.animation_bytes.get(), Millis::new(0)),
                Limit::Users => (db.user_counts().await?.users, Millis::new(0)),
                Limit::ApiKeys => (db.key_count().await?, Millis::new(0)),
                Limit::BytesOutMonth => {
                    let month = Period::month_of(now);
                    let bytes = metering::bytes_out(&self.control, tenant.id(), month).await?;
                    (bytes.get(), month.start)
                }
                _ => self.fullest_hour(tenant, most, now).await?,
            };
            let mark = marks.iter().find(|mark| mark.limit == limit);
            let before = mark.filter(|mark| mark.period == period).map_or(0, |mark| mark.level);
            let after = level(used, most);
            if after == 0 {
                if mark.is_some() {
                    limit_marks::clear(&self.control, tenant.id(), limit).await?;
                }
                continue;
            }
            if after == before {
                continue;
            }
            let mark = Mark {
                limit,
                period,
                level: after,
            };
            let crossed = after > before;
            let action = if after == 100 { REACHED } else { WARNING };
            let entry = Entry::new(clock, entropy, &Actor::scheduler(), action, Some(tenant.id()));
            let entry = entry.with(serde_json::json!({ "limit_name": limit.as_str(), "limit": most, "used": used }));
            let set = limit_marks::set(&self.control, tenant.id(), mark, crossed.then_some(&entry), now).await?;
            if set && crossed {
                metrics::counter!(names::LIMIT_CROSSINGS, "limit" => limit.as_str(), "level" => if after == 100 { "100" } else { "80" }).increment(1);
                tracing::info!(tenant.id = %tenant.id(), limit = limit.as_str(), used, value = most, "{action}");
                told += 1;
            }
        }
        Ok(told)
    }

    /// This hour's uploads, or those of the hour before where they came nearer to the limit and this hour's do not: the
    /// watch may come after the end of an hour.
    async fn fullest_hour(&self, tenant: &Tenant, limit: i64, now: Millis) -> Result<(i64, Millis), DbError> {
        let hour = Period::hour_of(now);
        let before = Millis::new(hour.start.get().saturating_sub(HOUR));
        let count = |from, to| jobs::accepted_between(&self.control, tenant.id(), from, to);
        let current = count(hour.start, hour.end).await?;
        if level(current, limit) > 0 {
            return Ok((current, hour.start));
        }
        let last = count(before, hour.start).await?;
        Ok(if level(last, limit) > 0 {
            (last, before)
        } else {
            (current, hour.start)
        })
    }
}

#[cfg(test)]
mod tests;
