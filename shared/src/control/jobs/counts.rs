//! How many jobs are open or dead, and what they hold.

use super::text;
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    jobs::{JobState, Pool},
    units::{ByteCount, Millis},
};
use sqlx::Row;

sql! {
    RESERVED = "SELECT CAST(COALESCE(SUM(reserved_bytes), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN kind IN ('media.process', 'media.fetch') THEN 1 ELSE 0 END), 0) AS BIGINT) \
        FROM jobs WHERE tenant = $1 AND state IN ('queued', 'running', 'dead') AND reserved_bytes > 0";
    ACCEPTED = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE tenant = $1 AND kind IN ('media.process', 'media.fetch') AND created_at >= $2 AND created_at < $3";
    COUNTS = "SELECT pool, state, CAST(COUNT(*) AS BIGINT), MIN(due_at) FROM jobs WHERE state IN ('queued', 'running', 'dead') GROUP BY pool, state";
}

/// What open jobs of `tenant` hold: bytes, and the number of jobs that hold some.
///
/// # Errors
/// When the database is away.
pub async fn reserved(db: &Db, tenant: &TenantId) -> Result<(ByteCount, i64), DbError> {
    let query = RESERVED.query().bind(tenant.as_str().to_owned());
    let row = query.fetch_one(db.read()).bounded("sum reservations").await?;
    Ok((
        ByteCount::new(row.try_get(0).during("sum reservations")?),
        row.try_get(1).during("sum reservations")?,
    ))
}

/// How many uploads of `tenant` were accepted from `from` to just before `to`, as far as their jobs are kept.
///
/// # Errors
/// When the database is away.
pub async fn accepted_between(db: &Db, tenant: &TenantId, from: Millis, to: Millis) -> Result<i64, DbError> {
    let query = ACCEPTED.query().bind(tenant.as_str().to_owned());
    let query = query.bind(from.get()).bind(to.get());
    let row = query.fetch_one(db.read()).bounded("count uploads").await?;
    row.try_get(0).during("count uploads")
}

/// Open and dead jobs of one pool and state.
#[derive(Debug, Clone)]
pub struct Count {
    /// The pool.
    pub pool: Pool,
    /// The state.
    pub state: JobState,
    /// How many.
    pub jobs: i64,
    /// The earliest due.
    pub oldest_due: Millis,
}

/// How many jobs are open or dead, by pool and state.
///
/// # Errors
/// When the database is away.
pub async fn counts(db: &Db) -> Result<Vec<Count>, DbError> {
    let rows = COUNTS.query().fetch_all(db.read()).bounded("count jobs").await?;
    rows.iter()
        .map(|row| {
            Ok(Count {
                pool: text(row, 0)?,
                state: text(row, 1)?,
                jobs: row.try_get(2).during("count jobs")?,
                oldest_due: Millis::new(row.try_get(3).during("count jobs")?),
            })
        })
        .collect()
}
