//! Going through everything in a storage: to move it elsewhere, or to read it again.
//!
//! A task is a cursor over tenants and their pictures; the scheduler moves it on, and each step commits the jobs of some pictures
//! with the cursor. What the jobs find is added up in the task.

use crate::{
    control::{
        audit::{self, Entry},
        jobs::{self, NewJob, optional, text},
    },
    db::{Bounded, Db, DbError, During, Sql, sql},
    ids::JobId,
    placement::Spot,
    units::Millis,
};
use sqlx::{Row, any::AnyRow};

crate::jobs::names!(
    /// What is done with everything in a storage.
    TaskKind, "storage task" {
        /// It goes elsewhere.
        Move = "move",
        /// It is read again, and mended from another copy where there is one.
        Verify = "verify",
    }
);

crate::jobs::names!(
    /// Where a task stands.
    TaskState, "storage task's state" {
        /// The scheduler goes on with it.
        Running = "running",
        /// It is at its end.
        Done = "done",
        /// Somebody stopped it; or a pass changed nothing, and what is left cannot be moved; or jobs failed, and what they were to
        /// read was not read.
        Stopped = "stopped",
    }
);

sql! {
    START = "INSERT INTO storage_tasks (storage, id, kind, target, sample, state, at_tenant, at_media, fed, fed_before, done, mended, damaged, \
        started_at, updated_at) VALUES ($1, $2, $3, $4, $5, 'running', '', '', 0, NULL, 0, 0, 0, $6, $6) \
        ON CONFLICT (storage) DO UPDATE SET id = excluded.id, kind = excluded.kind, target = excluded.target, sample = excluded.sample, \
        state = excluded.state, at_tenant = '', at_media = '', fed = 0, fed_before = NULL, done = 0, mended = 0, damaged = 0, \
        started_at = excluded.started_at, updated_at = excluded.updated_at";
    STOP = "UPDATE storage_tasks SET state = 'stopped', updated_at = $1 WHERE storage = $2 AND state = 'running' RETURNING id";
    GET = "SELECT storage, id, kind, target, sample, state, at_tenant, at_media, fed, fed_before, done, mended, damaged, started_at, updated_at \
        FROM storage_tasks WHERE storage = $1";
    RUNNING = "SELECT storage, id, kind, target, sample, state, at_tenant, at_media, fed, fed_before, done, mended, damaged, started_at, updated_at \
        FROM storage_tasks WHERE state = 'running' ORDER BY storage";
    ADVANCE = "UPDATE storage_tasks SET at_tenant = $1, at_media = $2, fed = $3, fed_before = $4, state = $5, updated_at = $6 \
        WHERE storage = $7 AND id = $8 AND state = 'running' AND at_tenant = $9 AND at_media = $10 AND fed = $11 RETURNING id";
    // Beside the job's own lines, and forgotten with them.
    NOTED = "INSERT INTO storage_ledger (job, part, storage, bytes, objects, at) VALUES ($1, 'noted', $2, 0, 0, $3) \
        ON CONFLICT (job, part, storage) DO NOTHING RETURNING job";
    NOTE = "UPDATE storage_tasks SET done = done + $1, mended = mended + $2, damaged = damaged + $3, updated_at = $4 WHERE storage = $5 AND id = $6";
    OPEN = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE subject = $1 AND state IN ('queued', 'running')";
    FAILED = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE subject = $1 AND state IN ('failed', 'dead')";
}

/// How far a task has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Serial of the last tenant that it is done with; empty before the first.
    pub tenant: String,
    /// Serial of the next one, and the id of its picture that was looked at last; empty before its first.
    pub media: String,
    /// Jobs of this pass.
    pub fed: i64,
    /// Jobs of the pass before; `None` in the first.
    pub fed_before: Option<i64>,
}

impl Cursor {
    /// The picture of this tenant that was looked at last.
    #[must_use]
    pub fn within(&self, serial: &str) -> Option<&str> {
        let (of, media) = self.media.split_once(' ')?;
        (of == serial).then_some(media)
    }
}

/// What jobs of a task found: files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Moved, or read and well.
    pub done: i64,
    /// Mended from another copy.
    pub mended: i64,
    /// Damaged or missing.
    pub damaged: i64,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Of which storage.
    pub storage: Spot,
    /// Its id: another one with every start.
    pub id: String,
    /// What is done.
    pub kind: TaskKind,
    /// Where everything goes. `None`: where each tenant's placement says.
    pub target: Option<Spot>,
    /// Of so many pictures one is read again.
    pub sample: i64,
    /// Where it stands.
    pub state: TaskState,
    /// How far it has come.
    pub cursor: Cursor,
    /// What its jobs found.
    pub found: Found,
    /// When it began.
    pub started_at: Millis,
    /// When it or one of its jobs got on.
    pub updated_at: Millis,
}

impl Task {
    /// What its jobs are about.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("task:{}", self.id)
    }
}

