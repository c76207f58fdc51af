//! Jobs that wait for their tenant's turn, and whose turn it is.

use super::{NewJob, outbox::read_envelope};
use crate::{
    control::jobs::text,
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    jobs::{Envelope, Lane, Pool},
    units::Millis,
};
use sqlx::{AnyConnection, Row};
use std::collections::BTreeSet;

sql! {
    // Whoever comes anew is next: nobody waits longer than those who are served already.
    NOTE = "INSERT INTO dispatch_turns (pool, lane, tenant, turn) SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), \
        COALESCE(MIN(turn), 0) FROM dispatch_turns WHERE pool = $1 ON CONFLICT (pool, lane, tenant) DO NOTHING";
    MEND = "INSERT INTO dispatch_turns (pool, lane, tenant, turn) SELECT pool, lane, tenant, \
        COALESCE((SELECT MIN(turn) FROM dispatch_turns WHERE dispatch_turns.pool = jobs.pool), 0) FROM jobs \
        WHERE held = 1 AND state = 'queued' AND tenant IS NOT NULL GROUP BY pool, lane, tenant ON CONFLICT (pool, lane, tenant) DO NOTHING";
    TURNS = "SELECT lane, tenant, turn FROM dispatch_turns WHERE pool = $1 AND (turn, tenant, lane) > ($2, $3, $4) \
        ORDER BY turn, tenant, lane LIMIT $5";
    TAKE = "UPDATE dispatch_turns SET turn = turn + $1 WHERE pool = $2 AND lane = $3 AND tenant = $4";
    FORGET = "DELETE FROM dispatch_turns WHERE pool = $1 AND lane = $2 AND tenant = $3 AND NOT EXISTS \
        (SELECT id FROM jobs WHERE held = 1 AND state = 'queued' AND pool = $1 AND tenant = $3 AND lane = $2)";
    RELEASE = "UPDATE jobs SET held = 0, due_at = $1, touched_at = $1, published_at = $2 WHERE held = 1 AND state = 'queued' AND id IN \
        (SELECT id FROM jobs WHERE held = 1 AND state = 'queued' AND pool = $3 AND tenant = $4 AND lane = $5 ORDER BY id LIMIT $6) \
        RETURNING id, tenant, kind, pool, attempts, context_version, trace";
    WAITING = "SELECT pool, CAST(COUNT(id) AS BIGINT) FROM jobs WHERE held = 1 AND state = 'queued' GROUP BY pool";
    BY_POOL = "SELECT CAST(SUM(CASE WHEN held = 0 THEN 1 ELSE 0 END) AS BIGINT), CAST(SUM(CASE WHEN held = 0 THEN 0 ELSE 1 END) AS BIGINT) FROM jobs \
        WHERE tenant = $1 AND state IN ('queued', 'running') GROUP BY pool";
    IN_QUEUE = "SELECT CAST(COUNT(id) AS BIGINT) FROM jobs WHERE tenant = $1 AND pool = $2 AND held = 0 AND state IN ('queued', 'running')";
}

/// A tenant with held jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which of them.
    pub lane: Lane,
    /// Whose.
    pub tenant: TenantId,
    /// When it is, beside the others: the smallest is next.
    pub at: i64,
}

/// Notes that those of `jobs` that are held wait for a turn.
pub(in crate::control) async fn note_turns(connection: &mut AnyConnection, jobs: &[NewJob]) -> Result<(), DbError> {
    let held = jobs.iter().filter(|job| job.held);
    let turns = held.filter_map(|job| Some((job.pool, job.lane, job.tenant.as_ref()?)));
    note(connection, turns.collect()).await
}

/// Notes that these wait for a turn.
pub(super) async fn note(
    connection: &mut AnyConnection,
    turns: BTreeSet<(Pool, Lane, &TenantId)>,
) -> Result<(), DbError> {
    for (pool, lane, tenant) in turns {
        let query = NOTE.query().bind(pool.as_str()).bind(lane.as_str());
        let query = query.bind(tenant.as_str().to_owned());
        query
            .execute(&mut *connection)
            .bounded("note whose turn it will be")
            .await?;
    }
    Ok(())
}

/// Notes turns of held jobs that have none: one that was just forgotten when they were accepted. Returns how many were missing.
///
/// # Errors
/// When the database is away.
pub async fn mend_turns(db: &Db) -> Result<u64, DbError> {
    let query = MEND.query();
    let done = query.execute(db.write()).bounded("look for held jobs").await?;
    Ok(done.rows_affected())
}

