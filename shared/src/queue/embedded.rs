//! The queue without a server: the `jobs` table read as a queue, a lease in the place of an ack.
//!
//! There is nothing to publish: an inserted row is the message, as durable as the row. Consumers of the process that
//! inserted it are woken at once; those of another process on the same file look every few seconds. Leases are kept
//! alive by one task; those of a process that died end by themselves.

use super::{Acker, Broker, Consume, Delivery, Depth, QueueContext, QueueError};
use crate::{
    control::leases,
    db::DbError,
    ids::{JobId, ProcessId},
    jobs::{Envelope, Pool},
    retry::RetryPolicy,
    units::Millis,
};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// A lease that is not renewed ends after this.
pub const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);
/// A look for rows that another process inserted.
const LOOK: Duration = Duration::from_secs(5);
/// Rows leased at a time.
const MOST: usize = 128;

/// The embedded queue. Cloning shares it.
#[derive(Clone, Debug)]
pub struct EmbeddedQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    context: QueueContext,
    owner: String,
    wakes: Vec<(Pool, Notify)>,
    leased: Mutex<HashSet<JobId>>,
    dropped: mpsc::UnboundedSender<JobId>,
}

/// A consumer of the embedded queue.
#[derive(Debug)]
pub struct EmbeddedConsumer {
    shared: Arc<Shared>,
    pool: Pool,
    slots: Arc<Semaphore>,
    buffer: VecDeque<Envelope>,
}

/// A leased row. Dropped unsettled, the lease is given back.
#[derive(Debug)]
pub struct EmbeddedAcker {
    shared: Arc<Shared>,
    pool: Pool,
    job: JobId,
    settled: bool,
    _slot: OwnedSemaphorePermit,
}

impl EmbeddedQueue {
    /// The queue in `context.control`.
    #[must_use]
    pub fn open(context: &QueueContext) -> Self {
        let (dropped, given_back) = mpsc::unbounded_channel();
        let owner = ProcessId::generate(&context.clock, &context.entropy).to_string();
        let shared = Arc::new(Shared {
            owner,
            wakes: Pool::ALL.iter().map(|pool| (*pool, Notify::new())).collect(),
            leased: Mutex::default(),
            dropped,
            context: context.clone(),
        });
        // The task holds no share of its own: it ends when the queue, its consumers and its deliveries are gone.
        let weak = Arc::downgrade(&shared);
        context.shutdown.spawn(keep(weak, given_back));
        Self { shared }
    }
}

/// Renews leases and gives back what was dropped.
async fn keep(shared: std::sync::Weak<Shared>, mut given_back: mpsc::UnboundedReceiver<JobId>) {
    let Some(clock) = shared.upgrade().map(|shared| shared.context.clock.clone()) else {
        return;
    };
    loop {
        let mut ids = Vec::new();
        tokio::select! {
            count = given_back.recv_many(&mut ids, MOST) => if count == 0 { return },
            () = clock.sleep(RENEW) => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        if ids.is_empty() {
            shared.renew().await;
        } else {
            shared.give_back(&ids).await;
        }
    }
}

impl Shared {
    fn leased(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.leased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, pool: Pool) {
        for (other, notify) in &self.wakes {
            if *other == pool {
                notify.notify_waiters();
            }
        }
    }

    fn wakes(&self, pool: Pool) -> Option<&Notify> {
        self.wakes
            .iter()
            .find(|(other, _)| *other == pool)
            .map(|(_, notify)| notify)
    }

    async fn renew(&self) {
        let ids: Vec<JobId> = self.leased().iter().cloned().collect();
        let until = self.context.clock.now().after(LEASE);
        for chunk in ids.chunks(MOST) {
            if let Err(error) = leases::renew(&self.context.control, &self.owner, chunk, until).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "leases of running jobs could not be renewed"
                );
            }
        }
    }

    async fn give_back(&self, ids: &[JobId]) {
        // A lease that cannot be given back ends by itself.
        if let Err(error) = leases::give_back(&self.context.control, &self.owner, ids).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "leases end by themselves");
        }
        for pool in Pool::ALL {
            self.wake(*pool);
        }
    }

    async fn take(&self, pool: Pool, most: usize) -> Result<(Vec<Envelope>, Option<Millis>), DbError> {
        let now = self.context.clock.now();
        let most = i64::try_from(most.min(MOST)).unwrap_or(1);
        let control = &self.context.control;
        let next = leases::next_due(control, pool).await?;
        if next.is_none_or(|due| due > now) {
            return Ok((Vec::new(), next));
        }
        let taken = leases::take(control, pool, &self.owner, now, now.after(LEASE), most).await?;
        self.leased()
            .extend(taken.iter().map(|envelope| envelope.job().clone()));
        Ok((taken, None))
    }
}