/// Begins one, in the place of the one before.
///
/// # Errors
/// When the database is away.
pub async fn start(
    db: &Db,
    storage: &Spot,
    kind: TaskKind,
    target: Option<&Spot>,
    sample: i64,
    entry: &Entry,
) -> Result<(), DbError> {
    const WHAT: &str = "begin a storage's task";
    let mut tx = db.begin_write().await?;
    let query = START
        .query()
        .bind(storage.to_string())
        .bind(entry.id.to_string())
        .bind(kind.as_str())
        .bind(target.map(ToString::to_string))
        .bind(sample)
        .bind(entry.at.get());
    query.execute(&mut *tx).bounded(WHAT).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await
}

/// Stops one; jobs that are there go on. Returns whether it ran: `entry` is written if so.
///
/// # Errors
/// When the database is away.
pub async fn stop(db: &Db, storage: &Spot, entry: &Entry) -> Result<bool, DbError> {
    const WHAT: &str = "stop a storage's task";
    let mut tx = db.begin_write().await?;
    let query = STOP.query().bind(entry.at.get()).bind(storage.to_string());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// A storage's task, running or over.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, storage: &Spot) -> Result<Option<Task>, DbError> {
    let query = GET.query().bind(storage.to_string());
    let row = query.fetch_optional(db.read()).bounded("read a storage's task").await?;
    row.as_ref().map(read).transpose()
}

/// All that run.
///
/// # Errors
/// When the database is away.
pub async fn running(db: &Db) -> Result<Vec<Task>, DbError> {
    let rows = RUNNING
        .query()
        .fetch_all(db.read())
        .bounded("list storages' tasks")
        .await?;
    rows.iter().map(read).collect()
}

/// Jobs of a task that are not at their end.
///
/// # Errors
/// When the database is away.
pub async fn open_jobs(db: &Db, task: &Task) -> Result<i64, DbError> {
    count(db, task, OPEN).await
}

/// Jobs of a task that ended without having done what they were for: failed, or dead.
///
/// # Errors
/// When the database is away.
pub async fn failed_jobs(db: &Db, task: &Task) -> Result<i64, DbError> {
    count(db, task, FAILED).await
}

async fn count(db: &Db, task: &Task, jobs: Sql) -> Result<i64, DbError> {
    const WHAT: &str = "count a task's jobs";
    let query = jobs.query().bind(task.subject());
    let row = query.fetch_one(db.read()).bounded(WHAT).await?;
    row.try_get(0).during(WHAT)
}

/// Moves a task on and accepts `jobs` with it. Returns whether it was still where it was seen; if not, nothing was done.
///
/// # Errors
/// When the database is away.
pub async fn advance(
    db: &Db,
    seen: &Task,
    to: &Cursor,
    state: TaskState,
    jobs: &[NewJob],
    now: Millis,
    published: bool,
) -> Result<bool, DbError> {
    const WHAT: &str = "go on with a storage's task";
    let mut tx = db.begin_write().await?;
    let query = ADVANCE
        .query()
        .bind(to.tenant.clone())
        .bind(to.media.clone())
        .bind(to.fed)
        .bind(to.fed_before)
        .bind(state.as_str())
        .bind(now.get())
        .bind(seen.storage.to_string())
        .bind(seen.id.clone())
        .bind(seen.cursor.tenant.clone())
        .bind(seen.cursor.media.clone())
        .bind(seen.cursor.fed);
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    for job in jobs {
        jobs::insert(&mut tx, job, now, published).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Adds what a job found to its task, if that is still the storage's; once for a job, however often it runs.
///
/// # Errors
/// When the database is away.
pub async fn note(
    db: &Db,
    job: &JobId,
    (storage, task): (&Spot, &str),
    found: Found,
    now: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "note what a task's job found";
    let mut tx = db.begin_write().await?;
    let query = NOTED.query().bind(job.to_string()).bind(storage.to_string());
    let noted = query.bind(now.get()).fetch_optional(&mut *tx).bounded(WHAT).await?;
    if noted.is_none() {
        return Ok(());
    }
    let query = NOTE
        .query()
        .bind(found.done)
        .bind(found.mended)
        .bind(found.damaged)
        .bind(now.get())
        .bind(storage.to_string())
        .bind(task.to_owned());
    query.execute(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await
}

fn read(row: &AnyRow) -> Result<Task, DbError> {
    const WHAT: &str = "read a storage's task";
    let number = |column: usize| row.try_get::<i64, _>(column).during(WHAT);
    Ok(Task {
        storage: text(row, 0)?,
        id: row.try_get(1).during(WHAT)?,
        kind: text(row, 2)?,
        target: optional(row, 3)?,
        sample: number(4)?,
        state: text(row, 5)?,
        cursor: Cursor {
            tenant: row.try_get(6).during(WHAT)?,
            media: row.try_get(7).during(WHAT)?,
            fed: number(8)?,
            fed_before: row.try_get(9).during(WHAT)?,
        },
        found: Found {
            done: number(10)?,
            mended: number(11)?,
            damaged: number(12)?,
        },
        started_at: Millis::new(number(13)?),
        updated_at: Millis::new(number(14)?),
    })
}
