//! What a timer is.

use crate::{scope::Scope, timers};
use futures_util::future::BoxFuture;
use mediamill_shared::{
    config::TimerPeriods,
    db::DbError,
    objects::ObjectError,
    queue::QueueError,
    services::Services,
    tenancy::{BatchError, LifecycleError, MoveError, NotServed, ResolveError},
};
use std::{future::Future, time::Duration};

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Things that were wrong and are not any more.
    pub changed: i64,
    /// There is more of the same: run again at once.
    pub unfinished: bool,
}

/// Why a run ended early. The next run goes on from what is kept.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The objects.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The resolver.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A tenant's coming or going.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// A tenant's move.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// A job could not be written.
    #[error("a job could not be written")]
    Payload(#[from] serde_json::Error),
    /// A batch of tenants.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A tenant's tables are of a newer release.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// The timer does all of its work or none.
    #[error("the timer {name} has no --tenant and no --dry-run; these have: {known}")]
    Unscoped {
        /// As given.
        name: String,
        /// Those that have.
        known: String,
    },
    /// A period is configured for a timer that there is not.
    #[error("configuration key timer_periods: there is no timer {name:?}; known: {known}")]
    UnknownPeriod {
        /// As given.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is no such timer.
    #[error("there is no timer {name:?}; known: {known}")]
    Unknown {
        /// As given.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Work that is due every so often.
pub trait Timer: Send + Sync + 'static {
    /// Its name, for records, metrics and `mediamill scheduler run NAME`.
    const NAME: &'static str;
    /// Time from the end of a run to the beginning of the next, give or take a tenth, where `timer_periods` says nothing else.
    const EVERY: Duration;

    /// Does it. Takes no input but what is kept, so that a missed, doubled or early run is harmless. Bounded work: `unfinished` asks
    /// to be run again at once.
    fn run(services: &Services) -> impl Future<Output = Result<Report, TimerError>> + Send;
}

/// A timer that can do a part of its work, or say what it would do.
pub trait Scoped: Timer {
    /// Does what `scope` asks for, to its end: it is never `unfinished`. A dry run changes nothing, and counts nothing as changed.
    fn run_in(services: &Services, scope: &Scope) -> impl Future<Output = Result<Report, TimerError>> + Send;
}

type RunIn = for<'a> fn(&'a Services, &'a Scope) -> BoxFuture<'a, Result<Report, TimerError>>;
type Run = for<'a> fn(&'a Services) -> BoxFuture<'a, Result<Report, TimerError>>;

/// A timer, erased.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) every: Duration,
    pub(crate) run: Run,
    pub(crate) run_in: Option<RunIn>,
}

/// All timers.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    pub(crate) entries: Vec<Entry>,
}

impl Timers {
    /// Every timer of this release.
    #[must_use]
    pub fn standard() -> Self {
        Self::default()
            .with::<timers::dispatch::Dispatch>()
            .with::<timers::turns::MendTurns>()
            .with::<timers::recover::Recover>()
            .with::<timers::refresh::RefreshContexts>()
            .with_scoped::<timers::reconcile::ReconcileUsage>()
            .with_scoped::<timers::reconcile_storages::ReconcileStorages>()
            .with_scoped::<timers::reconcile_objects::ReconcileObjects>()
            .with_scoped::<timers::sweep::SweepStaged>()
            .with::<timers::sweep_resumable::SweepResumable>()
            .with::<timers::prune::Prune>()
            .with::<timers::observe::ObserveQueues>()
            .with::<timers::observe_tenants::ObserveTenants>()
            .with::<timers::refresh_stats::RefreshStats>()
            .with::<timers::feed::FeedBatches>()
            .with::<timers::purge::PurgeTenants>()
            .with::<timers::retired::DropRetired>()
            .with::<timers::undo::RecoverTenants>()
            .with_scoped::<timers::expire::ExpireMedia>()
            .with::<timers::probe::ProbeStorages>()
            .with::<timers::storage_tasks::FeedStorageTasks>()
            .with::<timers::roll_up::RollUpUsage>()
            .with::<timers::watch_limits::WatchLimits>()
            .with_scoped::<timers::enforce::EnforceLimits>()
    }

    /// These and `T`.
    #[must_use]
    pub fn with<T: Timer>(mut self) -> Self {
        self.entries.push(Entry {
            name: T::NAME,
            every: T::EVERY,
            run: |services| Box::pin(T::run(services)),
            run_in: None,
        });
        self
    }

    /// These and `T`, which can do a part of its work.
    #[must_use]
    pub fn with_scoped<T: Scoped>(mut self) -> Self {
        self = self.with::<T>();
        if let Some(entry) = self.entries.last_mut() {
            entry.run_in = Some(|services, scope| Box::pin(T::run_in(services, scope)));
        }
        self
    }

    /// These, as often as the configuration says.
    ///
    /// # Errors
    /// When it says so of a timer that there is not.
    pub fn paced(mut self, periods: &TimerPeriods) -> Result<Self, TimerError> {
        for (name, every) in periods.all() {
            let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) else {
                return Err(TimerError::UnknownPeriod {
                    name: name.to_owned(),
                    known: self.names(),
                });
            };
            entry.every = every;
        }
        Ok(self)
    }

    /// Their names, parted by commas.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.entries.iter().map(|entry| entry.name).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/scheduler.md` names every timer with its period, and says truly which can do a part of their work.
    #[test]
    fn the_documentation_is_up_to_date() {
        let page = include_str!("../../docs/scheduler.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        for entry in Timers::standard().entries {
            let seconds = entry.every.as_secs();
            let every = if seconds >= 3_600 {
                format!("{} h", seconds / 3_600)
            } else {
                format!("{seconds} s")
            };
            let wanted = format!("| `{}` | {every} |", entry.name);
            let row = rows.iter().find(|row| row.starts_with(&wanted));
            let row = row.unwrap_or_else(|| panic!("docs/scheduler.md has no row {wanted}"));
            assert_eq!(row.ends_with("| yes |"), entry.run_in.is_some(), "{row}");
        }
    }
}
