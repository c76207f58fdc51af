//! Dead jobs for people: tried again in bulk, or purged with everything that they keep alive.
//!
//! - A dead job is its row and nothing else: no queue holds a message of it, and none that comes late has it run.
//! - Retried, it is in one place too: held until its time has come, then until its tenant's turn, then in the queue.
//! - Of any number of people who retry and purge it, one does. The others are told that it is not dead.
//! - What many are asked for is done page by page, each in a transaction of its own: cut short, the rest is still dead.
//! - Who did it stands in the audit log, from the same transaction.
//!
//! Finding them is [`crate::control::jobs::dead()`].

mod clear;
mod pace;
#[cfg(test)]
mod tests;
mod words;

pub use clear::ClearError;
pub use pace::{Pace, Rate};
pub use words::{Fate, fate, payload_shown};

use crate::{
    clock::{Clock, Entropy},
    control::{
        audit::{Actor, Entry},
        jobs::{self, DeadFilter, JobRow, Retry, Revived, Wait},
    },
    db::{Db, DbError},
    dispatch::Dispatch,
    ids::{JobId, TenantId},
    jobs::JobState,
    objects::Objects,
    placement::Storages,
    queue::Queue,
    quota::Quota,
    tenancy::{Lifecycle, Resolver},
};
use std::{collections::BTreeMap, sync::Arc};

/// Jobs that are retried in one transaction at most.
pub const PAGE: i64 = 500;

