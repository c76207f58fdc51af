//! A pool's part in fair dispatch: as jobs end here their tenants' next ones are released, and more where there is nothing to do.

use super::Worker;
use mediamill_shared::{
    cache::{CachePort, HELD_CHANNEL, Signal},
    clock::{Clock, Stopwatch},
    dispatch::Occasion,
    ids::{JobId, TenantId},
    jobs::Pool,
    units::Millis,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

/// Jobs are on their way while all slots have some: as many as end in the time that one takes from its release to a worker, doubled.
const ON_THE_WAY: Duration = Duration::from_millis(150);
/// How often the pace of jobs is measured.
const PACE: Duration = Duration::from_secs(1);
/// A look at who waits, whatever was heard of them.
const LOOK: Duration = Duration::from_secs(1);
/// A released job that has not come to this worker by then has gone to another.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What a pool's loop and its jobs tell of each other.
pub(super) struct Turns {
    pool: Pool,
    /// Jobs that it runs at a time.
    slots: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    in_hand: usize,
    ended: BTreeMap<TenantId, i64>,
    /// Jobs that were released here and are on their way, and since when.
    coming: HashMap<JobId, Millis>,
    pace: Pace,
}

/// How many jobs end in a time.
#[derive(Default)]
struct Pace {
    since: Option<Stopwatch>,
    count: u32,
    /// In a second, when it was measured last.
    per_second: f64,
}

impl Pace {
    fn ended(&mut self) {
        let elapsed = self.since.get_or_insert_with(Stopwatch::start).elapsed();
        self.count = self.count.saturating_add(1);
        if elapsed >= PACE {
            self.per_second = f64::from(self.count) / elapsed.as_secs_f64();
            (self.since, self.count) = (Some(Stopwatch::start()), 0);
        }
    }

    /// How many of `slots` jobs at a time have another one on its way while they run: one for four of them, more where they are
    /// short, and never more than two each.
    fn ahead(&self, slots: usize) -> usize {
        let ending = self.per_second * ON_THE_WAY.as_secs_f64();
        let most = slots.saturating_mul(2);
        let ending = (0..most).take_while(|count| (*count as f64) < ending).count();
        ending.clamp((slots / 4).max(1), most.max(1))
    }
}

impl State {
    /// Jobs that could be begun, at once or as soon as one has ended, and are neither here nor on their way. Not many more than
    /// there are slots: whoever comes anew is behind these.
    fn idle(&mut self, slots: usize, clock: &Clock) -> usize {
        let since = clock.now().before(ON_ITS_WAY);
        self.coming.retain(|_, at| *at > since);
        let window = slots.saturating_add(self.pace.ahead(slots));
        window.saturating_sub(self.in_hand.saturating_add(self.coming.len()))
    }
}

/// A job in hand. Dropped, it is not any more.
pub(super) struct InHand<'a>(&'a Turns);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_hand = state.in_hand.saturating_sub(1);
        state.pace.ended();
        drop(state);
        self.0.changed.notify_one();
    }
}

impl Turns {
    pub(super) fn new(pool: Pool, slots: usize) -> Self {
        Self {
            pool,
            slots: slots.max(1),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job has come.
    pub(super) fn begin(&self, job: &JobId) -> InHand<'_> {
        let mut state = self.state();
        state.in_hand = state.in_hand.saturating_add(1);
        if state.coming.remove(job).is_none() {
            // Released by another worker, to which one of this one's goes.
            let first = state.coming.iter().min_by_key(|(_, at)| **at);
            if let Some(first) = first.map(|(job, _)| job.clone()) {
                state.coming.remove(&first);
            }
        }
        InHand(self)
    }

    /// A job of `tenant` is over: its place in the queue is free.
    pub(super) fn ended(&self, tenant: &TenantId) {
        let mut state = self.state();
        let count = state.ended.entry(tenant.clone()).or_default();
        *count = count.saturating_add(1);
    }

    /// What has changed since it was last asked.
    fn occasion(&self, clock: &Clock, all: bool) -> Occasion {
        let mut state = self.state();
        Occasion {
            idle: state.idle(self.slots, clock),
            ended: std::mem::take(&mut state.ended),
            all,
        }
    }

    /// Has held jobs released until `idle`.
    pub(super) async fn keep(&self, worker: &Worker, idle: &CancellationToken) {
        let services = &worker.services;
        let mut signals = services.cache.listen();
        let mut heard = true;
        loop {
            let all = tokio::select! {
                () = idle.cancelled() => break,
                () = self.changed.notified() => false,
                signal = signals.recv(), if heard => match signal {
                    // While a dump comes in there is one for each upload: they are nothing to whoever has enough to do.
                    Ok(Signal { channel: HELD_CHANNEL, message })
                        if message == self.pool.as_str() && self.state().idle(self.slots, &services.clock) > 0 => false,
                    Ok(_) => continue,
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => { heard = false; continue }
                },
                () = services.clock.sleep(LOOK) => true,
            };
            self.release(worker, all).await;
        }
        // Places of what has ended since.
        self.release(worker, false).await;
    }

    async fn release(&self, worker: &Worker, all: bool) {
        let services = &worker.services;
        let mut occasion = self.occasion(&services.clock, all);
        if services.shutdown.stopping() {
            occasion.idle = 0;
        }
        match services.dispatch.release(self.pool, occasion).await {
            Ok(released) => {
                let now = services.clock.now();
                self.state().coming.extend(released.into_iter().map(|job| (job, now)));
            }
            Err(error) => tracing::debug!(
                pool = %self.pool, error = &error as &dyn std::error::Error,
                "held jobs wait for the next look: they could not be released"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_jobs_are_the_more_are_on_their_way() {
        let ahead = |per_second, slots| {
            let pace = Pace {
                per_second,
                ..Pace::default()
            };
            pace.ahead(slots)
        };
        assert_eq!(ahead(0.0, 4), 1);
        assert_eq!(ahead(3.0, 4), 1);
        assert_eq!(ahead(12.0, 4), 2);
        assert_eq!(ahead(27.0, 4), 5);
        assert_eq!(ahead(1_000.0, 4), 8);
        assert_eq!(ahead(0.0, 1), 1);
        assert_eq!(ahead(0.0, 32), 8);
    }
}
