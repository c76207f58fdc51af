//! The `jobs` table: what "accepted" means, and where every job stands.
//!
//! A job's life: inserted `queued` → claimed `running` by a worker → settled `done`, `failed`, `dead`, or `queued`
//! again with a later `due_at`. A claim counts an attempt; the attempt's number is the fence of its settlement, so a
//! worker that was taken for dead cannot settle what another has claimed since.

use crate::{
    db::{Bounded, Db, DbError, During, halving, padded, sql},
    ids::{JobId, TenantId, TraceId},
    jobs::{Envelope, Job, JobKind, JobState, Pool, Reason},
    units::{ByteCount, Millis},
};
use sqlx::{Any, AnyConnection, Row, any::AnyRow};
use std::{collections::HashMap, time::Duration};

/// A running job whose worker has not been heard of for so long may be claimed by another.
pub const SILENCE: Duration = Duration::from_secs(15);

/// A job to be accepted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Whose; `None` for the provider's own work.
    pub tenant: Option<TenantId>,
    /// What it is about: a media id, say.
    pub subject: Option<String>,
    /// What to do.
    pub kind: JobKind,
    /// Which workers take it.
    pub pool: Pool,
    /// The payload, JSON.
    pub payload: String,
    /// Version of the tenant's context it was accepted under; 0 without a tenant.
    pub context_version: i64,
    /// The trace it belongs to.
    pub trace: TraceId,
    /// What the fast counters hold for it.
    pub reserved: ByteCount,
}

impl NewJob {
    /// A job of kind `J`.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON.
    pub fn of<J: Job>(id: JobId, payload: &J, trace: TraceId) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id,
            tenant: None,
            subject: None,
            kind: J::KIND,
            pool: J::POOL,
            payload: serde_json::to_string(payload)?,
            context_version: 0,
            trace,
            reserved: ByteCount::ZERO,
        })
    }

    /// Its first message.
    #[must_use]
    pub fn envelope(&self, now: Millis) -> Envelope {
        Envelope::V1 {
            job: self.id.clone(),
            tenant: self.tenant.clone(),
            kind: self.kind,
            attempt: 0,
            context_version: self.context_version,
            trace: self.trace.clone(),
            published_at: now,
        }
    }
}

/// A job that this worker may run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its id.
    pub id: JobId,
    /// Whose.
    pub tenant: Option<TenantId>,
    /// What to do.
    pub kind: JobKind,
    /// The payload, JSON.
    pub payload: String,
    /// Number of this attempt, from 1; the fence of its settlement.
    pub attempt: i64,
    /// Claims since the last outcome, this one included.
    pub deliveries: i64,
    /// The trace.
    pub trace: TraceId,
    /// What the counters hold for it.
    pub reserved: ByteCount,
    /// When it was accepted.
    pub created_at: Millis,
    /// Stable code of the attempt before this one, where that failed.
    pub last_cause: Option<String>,
}

/// What became of a claim.
#[derive(Debug, Clone)]
pub enum Claim {
    /// Run it.
    Yours(Box<Claimed>),
    /// Another worker has it and is alive: look again after [`SILENCE`].
    Busy,
    /// It is final, or there is no such job: the message may go.
    Over,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Its effect is committed.
    Done,
    /// Try again, not before.
    Again {
        /// When.
        due_at: Millis,
        /// Why.
        reason: Reason,
    },
    /// It cannot succeed.
    Failed {
        /// Why.
        reason: Reason,
    },
    /// Its attempts or deliveries are used up. What the counters hold stays held: an operator may retry it.
    Dead {
        /// Why.
        reason: Reason,
    },
    /// Give it back untried, at once.
    Returned,
}

/// An attempt's end.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The job.
    pub id: JobId,
    /// The attempt that ends.
    pub attempt: i64,
    /// How.
    pub outcome: Outcome,
}

/// A job as its owner sees it.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Whose.
    pub tenant: Option<TenantId>,
    /// What it is about.
    pub subject: Option<String>,
    /// What to do.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// Attempts begun.
    pub attempts: i64,
    /// Stable code of the last failure.
    pub cause_code: Option<String>,
    /// The last failure in words.
    pub cause: Option<String>,
    /// Accepted.
    pub created_at: Millis,
    /// Not to be tried before.
    pub due_at: Millis,
    /// Became final.
    pub finished_at: Option<Millis>,
}

