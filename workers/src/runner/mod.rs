//! The loop: message → permit → claim → run under the timeout → settle → ack. The ack comes last.

mod attempt;
mod settings;
mod turns;

pub use settings::{PoolSettings, Settings};

use crate::{admission::Admission, decoder::Decoder, fetch::Fetcher, processors::Processors, registry::Registry};
use futures_util::future::join_all;
use mediamill_shared::{
    BoxError,
    cache::{CachePort, JOB_CHANNEL},
    clock::Stopwatch,
    control::jobs::{self, Claim, JobRow, Outcome, SILENCE, Settlement},
    db::{Batcher, DbError},
    ids::{JobId, ProcessId, TenantId},
    jobs::{Envelope, JobState, Pool},
    queue::{Broker, Consume, Delivery},
    retry::RetryPolicy,
    services::Services,
    telemetry::names,
    units::Millis,
};
use settings::prefetch;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use turns::Turns;

/// How often a worker says that its jobs are alive: well within [`SILENCE`].
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two looks at a job that is not due, or that a worker has.
const LOOK: Duration = Duration::from_millis(100);
/// Claims and settlements that share a transaction at most.
const BATCH: usize = 256;

/// What the tasks of one worker share.
struct Worker {
    services: Services,
    name: String,
    registry: Registry,
    admission: Admission,
    processors: Processors,
    decoder: Decoder,
    fetcher: Fetcher,
    claims: Batcher<JobId, Claim>,
    settlements: Batcher<Settlement, bool>,
    running: Mutex<BTreeSet<JobId>>,
    /// Tenants whose last job was noted, and when.
    noted: Mutex<HashMap<TenantId, Millis>>,
}

/// Works until the shutdown's soft token, then finishes what is in hand. What the hard token cuts off goes back to the
/// queue.
pub async fn run(services: Services, settings: Settings) {
    let worker = Arc::new(Worker::new(services, &settings));
    tracing::info!(worker = %worker.name, memory = %settings.memory, "worker started");
    if settings
        .pools
        .iter()
        .any(|pool| matches!(pool.pool, Pool::Media | Pool::Fetch))
    {
        worker.decoder.open().await;
    }
    let tasks = TaskTracker::new();
    let idle = CancellationToken::new();
    let rows_are_messages = worker.services.queue.rows_are_messages();
    let pools: Vec<(PoolSettings, Arc<Turns>)> = settings
        .pools
        .iter()
        .map(|pool| (*pool, Arc::new(Turns::new(pool.pool, pool.slots, rows_are_messages))))
        .collect();
    tokio::join!(
        async {
            let serving = pools
                .iter()
                .map(|(pool, turns)| serve(Arc::clone(&worker), *pool, Arc::clone(turns), tasks.clone()));
            join_all(serving).await;
            tasks.close();
            tasks.wait().await;
            idle.cancel();
        },
        beat(&worker, &idle),
        join_all(pools.iter().map(|(_, turns)| turns.keep(&worker, &idle))),
    );
    worker.decoder.close().await;
    tracing::info!(worker = %worker.name, "worker stopped");
}

/// Runs one accepted job here and now, without a queue, for a command that has nobody else to do it: its attempts, the
/// pauses between them included, until it is final. A worker that has it already goes on with it. Returns its row.
///
/// # Errors
/// When the database is away, or it is not final by `patience`.
pub async fn run_now(services: &Services, id: &JobId, patience: Duration) -> Result<JobRow, DbError> {
    let settings = Settings::from_config(&services.config);
    let worker = Worker::new(services.clone(), &settings);
    let idle = CancellationToken::new();
    let work = async {
        let watch = Stopwatch::start();
        loop {
            let row = jobs::get(&services.control, id).await?;
            let row = row.ok_or(DbError::Gone {
                during: "run a job that is gone",
            })?;
            if row.state.is_final() {
                return Ok(row);
            }
            if watch.elapsed() > patience {
                return Err(DbError::Deadline { during: "run a job" });
            }
            if row.due_at <= services.clock.now()
                && let Claim::Yours(claimed) = worker.claims.call(id.clone()).await?
            {
                worker.running().insert(id.clone());
                worker.attempt(*claimed, Origin::Command).await;
                worker.running().remove(id);
                continue;
            }
            services.clock.sleep(LOOK).await;
        }
    };
    let (row, ()) = tokio::join!(
        async {
            let row = work.await;
            idle.cancel();
            row
        },
        beat(&worker, &idle),
    );
    row
}

