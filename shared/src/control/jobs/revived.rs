//! Dead jobs that get all their attempts again: at once, or each at a time of its own, and in turns like new ones.
//!
//! What waits for its time is no part of the queue, so it needs neither a message nor a process: it is `held`, and `due_at`
//! says until when.

use super::{held::note, optional, read_envelope, text};
use crate::{
    control::audit::{self, Entry},
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::{JobId, TenantId},
    jobs::{Envelope, Lane, Pool},
    units::Millis,
};
use sqlx::{AnyConnection, Row, any::AnyRow};

// `state || ''`, and `held + 0`, as in `claims.rs`.
sql! {
    RETRY (3) = "UPDATE jobs SET state = 'queued', attempts_before = attempts, deliveries = 0, due_at = asked.due, held = asked.wait, \
        published_at = CASE WHEN asked.wait = 0 THEN CAST($2 AS BIGINT) END, touched_at = $1, finished_at = NULL \
        FROM (SELECT column1 AS job, CAST(column2 AS BIGINT) AS due, CAST(column3 AS BIGINT) AS wait FROM (VALUES {rows}) AS given) AS asked \
        WHERE id = asked.job AND state || '' = 'dead' RETURNING id, tenant, kind, pool, attempts, context_version, trace, lane, held";
    NEXT = "SELECT MIN(due_at) FROM jobs WHERE held >= 2 AND state = 'queued'";
    RIPEN = "UPDATE jobs SET held = held - 2, due_at = $1, touched_at = $1, published_at = $2 WHERE held + 0 >= 2 AND state || '' = 'queued' AND id IN \
        (SELECT id FROM jobs WHERE held >= 2 AND state = 'queued' AND due_at <= $1 ORDER BY due_at, id LIMIT $3) \
        RETURNING id, tenant, kind, pool, attempts, context_version, trace, lane, held";
}

/// What a retried job waits for before it goes to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing.
    Nothing,
    /// Its tenant's turn.
    Turn,
    /// Its time, and then nothing.
    Time,
    /// Its time, and then its tenant's turn.
    TimeAndTurn,
}

impl Wait {
    const ALL: [Self; 4] = [Self::Nothing, Self::Turn, Self::Time, Self::TimeAndTurn];

    /// As the column `held` has it.
    const fn held(self) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Turn => 1,
            Self::Time => 2,
            Self::TimeAndTurn => 3,
        }
    }
}

/// A dead job that is to be tried again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Which.
    pub id: JobId,
    /// Not before.
    pub due_at: Millis,
    /// What it waits for.
    pub wait: Wait,
}

/// A job that was dead.
#[derive(Debug, Clone)]
pub struct Revived {
    /// Its message.
    pub envelope: Envelope,
    /// Which workers take it.
    pub pool: Pool,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// Whether somebody waits for it.
    pub lane: Lane,
    /// What it waits for.
    pub wait: Wait,
}

/// Gives those of `asked` that are dead all their attempts again, in one transaction, with the lines that `audit` makes of them.
/// Returns them in order of their ids. Of two that retry or purge a job one does. `published` says that rows are messages.
///
/// # Errors
/// When the database is away: nothing is changed then.
pub async fn retry(
    db: &Db,
    asked: &[Retry],
    now: Millis,
    published: bool,
    audit: impl FnOnce(&[Revived]) -> Vec<Entry>,
) -> Result<Vec<Revived>, DbError> {
    const WHAT: &str = "retry dead jobs";
    let Some(last) = asked.last() else {
        return Ok(Vec::new());
    };
    let size = padded(asked.len());
    let mut query = RETRY.rows(3, size, 3);
    query = query.bind(now.get()).bind(published.then_some(now.get()));
    for place in 0..size {
        let one = asked.get(place).unwrap_or(last);
        query = query
            .bind(one.id.as_str().to_owned())
            .bind(one.due_at.get())
            .bind(one.wait.held());
    }
    let mut tx = db.begin_write().await?;
    let revived = read(&query.fetch_all(&mut *tx).bounded(WHAT).await?, now)?;
    note_turns(&mut tx, &revived).await?;
    let entries = audit(&revived);
    audit::append_all(&mut tx, &entries.iter().collect::<Vec<_>>()).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(revived)
}

/// Has at most `limit` retried jobs whose time has come wait for their turn, or for nothing any more, those that were due first
/// before others. Returns them in order of their ids.
///
/// # Errors
/// When the database is away.
pub async fn ripen(db: &Db, now: Millis, limit: i64, published: bool) -> Result<Vec<Revived>, DbError> {
    const WHAT: &str = "look for retried jobs whose time has come";
    let next = NEXT.query().fetch_one(db.read()).bounded(WHAT).await?;
    if next
        .try_get::<Option<i64>, _>(0)
        .during(WHAT)?
        .is_none_or(|due| due > now.get())
    {
        return Ok(Vec::new());
    }
    let mut tx = db.begin_write().await?;
    let query = RIPEN.query().bind(now.get()).bind(published.then_some(now.get()));
    let ripe = read(&query.bind(limit).fetch_all(&mut *tx).bounded(WHAT).await?, now)?;
    note_turns(&mut tx, &ripe).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(ripe)
}

async fn note_turns(connection: &mut AnyConnection, jobs: &[Revived]) -> Result<(), DbError> {
    let held = jobs.iter().filter(|job| job.wait == Wait::Turn);
    let turns = held.filter_map(|job| Some((job.pool, job.lane, job.tenant.as_ref()?)));
    note(connection, turns.collect()).await
}

/// `id, tenant, kind, pool, attempts, context_version, trace, lane, held`
fn read(rows: &[AnyRow], now: Millis) -> Result<Vec<Revived>, DbError> {
    const WHAT: &str = "read a retried job";
    let one = |row| {
        let held: i64 = AnyRow::try_get(row, 8).during(WHAT)?;
        let wait = Wait::ALL.into_iter().find(|wait| wait.held() == held);
        let unknown = || DbError::unreadable(WHAT, format!("held is {held}"));
        let (pool, envelope) = read_envelope(row, now)?;
        Ok(Revived {
            envelope,
            pool,
            tenant: optional(row, 1)?,
            lane: text(row, 7)?,
            wait: wait.ok_or_else(unknown)?,
        })
    };
    let mut jobs = rows.iter().map(one).collect::<Result<Vec<Revived>, DbError>>()?;
    // RETURNING has no order of its own.
    jobs.sort_by(|a, b| a.envelope.job().cmp(b.envelope.job()));
    Ok(jobs)
}