// `state || ''` in what names many rows by id keeps PostgreSQL from the partial indexes of open jobs: it takes them for
// nearly empty, and reads every dead entry that jobs leave in them on their way.
sql! {
    INSERT (18) = "INSERT INTO jobs (id, tenant, subject, kind, pool, state, payload, context_version, trace, attempts, deliveries, \
        reserved_bytes, created_at, due_at, published_at, touched_at, lease_owner, lease_until) VALUES {rows}";
    PUBLISHED (1) = "UPDATE jobs SET published_at = $1 WHERE published_at IS NULL AND id IN (VALUES {rows})";
    CLAIM (1) = "UPDATE jobs SET state = 'running', attempts = attempts + 1, deliveries = deliveries + 1, worker = $1, touched_at = $2, \
        published_at = COALESCE(published_at, $2) \
        WHERE id IN (VALUES {rows}) AND (state || '' = 'queued' OR (state || '' = 'running' AND touched_at <= $3)) \
        RETURNING id, tenant, kind, payload, attempts, deliveries, trace, reserved_bytes, created_at, cause_code";
    STATES (1) = "SELECT id, state FROM jobs WHERE id IN (VALUES {rows})";
    TOUCH (1) = "UPDATE jobs SET touched_at = $1 WHERE state || '' = 'running' AND worker = $2 AND id IN (VALUES {rows})";
    DONE (2) = "UPDATE jobs SET state = 'done', cause_code = NULL, cause = NULL, reserved_bytes = 0, deliveries = 0, lease_until = 0, \
        touched_at = $1, finished_at = $1 WHERE state || '' = 'running' AND (id, attempts) IN \
        (SELECT column1, CAST(column2 AS BIGINT) FROM (VALUES {rows}) AS settled) RETURNING id";
    AGAIN = "UPDATE jobs SET state = 'queued', cause_code = $1, cause = $2, due_at = $3, deliveries = 0, lease_until = 0, touched_at = $4 \
        WHERE id = $5 AND attempts = $6 AND state = 'running' RETURNING id";
    FAILED = "UPDATE jobs SET state = 'failed', cause_code = $1, cause = $2, reserved_bytes = 0, lease_until = 0, touched_at = $3, \
        finished_at = $3 WHERE id = $4 AND attempts = $5 AND state = 'running' RETURNING id";
    DEAD = "UPDATE jobs SET state = 'dead', cause_code = $1, cause = $2, lease_until = 0, touched_at = $3, finished_at = $3 \
        WHERE id = $4 AND attempts = $5 AND state = 'running' RETURNING id";
    RETURNED = "UPDATE jobs SET state = 'queued', attempts = attempts - 1, deliveries = deliveries - 1, lease_until = 0, touched_at = $1 \
        WHERE id = $2 AND attempts = $3 AND state = 'running' RETURNING id";
    GET = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs WHERE id = $1";
    BY_SUBJECT = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs \
        WHERE subject = $1 AND tenant = $2 ORDER BY id DESC LIMIT 1";
    PAYLOAD = "SELECT payload FROM jobs WHERE id = $1";
    BURIED = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs \
        WHERE state = 'dead' AND id > $1 ORDER BY id LIMIT $2";
    RETRY = "UPDATE jobs SET state = 'queued', attempts = 0, deliveries = 0, published_at = NULL, due_at = $1, touched_at = $1, \
        finished_at = NULL WHERE id = $2 AND state = 'dead' RETURNING id";
    PURGE = "DELETE FROM jobs WHERE id = $1 AND state = 'dead' RETURNING tenant, kind, payload, reserved_bytes";
    UNPUBLISHED = "SELECT id, tenant, kind, pool, attempts, context_version, trace FROM jobs \
        WHERE state = 'queued' AND published_at IS NULL AND created_at <= $1 ORDER BY created_at LIMIT $2";
    STRANDED = "SELECT id, tenant, kind, pool, attempts, context_version, trace FROM jobs \
        WHERE pool = $1 AND state IN ('queued', 'running') AND published_at IS NOT NULL AND due_at <= $2 AND touched_at <= $2 \
        ORDER BY due_at, id LIMIT $3";
    TOUCHED (1) = "UPDATE jobs SET published_at = $1, touched_at = $1 WHERE state || '' = 'queued' AND id IN (VALUES {rows})";
    RESERVED = "SELECT CAST(COALESCE(SUM(reserved_bytes), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT) FROM jobs \
        WHERE tenant = $1 AND state IN ('queued', 'running', 'dead') AND reserved_bytes > 0";
    COUNTS = "SELECT pool, state, CAST(COUNT(*) AS BIGINT), MIN(due_at) FROM jobs WHERE state IN ('queued', 'running', 'dead') GROUP BY pool, state";
    FORGET_TENANT = "DELETE FROM jobs WHERE tenant = $1 AND id <> $2";
    PRUNE = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state IN ('done', 'failed') AND finished_at < $1 LIMIT $2)";
}

