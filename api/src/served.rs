//! Counting the bytes of files that are sent, and holding tenants to `bytes_out_month`.
//!
//! A process counts in memory and adds its counts to the control database every [`EVERY`], when it stops, and when it is
//! cut off; a crash loses what was not added. The check asks no database on its way: the month's sum is read at most every
//! [`BELIEVED`], and what this process has sent since is on top of it. So a limit is passed by no more than what all
//! processes send in the two times together, and by what was on its way when it was reached.

use mediamill_shared::{
    clock::Clock,
    control::metering,
    db::Db,
    ids::{ProcessId, TenantId},
    quota::{OverRate, Period, Standing},
    services::Services,
    shutdown::Shutdown,
    telemetry::names,
    tenancy::{Limit, Tenant},
    units::Millis,
};
use moka::future::Cache;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// How often counts are added to the database.
const EVERY: Duration = Duration::from_secs(2);
/// How long a month's sum is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// Sums that a process remembers.
const KNOWN: u64 = 100_000;

/// Bytes sent of one tenant, not added to the database yet.
#[derive(Debug, Default)]
struct Tally {
    /// Since the last count began.
    fresh: AtomicI64,
    /// In the count that is under way.
    leaving: AtomicI64,
}

/// A tenant's count, while a file of it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    tally: Arc<Tally>,
    /// The last count waits for it.
    _open: mpsc::Sender<()>,
}

impl Meter {
    /// So many bytes were sent.
    pub(crate) fn add(&self, bytes: u64) {
        let bytes_out = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.tally.fresh.fetch_add(bytes_out, Ordering::Relaxed);
        metrics::counter!(names::BYTES_OUT).increment(bytes);
    }
}

type Tallies = Arc<Mutex<HashMap<TenantId, Arc<Tally>>>>;
type Known = Cache<(TenantId, i64), i64>;

/// What this process counts. Cloning shares it; the last count is made when all are gone.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    control: Db,
    clock: Clock,
    tallies: Tallies,
    known: Known,
    open: mpsc::Sender<()>,
}

impl Served {
    /// Starts the task that adds the counts to the database.
    pub(crate) fn start(services: &Services) -> Self {
        let (open, closed) = mpsc::channel(1);
        let served = Self {
            control: services.control.clone(),
            clock: services.clock.clone(),
            tallies: Arc::default(),
            known: Cache::builder().max_capacity(KNOWN).time_to_live(BELIEVED).build(),
            open,
        };
        let counting = Counting {
            control: services.control.clone(),
            clock: services.clock.clone(),
            process: ProcessId::generate(&services.clock, &services.entropy),
            tallies: Arc::clone(&served.tallies),
            known: served.known.clone(),
            number: 0,
            leaving: None,
        };
        services.shutdown.spawn(counting.run(closed, services.shutdown.clone()));
        served
    }

    /// The count of `tenant`.
    pub(crate) fn meter(&self, tenant: &TenantId) -> Meter {
        Meter {
            tally: Arc::clone(lock(&self.tallies).entry(tenant.clone()).or_default()),
            _open: self.open.clone(),
        }
    }

    /// Goes on when `bytes` more may be sent of `tenant` in this month. A sum that cannot be read holds nobody up: files are
    /// sent, and counted.
    ///
    /// # Errors
    /// When they may not.
    pub(crate) async fn room_for(&self, tenant: &Tenant, bytes: u64) -> Result<(), OverRate> {
        let limit = tenant.context().limits.bytes_out_month;
        if limit == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        let Some(standing) = self.standing(tenant.id(), limit, now).await else {
            return Ok(());
        };
        let asked = i64::try_from(bytes).unwrap_or(i64::MAX);
        standing.room_for(asked, now)
    }

    /// How this month stands, with what this process has sent and not added. `None`: the sum could not be read.
    pub(crate) async fn standing(&self, tenant: &TenantId, limit: i64, now: Millis) -> Option<Standing> {
        let period = Period::month_of(now);
        let key = (tenant.clone(), period.start.get());
        let sum = async {
            let bytes = metering::bytes_out(&self.control, tenant, period).await?;
            Ok::<_, mediamill_shared::db::DbError>(bytes.get())
        };
        let sum = self.known.try_get_with(key, sum).await;
        let sum = sum
            .inspect_err(|error| {
                tracing::warn!(tenant.id = %tenant, error = error as &dyn std::error::Error, "sending files unchecked: the bytes of this month could not be read");
            })
            .ok()?;
        let own = lock(&self.tallies).get(tenant).map_or(0, |tally| {
            let leaving = tally.leaving.load(Ordering::Relaxed);
            tally.fresh.load(Ordering::Relaxed).saturating_add(leaving)
        });
        Some(Standing {
            resource: Limit::BytesOutMonth,
            limit,
            used: sum.saturating_add(own),
            period,
        })
    }
}

fn lock(tallies: &Tallies) -> std::sync::MutexGuard<'_, HashMap<TenantId, Arc<Tally>>> {
    tallies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A count that is under way: the same until it is known to be there.
struct Leaving {
    at: Millis,
    served: Vec<metering::Served>,
}

/// The task that adds the counts to the database.
struct Counting {
    control: Db,
    clock: Clock,
    process: ProcessId,
    tallies: Tallies,
    known: Known,
    number: i64,
    leaving: Option<Leaving>,
}

impl Counting {
    async fn run(mut self, mut closed: mpsc::Receiver<()>, shutdown: Shutdown) {
        loop {
            let last = tokio::select! {
                // Nobody sends anything, so this ends when every sender is gone.
                _ = closed.recv() => true,
                () = shutdown.hard() => true,
                () = self.clock.sleep(EVERY) => false,
            };
            self.count().await;
            if last {
                // A count that was in doubt before left newer bytes behind.
                self.count().await;
                return;
            }
        }
    }

    async fn count(&mut self) {
        if self.leaving.is_none() {
            let served = self.collect();
            if served.is_empty() {
                return;
            }
            self.number = self.number.saturating_add(1);
            let at = self.clock.now();
            self.leaving = Some(Leaving { at, served });
        }
        let Some(leaving) = &self.leaving else { return };
        let counted = metering::count_served(&self.control, &self.process, self.number, &leaving.served, leaving.at).await;
        if let Err(error) = counted {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "served bytes could not be counted; they are kept and counted with the next try"
            );
            return;
        }
        let month = Period::month_of(leaving.at).start.get();
        for one in &leaving.served {
            if let Some(tally) = lock(&self.tallies).get(&one.tenant) {
                tally.leaving.store(0, Ordering::Relaxed);
            }
            self.known.invalidate(&(one.tenant.clone(), month)).await;
        }
        self.leaving = None;
    }

    /// Takes what was sent since the last count, and forgets tenants of whom nothing is sent.
    fn collect(&self) -> Vec<metering::Served> {
        let mut served = Vec::new();
        lock(&self.tallies).retain(|tenant, tally| {
            let bytes = tally.fresh.swap(0, Ordering::Relaxed);
            if bytes == 0 {
                // Whoever holds it may add to it: then it is not the last.
                return Arc::strong_count(tally) > 1;
            }
            tally.leaving.store(bytes, Ordering::Relaxed);
            served.push(metering::Served {
                tenant: tenant.clone(),
                bytes,
            });
            true
        });
        served
    }
}
