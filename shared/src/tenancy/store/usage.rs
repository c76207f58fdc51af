//! What a tenant uses: an append-only ledger, one line a job, and its sum in one row.

use super::super::{TenantDb, TenantTx, sql::tenant_sql};
use crate::{
    control::metering::Hour,
    db::{Bounded, DbError, During},
    ids::JobId,
    units::{ByteCount, Millis},
};
use sqlx::Row;

tenant_sql! {
    ENTER = "INSERT INTO {usage_ledger} (job, media, bytes, at) VALUES ($1, $2, $3, $4) ON CONFLICT (job) DO NOTHING RETURNING job";
    COUNT = "UPDATE {usage} SET media = media + $1, bytes = bytes + $2 WHERE id = 1";
    USAGE = "SELECT media, bytes FROM {usage} WHERE id = 1";
    LEDGER = "SELECT CAST(COALESCE(SUM(media), 0) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM {usage_ledger}";
    // An hour has 3,600,000 milliseconds; no line is older than 1970.
    HOURS = "SELECT at - at % 3600000, CAST(SUM(media) AS BIGINT), CAST(SUM(bytes) AS BIGINT) FROM {usage_ledger} GROUP BY at - at % 3600000";
}

/// What is stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Pictures.
    pub media: i64,
    /// Bytes, originals and variants.
    pub bytes: ByteCount,
}

impl TenantTx {
    /// Counts a change for `job` once, however often it is called. Returns whether this call was the first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn settle(&mut self, job: &JobId, change: Usage, now: Millis) -> Result<bool, DbError> {
        const WHAT: &str = "settle usage";
        let enter = self
            .query(ENTER)
            .bind(job.as_str().to_owned())
            .bind(change.media)
            .bind(change.bytes.get())
            .bind(now.get());
        if enter.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(false);
        }
        let count = self.query(COUNT).bind(change.media).bind(change.bytes.get());
        count.execute(&mut *self.tx).bounded(WHAT).await?;
        Ok(true)
    }
}

impl TenantDb {
    /// The sum.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn usage(&self) -> Result<Usage, DbError> {
        const WHAT: &str = "read usage";
        let row = self
            .query(USAGE)
            .fetch_one(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        Ok(Usage {
            media: row.try_get(0).during(WHAT)?,
            bytes: ByteCount::new(row.try_get(1).during(WHAT)?),
        })
    }

    /// The ledger, added up: what [`TenantDb::usage`] must be.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ledger_sum(&self) -> Result<Usage, DbError> {
        const WHAT: &str = "add up the ledger";
        let row = self
            .query(LEDGER)
            .fetch_one(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        Ok(Usage {
            media: row.try_get(0).during(WHAT)?,
            bytes: ByteCount::new(row.try_get(1).during(WHAT)?),
        })
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
                    },
                })
            })
            .collect()
    }
}