/// Largest number of rows in one inserted statement: 18 columns each, within both engines' limit of parameters.
const INSERT_ROWS: usize = 256;

/// Inserts one job within a transaction. `published_at` is set when the row already is the message.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    job: &NewJob,
    now: Millis,
    published: bool,
) -> Result<(), DbError> {
    insert_rows(connection, std::slice::from_ref(job), now, published).await
}

/// Inserts jobs within a transaction.
pub(crate) async fn insert_all(
    connection: &mut AnyConnection,
    jobs: &[NewJob],
    now: Millis,
    published: bool,
) -> Result<(), DbError> {
    for chunk in jobs.chunks(INSERT_ROWS) {
        insert_rows(connection, chunk, now, published).await?;
    }
    Ok(())
}

/// Accepts jobs in one transaction: all or none.
///
/// # Errors
/// When the database is away.
pub async fn accept(db: &Db, jobs: &[NewJob], now: Millis, published: bool) -> Result<(), DbError> {
    let mut tx = db.begin_write().await?;
    insert_all(&mut tx, jobs, now, published).await?;
    tx.commit().bounded("accept jobs").await
}

async fn insert_rows(
    connection: &mut AnyConnection,
    jobs: &[NewJob],
    now: Millis,
    published: bool,
) -> Result<(), DbError> {
    let mut rest = jobs;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len()));
        rest = others;
        let mut query = INSERT.rows(1, these.len(), 18);
        for job in these {
            query = query
                .bind(job.id.as_str().to_owned())
                .bind(job.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()))
                .bind(job.subject.clone())
                .bind(job.kind.as_str())
                .bind(job.pool.as_str())
                .bind(JobState::Queued.as_str())
                .bind(job.payload.clone())
                .bind(job.context_version)
                .bind(job.trace.as_str().to_owned())
                .bind(0_i64)
                .bind(0_i64)
                .bind(job.reserved.get())
                .bind(now.get())
                .bind(now.get())
                .bind(published.then_some(now.get()))
                .bind(now.get())
                .bind(None::<String>)
                .bind(0_i64);
        }
        query.execute(&mut *connection).bounded("accept a job").await?;
    }
    Ok(())
}

/// Binds `ids`, padded to `size` by repeating the last.
fn bind_ids<'q>(
    mut query: sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>,
    ids: &[JobId],
    size: usize,
) -> sqlx::query::Query<'q, Any, sqlx::any::AnyArguments> {
    for place in 0..size {
        let id = ids
            .get(place)
            .or(ids.last())
            .map_or_else(String::new, |id| id.as_str().to_owned());
        query = query.bind(id);
    }
    query
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

