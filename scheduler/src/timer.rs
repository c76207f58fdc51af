//! What a timer is.

use crate::timers;
use futures_util::future::BoxFuture;
use mediamill_shared::{
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

/// Why a run ended early. The next run begins anew.
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
    /// Time between the starts of two runs.
    const EVERY: Duration;

    /// Does it. Takes no input, so that a missed, doubled or early run is harmless. Bounded work: `unfinished` asks to
    /// be run again at once.
    fn run(services: &Services) -> impl Future<Output = Result<Report, TimerError>> + Send;
}

type Run = for<'a> fn(&'a Services) -> BoxFuture<'a, Result<Report, TimerError>>;

/// A timer, erased.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) every: Duration,
    pub(crate) run: Run,
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
            .with::<timers::reconcile::ReconcileUsage>()
            .with::<timers::reconcile_storages::ReconcileStorages>()
            .with::<timers::sweep::SweepStaged>()
            .with::<timers::sweep_resumable::SweepResumable>()
            .with::<timers::prune::Prune>()
            .with::<timers::observe::ObserveQueues>()
            .with::<timers::observe_tenants::ObserveTenants>()
            .with::<timers::refresh_stats::RefreshStats>()
            .with::<timers::feed::FeedBatches>()
            .with::<timers::purge::PurgeTenants>()
            .with::<timers::retired::DropRetired>()
            .with::<timers::undo::RecoverTenants>()
            .with::<timers::expire::ExpireMedia>()
            .with::<timers::probe::ProbeStorages>()
            .with::<timers::storage_tasks::FeedStorageTasks>()
            .with::<timers::roll_up::RollUpUsage>()
            .with::<timers::watch_limits::WatchLimits>()
            .with::<timers::enforce::EnforceLimits>()
    }

    /// These and `T`.
    #[must_use]
    pub fn with<T: Timer>(mut self) -> Self {
        self.entries.push(Entry {
            name: T::NAME,
            every: T::EVERY,
            run: |services| Box::pin(T::run(services)),
        });
        self
    }
}
