//! Messages of accepted jobs: which of them a queue confirmed, and which are to be published again.

use super::{bind_ids, optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, Sql, padded, sql},
    ids::JobId,
    jobs::{Envelope, Pool},
    units::Millis,
};
use sqlx::{Row, any::AnyRow};

// `state || ''` as in `claims.rs`.
sql! {
    PUBLISHED (1) = "UPDATE jobs SET published_at = $1 WHERE published_at IS NULL AND id IN (VALUES {rows})";
    UNPUBLISHED = "SELECT id, tenant, kind, pool, attempts, context_version, trace FROM jobs \
        WHERE held = 0 AND state = 'queued' AND published_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
    STRANDED = "SELECT id, tenant, kind, pool, attempts, context_version, trace FROM jobs \
        WHERE pool = $1 AND held = 0 AND state IN ('queued', 'running') AND published_at <= $2 AND due_at <= $2 AND touched_at <= $2 \
        ORDER BY due_at, id LIMIT $3";
    SILENT = "SELECT id, tenant, kind, pool, attempts, context_version, trace FROM jobs \
        WHERE pool = $1 AND held = 0 AND state = 'running' AND touched_at <= $2 AND published_at <= $2 ORDER BY due_at, id LIMIT $3";
    // What runs is touched by its worker alone: its silence is how it is found.
    TOUCHED (1) = "UPDATE jobs SET published_at = $1, touched_at = CASE WHEN state = 'queued' THEN $1 ELSE touched_at END \
        WHERE state || '' IN ('queued', 'running') AND id IN (VALUES {rows})";
}

/// Records that these were confirmed by the queue.
///
/// # Errors
/// When the database is away: they are then published again, which is harmless.
pub async fn mark_published(db: &Db, ids: &[JobId], now: Millis) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let size = padded(ids.len());
    let query = PUBLISHED.rows(2, size, 1).bind(now.get());
    bind_ids(query, ids, size)
        .execute(db.write())
        .bounded("mark jobs published")
        .await
        .map(|_| ())
}

/// Messages of accepted jobs that no queue confirmed and that are for the queue since `before` or earlier, oldest first.
///
/// # Errors
/// When the database is away.
pub async fn unpublished(db: &Db, before: Millis, now: Millis, limit: i64) -> Result<Vec<(Pool, Envelope)>, DbError> {
    let query = UNPUBLISHED.query().bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for unpublished jobs").await?;
    rows.iter().map(|row| read_envelope(row, now)).collect()
}

/// Messages of open jobs of `pool` that were due, published and last touched at `before` or earlier: when the queue holds none,
/// theirs are lost.
///
/// # Errors
/// When the database is away.
pub async fn stranded(
    db: &Db,
    pool: Pool,
    before: Millis,
    now: Millis,
    limit: i64,
) -> Result<Vec<(Pool, Envelope)>, DbError> {
    messages(db, STRANDED, pool, before, now, limit).await
}

/// Messages of running jobs of `pool` whose workers were last heard of at `before` or earlier, as was a message of theirs.
///
/// # Errors
/// When the database is away.
pub async fn silent(
    db: &Db,
    pool: Pool,
    before: Millis,
    now: Millis,
    limit: i64,
) -> Result<Vec<(Pool, Envelope)>, DbError> {
    messages(db, SILENT, pool, before, now, limit).await
}

async fn messages(
    db: &Db,
    sql: Sql,
    pool: Pool,
    before: Millis,
    now: Millis,
    limit: i64,
) -> Result<Vec<(Pool, Envelope)>, DbError> {
    let query = sql.query().bind(pool.as_str()).bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for lost jobs").await?;
    rows.iter().map(|row| read_envelope(row, now)).collect()
}

/// Records that jobs were published again.
///
/// # Errors
/// When the database is away.
pub async fn mark_republished(db: &Db, ids: &[JobId], now: Millis) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let size = padded(ids.len());
    let query = TOUCHED.rows(2, size, 1).bind(now.get());
    bind_ids(query, ids, size)
        .execute(db.write())
        .bounded("mark jobs republished")
        .await
        .map(|_| ())
}

/// `id, tenant, kind, pool, attempts, context_version, trace`
pub(crate) fn read_envelope(row: &AnyRow, now: Millis) -> Result<(Pool, Envelope), DbError> {
    const WHAT: &str = "read a job's message";
    let attempts: i64 = row.try_get(4).during(WHAT)?;
    let envelope = Envelope::V1 {
        job: text(row, 0)?,
        tenant: optional(row, 1)?,
        kind: text(row, 2)?,
        attempt: u32::try_from(attempts).unwrap_or(u32::MAX),
        context_version: row.try_get(5).during(WHAT)?,
        trace: text(row, 6)?,
        published_at: now,
    };
    Ok((text(row, 3)?, envelope))
}
