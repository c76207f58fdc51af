//! What a tenant uses: an append-only ledger, one line a job, and its sum in one row.

use super::super::{TenantDb, TenantTx, sql::tenant_sql};
use crate::{
    control::metering::Hour,
    db::{Bounded, DbError, During},
    ids::JobId,
    quota::OverQuota,
    tenancy::{Limit, Limits},
    units::{ByteCount, Millis},
};
use sqlx::{Row, any::AnyRow};

tenant_sql! {
    ENTER = "INSERT INTO {usage_ledger} (job, media, bytes, at, animation_bytes) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (job) DO NOTHING RETURNING job";
    COUNT = "UPDATE {usage} SET media = media + $1, bytes = bytes + $2, animation_bytes = animation_bytes + $3 WHERE id = 1 \
        RETURNING media, bytes, animation_bytes";
    SETTLED = "SELECT job FROM {usage_ledger} WHERE job = $1";
    USAGE = "SELECT media, bytes, animation_bytes FROM {usage} WHERE id = 1";
    // An hour has 3,600,000 milliseconds; no line is older than 1970.
    HOURS = "SELECT at - at % 3600000, CAST(SUM(media) AS BIGINT), CAST(SUM(bytes) AS BIGINT) FROM {usage_ledger} GROUP BY at - at % 3600000";
}

/// What is stored now, or a change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Pictures.
    pub media: i64,
    /// Bytes, originals and variants.
    pub bytes: ByteCount,
    /// Those of them that belong to pictures that move.
    pub animation_bytes: ByteCount,
}

impl Usage {
    /// One picture of `frames` frames more, with files of `bytes`.
    #[must_use]
    pub fn picture(bytes: ByteCount, frames: i64) -> Self {
        Self {
            media: 1,
            ..Self::files(bytes, frames)
        }
    }

    /// Files of a picture of `frames` frames.
    #[must_use]
    pub fn files(bytes: ByteCount, frames: i64) -> Self {
        Self {
            media: 0,
            bytes,
            animation_bytes: if frames > 1 { bytes } else { ByteCount::ZERO },
        }
    }

    /// What is billed of it: the hours that are rolled up know no kinds.
    #[must_use]
    pub fn billed(self) -> Self {
        Self {
            animation_bytes: ByteCount::ZERO,
            ..self
        }
    }

    /// What takes it back.
    #[must_use]
    pub fn negated(self) -> Self {
        Self {
            media: -self.media,
            bytes: ByteCount::ZERO.minus(self.bytes),
            animation_bytes: ByteCount::ZERO.minus(self.animation_bytes),
        }
    }

    /// The first of `limits` that this is over.
    fn over(self, limits: &Limits, asked: Self) -> Option<OverQuota> {
        let stills = |usage: Self| usage.bytes.minus(usage.animation_bytes).get();
        [
            (Limit::Media, self.media, asked.media),
            (Limit::StoredBytes, self.bytes.get(), asked.bytes.get()),
            (Limit::ImageBytes, stills(self), stills(asked)),
            (
                Limit::AnimationBytes,
                self.animation_bytes.get(),
                asked.animation_bytes.get(),
            ),
        ]
        .into_iter()
        .find_map(|(resource, now, asked)| {
            let limit = limits.get(resource);
            (asked > 0 && limit > 0 && now > limit).then(|| OverQuota {
                resource,
                used: now.saturating_sub(asked),
                limit,
                asked,
            })
        })
    }
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is counted.
    Now,
    /// It was counted before, and is not again.
    Before,
    /// It does not fit: the transaction must be given up.
    Over(OverQuota),
}

