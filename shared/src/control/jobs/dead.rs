//! Dead jobs: found by whose they are, what they are, why and since when; and removed.

use super::{JobRow, optional, read_job, text};
use crate::{
    control::audit::{self, Entry},
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, TenantId, TraceId},
    jobs::{JobKind, Pool},
    units::{ByteCount, Millis},
};
use serde::Deserialize;
use sqlx::{Any, Row, any::AnyArguments, query::Query};
use std::str::FromStr;

// `finished_at + 0` keeps SQLite from the index of all jobs that have ended: there are few dead ones among them, which have
// their own.
sql! {
    PAGE = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at FROM jobs \
        WHERE state = 'dead' AND (tenant = $1 OR $1 IS NULL) AND (kind = $2 OR $2 IS NULL) AND (cause_code = $3 OR $3 IS NULL) \
        AND finished_at + 0 <= $4 AND finished_at + 0 >= $5 AND id > $6 ORDER BY id LIMIT $7";
    GROUPS = "SELECT kind, cause_code, CAST(COUNT(*) AS BIGINT), CAST(COUNT(DISTINCT tenant) AS BIGINT), MIN(finished_at), \
        MAX(finished_at) FROM jobs WHERE state = 'dead' AND id > '' AND (tenant = $1 OR $1 IS NULL) AND (kind = $2 OR $2 IS NULL) \
        AND (cause_code = $3 OR $3 IS NULL) AND finished_at + 0 <= $4 AND finished_at + 0 >= $5 GROUP BY kind, cause_code";
    ONE = "SELECT id, tenant, subject, kind, state, attempts, cause_code, cause, created_at, due_at, finished_at, pool, trace, \
        reserved_bytes, payload FROM jobs WHERE id = $1 AND state = 'dead'";
    PURGE = "DELETE FROM jobs WHERE id = $1 AND state = 'dead' RETURNING tenant, kind, cause_code, payload, reserved_bytes";
}

/// Code of a cause, as somebody asks for it: 1 to 100 characters, none of which is a control character. Whether any job has it
/// is for the rows to say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CauseCode(String);

/// A text is no code of a cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cause is named by 1 to 100 printable characters, such as attempts-used-up")]
pub struct CauseCodeError;

impl CauseCode {
    const LONGEST: usize = 100;
}

impl FromStr for CauseCode {
    type Err = CauseCodeError;
    fn from_str(text: &str) -> Result<Self, CauseCodeError> {
        // PostgreSQL takes no NUL in a text.
        let fits = (1..=Self::LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned())).ok_or(CauseCodeError)
    }
}

impl TryFrom<String> for CauseCode {
    type Error = CauseCodeError;
    fn try_from(text: String) -> Result<Self, CauseCodeError> {
        text.parse()
    }
}

/// Which dead jobs are wanted: those that everything given here is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// This tenant's.
    pub tenant: Option<TenantId>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// With this code of a cause.
    pub cause: Option<CauseCode>,
    /// Given up at this moment or before.
    pub until: Option<Millis>,
    /// Given up at this moment or later.
    pub since: Option<Millis>,
}

impl DeadFilter {
    fn bind(&self, query: Query<'static, Any, AnyArguments>) -> Query<'static, Any, AnyArguments> {
        query
            .bind(self.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()))
            .bind(self.kind.map(JobKind::as_str))
            .bind(self.cause.as_ref().map(|code| code.0.clone()))
            .bind(self.until.map_or(i64::MAX, Millis::get))
            .bind(self.since.map_or(0, Millis::get))
    }
}

/// Dead jobs that have kind and cause in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadGroup {
    /// What they are.
    pub kind: JobKind,
    /// Code of their cause.
    pub cause: Option<String>,
    /// How many.
    pub jobs: i64,
    /// Of how many tenants.
    pub tenants: i64,
    /// When the first of them was given up.
    pub oldest: Millis,
    /// When the last was.
    pub newest: Millis,
}