fn claims(services: &Services, name: &str) -> Batcher<JobId, Claim> {
    let (db, clock, name) = (services.control.clone(), services.clock.clone(), name.to_owned());
    Batcher::start(&services.shutdown, BATCH, move |ids: Vec<JobId>| {
        let (db, clock, name) = (db.clone(), clock.clone(), name.clone());
        async move { jobs::claim(&db, &name, &ids, clock.now()).await }
    })
}

fn settlements(services: &Services) -> Batcher<Settlement, bool> {
    let (db, clock, cache) = (services.control.clone(), services.clock.clone(), services.cache.clone());
    Batcher::start(&services.shutdown, BATCH, move |batch: Vec<Settlement>| {
        let (db, clock, cache) = (db.clone(), clock.clone(), cache.clone());
        async move {
            let settled = jobs::settle(&db, &batch, clock.now()).await?;
            let words: Vec<String> = batch
                .iter()
                .map(|one| format!("{} {}", one.id, state_after(&one.outcome)))
                .collect();
            // Followers look at the rows too: a lost word only makes them wait a moment longer.
            let _ = cache.signal(JOB_CHANNEL, &words).await;
            Ok(settled)
        }
    })
}

const fn state_after(outcome: &Outcome) -> JobState {
    match outcome {
        Outcome::Done => JobState::Done,
        Outcome::Again { .. } => JobState::Queued,
        Outcome::Failed { .. } => JobState::Failed,
        Outcome::Dead { .. } => JobState::Dead,
    }
}

/// What a slot is given to do.
enum Task {
    /// A message of the queue.
    Delivery(Delivery),
    /// A job that was released here, which has no message.
    Released(Envelope),
}

/// One pool's loop: a slot first, then a job for it, so that nothing is taken that cannot be run.
async fn serve(worker: Arc<Worker>, settings: PoolSettings, turns: Arc<Turns>, tasks: TaskTracker) {
    let shutdown = &worker.services.shutdown;
    let mut consumer = worker
        .services
        .queue
        .consume(settings.pool, settings.prefetch.max(prefetch(settings.slots)));
    metrics::gauge!(names::WORKER_SLOTS, "pool" => settings.pool.as_str(), "state" => "total")
        .set(settings.slots as f64);
    // Whose turn it is where both a message and a released job wait.
    let mut queue_first = true;
    loop {
        let slot = tokio::select! {
            biased;
            () = shutdown.soft() => break,
            slot = turns.slot() => slot,
        };
        let Some(slot) = slot else { break };
        let task = tokio::select! {
            biased;
            () = shutdown.soft() => break,
            envelope = turns.released(), if !queue_first => Task::Released(envelope),
            delivery = consumer.next() => Task::Delivery(delivery),
            envelope = turns.released() => Task::Released(envelope),
        };
        queue_first = matches!(task, Task::Released(_));
        turns.begun(queue_first);
        let (worker, turns) = (Arc::clone(&worker), Arc::clone(&turns));
        tasks.spawn(async move {
            let work = async {
                match task {
                    // A dropped delivery goes back to the queue.
                    Task::Delivery(delivery) => worker.handle(delivery, &turns).await,
                    // Cut off, its row is silent from then on, or says that it has no message.
                    Task::Released(envelope) => worker.released(&envelope, &turns).await,
                }
            };
            turns.work(slot, &worker.services, work).await;
        });
    }
    // Jobs at hand go back before the running ones are waited for: other workers are idle.
    drop(consumer);
    turns.hand_over(&worker.services);
}

/// Says every few seconds that the running jobs are alive, until `idle`.
async fn beat(worker: &Worker, idle: &CancellationToken) {
    loop {
        tokio::select! { () = idle.cancelled() => return, () = worker.services.clock.sleep(HEARTBEAT) => {} }
        let ids: Vec<JobId> = worker.running().iter().cloned().collect();
        let services = &worker.services;
        if let Err(error) = jobs::touch(&services.control, &worker.name, &ids, services.clock.now()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                jobs = ids.len(),
                "running jobs could not be kept alive"
            );
        }
        worker.decoder.look_after().await;
        let (used, total) = (worker.admission.used(), worker.admission.total());
        metrics::gauge!(names::WORKER_MEMORY_BYTES, "state" => "used").set(used.get() as f64);
        metrics::gauge!(names::WORKER_MEMORY_BYTES, "state" => "total").set(total.get() as f64);
    }
}