/// Who has held jobs in `pool` and comes after `after`, or at all: at most `limit`, the next one first.
///
/// # Errors
/// When the database is away.
pub async fn turns(db: &Db, pool: Pool, after: Option<&Turn>, limit: i64) -> Result<Vec<Turn>, DbError> {
    let (at, tenant, lane) = after.map_or((i64::MIN, "", ""), |turn| {
        (turn.at, turn.tenant.as_str(), turn.lane.as_str())
    });
    let query = TURNS.query().bind(pool.as_str()).bind(at);
    let query = query.bind(tenant.to_owned()).bind(lane.to_owned()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look whose turn it is").await?;
    rows.iter()
        .map(|row| {
            Ok(Turn {
                lane: text(row, 0)?,
                tenant: text(row, 1)?,
                at: row.try_get(2).during("look whose turn it is")?,
            })
        })
        .collect()
}

/// Forgets a turn, unless there are held jobs after all.
///
/// # Errors
/// When the database is away.
pub async fn forget_turn(db: &Db, pool: Pool, turn: &Turn) -> Result<(), DbError> {
    let query = FORGET.query().bind(pool.as_str()).bind(turn.lane.as_str());
    let query = query.bind(turn.tenant.as_str().to_owned());
    query.execute(db.write()).bounded("forget a turn").await.map(drop)
}

/// Releases up to `count` held jobs, the oldest first, and puts the turn off by `cost` for each: their messages. Where rows are
/// messages, `published`, that is all.
///
/// # Errors
/// When the database is away.
pub async fn release(
    db: &Db,
    pool: Pool,
    turn: &Turn,
    (count, cost): (i64, i64),
    now: Millis,
    published: bool,
) -> Result<Vec<Envelope>, DbError> {
    const WHAT: &str = "release held jobs";
    let take = |cost: i64| {
        let query = TAKE.query().bind(cost).bind(pool.as_str()).bind(turn.lane.as_str());
        query.bind(turn.tenant.as_str().to_owned())
    };
    let mut tx = db.begin_write().await?;
    // First of all: whoever releases the same tenant's jobs waits, and then finds those that are left.
    let all = take(count.saturating_mul(cost)).execute(&mut *tx);
    all.bounded(WHAT).await?;
    let query = RELEASE
        .query()
        .bind(now.get())
        .bind(published.then_some(now.get()))
        .bind(pool.as_str())
        .bind(turn.tenant.as_str().to_owned())
        .bind(turn.lane.as_str())
        .bind(count);
    let rows = query.fetch_all(&mut *tx).bounded(WHAT).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let missing = count.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    if missing > 0 {
        let back = take(missing.saturating_mul(cost).saturating_neg()).execute(&mut *tx);
        back.bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await?;
    let mut released = Vec::with_capacity(rows.len());
    for row in &rows {
        released.push(read_envelope(row, now)?.1);
    }
    // RETURNING has no order of its own.
    released.sort_by(|a, b| a.job().cmp(b.job()));
    Ok(released)
}

/// Open jobs of `tenant` in the pool where it has most of them in the queue or in workers' hands: how many these are, and how many are
/// held there.
///
/// # Errors
/// When the database is away.
pub async fn in_flight(db: &Db, tenant: &TenantId) -> Result<(i64, i64), DbError> {
    const WHAT: &str = "count a tenant's jobs";
    let query = BY_POOL.query().bind(tenant.as_str().to_owned());
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    let pools = rows
        .iter()
        .map(|row| Ok((row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?)));
    let pools = pools.collect::<Result<Vec<(i64, i64)>, DbError>>()?;
    Ok(pools.into_iter().max().unwrap_or_default())
}

/// How many jobs are held, by pool; pools without any are left out.
///
/// # Errors
/// When the database is away.
pub async fn held(db: &Db) -> Result<Vec<(Pool, i64)>, DbError> {
    const WHAT: &str = "count held jobs";
    let rows = WAITING.query().fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| Ok((text(row, 0)?, row.try_get(1).during(WHAT)?)))
        .collect()
}

/// Open jobs of `tenant` in `pool` that are not held: in the queue, or in workers' hands.
///
/// # Errors
/// When the database is away.
pub async fn in_queue(db: &Db, tenant: &TenantId, pool: Pool) -> Result<i64, DbError> {
    const WHAT: &str = "count a tenant's jobs";
    let query = IN_QUEUE.query().bind(tenant.as_str().to_owned()).bind(pool.as_str());
    let row = query.fetch_one(db.read()).bounded(WHAT).await?;
    row.try_get(0).during(WHAT)
}