/// A dead job with what nobody but an operator sees of it.
#[derive(Debug, Clone)]
pub struct DeadJob {
    /// The job.
    pub row: JobRow,
    /// Which workers take it.
    pub pool: Pool,
    /// The trace of its attempts.
    pub trace: TraceId,
    /// What the counters hold for it.
    pub reserved: ByteCount,
    /// Its payload, JSON.
    pub payload: String,
}

/// Dead jobs after `after` in order of their ids, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn dead(db: &Db, wanted: &DeadFilter, after: Option<&JobId>, limit: i64) -> Result<Vec<JobRow>, DbError> {
    let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
    let query = wanted.bind(PAGE.query()).bind(after).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("list dead jobs").await?;
    rows.iter().map(read_job).collect()
}

/// How many dead jobs there are of each kind and cause, most first.
///
/// # Errors
/// When the database is away.
pub async fn dead_groups(db: &Db, wanted: &DeadFilter) -> Result<Vec<DeadGroup>, DbError> {
    const WHAT: &str = "count dead jobs";
    let query = wanted.bind(GROUPS.query());
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    let read = rows.iter().map(|row| {
        Ok(DeadGroup {
            kind: text(row, 0)?,
            cause: row.try_get(1).during(WHAT)?,
            jobs: row.try_get(2).during(WHAT)?,
            tenants: row.try_get(3).during(WHAT)?,
            oldest: Millis::new(row.try_get(4).during(WHAT)?),
            newest: Millis::new(row.try_get(5).during(WHAT)?),
        })
    });
    let mut groups = read.collect::<Result<Vec<_>, DbError>>()?;
    groups.sort_by(|a, b| (b.jobs, a.kind, &a.cause).cmp(&(a.jobs, b.kind, &b.cause)));
    Ok(groups)
}

/// One dead job. `None`: there is none of this id.
///
/// # Errors
/// When the database is away.
pub async fn dead_one(db: &Db, id: &JobId) -> Result<Option<DeadJob>, DbError> {
    const WHAT: &str = "read a dead job";
    let query = ONE.query().bind(id.as_str().to_owned());
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    row.map(|row| {
        Ok(DeadJob {
            row: read_job(&row)?,
            pool: text(&row, 11)?,
            trace: text(&row, 12)?,
            reserved: ByteCount::new(row.try_get(13).during(WHAT)?),
            payload: row.try_get(14).during(WHAT)?,
        })
    })
    .transpose()
}

/// What a purged job leaves to be cleaned up.
#[derive(Debug, Clone)]
pub struct Purged {
    /// Whose it was.
    pub tenant: Option<TenantId>,
    /// What it was.
    pub kind: JobKind,
    /// Code of its cause.
    pub cause: Option<String>,
    /// Its payload, JSON.
    pub payload: String,
    /// What the counters held for it.
    pub reserved: ByteCount,
}

/// Removes a dead job's row, with the line that `audit` makes of it. `None` when it is not dead.
///
/// # Errors
/// When the database is away.
pub async fn purge(db: &Db, id: &JobId, audit: impl FnOnce(&Purged) -> Entry) -> Result<Option<Purged>, DbError> {
    const WHAT: &str = "purge a dead job";
    let mut tx = db.begin_write().await?;
    let query = PURGE.query().bind(id.as_str().to_owned());
    let Some(row) = query.fetch_optional(&mut *tx).bounded(WHAT).await? else {
        return Ok(None);
    };
    let purged = Purged {
        tenant: optional(&row, 0)?,
        kind: text(&row, 1)?,
        cause: row.try_get(2).during(WHAT)?,
        payload: row.try_get(3).during(WHAT)?,
        reserved: ByteCount::new(row.try_get(4).during(WHAT)?),
    };
    audit::append(&mut tx, &audit(&purged)).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(Some(purged))
}