impl TenantTx {
    /// Counts a change for `job` once, however often it is called, if that leaves the tenant within `limits`. What takes
    /// something back always fits.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn settle(
        &mut self,
        job: &JobId,
        change: Usage,
        limits: &Limits,
        now: Millis,
    ) -> Result<Settled, DbError> {
        const WHAT: &str = "settle usage";
        let enter = self
            .query(ENTER)
            .bind(job.as_str().to_owned())
            .bind(change.media)
            .bind(change.bytes.get())
            .bind(now.get())
            .bind(change.animation_bytes.get());
        if enter.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(Settled::Before);
        }
        // The row is locked from here to the commit: nobody else counts in between.
        let count = self
            .query(COUNT)
            .bind(change.media)
            .bind(change.bytes.get())
            .bind(change.animation_bytes.get());
        let present = read(&count.fetch_one(&mut *self.tx).bounded(WHAT).await?)?;
        Ok(present.over(limits, change).map_or(Settled::Now, Settled::Over))
    }

    /// As [`TenantDb::is_settled`], as this transaction sees it.
    pub(super) async fn is_settled(&mut self, job: &JobId) -> Result<bool, DbError> {
        let query = self.query(SETTLED).bind(job.as_str().to_owned());
        let row = query.fetch_optional(&mut *self.tx).bounded("look for a settlement");
        row.await.map(|row| row.is_some())
    }
}

impl TenantDb {
    /// The sum.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn usage(&self) -> Result<Usage, DbError> {
        let mut reader = self.reader().await?;
        let row = self.query(USAGE).fetch_one(&mut *reader).bounded("read usage");
        read(&row.await?)
    }

    /// Whether a job's effect has been counted: it has happened, whatever became of it since.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn is_settled(&self, job: &JobId) -> Result<bool, DbError> {
        let mut reader = self.reader().await?;
        let query = self.query(SETTLED).bind(job.as_str().to_owned());
        let row = query.fetch_optional(&mut *reader).bounded("look for a settlement");
        row.await.map(|row| row.is_some())
    }

    /// The ledger, added up by the hour in which its lines were written; hours without a line are left out.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ledger_hours(&self) -> Result<Vec<Hour>, DbError> {
        const WHAT: &str = "add up the ledger";
        let query = self.query(HOURS);
        let rows = query.fetch_all(&mut *self.reader().await?).bounded(WHAT).await?;
        rows.iter()
            .map(|row| {
                Ok(Hour {
                    start: Millis::new(row.try_get(0).during(WHAT)?),
                    change: Usage {
                        media: row.try_get(1).during(WHAT)?,
                        bytes: ByteCount::new(row.try_get(2).during(WHAT)?),
                        ..Usage::default()
                    },
                })
            })
            .collect()
    }
}

fn read(row: &AnyRow) -> Result<Usage, DbError> {
    const WHAT: &str = "read usage";
    Ok(Usage {
        media: row.try_get(0).during(WHAT)?,
        bytes: ByteCount::new(row.try_get(1).during(WHAT)?),
        animation_bytes: ByteCount::new(row.try_get(2).during(WHAT)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_of_its_own_kind_and_giving_back_always_fits() {
        let mut limits = Limits::builtin();
        let still = |bytes| Usage::picture(ByteCount::new(bytes), 1);
        let moving = |bytes| Usage::picture(ByteCount::new(bytes), 2);
        assert_eq!(still(i64::MAX).over(&limits, still(i64::MAX)), None);
        limits.set(Limit::ImageBytes, 10);
        limits.set(Limit::AnimationBytes, 20);
        let over = |now: Usage, asked: Usage| now.over(&limits, asked).map(|over| (over.resource, over.used));
        assert_eq!(over(still(10), still(4)), None);
        assert_eq!(over(still(11), still(4)), Some((Limit::ImageBytes, 7)));
        assert_eq!(over(moving(20), moving(20)), None);
        assert_eq!(over(moving(21), moving(1)), Some((Limit::AnimationBytes, 20)));
        assert_eq!(over(still(11), still(4).negated()), None);
        // What is over already does not stop the other kind.
        assert_eq!(over(moving(21), still(1)), None);
    }
}
