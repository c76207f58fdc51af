//! Counting the bytes of files that are sent, and holding tenants to `bytes_out_month`.
//!
//! A process counts in memory and adds its counts to the control database every [`EVERY`], when it stops, and when it is
//! cut off; a crash loses what was not added. The check asks no database on its way: the month's sum is read at most every
//! [`BELIEVED`], and what this process has sent since is on top of it. So a limit is passed by no more than what other
//! processes send in the two times together, and by what was on its way when it was reached.

use crate::rates::Rates;
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
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// How often counts are added to the database.
const EVERY: Duration = Duration::from_secs(2);
/// How long a month's sum is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// While one request reads a sum anew, others go by the old one; after so long another one reads.
const READING: Duration = Duration::from_secs(1);

/// A month's sum, as it was read, with what this process has added since.
#[derive(Debug, Clone, Copy)]
struct Known {
    month: Millis,
    bytes: i64,
    read_at: Millis,
}

/// What is known of one tenant.
#[derive(Debug, Default)]
struct Tally {
    /// Bytes sent since the last count began.
    fresh: i64,
    /// Bytes in the count that is under way.
    leaving: i64,
    /// Counts that arrived: a sum that was read across one may be either side of it.
    counts: u64,
    known: Option<Known>,
    asked_at: Millis,
}

impl Tally {
    /// The sum to go by, with what was not added yet. `None`: it has to be read.
    fn used(&self, month: Millis, now: Millis) -> Option<i64> {
        let known = self.known.filter(|known| known.month == month)?;
        // What leaves may be in a sum that is read now, or not.
        let busy = self.leaving != 0 || now.since(self.asked_at) < READING;
        (busy || now.since(known.read_at) < BELIEVED).then(|| self.with_own(known.bytes))
    }

    const fn with_own(&self, bytes: i64) -> i64 {
        bytes.saturating_add(self.fresh).saturating_add(self.leaving)
    }
}

type Shared = Arc<Mutex<Tally>>;
type Tallies = Arc<Mutex<HashMap<TenantId, Shared>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tenant's count, while a file of it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    tally: Shared,
    /// The last count waits for it.
    _open: mpsc::Sender<()>,
}

impl Meter {
    /// So many bytes were sent.
    pub(crate) fn add(&self, bytes: u64) {
        let mut tally = lock(&self.tally);
        tally.fresh = tally.fresh.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        metrics::counter!(names::BYTES_OUT).increment(bytes);
    }
}

/// What this process counts. Cloning shares it; the last count is made when all are gone.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    control: Db,
    clock: Clock,
    tallies: Tallies,
    open: mpsc::Sender<()>,
}

impl Served {
    /// Starts the task that adds the counts to the database.
    pub(crate) fn start(services: &Services) -> Self {
        let (open, closed) = mpsc::channel(1);
        let tallies = Tallies::default();
        let counting = Counting {
            control: services.control.clone(),
            clock: services.clock.clone(),
            process: ProcessId::generate(&services.clock, &services.entropy),
            tallies: Arc::clone(&tallies),
            number: 0,
            leaving: None,
        };
        services.shutdown.spawn(counting.run(closed, services.shutdown.clone()));
        Self {
            control: services.control.clone(),
            clock: services.clock.clone(),
            tallies,
            open,
        }
    }

    fn tally(&self, tenant: &TenantId) -> Shared {
        Arc::clone(lock(&self.tallies).entry(tenant.clone()).or_default())
    }

    /// The count of `tenant`.
    pub(crate) fn meter(&self, tenant: &TenantId) -> Meter {
        Meter {
            tally: self.tally(tenant),
            _open: self.open.clone(),
        }
    }

    /// Goes on when `bytes` more may be sent of `tenant` in this month. A sum that cannot be read holds nobody up: files are
    /// sent, and counted.
    ///
    /// # Errors
    /// When they may not: the answer tells how the month stands.
    pub(crate) async fn room_for(&self, tenant: &Tenant, bytes: u64, rates: &Rates) -> Result<(), OverRate> {
        let limit = tenant.context().limits.bytes_out_month;
        if limit == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        match self.standing(tenant.id(), limit, now).await {
            Some(standing) => {
                let room = standing.room_for(i64::try_from(bytes).unwrap_or(i64::MAX), now);
                room.inspect_err(|_| rates.tell(standing))
            }
            None => Ok(()),
        }
    }