/// What [`DeadJobs`] are made of.
#[derive(Clone, Debug)]
pub struct DeadJobsParts {
    /// The control database.
    pub control: Db,
    /// Whether rows are messages.
    pub queue: Queue,
    /// Whose turn retried ones are.
    pub dispatch: Dispatch,
    /// Where bytes are staged.
    pub objects: Objects,
    /// Where files lie.
    pub storages: Storages,
    /// Whose they are.
    pub resolver: Resolver,
    /// What is reserved for them.
    pub quota: Quota,
    /// How tenants stay, or are undone.
    pub lifecycle: Lifecycle,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

/// What may be done about dead jobs. Cloning shares it.
#[derive(Clone, Debug)]
pub struct DeadJobs {
    parts: Arc<DeadJobsParts>,
}

/// A part of what was asked for.
#[derive(Debug, Default)]
pub struct Part {
    /// How many it was done to.
    pub jobs: u64,
    /// The job after which the next part begins. `None`: there are no more.
    pub last: Option<JobId>,
    /// Purged, but not all that they kept alive is gone.
    pub left: Vec<(JobId, ClearError)>,
}

/// What became of a purge.
#[derive(Debug)]
pub enum Purge {
    /// It is not dead, or not any more.
    NotDead,
    /// It is gone, with everything that it kept alive.
    Gone,
    /// It is gone. Not all that it kept alive is: the scheduler finds what is left.
    Left(ClearError),
}

/// After which of `rows` the next ones are, when these are as many as were asked for.
fn next(rows: &[JobRow], limit: i64) -> Option<JobId> {
    let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
    rows.last().filter(|_| full).map(|row| row.id.clone())
}

impl DeadJobs {
    /// Over an installation's parts.
    #[must_use]
    pub fn new(parts: DeadJobsParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Gives one all its attempts again, at the next moment of `pace`. Returns whether it was dead.
    ///
    /// # Errors
    /// When the database is away: nothing is changed then.
    pub async fn retry(&self, id: &JobId, pace: &mut Pace, actor: &Actor) -> Result<bool, DbError> {
        let row = jobs::get(&self.parts.control, id).await?;
        let Some(row) = row.filter(|row| row.state == JobState::Dead) else {
            return Ok(false);
        };
        Ok(self.retry_rows(&[row], pace, actor).await? > 0)
    }

    /// Gives the next dead jobs after `after` all their attempts again, at most `limit` and [`PAGE`] of them.
    ///
    /// # Errors
    /// When the database is away: nothing is changed then.
    pub async fn retry_part(
        &self,
        wanted: &DeadFilter,
        after: Option<&JobId>,
        limit: i64,
        pace: &mut Pace,
        actor: &Actor,
    ) -> Result<Part, DbError> {
        let rows = jobs::dead(&self.parts.control, wanted, after, limit.min(PAGE)).await?;
        Ok(Part {
            jobs: self.retry_rows(&rows, pace, actor).await?,
            last: next(&rows, limit.min(PAGE)),
            left: Vec::new(),
        })
    }

    async fn retry_rows(&self, rows: &[JobRow], pace: &mut Pace, actor: &Actor) -> Result<u64, DbError> {
        let (parts, now) = (&*self.parts, self.parts.clock.now());
        let asked: Vec<Retry> = rows
            .iter()
            .map(|row| {
                let due_at = pace.next(now);
                let turn = row.tenant.is_some() && row.kind.takes_turns();
                let wait = match (due_at > now, turn) {
                    (false, false) => Wait::Nothing,
                    (false, true) => Wait::Turn,
                    (true, false) => Wait::Time,
                    (true, true) => Wait::TimeAndTurn,
                };
                let id = row.id.clone();
                Retry { id, due_at, wait }
            })
            .collect();
        let (published, rate) = (parts.queue.rows_are_messages(), pace.rate());
        let audit = |revived: &[Revived]| self.retried(revived, rate, actor);
        let revived = jobs::retry(&parts.control, &asked, now, published, audit).await?;
        let count = revived.len();
        parts.dispatch.revived(revived).await;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// A line for each tenant: it is found in the tenant's log.
    fn retried(&self, revived: &[Revived], rate: Option<Rate>, actor: &Actor) -> Vec<Entry> {
        let mut of: BTreeMap<Option<&TenantId>, Vec<&JobId>> = BTreeMap::new();
        for job in revived {
            of.entry(job.tenant.as_ref()).or_default().push(job.envelope.job());
        }
        let line = |(tenant, jobs)| {
            let detail = serde_json::json!({ "jobs": jobs, "rate": rate });
            Entry::new(&self.parts.clock, &self.parts.entropy, actor, "dead.retry", tenant).with(detail)
        };
        of.into_iter().map(line).collect()
    }

    /// Removes one for good, with everything that it keeps alive. The row goes first: a retry finds it gone, and a process that
    /// dies after that leaves what the scheduler finds.
    ///
    /// # Errors
    /// When the database is away: nothing is changed then.
    pub async fn purge(&self, id: &JobId, actor: &Actor) -> Result<Purge, DbError> {
        let DeadJobsParts {
            control,
            clock,
            entropy,
            ..
        } = &*self.parts;
        let purged = jobs::purge(control, id, |purged| {
            let detail = serde_json::json!({ "job": id, "kind": purged.kind, "cause": purged.cause });
            Entry::new(clock, entropy, actor, "dead.purge", purged.tenant.as_ref()).with(detail)
        });
        let Some(purged) = purged.await? else {
            return Ok(Purge::NotDead);
        };
        match self.clear(id, &purged, actor).await {
            Ok(()) => Ok(Purge::Gone),
            Err(error) => {
                tracing::warn!(job.id = %id, error = &error as &dyn std::error::Error, "a purged job has left something behind");
                Ok(Purge::Left(error))
            }
        }
    }

    /// Purges the next dead jobs after `after`, at most `limit` of them.
    ///
    /// # Errors
    /// When the database is away: those before are purged.
    pub async fn purge_part(
        &self,
        wanted: &DeadFilter,
        after: Option<&JobId>,
        limit: i64,
        actor: &Actor,
    ) -> Result<Part, DbError> {
        let rows = jobs::dead(&self.parts.control, wanted, after, limit).await?;
        let mut part = Part {
            last: next(&rows, limit),
            ..Part::default()
        };
        for row in rows {
            match self.purge(&row.id, actor).await? {
                Purge::NotDead => {}
                Purge::Gone => part.jobs = part.jobs.saturating_add(1),
                Purge::Left(error) => {
                    part.jobs = part.jobs.saturating_add(1);
                    part.left.push((row.id, error));
                }
            }
        }
        Ok(part)
    }
}