/// Claims jobs for `worker`. One answer for each id, in order; an id named twice is claimed once.
///
/// # Errors
/// When the database is away.
pub async fn claim(db: &Db, worker: &str, ids: &[JobId], now: Millis) -> Result<Vec<Claim>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let size = padded(ids.len());
    let query = CLAIM
        .rows(4, size, 1)
        .bind(worker.to_owned())
        .bind(now.get())
        .bind(now.before(SILENCE).get());
    let rows = bind_ids(query, ids, size)
        .fetch_all(db.write())
        .bounded("claim jobs")
        .await?;
    let mut claimed = HashMap::with_capacity(rows.len());
    for row in &rows {
        let job = read_claimed(row)?;
        claimed.insert(job.id.clone(), job);
    }
    let mut states = HashMap::new();
    if claimed.len() < ids.len() {
        let rows = bind_ids(STATES.rows(1, size, 1), ids, size)
            .fetch_all(db.read())
            .bounded("look at jobs")
            .await?;
        for row in &rows {
            states.insert(text::<JobId>(row, 0)?, text::<JobState>(row, 1)?);
        }
    }
    Ok(ids
        .iter()
        .map(|id| match (claimed.remove(id), states.get(id)) {
            (Some(job), _) => Claim::Yours(Box::new(job)),
            (None, Some(JobState::Queued | JobState::Running)) => Claim::Busy,
            (None, Some(JobState::Done | JobState::Failed | JobState::Dead) | None) => Claim::Over,
        })
        .collect())
}

/// Tells that `worker` still runs these.
///
/// # Errors
/// When the database is away.
pub async fn touch(db: &Db, worker: &str, ids: &[JobId], now: Millis) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let size = padded(ids.len());
    let query = TOUCH.rows(3, size, 1).bind(now.get()).bind(worker.to_owned());
    bind_ids(query, ids, size)
        .execute(db.write())
        .bounded("touch jobs")
        .await
        .map(|_| ())
}

/// Settles attempts in one transaction. One answer for each, in order: whether it was this attempt's to settle.
///
/// # Errors
/// When the database is away: nothing is settled then, and settling again is harmless.
pub async fn settle(db: &Db, settlements: &[Settlement], now: Millis) -> Result<Vec<bool>, DbError> {
    let done: Vec<&Settlement> = settlements
        .iter()
        .filter(|s| matches!(s.outcome, Outcome::Done))
        .collect();
    let mut settled: HashMap<String, bool> = HashMap::with_capacity(settlements.len());
    let mut tx = db.begin_write().await?;
    if let Some(last) = done.last() {
        let size = padded(done.len());
        let mut query = DONE.rows(2, size, 2).bind(now.get());
        for place in 0..size {
            let one = done.get(place).unwrap_or(last);
            query = query.bind(one.id.as_str().to_owned()).bind(one.attempt);
        }
        for row in query.fetch_all(&mut *tx).bounded("settle jobs").await? {
            settled.insert(row.try_get::<String, _>(0).during("settle jobs")?, true);
        }
    }
    for one in settlements {
        let id = one.id.as_str().to_owned();
        let query = match &one.outcome {
            Outcome::Done => continue,
            Outcome::Again { due_at, reason } => AGAIN
                .query()
                .bind(reason.code().to_owned())
                .bind(reason.text().to_owned())
                .bind(due_at.get()),
            Outcome::Failed { reason } => FAILED
                .query()
                .bind(reason.code().to_owned())
                .bind(reason.text().to_owned()),
            Outcome::Dead { reason } => DEAD
                .query()
                .bind(reason.code().to_owned())
                .bind(reason.text().to_owned()),
            Outcome::Returned => RETURNED.query(),
        };
        let row = query
            .bind(now.get())
            .bind(id.clone())
            .bind(one.attempt)
            .fetch_optional(&mut *tx)
            .bounded("settle a job")
            .await?;
        settled.insert(id, row.is_some());
    }
    tx.commit().bounded("settle jobs").await?;
    Ok(settlements
        .iter()
        .map(|one| settled.get(one.id.as_str()).copied().unwrap_or(false))
        .collect())
}

/// One job.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: &JobId) -> Result<Option<JobRow>, DbError> {
    let row = GET
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(db.read())
        .bounded("read a job")
        .await?;
    row.as_ref().map(read_job).transpose()
}

/// The latest job of `tenant` about `subject`.
///
/// # Errors
/// When the database is away.
pub async fn latest_about(db: &Db, tenant: &TenantId, subject: &str) -> Result<Option<JobRow>, DbError> {
    let query = BY_SUBJECT
        .query()
        .bind(subject.to_owned())
        .bind(tenant.as_str().to_owned());
    let row = query.fetch_optional(db.read()).bounded("read a job").await?;
    row.as_ref().map(read_job).transpose()
}