    /// How this month stands, with what this process has sent and not added. `None`: the sum could not be read.
    pub(crate) async fn standing(&self, tenant: &TenantId, limit: i64, now: Millis) -> Option<Standing> {
        let (period, tally) = (Period::month_of(now), self.tally(tenant));
        let standing = |used| Standing {
            resource: Limit::BytesOutMonth,
            limit,
            used,
            period,
        };
        let before = {
            let mut tally = lock(&tally);
            if let Some(used) = tally.used(period.start, now) {
                return Some(standing(used));
            }
            tally.asked_at = now;
            (tally.leaving == 0).then_some(tally.counts)
        };
        let read = metering::bytes_out(&self.control, tenant, period).await;
        let bytes = read
            .inspect_err(|error| {
                tracing::warn!(tenant.id = %tenant, error = error as &dyn std::error::Error, "sending files unchecked: the bytes of this month could not be read");
            })
            .ok()?
            .get();
        let mut tally = lock(&tally);
        if before == Some(tally.counts) {
            tally.known = Some(Known {
                month: period.start,
                bytes,
                read_at: now,
            });
        }
        Some(standing(tally.with_own(bytes)))
    }
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
                // A count that had failed before left newer bytes behind.
                self.count().await;
                return;
            }
        }
    }

    async fn count(&mut self) {
        let Some(leaving) = self.leaving.take().or_else(|| self.collect()) else {
            return;
        };
        let counted = metering::count_served(&self.control, &self.process, self.number, &leaving.served, leaving.at);
        if let Err(error) = counted.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "served bytes could not be counted; they are kept and counted with the next try"
            );
            self.leaving = Some(leaving);
            return;
        }
        let month = Period::month_of(leaving.at).start;
        for one in &leaving.served {
            let Some(tally) = lock(&self.tallies).get(&one.tenant).cloned() else {
                continue;
            };
            let mut tally = lock(&tally);
            tally.leaving = 0;
            tally.counts += 1;
            if let Some(known) = tally.known.as_mut().filter(|known| known.month == month) {
                known.bytes = known.bytes.saturating_add(one.bytes);
            }
        }
    }

    /// Takes what was sent since the last count, and forgets tenants of whom nothing is sent or known.
    fn collect(&mut self) -> Option<Leaving> {
        let at = self.clock.now();
        let mut served = Vec::new();
        lock(&self.tallies).retain(|tenant, shared| {
            let mut tally = lock(shared);
            if tally.fresh == 0 {
                let known = tally.known.is_some_and(|known| at.since(known.read_at) < BELIEVED);
                // Whoever holds it may add to it.
                return known || Arc::strong_count(shared) > 1;
            }
            tally.leaving = std::mem::take(&mut tally.fresh);
            served.push(metering::Served {
                tenant: tenant.clone(),
                bytes: tally.leaving,
            });
            true
        });
        if served.is_empty() {
            return None;
        }
        self.number = self.number.saturating_add(1);
        Some(Leaving { at, served })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: Millis = Millis::new(1);

    #[test]
    fn a_sum_is_believed_for_a_while_and_while_it_is_read_or_changed() {
        let now = Millis::new(100_000);
        let mut tally = Tally {
            fresh: 5,
            ..Tally::default()
        };
        assert_eq!(tally.used(MONTH, now), None);
        tally.known = Some(Known {
            month: MONTH,
            bytes: 100,
            read_at: now,
        });
        assert_eq!(tally.used(MONTH, now), Some(105));
        assert_eq!(tally.used(Millis::new(2), now), None, "another month");
        let later = now.after(BELIEVED);
        assert_eq!(tally.used(MONTH, later), None);
        tally.asked_at = later;
        assert_eq!(tally.used(MONTH, later), Some(105), "somebody reads it");
        assert_eq!(tally.used(MONTH, later.after(READING)), None, "who read it has gone");
        tally.leaving = 20;
        assert_eq!(
            tally.used(MONTH, later.after(READING)),
            Some(125),
            "a count is under way"
        );
    }
}
