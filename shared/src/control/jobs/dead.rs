//! Dead jobs: listed, given all their attempts again, or removed.

use super::{JobRow, optional, read_job, text};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, TenantId},
    jobs::JobKind,
    units::{ByteCount, Millis},
};
use sqlx::Row;

sql! {
    BURIED = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs \
        WHERE state = 'dead' AND id > $1 ORDER BY id LIMIT $2";
    RETRY = "UPDATE jobs SET state = 'queued', attempts = 0, deliveries = 0, published_at = NULL, due_at = $1, touched_at = $1, \
        finished_at = NULL WHERE id = $2 AND state = 'dead' RETURNING id";
    PURGE = "DELETE FROM jobs WHERE id = $1 AND state = 'dead' RETURNING tenant, kind, payload, reserved_bytes";
}

/// Dead jobs after `after` in order of their ids, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn dead(db: &Db, after: Option<&JobId>, limit: i64) -> Result<Vec<JobRow>, DbError> {
    let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
    let rows = BURIED
        .query()
        .bind(after)
        .bind(limit)
        .fetch_all(db.read())
        .bounded("list dead jobs")
        .await?;
    rows.iter().map(read_job).collect()
}

/// Gives a dead job all its attempts again. Returns whether it was dead; the dispatcher publishes it.
///
/// # Errors
/// When the database is away.
pub async fn retry(db: &Db, id: &JobId, now: Millis) -> Result<bool, DbError> {
    let query = RETRY.query().bind(now.get()).bind(id.as_str().to_owned());
    query
        .fetch_optional(db.write())
        .bounded("retry a dead job")
        .await
        .map(|row| row.is_some())
}

/// What a purged job leaves to be cleaned up.
#[derive(Debug, Clone)]
pub struct Purged {
    /// Whose it was.
    pub tenant: Option<TenantId>,
    /// What it was.
    pub kind: JobKind,
    /// Its payload, JSON.
    pub payload: String,
    /// What the counters held for it.
    pub reserved: ByteCount,
}

/// Removes a dead job's row. `None` when it is not dead.
///
/// # Errors
/// When the database is away.
pub async fn purge(db: &Db, id: &JobId) -> Result<Option<Purged>, DbError> {
    let row = PURGE
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(db.write())
        .bounded("purge a dead job")
        .await?;
    row.map(|row| {
        Ok(Purged {
            tenant: optional(&row, 0)?,
            kind: text(&row, 1)?,
            payload: row.try_get(2).during("purge a dead job")?,
            reserved: ByteCount::new(row.try_get(3).during("purge a dead job")?),
        })
    })
    .transpose()
}