/// A job's payload, JSON.
///
/// # Errors
/// When the database is away.
pub async fn payload(db: &Db, id: &JobId) -> Result<Option<String>, DbError> {
    let row = PAYLOAD
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(db.read())
        .bounded("read a job")
        .await?;
    row.map(|row| row.try_get(0).during("read a job")).transpose()
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

/// Messages of accepted jobs that no queue confirmed and that were created at `before` or earlier, oldest first.
///
/// # Errors
/// When the database is away.
pub async fn unpublished(db: &Db, before: Millis, now: Millis, limit: i64) -> Result<Vec<(Pool, Envelope)>, DbError> {
    let query = UNPUBLISHED.query().bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for unpublished jobs").await?;
    rows.iter().map(|row| read_envelope(row, now)).collect()
}

/// Messages of open jobs of `pool` that were due and last touched at `before` or earlier: when the queue holds none,
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
    let query = STRANDED.query().bind(pool.as_str()).bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for stranded jobs").await?;
    rows.iter().map(|row| read_envelope(row, now)).collect()
}

/// Records that queued jobs were published again.
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

/// Removes every job of a tenant but the one that removes it, within its removal.
pub(crate) async fn forget_tenant(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    but: Option<&JobId>,
) -> Result<(), DbError> {
    let query = FORGET_TENANT
        .query()
        .bind(tenant.as_str().to_owned())
        .bind(but.map_or_else(String::new, |id| id.as_str().to_owned()));
    query
        .execute(connection)
        .bounded("forget a tenant's jobs")
        .await
        .map(|_| ())
}

/// Removes at most `limit` rows of jobs that ended before `before`. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn prune(db: &Db, before: Millis, limit: i64) -> Result<u64, DbError> {
    let query = PRUNE.query().bind(before.get()).bind(limit);
    query
        .execute(db.write())
        .bounded("prune jobs")
        .await
        .map(|done| done.rows_affected())
}

pub(crate) fn text<T>(row: &AnyRow, column: usize) -> Result<T, DbError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let value: String = row.try_get(column).during("read a row")?;
    value.parse().map_err(|error| DbError::unreadable("read a row", error))
}

pub(crate) fn optional<T>(row: &AnyRow, column: usize) -> Result<Option<T>, DbError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let value: Option<String> = row.try_get(column).during("read a row")?;
    value
        .map(|value| value.parse().map_err(|error| DbError::unreadable("read a row", error)))
        .transpose()
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

fn read_claimed(row: &AnyRow) -> Result<Claimed, DbError> {
    const WHAT: &str = "read a claimed job";
    Ok(Claimed {
        id: text(row, 0)?,
        tenant: optional(row, 1)?,
        kind: text(row, 2)?,
        payload: row.try_get(3).during(WHAT)?,
        attempt: row.try_get(4).during(WHAT)?,
        deliveries: row.try_get(5).during(WHAT)?,
        trace: text(row, 6)?,
        reserved: ByteCount::new(row.try_get(7).during(WHAT)?),
        created_at: Millis::new(row.try_get(8).during(WHAT)?),
        last_cause: row.try_get(9).during(WHAT)?,
    })
}

fn read_job(row: &AnyRow) -> Result<JobRow, DbError> {
    const WHAT: &str = "read a job";
    Ok(JobRow {
        id: text(row, 0)?,
        tenant: optional(row, 1)?,
        subject: row.try_get(2).during(WHAT)?,
        kind: text(row, 3)?,
        state: text(row, 4)?,
        attempts: row.try_get(5).during(WHAT)?,
        cause_code: row.try_get(6).during(WHAT)?,
        cause: row.try_get(7).during(WHAT)?,
        created_at: Millis::new(row.try_get(8).during(WHAT)?),
        due_at: Millis::new(row.try_get(9).during(WHAT)?),
        finished_at: row.try_get::<Option<i64>, _>(10).during(WHAT)?.map(Millis::new),
    })
}