impl Broker for EmbeddedQueue {
    type Consumer = EmbeddedConsumer;

    async fn publish(&self, pool: Pool, _messages: &[Envelope]) -> Result<(), QueueError> {
        self.shared.wake(pool);
        Ok(())
    }

    async fn publish_later(&self, pool: Pool, _message: &Envelope, _delay: Duration) -> Result<(), QueueError> {
        self.shared.wake(pool);
        Ok(())
    }

    fn consume(&self, pool: Pool, prefetch: u16) -> EmbeddedConsumer {
        EmbeddedConsumer {
            shared: Arc::clone(&self.shared),
            pool,
            slots: Arc::new(Semaphore::new(usize::from(prefetch.max(1)))),
            buffer: VecDeque::new(),
        }
    }

    async fn depth(&self, pool: Pool) -> Result<Depth, QueueError> {
        let context = &self.shared.context;
        let ready = leases::depth(&context.control, pool, context.clock.now())
            .await
            .map_err(unavailable("depth"))?;
        // Whatever is a row is one of ours.
        Ok(Depth {
            ready: ready.unsigned_abs(),
            buried: 0,
        })
    }

    async fn ping(&self) -> Result<(), QueueError> {
        self.shared.context.control.ping().await.map_err(unavailable("ping"))
    }
}

fn unavailable(operation: &'static str) -> impl Fn(DbError) -> QueueError {
    move |error| QueueError::Unavailable {
        operation,
        source: Box::new(error),
    }
}

impl Consume for EmbeddedConsumer {
    async fn next(&mut self) -> Delivery {
        let shared = Arc::clone(&self.shared);
        let mut failures = 0_u32;
        let slot = loop {
            // The semaphore is never closed.
            if let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
                break slot;
            }
        };
        loop {
            if let Some(envelope) = self.buffer.pop_front() {
                let job = envelope.job().clone();
                let acker = EmbeddedAcker {
                    shared: Arc::clone(&shared),
                    pool: self.pool,
                    job,
                    settled: false,
                    _slot: slot,
                };
                return Delivery {
                    body: envelope.to_bytes(),
                    acker: Acker::Embedded(acker),
                };
            }
            let Some(notify) = shared.wakes(self.pool) else {
                continue;
            };
            // Before the look, so that what comes during it is not slept through.
            let mut woken = std::pin::pin!(notify.notified());
            woken.as_mut().enable();
            let clock = &shared.context.clock;
            let wait = match shared.take(self.pool, self.slots.available_permits() + 1).await {
                Ok((taken, next)) => {
                    if failures > 0 {
                        tracing::info!(pool = %self.pool, "the queue's database answers again");
                        failures = 0;
                    }
                    self.buffer.extend(taken);
                    if !self.buffer.is_empty() {
                        continue;
                    }
                    next.map_or(LOOK, |due| due.since(clock.now())).min(LOOK)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(pool = %self.pool, error = &error as &dyn std::error::Error, "waiting for the queue's database");
                    }
                    let chance = shared.context.entropy.fraction();
                    RetryPolicy::RECONNECT.delay_after(failures, chance).unwrap_or(LOOK)
                }
            };
            tokio::select! { () = woken => {}, () = clock.sleep(wait) => {} }
        }
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        for envelope in self.buffer.drain(..) {
            self.shared.leased().remove(envelope.job());
            // An error says that the process ends: leases end by themselves.
            let _ = self.shared.dropped.send(envelope.job().clone());
        }
    }
}

impl EmbeddedAcker {
    fn release(&mut self) {
        self.settled = true;
        self.shared.leased().remove(&self.job);
    }

    /// The settled row is the ack. One that is still open comes again when its lease ends.
    pub(super) fn done(mut self) {
        self.release();
    }

    pub(super) async fn again_in(mut self, delay: Duration) -> Result<(), QueueError> {
        let context = &self.shared.context;
        let due_at = context.clock.now().after(delay);
        let held = leases::hold(&context.control, &self.shared.owner, &self.job, due_at).await;
        held.map_err(unavailable("again_in"))?;
        self.release();
        self.shared.wake(self.pool);
        Ok(())
    }
}

impl Drop for EmbeddedAcker {
    fn drop(&mut self) {
        if !self.settled {
            self.release();
            // An error says that the process ends: leases end by themselves.
            let _ = self.shared.dropped.send(self.job.clone());
        }
    }
}
