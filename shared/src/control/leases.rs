//! SQL of the embedded queue: the `jobs` table read as a queue, with a lease in the place of an ack.

use super::jobs::read_envelope;
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::JobId,
    jobs::{Envelope, Pool},
    units::Millis,
};
use sqlx::Row;

sql! {
    TAKE = "UPDATE jobs SET lease_owner = $1, lease_until = $2 WHERE id IN (SELECT id FROM jobs \
        WHERE pool = $3 AND held = 0 AND state IN ('queued', 'running') AND due_at <= $4 AND lease_until <= $4 ORDER BY due_at, id LIMIT $5) \
        RETURNING id, tenant, kind, pool, attempts, context_version, trace";
    NEXT_DUE = "SELECT MIN(CASE WHEN due_at > lease_until THEN due_at ELSE lease_until END) FROM jobs \
        WHERE pool = $1 AND held = 0 AND state IN ('queued', 'running')";
    RENEW (1) = "UPDATE jobs SET lease_until = $1 WHERE lease_owner = $2 AND lease_until > 0 AND id IN (VALUES {rows})";
    GIVE_BACK (1) = "UPDATE jobs SET lease_until = 0 WHERE lease_owner = $1 AND id IN (VALUES {rows})";
    HOLD = "UPDATE jobs SET lease_until = 0, due_at = CASE WHEN due_at > $1 THEN due_at ELSE $1 END \
        WHERE id = $2 AND lease_owner = $3 AND state IN ('queued', 'running')";
    DEPTH = "SELECT CAST(COALESCE(SUM(CASE WHEN state = 'queued' AND due_at <= $1 AND lease_until <= $1 THEN 1 ELSE 0 END), 0) AS BIGINT) \
        FROM jobs WHERE pool = $2 AND held = 0 AND state IN ('queued', 'running')";
}

/// Leases up to `limit` due jobs of `pool` to `owner`, oldest first.
pub(crate) async fn take(
    db: &Db,
    pool: Pool,
    owner: &str,
    now: Millis,
    until: Millis,
    limit: i64,
) -> Result<Vec<Envelope>, DbError> {
    let query = TAKE
        .query()
        .bind(owner.to_owned())
        .bind(until.get())
        .bind(pool.as_str())
        .bind(now.get())
        .bind(limit);
    let rows = query.fetch_all(db.write()).bounded("lease jobs").await?;
    let mut taken: Vec<Envelope> = Vec::with_capacity(rows.len());
    for row in &rows {
        taken.push(read_envelope(row, now)?.1);
    }
    // RETURNING has no order of its own.
    taken.sort_by(|a, b| a.job().cmp(b.job()));
    Ok(taken)
}

/// When the next job of `pool` becomes due or free, if any is open.
pub(crate) async fn next_due(db: &Db, pool: Pool) -> Result<Option<Millis>, DbError> {
    let row = NEXT_DUE
        .query()
        .bind(pool.as_str())
        .fetch_one(db.read())
        .bounded("look for due jobs")
        .await?;
    Ok(row
        .try_get::<Option<i64>, _>(0)
        .during("look for due jobs")?
        .map(Millis::new))
}

/// Prolongs the leases of `owner` on `ids`.
pub(crate) async fn renew(db: &Db, owner: &str, ids: &[JobId], until: Millis) -> Result<(), DbError> {
    let Some(last) = ids.last() else { return Ok(()) };
    let size = padded(ids.len());
    let mut query = RENEW.rows(3, size, 1).bind(until.get()).bind(owner.to_owned());
    for place in 0..size {
        query = query.bind(ids.get(place).unwrap_or(last).as_str().to_owned());
    }
    query.execute(db.write()).bounded("renew leases").await.map(|_| ())
}

/// Ends the leases of `owner` on `ids`: open jobs among them are free at once.
pub(crate) async fn give_back(db: &Db, owner: &str, ids: &[JobId]) -> Result<(), DbError> {
    let Some(last) = ids.last() else { return Ok(()) };
    let size = padded(ids.len());
    let mut query = GIVE_BACK.rows(2, size, 1).bind(owner.to_owned());
    for place in 0..size {
        query = query.bind(ids.get(place).unwrap_or(last).as_str().to_owned());
    }
    query.execute(db.write()).bounded("give leases back").await.map(|_| ())
}

/// Ends the lease of `owner` and holds the job back until `due_at` at least.
pub(crate) async fn hold(db: &Db, owner: &str, id: &JobId, due_at: Millis) -> Result<(), DbError> {
    let query = HOLD
        .query()
        .bind(due_at.get())
        .bind(id.as_str().to_owned())
        .bind(owner.to_owned());
    query.execute(db.write()).bounded("hold a job back").await.map(|_| ())
}

/// Jobs of `pool` that are ready.
pub(crate) async fn depth(db: &Db, pool: Pool, now: Millis) -> Result<i64, DbError> {
    let query = DEPTH.query().bind(now.get()).bind(pool.as_str());
    let row = query.fetch_one(db.read()).bounded("count ready jobs").await?;
    row.try_get(0).during("count ready jobs")
}