/// A job in this process's set of running ones; leaves it when dropped, panics included.
struct Running<'a> {
    worker: &'a Worker,
    id: JobId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.worker.running().remove(&self.id);
    }
}

/// How a job came here.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// By a message, which comes again by itself.
    Message(&'a Turns),
    /// It was released here.
    Released(&'a Turns),
    /// A command runs it.
    Command,
}

impl<'a> Origin<'a> {
    const fn turns(self) -> Option<&'a Turns> {
        match self {
            Self::Message(turns) | Self::Released(turns) => Some(turns),
            Self::Command => None,
        }
    }
}

/// What to do with the message when the row is settled.
enum Ack {
    Done,
    Again(Duration),
}

impl Worker {
    fn new(services: Services, settings: &Settings) -> Self {
        let name = ProcessId::generate(&services.clock, &services.entropy).to_string();
        Self {
            claims: claims(&services, &name),
            settlements: settlements(&services),
            registry: settings.registry.clone(),
            admission: Admission::within(settings.memory),
            processors: Processors::new(settings.processors),
            decoder: Decoder::of(settings),
            fetcher: Fetcher::new(&services.config),
            running: Mutex::default(),
            noted: Mutex::default(),
            name,
            services,
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<JobId>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job that was released here and has no message.
    async fn released(&self, envelope: &Envelope, turns: &Turns) {
        let id = envelope.job();
        let _in_hand = turns.begin(id);
        if !self.running().insert(id.clone()) {
            // The scheduler has published it after all, and it is here.
            return;
        }
        let _running = Running {
            worker: self,
            id: id.clone(),
        };
        let Some(Claim::Yours(claimed)) = self.insist(|| self.claims.call(id.clone())).await else {
            // It runs elsewhere, or is over.
            return;
        };
        let Some(Ack::Again(delay)) = self.attempt(*claimed, Origin::Released(turns)).await else {
            return;
        };
        // Its row says that it has no message: cut off from here on, the dispatcher publishes one when it is due.
        let Services {
            queue, control, clock, ..
        } = &self.services;
        let published: Result<(), BoxError> = async {
            queue.publish_later(turns.pool(), envelope, delay).await?;
            Ok(jobs::mark_published(control, std::slice::from_ref(id), clock.now()).await?)
        }
        .await;
        if let Err(error) = published {
            tracing::debug!(
                error = &*error as &dyn std::error::Error,
                "the dispatcher publishes a job again when it is due"
            );
        }
    }

    async fn handle(&self, delivery: Delivery, turns: &Turns) {
        let envelope = match delivery.envelope() {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "burying a message that is none of ours"
                );
                acked(delivery.bury().await);
                return;
            }
        };
        let id = envelope.job().clone();
        let _in_hand = turns.begin(&id);
        if !self.running().insert(id.clone()) {
            // A second message of a job that runs here: the first one's row decides.
            acked(delivery.again_in(SILENCE).await);
            return;
        }
        let running = Running {
            worker: self,
            id: id.clone(),
        };
        let Some(claim) = self.insist(|| self.claims.call(id.clone())).await else {
            return;
        };
        let ack = match claim {
            Claim::Over => Ack::Done,
            Claim::Busy => Ack::Again(SILENCE),
            Claim::Yours(claimed) => match self.attempt(*claimed, Origin::Message(turns)).await {
                Some(ack) => ack,
                None => return,
            },
        };
        drop(running);
        acked(match ack {
            Ack::Done => delivery.done().await,
            Ack::Again(delay) => delivery.again_in(delay).await,
        });
    }

    /// Tries a database operation until it works or the worker stops: an outage of the database holds work up, it
    /// neither loses nor fails it. `None`: the worker stops, and the message goes back.
    async fn insist<T, F, Fut>(&self, operation: F) -> Option<T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        let mut failures = 0_u32;
        loop {
            match operation().await {
                Ok(value) => return Some(value),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database");
                    }
                }
            }
            let chance = self.services.entropy.fraction();
            let delay = RetryPolicy::RECONNECT
                .delay_after(failures, chance)
                .unwrap_or(HEARTBEAT);
            tokio::select! {
                () = self.services.shutdown.soft(), if failures > 3 => return None,
                () = self.services.clock.sleep(delay) => {}
            }
        }
    }
}

fn acked(result: Result<(), mediamill_shared::queue::QueueError>) {
    if let Err(error) = result {
        // The row is settled: the message that comes again finds it so.
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a message will come again although its row is settled"
        );
    }
}
