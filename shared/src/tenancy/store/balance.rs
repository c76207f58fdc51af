//! What a tenant uses is told three times: by its pictures, by its ledger and by the ledger's sum. They are compared, and the other
//! two follow the pictures where somebody or something has come between.

use super::{
    super::{TenantDb, TenantTx, sql::tenant_sql},
    usage::Usage,
};
use crate::{
    db::{Bounded, DbError, During},
    ids::JobId,
    units::{ByteCount, Millis},
};
use sqlx::{Row, any::AnyRow};

tenant_sql! {
    // One statement: whatever settles meanwhile is in all three, or in none. Sums come of no rows too.
    BALANCE = "SELECT COALESCE(u.media, 0), COALESCE(u.bytes, 0), COALESCE(u.animation_bytes, 0), \
        l.media, l.bytes, l.animation_bytes, m.media, m.bytes, m.animation_bytes FROM \
        (SELECT CAST(COALESCE(SUM(media), 0) AS BIGINT) AS media, CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes, \
            CAST(COALESCE(SUM(animation_bytes), 0) AS BIGINT) AS animation_bytes FROM {usage_ledger}) l \
        CROSS JOIN (SELECT CAST(COUNT(*) AS BIGINT) AS media, CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) AS bytes, \
            CAST(COALESCE(SUM(CASE WHEN frames > 1 THEN stored_bytes ELSE 0 END), 0) AS BIGINT) AS animation_bytes \
            FROM {media} WHERE state = 'ready') m \
        LEFT JOIN {usage} u ON u.id = 1";
    // Whoever settles waits from here on, or has been first.
    HOLD_USAGE = "UPDATE {usage} SET media = media WHERE id = 1 RETURNING media";
    MAKE_USAGE = "INSERT INTO {usage} (id, media, bytes, animation_bytes) VALUES (1, $1, $2, $3)";
    SET_USAGE = "UPDATE {usage} SET media = $1, bytes = $2, animation_bytes = $3 WHERE id = 1";
    CORRECT = "INSERT INTO {usage_ledger} (job, media, bytes, at, animation_bytes) VALUES ($1, $2, $3, $4, $5)";
}

/// What a tenant uses, as each of three says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// The kept sum.
    pub usage: Usage,
    /// The ledger, added up.
    pub ledger: Usage,
    /// The pictures that are there, added up.
    pub rows: Usage,
}

impl Balance {
    /// Whether all say the same.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.usage == self.rows && self.ledger == self.rows
    }
}

impl TenantDb {
    /// What a tenant uses, as all three say at one moment.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn balance(&self) -> Result<Balance, DbError> {
        let mut reader = self.reader().await?;
        let row = self.query(BALANCE).fetch_one(&mut *reader);
        read(&row.bounded(WHAT).await?)
    }
}

impl TenantTx {
    /// Has whoever else holds or changes what the tenant uses wait until the transaction ends. Whether its row is there.
    pub(super) async fn hold_usage(&mut self) -> Result<bool, DbError> {
        let hold = self.query(HOLD_USAGE).fetch_optional(&mut *self.tx);
        Ok(hold.bounded("hold a tenant's usage").await?.is_some())
    }

    /// Makes the ledger, by one line more under the name of `line`, and its sum follow the pictures that are there. Returns what they
    /// said before.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn even_out(&mut self, line: &JobId, now: Millis) -> Result<Balance, DbError> {
        let is_kept = self.hold_usage().await?;
        let balance = self.query(BALANCE).fetch_one(&mut *self.tx);
        let balance = read(&balance.bounded(WHAT).await?)?;
        let rows = balance.rows;
        if balance.usage != rows || !is_kept {
            let set = self
                .query(if is_kept { SET_USAGE } else { MAKE_USAGE })
                .bind(rows.media)
                .bind(rows.bytes.get())
                .bind(rows.animation_bytes.get());
            set.execute(&mut *self.tx).bounded(WHAT).await?;
        }
        if balance.ledger != rows {
            let line = self
                .query(CORRECT)
                .bind(line.as_str().to_owned())
                .bind(rows.media - balance.ledger.media)
                .bind(rows.bytes.minus(balance.ledger.bytes).get())
                .bind(now.get())
                .bind(rows.animation_bytes.minus(balance.ledger.animation_bytes).get());
            line.execute(&mut *self.tx).bounded(WHAT).await?;
        }
        Ok(balance)
    }
}

const WHAT: &str = "compare usage with its ledger and its pictures";

fn read(row: &AnyRow) -> Result<Balance, DbError> {
    let three = |at: usize| {
        Ok(Usage {
            media: row.try_get(at).during(WHAT)?,
            bytes: ByteCount::new(row.try_get(at + 1).during(WHAT)?),
            animation_bytes: ByteCount::new(row.try_get(at + 2).during(WHAT)?),
        })
    };
    Ok(Balance {
        usage: three(0)?,
        ledger: three(3)?,
        rows: three(6)?,
    })
}

/// What nothing in the product does to a tenant's tables: tests do it by hand.
#[cfg(feature = "testing")]
mod tampering {
    use super::{TenantTx, Usage, WHAT};
    use crate::{
        db::{Bounded, DbError},
        ids::JobId,
        tenancy::sql::TenantSql,
    };

    const LOSE: TenantSql = TenantSql::new("DELETE FROM {usage_ledger} WHERE job = $1");
    const MISCOUNT: TenantSql =
        TenantSql::new("UPDATE {usage} SET media = media + $1, bytes = bytes + $2 WHERE id = 1");

    impl TenantTx {
        /// Loses a job's line of the ledger.
        ///
        /// # Errors
        /// When the database is away.
        pub async fn lose_line(&mut self, job: &JobId) -> Result<(), DbError> {
            let query = self.query(LOSE).bind(job.to_string());
            query.execute(&mut *self.tx).bounded(WHAT).await.map(drop)
        }

        /// Makes the kept sum another one.
        ///
        /// # Errors
        /// When the database is away.
        pub async fn miscount(&mut self, by: Usage) -> Result<(), DbError> {
            let query = self.query(MISCOUNT).bind(by.media).bind(by.bytes.get());
            query.execute(&mut *self.tx).bounded(WHAT).await.map(drop)
        }
    }
}
