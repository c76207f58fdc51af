//! Who runs a job, and how its attempts end.

use super::{bind_ids, optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::{JobId, TenantId, TraceId},
    jobs::{JobKind, JobState, Reason},
    units::{ByteCount, Millis},
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::{collections::HashMap, time::Duration};

// `state || ''` in what names many rows by id keeps PostgreSQL from the partial indexes of open jobs: it takes them for
// nearly empty, and reads every dead entry that jobs leave in them on their way.
sql! {
    CLAIM (1) = "UPDATE jobs SET state = 'running', attempts = attempts + 1, deliveries = deliveries + 1, worker = $1, touched_at = $2, \
        published_at = COALESCE(published_at, $2) \
        WHERE id IN (VALUES {rows}) AND held = 0 AND (state || '' = 'queued' OR (state || '' = 'running' AND touched_at <= $3)) \
        RETURNING id, tenant, kind, payload, attempts, deliveries, trace, reserved_bytes, created_at, cause_code, attempts_before";
    STATES (1) = "SELECT id, state, held FROM jobs WHERE id IN (VALUES {rows})";
    TOUCH (1) = "UPDATE jobs SET touched_at = $1 WHERE state || '' = 'running' AND worker = $2 AND id IN (VALUES {rows})";
    DONE (2) = "UPDATE jobs SET state = 'done', cause_code = NULL, cause = NULL, reserved_bytes = 0, deliveries = 0, lease_until = 0, \
        touched_at = $1, finished_at = $1 WHERE state || '' = 'running' AND (id, attempts) IN \
        (SELECT column1, CAST(column2 AS BIGINT) FROM (VALUES {rows}) AS settled) RETURNING id";
    AGAIN = "UPDATE jobs SET state = 'queued', cause_code = $1, cause = $2, due_at = $3, \
        published_at = CASE WHEN CAST($4 AS BIGINT) = 1 THEN published_at END, deliveries = 0, lease_until = 0, touched_at = $5 \
        WHERE id = $6 AND attempts = $7 AND state = 'running' RETURNING id";
    FAILED = "UPDATE jobs SET state = 'failed', cause_code = $1, cause = $2, reserved_bytes = 0, lease_until = 0, touched_at = $3, \
        finished_at = $3 WHERE id = $4 AND attempts = $5 AND state = 'running' RETURNING id";
    DEAD = "UPDATE jobs SET state = 'dead', cause_code = $1, cause = $2, lease_until = 0, touched_at = $3, finished_at = $3 \
        WHERE id = $4 AND attempts = $5 AND state = 'running' RETURNING id";
}

/// A running job whose worker has not been heard of for so long may be claimed by another.
pub const SILENCE: Duration = Duration::from_secs(15);

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
    /// The same, counted from when it was last brought back from the dead: what its policy goes by.
    pub tries: i64,
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
    /// It is final, or held and will have another message, or there is no such job: this message may go.
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
    /// Whether it came by a message, which comes again where it is tried again. Else one is published when it is due.
    pub has_message: bool,
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
            let held = row.try_get::<i64, _>(2).during("look at jobs")? > 0;
            states.insert(text::<JobId>(row, 0)?, (text::<JobState>(row, 1)?, held));
        }
    }
    Ok(ids
        .iter()
        .map(|id| match (claimed.remove(id), states.get(id)) {
            (Some(job), _) => Claim::Yours(Box::new(job)),
            (None, Some((JobState::Queued, false) | (JobState::Running, _))) => Claim::Busy,
            // What is held has no message: this one is from before the job was dead and retried.
            (None, Some((JobState::Queued, true) | (JobState::Done | JobState::Failed | JobState::Dead, _)) | None) => {
                Claim::Over
            }
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
    if done.len() == settlements.len() {
        // One statement is its own transaction, in one round trip.
        let mut connection = db.write().acquire().bounded("settle jobs").await?;
        settle_done(&mut connection, &done, now, &mut settled).await?;
        return Ok(answers(settlements, &settled));
    }
    let mut tx = db.begin_write().await?;
    settle_done(&mut tx, &done, now, &mut settled).await?;
    for one in settlements {
        let id = one.id.as_str().to_owned();
        let query = match &one.outcome {
            Outcome::Done => continue,
            Outcome::Again { due_at, reason } => AGAIN
                .query()
                .bind(reason.code().to_owned())
                .bind(reason.text().to_owned())
                .bind(due_at.get())
                .bind(i64::from(one.has_message)),
            Outcome::Failed { reason } => FAILED
                .query()
                .bind(reason.code().to_owned())
                .bind(reason.text().to_owned()),
            Outcome::Dead { reason } => DEAD
                .query()
                .bind(reason.code().to_owned())
                .bind(reason.text().to_owned()),
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
    Ok(answers(settlements, &settled))
}

fn answers(settlements: &[Settlement], settled: &HashMap<String, bool>) -> Vec<bool> {
    settlements
        .iter()
        .map(|one| settled.get(one.id.as_str()).copied().unwrap_or(false))
        .collect()
}

async fn settle_done(
    connection: &mut AnyConnection,
    done: &[&Settlement],
    now: Millis,
    settled: &mut HashMap<String, bool>,
) -> Result<(), DbError> {
    let Some(last) = done.last() else { return Ok(()) };
    let size = padded(done.len());
    let mut query = DONE.rows(2, size, 2).bind(now.get());
    for place in 0..size {
        let one = done.get(place).unwrap_or(last);
        query = query.bind(one.id.as_str().to_owned()).bind(one.attempt);
    }
    for row in query.fetch_all(connection).bounded("settle jobs").await? {
        settled.insert(row.try_get::<String, _>(0).during("settle jobs")?, true);
    }
    Ok(())
}

fn read_claimed(row: &AnyRow) -> Result<Claimed, DbError> {
    const WHAT: &str = "read a claimed job";
    let (attempt, before): (i64, i64) = (row.try_get(4).during(WHAT)?, row.try_get(10).during(WHAT)?);
    Ok(Claimed {
        id: text(row, 0)?,
        tenant: optional(row, 1)?,
        kind: text(row, 2)?,
        payload: row.try_get(3).during(WHAT)?,
        attempt,
        // Fewer: a process of an older release has begun its count anew.
        tries: if before < attempt { attempt - before } else { attempt },
        deliveries: row.try_get(5).during(WHAT)?,
        trace: text(row, 6)?,
        reserved: ByteCount::new(row.try_get(7).during(WHAT)?),
        created_at: Millis::new(row.try_get(8).during(WHAT)?),
        last_cause: row.try_get(9).during(WHAT)?,
    })
}
