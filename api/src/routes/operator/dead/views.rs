//! What is answered about dead jobs.

use crate::routes::views::{CauseView, cause, rfc3339};
use mediamill_shared::{
    control::jobs::{DeadGroup, DeadJob, JobRow},
    dead::{self, ClearError, Part},
    ids::JobId,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A dead job.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadView {
    /// Its id.
    id: String,
    /// Whose it is.
    tenant: Option<String>,
    /// What it is about: a picture, say.
    subject: Option<String>,
    /// `media.process`, `tenant.provision`, …
    kind: &'static str,
    /// Attempts begun.
    attempts: i64,
    /// Why it was given up.
    cause: Option<CauseView>,
    /// When it was accepted, RFC 3339.
    created_at: String,
    /// When it was given up, RFC 3339.
    finished_at: Option<String>,
}

/// A dead job with what it was to do, and what can be done about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OneDeadView {
    #[serde(flatten)]
    job: DeadView,
    /// Which workers take it.
    pool: &'static str,
    /// The trace of its attempts.
    trace: String,
    /// Bytes of its tenant's limit that it holds.
    reserved_bytes: i64,
    /// What it was to do.
    #[schema(value_type = Object)]
    payload: Value,
    /// What a retry would do.
    retry: &'static str,
    /// What a purge would do.
    purge: &'static str,
}

/// Dead jobs of one kind and cause.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupView {
    /// What they are.
    kind: &'static str,
    /// Code of their cause.
    cause: Option<String>,
    /// How many.
    jobs: i64,
    /// Of how many tenants.
    tenants: i64,
    /// When the first was given up, RFC 3339.
    oldest: String,
    /// When the last was, RFC 3339.
    newest: String,
}

/// A page of dead jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListView {
    /// In the order in which they were accepted.
    pub(super) jobs: Vec<DeadView>,
    /// Where the next page begins; null: there is none.
    pub(super) next_cursor: Option<String>,
}

/// Dead jobs by kind and cause.
#[derive(Serialize, ToSchema)]
pub(crate) struct SummaryView {
    /// Most first.
    pub(super) groups: Vec<GroupView>,
}

/// What was done to many.
#[derive(Serialize, ToSchema)]
pub(crate) struct DoneView {
    /// To how many.
    jobs: u64,
    /// Jobs that are purged, while not all that they kept alive is gone: the scheduler finds it.
    left: Vec<String>,
    /// Where the next request goes on; null: there are no more.
    next_cursor: Option<String>,
}

impl From<JobRow> for DeadView {
    fn from(row: JobRow) -> Self {
        Self {
            cause: cause(&row),
            id: row.id.to_string(),
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            subject: row.subject,
            kind: row.kind.as_str(),
            attempts: row.attempts,
            created_at: rfc3339(row.created_at),
            finished_at: row.finished_at.map(rfc3339),
        }
    }
}

impl From<DeadGroup> for GroupView {
    fn from(group: DeadGroup) -> Self {
        Self {
            kind: group.kind.as_str(),
            cause: group.cause,
            jobs: group.jobs,
            tenants: group.tenants,
            oldest: rfc3339(group.oldest),
            newest: rfc3339(group.newest),
        }
    }
}

impl From<DeadJob> for OneDeadView {
    fn from(job: DeadJob) -> Self {
        let (kind, fate) = (job.row.kind, dead::fate(job.row.kind));
        Self {
            pool: job.pool.as_str(),
            trace: job.trace.to_string(),
            reserved_bytes: job.reserved.get(),
            payload: dead::payload_shown(kind, &job.payload),
            retry: fate.retry,
            purge: fate.purge,
            job: job.row.into(),
        }
    }
}

impl DoneView {
    /// Of one job, with what its purge has left.
    pub(super) fn one(id: &JobId, left: Option<&ClearError>) -> Self {
        Self {
            jobs: 1,
            left: left.iter().map(|_| id.to_string()).collect(),
            next_cursor: None,
        }
    }

    /// Of many, and where the next request goes on.
    pub(super) fn part(part: &Part, next_cursor: Option<String>) -> Self {
        Self {
            jobs: part.jobs,
            left: part.left.iter().map(|(id, _)| id.to_string()).collect(),
            next_cursor,
        }
    }
}
