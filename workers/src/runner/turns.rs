//! A pool's part in fair dispatch: as jobs end here their tenants' next ones are released, and more where there is nothing to do.
//!
//! Where messages are a broker's, a worker runs what it has released for its own idle slots without one: the row is claimed as from a
//! message, and nobody else is told of it. Free slots take a message and a released job in turns, so whoever has its job in the queue
//! is behind one of those at most; one released job waits for the next slot that is free, so that no slot waits for a job. Should the
//! worker die with it, the scheduler publishes it.

use super::Worker;
use mediamill_shared::{
    cache::{CachePort, HELD_CHANNEL, Signal},
    clock::Clock,
    dispatch::Occasion,
    ids::{JobId, TenantId},
    jobs::{Envelope, Pool},
    services::Services,
    telemetry::names,
    units::Millis,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

/// A look at who waits, whatever was heard of them.
const LOOK: Duration = Duration::from_secs(1);
/// A released job that has not come to this worker by then has gone to another.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What a pool's loop and its jobs tell of each other.
pub(super) struct Turns {
    pool: Pool,
    /// Jobs that it runs at a time.
    slots: Arc<Semaphore>,
    /// Where rows are messages: jobs at a time that this worker has released itself, whatever their tenants' shares are. Fewer than
    /// it could run: a job of somebody who has few finds a slot at once.
    window: usize,
    rows_are_messages: bool,
    state: Mutex<State>,
    /// There may be something to release.
    changed: Notify,
    /// A released job waits for a slot here.
    come: Notify,
}

#[derive(Default)]
struct State {
    in_hand: usize,
    ended: BTreeMap<TenantId, i64>,
    /// Where rows are messages: jobs that were released here and are on their way, and since when.
    coming: HashMap<JobId, Millis>,
    /// Else: those that wait for a slot here.
    waiting: VecDeque<Envelope>,
}

/// A job in hand. Dropped, it is not any more.
pub(super) struct InHand<'a>(&'a Turns);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_hand = state.in_hand.saturating_sub(1);
    }
}

impl Turns {
    pub(super) fn new(pool: Pool, slots: usize, rows_are_messages: bool) -> Self {
        Self {
            pool,
            slots: Arc::new(Semaphore::new(slots.max(1))),
            rows_are_messages,
            window: slots.saturating_sub(slots / 4).max(1),
            state: Mutex::default(),
            changed: Notify::new(),
            come: Notify::new(),
        }
    }

    pub(super) const fn pool(&self) -> Pool {
        self.pool
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot, when there is one.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Jobs that could be begun, and are neither here nor on their way.
    fn idle(&self, clock: &Clock) -> usize {
        let mut state = self.state();
        if self.rows_are_messages {
            let since = clock.now().before(ON_ITS_WAY);
            state.coming.retain(|_, at| *at > since);
            return self
                .window
                .saturating_sub(state.in_hand.saturating_add(state.coming.len()));
        }
        // And the one that waits.
        let free = self.slots.available_permits().saturating_add(1);
        free.saturating_sub(state.waiting.len())
    }

    /// A job has come.
    pub(super) fn begin(&self, job: &JobId) -> InHand<'_> {
        let mut state = self.state();
        state.in_hand = state.in_hand.saturating_add(1);
        state.coming.remove(job);
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
        let idle = self.idle(clock);
        let mut state = self.state();
        Occasion {
            idle,
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
                        if message == self.pool.as_str() && self.idle(&services.clock) > 0 => false,
                    Ok(_) => continue,
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => { heard = false; continue }
                },
                () = services.clock.sleep(LOOK) => true,
            };
            self.release(services, all).await;
        }
        // Places of what has ended since.
        self.release(services, false).await;
    }

    async fn release(&self, services: &Services, all: bool) {
        let mut occasion = self.occasion(&services.clock, all);
        if services.shutdown.stopping() {
            occasion.idle = 0;
        }
        match services.dispatch.release(self.pool, occasion).await {
            Ok(released) => {
                let now = services.clock.now();
                let mut state = self.state();
                state.waiting.extend(released.here);
                state.coming.extend(released.queued.into_iter().map(|job| (job, now)));
                drop(state);
                self.come.notify_one();
                if services.shutdown.stopping() {
                    self.hand_over(services);
                }
            }
            Err(error) => tracing::debug!(
                pool = %self.pool, error = &error as &dyn std::error::Error,
                "held jobs wait for the next look: they could not be released"
            ),
        }
    }

    /// A job that was released here, when there is one. Cancel-safe.
    pub(super) async fn released(&self) -> Envelope {
        loop {
            let first = self.state().waiting.pop_front();
            if let Some(envelope) = first {
                return envelope;
            }
            self.come.notified().await;
        }
    }

    /// Leaves to others what waits here.
    pub(super) fn hand_over(&self, services: &Services) {
        let waiting = std::mem::take(&mut self.state().waiting);
        for envelope in waiting {
            services.outbox.offer(self.pool, envelope);
        }
    }

    /// A slot has a job now. If that was one that waited here, the next one may be released before it is needed; if it was a message,
    /// what ended before it without a word is released for, see [`work`](Self::work).
    pub(super) fn begun(&self, released: bool) {
        if released || !self.state().ended.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Does a job's work in its slot, until the hard token, and tells that the slot is free: once, when all of it is over. Where a
    /// released job waits the slot is taken at once, and [`begun`](Self::begun) tells.
    pub(super) async fn work(&self, slot: OwnedSemaphorePermit, services: &Services, work: impl Future<Output = ()>) {
        let busy = metrics::gauge!(names::WORKER_SLOTS, "pool" => self.pool.as_str(), "state" => "busy");
        busy.increment(1.0);
        tokio::select! { () = services.shutdown.hard() => {}, () = work => {} }
        busy.decrement(1.0);
        drop(slot);
        if self.state().waiting.is_empty() {
            self.changed.notify_one();
        }
    }
}
