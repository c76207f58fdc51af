//! The `jobs` table: what "accepted" means, and where every job stands.
//!
//! A job's life: inserted `queued` → claimed `running` by a worker → settled `done`, `failed`, `dead`, or `queued`
//! again with a later `due_at`. A claim counts an attempt; the attempt's number is the fence of its settlement, so a
//! worker that was taken for dead cannot settle what another has claimed since.

pub(super) mod claims;
pub(super) mod counts;
pub(super) mod dead;
pub(super) mod held;
pub(super) mod outbox;
pub(super) mod revived;

pub use claims::{Claim, Claimed, Outcome, SILENCE, Settlement, claim, settle, touch};
pub use counts::{Count, accepted_between, counts, reserved};
pub use dead::{CauseCode, CauseCodeError, DeadFilter, DeadGroup, DeadJob, Purged, dead, dead_groups, dead_one, purge};
pub(super) use held::note_turns;
pub use held::{Turn, forget_turn, held, in_flight, in_queue, mend_turns, release, turns};
pub(crate) use outbox::read_envelope;
pub use outbox::{mark_published, mark_republished, silent, stranded, unpublished};
pub use revived::{Retry, Revived, Wait, retry, ripen};

use crate::{
    db::{Bounded, Db, DbError, During, halving, sql},
    ids::{JobId, MediaId, TenantId, TraceId},
    jobs::{Envelope, Job, JobKind, JobState, Lane, Pool},
    units::{ByteCount, Millis},
};
use sqlx::{Any, AnyConnection, Row, any::AnyRow};

sql! {
    INSERT (20) = "INSERT INTO jobs (id, tenant, subject, kind, pool, state, payload, context_version, trace, attempts, deliveries, \
        reserved_bytes, created_at, due_at, published_at, touched_at, lease_owner, lease_until, lane, held) VALUES {rows}";
    GET = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs WHERE id = $1";
    BY_SUBJECT = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs \
        WHERE subject = $1 AND tenant = $2 ORDER BY id DESC LIMIT 1";
    TURN_TO = "UPDATE jobs SET subject = $1 WHERE id = $2 AND attempts = $3 AND state = 'running'";
    PAYLOAD = "SELECT payload FROM jobs WHERE id = $1";
    // Ids hold no character that LIKE knows, and none is part of another.
    CONCERNS = "SELECT id FROM jobs WHERE tenant = $1 AND state IN ('queued', 'running', 'dead') AND payload LIKE $2 LIMIT 1";
    // All three states are named, by which SQLite takes the index of open jobs.
    IN_HAND = "SELECT id FROM jobs WHERE tenant = $1 AND state IN ('queued', 'running', 'dead') AND state = 'running' AND touched_at > $2 \
        AND id <> $3 LIMIT 1";
    MOVES = "SELECT id FROM jobs WHERE tenant = $1 AND state IN ('queued', 'running', 'dead') AND state <> 'dead' AND kind = 'media.move' \
        AND id <> $2 AND payload LIKE $3 LIMIT 1";
    FORGET_TENANT = "DELETE FROM jobs WHERE tenant = $1 AND id <> $2";
    PRUNE = "DELETE FROM jobs WHERE state IN ('done', 'failed') AND id IN \
        (SELECT id FROM jobs WHERE state IN ('done', 'failed') AND finished_at < $1 LIMIT $2)";
}

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
    /// Whether somebody waits for it.
    pub lane: Lane,
    /// It is not for the queue yet: it waits for its tenant's turn.
    pub held: bool,
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
            lane: Lane::Interactive,
            held: false,
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

/// Largest number of rows in one inserted statement: 20 columns each, within both engines' limit of parameters.
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
    note_turns(&mut tx, jobs).await?;
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
        let mut query = INSERT.rows(1, these.len(), 20);
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
                .bind((published && !job.held).then_some(now.get()))
                .bind(now.get())
                .bind(None::<String>)
                .bind(0_i64)
                .bind(job.lane.as_str())
                .bind(i64::from(job.held));
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

/// Has a job be about something else than it was accepted for: its attempt number `attempt` has found out what. Nothing is
/// changed where another attempt has the job.
///
/// # Errors
/// When the database is away.
pub async fn turn_to(db: &Db, id: &JobId, attempt: i64, subject: &str) -> Result<(), DbError> {
    let query = TURN_TO
        .query()
        .bind(subject.to_owned())
        .bind(id.as_str().to_owned())
        .bind(attempt);
    let done = query.execute(db.write()).bounded("turn a job to another subject");
    done.await.map(drop)
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

/// Whether a job of a tenant that is open, or dead and may be run again, is about a picture.
///
/// # Errors
/// When the database is away.
pub async fn concern(db: &Db, tenant: &TenantId, media: &MediaId) -> Result<bool, DbError> {
    let query = CONCERNS.query().bind(tenant.to_string()).bind(format!("%{media}%"));
    let row = query.fetch_optional(db.read()).bounded("look for a picture's jobs");
    row.await.map(|row| row.is_some())
}

/// A job of a tenant, other than `but`, that a worker has in hand who was heard of after `since`.
///
/// # Errors
/// When the database is away.
pub async fn in_hand(db: &Db, tenant: &TenantId, since: Millis, but: Option<&JobId>) -> Result<Option<JobId>, DbError> {
    let query = IN_HAND
        .query()
        .bind(tenant.to_string())
        .bind(since.get())
        .bind(but.map_or_else(String::new, JobId::to_string));
    let row = query
        .fetch_optional(db.read())
        .bounded("look for a tenant's running jobs");
    row.await?.map(|row| text(&row, 0)).transpose()
}

/// Whether a job other than `but` moves a picture of a tenant, or is about to: its files may come to be where no row has them yet.
///
/// # Errors
/// When the database is away.
pub async fn is_moved_by_another(db: &Db, tenant: &TenantId, media: &MediaId, but: &JobId) -> Result<bool, DbError> {
    let query = MOVES
        .query()
        .bind(tenant.to_string())
        .bind(but.to_string())
        .bind(format!("%{media}%"));
    let row = query.fetch_optional(db.read()).bounded("look for a picture's moves");
    row.await.map(|row| row.is_some())
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
