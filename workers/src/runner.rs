//! The loop: message → permit → claim → run under the timeout → settle → ack. The ack comes last.

use crate::{
    admission::Admission,
    context::JobContext,
    decoder::Decoder,
    helpers::{Died, Helpers},
    registry::{Entry, Registry},
};
use futures_util::FutureExt;
use mediamill_shared::{
    BoxError,
    cache::{CachePort, JOB_CHANNEL},
    chain,
    clock::Stopwatch,
    config::Config,
    control::{
        jobs::{self, Claim, Claimed, JobRow, Outcome, SILENCE, Settlement},
        tenants,
    },
    db::{Batcher, DbError},
    ids::{JobId, ProcessId, TenantId},
    jobs::{DELIVERY_LIMIT, JobError, JobKind, JobState, Pool, Reason},
    queue::{Broker, Consume, Delivery},
    retry::RetryPolicy,
    services::Services,
    telemetry::names,
    tenancy::Tenant,
    units::{ByteCount, Millis},
};
use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often a worker says that its jobs are alive: well within [`SILENCE`].
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How exactly a tenant's last job is known.
const NOTED: Duration = Duration::from_secs(60);
/// Tenants that are remembered before those of the last minute alone are.
const MOST_NOTED: usize = 10_000;
/// Between two looks at a job that is not due, or that a worker has.
const LOOK: Duration = Duration::from_millis(100);
/// Claims and settlements that share a transaction at most.
const BATCH: usize = 256;

/// One pool's share of a worker.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// The pool.
    pub pool: Pool,
    /// Jobs at a time.
    pub slots: usize,
    /// Messages at hand, those of running jobs included; at least `slots`.
    pub prefetch: u16,
}

/// What a worker does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pools it serves.
    pub pools: Vec<PoolSettings>,
    /// Budget for pictures in memory.
    pub memory: ByteCount,
    /// Processors for pixels and hashes.
    pub processors: usize,
    /// Where pictures are decoded.
    pub helpers: Helpers,
    /// How long a helper process may work on one picture.
    pub helper_time: Duration,
    /// What it can do.
    pub registry: Registry,
}

impl Settings {
    /// Every pool, sized by the configuration; pictures are decoded in this process until [`Settings::decoding`] says
    /// otherwise, since only the program knows whether it can be its own helper.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let slots = config.worker_media_slots.max(1);
        // One more than run: its bytes arrive while the others' pixels keep the processors busy.
        let media = slots + 1;
        Self {
            pools: vec![
                PoolSettings {
                    pool: Pool::Media,
                    slots: media,
                    prefetch: prefetch(media * 2),
                },
                PoolSettings {
                    pool: Pool::Provision,
                    slots: 4,
                    prefetch: 8,
                },
                PoolSettings {
                    pool: Pool::Maintenance,
                    slots: 64,
                    prefetch: 256,
                },
            ],
            memory: config.worker_memory,
            processors: slots,
            helpers: Helpers::Inline,
            helper_time: config.media_helper_timeout,
            registry: Registry::standard(),
        }
    }

    /// These pools only.
    #[must_use]
    pub fn only(mut self, pools: &[Pool]) -> Self {
        self.pools.retain(|settings| pools.contains(&settings.pool));
        self
    }

    /// With pictures decoded there.
    #[must_use]
    pub fn decoding(mut self, helpers: Helpers) -> Self {
        self.helpers = helpers;
        self
    }
}

fn prefetch(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// What the tasks of one worker share.
struct Worker {
    services: Services,
    name: String,
    registry: Registry,
    admission: Admission,
    processors: Arc<Semaphore>,
    decoder: Decoder,
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
    if settings.pools.iter().any(|pool| pool.pool == Pool::Media) {
        worker.decoder.open().await;
    }
    let tasks = TaskTracker::new();
    let idle = CancellationToken::new();
    tokio::join!(
        async {
            let pools = settings
                .pools
                .iter()
                .map(|pool| serve(Arc::clone(&worker), *pool, tasks.clone()));
            futures_util::future::join_all(pools).await;
            tasks.close();
            tasks.wait().await;
            idle.cancel();
        },
        beat(&worker, &idle),
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
                worker.attempt(*claimed).await;
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
        Outcome::Again { .. } | Outcome::Returned => JobState::Queued,
        Outcome::Failed { .. } => JobState::Failed,
        Outcome::Dead { .. } => JobState::Dead,
    }
}

/// One pool's loop: a slot first, then a message for it, so that nothing is taken that cannot be run.
async fn serve(worker: Arc<Worker>, settings: PoolSettings, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(settings.slots.max(1)));
    let shutdown = &worker.services.shutdown;
    let mut consumer = worker
        .services
        .queue
        .consume(settings.pool, settings.prefetch.max(prefetch(settings.slots)));
    metrics::gauge!(names::WORKER_SLOTS, "pool" => settings.pool.as_str(), "state" => "total")
        .set(settings.slots as f64);
    loop {
        let slot = tokio::select! {
            biased;
            () = shutdown.soft() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        // The semaphore is never closed.
        let Ok(slot) = slot else { break };
        let delivery = tokio::select! {
            biased;
            () = shutdown.soft() => break,
            delivery = consumer.next() => delivery,
        };
        let worker = Arc::clone(&worker);
        tasks.spawn(async move {
            let busy = metrics::gauge!(names::WORKER_SLOTS, "pool" => settings.pool.as_str(), "state" => "busy");
            busy.increment(1.0);
            let hard = worker.services.shutdown.clone();
            tokio::select! {
                // A dropped delivery goes back to the queue.
                () = hard.hard() => {}
                () = worker.handle(delivery) => {}
            }
            busy.decrement(1.0);
            drop(slot);
        });
    }
    // Messages at hand go back before the running jobs are waited for: other workers are idle.
    drop(consumer);
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

/// Whether a job works within a tenant. The others make, move and remove tenants, and look for themselves.
const fn works_for_tenant(kind: JobKind) -> bool {
    match kind {
        JobKind::Noop | JobKind::MediaProcess | JobKind::MediaDelete => true,
        JobKind::TenantProvision | JobKind::TenantMigrate | JobKind::TenantDeprovision => false,
    }
}

/// What to do with the message when the row is settled.
enum Ack {
    Done,
    Again(Duration),
    Bury,
}

impl Worker {
    fn new(services: Services, settings: &Settings) -> Self {
        let name = ProcessId::generate(&services.clock, &services.entropy).to_string();
        Self {
            claims: claims(&services, &name),
            settlements: settlements(&services),
            registry: settings.registry.clone(),
            admission: Admission::new(settings.memory),
            processors: Arc::new(Semaphore::new(settings.processors.max(1))),
            decoder: Decoder::of(settings),
            running: Mutex::default(),
            noted: Mutex::default(),
            name,
            services,
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<JobId>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn handle(&self, delivery: Delivery) {
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
            Claim::Yours(claimed) => match self.attempt(*claimed).await {
                Some(ack) => ack,
                None => return,
            },
        };
        drop(running);
        acked(match ack {
            Ack::Done => delivery.done().await,
            Ack::Again(delay) => delivery.again_in(delay).await,
            Ack::Bury => delivery.bury().await,
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

    /// Runs one claimed attempt and settles it. `None`: it could not be settled, and the message goes back.
    async fn attempt(&self, claimed: Claimed) -> Option<Ack> {
        let watch = Stopwatch::start();
        let kind = claimed.kind;
        let (outcome, ack) = self.judge(&claimed).await;
        let label = match &outcome {
            Outcome::Done => "done",
            Outcome::Again { .. } => "retried",
            Outcome::Failed { .. } => "failed",
            Outcome::Dead { .. } => "dead",
            Outcome::Returned => "returned",
        };
        metrics::counter!(names::JOBS_FINISHED, "kind" => kind.as_str(), "outcome" => label).increment(1);
        metrics::histogram!(names::JOB_SECONDS, "kind" => kind.as_str()).record(watch.elapsed());
        let settlement = Settlement {
            id: claimed.id.clone(),
            attempt: claimed.attempt,
            outcome,
        };
        let ours = self.insist(|| self.settlements.call(settlement.clone())).await?;
        if ours {
            self.note(&claimed).await;
        } else {
            tracing::info!(job.id = %claimed.id, attempt = claimed.attempt, "another worker has claimed this job since: its settlement counts");
        }
        Some(ack)
    }

    /// Notes when a tenant's pictures were last worked on, to the minute: a figure for its provider.
    async fn note(&self, claimed: &Claimed) {
        let Some(tenant) = &claimed.tenant else { return };
        match claimed.kind {
            JobKind::MediaProcess | JobKind::MediaDelete => {}
            JobKind::Noop | JobKind::TenantProvision | JobKind::TenantMigrate | JobKind::TenantDeprovision => return,
        }
        let now = self.services.clock.now();
        let since = now.before(NOTED);
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(tenant).is_some_and(|at| *at > since) {
                return;
            }
            if noted.len() >= MOST_NOTED {
                noted.retain(|_, at| *at > since);
            }
            noted.insert(tenant.clone(), now);
        }
        if let Err(error) = tenants::worked(&self.services.control, tenant, now, since).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a tenant's last job is noted by its next one"
            );
        }
    }

    async fn judge(&self, claimed: &Claimed) -> (Outcome, Ack) {
        let services = &self.services;
        let Some(entry) = self.registry.get(claimed.kind).copied() else {
            // A newer release accepted it: a newer worker will run it.
            return (
                Outcome::Again {
                    due_at: services.clock.now().after(SILENCE),
                    reason: Reason::new("unknown-kind", "no worker of this release knows the kind"),
                },
                Ack::Again(SILENCE),
            );
        };
        if claimed.deliveries > DELIVERY_LIMIT {
            let text = format!("it ended {DELIVERY_LIMIT} workers without an outcome");
            tracing::error!(job.id = %claimed.id, kind = %claimed.kind, "job is dead: {text}");
            return (
                Outcome::Dead {
                    reason: Reason::new("delivery-limit", text),
                },
                Ack::Bury,
            );
        }
        let tenant = match claimed.tenant.as_ref().filter(|_| works_for_tenant(claimed.kind)) {
            None => None,
            Some(id) => match services.resolver.by_id(id).await {
                Ok(tenant) => tenant,
                Err(error) => return self.again(claimed, &entry, error.into()),
            },
        };
        let cx = self.context(claimed, tenant);
        let result = self.run(&entry, claimed, &cx).await;
        match result {
            Ok(()) => (Outcome::Done, Ack::Done),
            Err(JobError::Permanent { reason, source }) => {
                let error = JobError::Permanent {
                    reason: reason.clone(),
                    source,
                };
                tracing::info!(job.id = %claimed.id, kind = %claimed.kind, cause = reason.code(), "job failed for good: {}", chain(&error));
                match (entry.failed)(claimed.payload.as_bytes(), &cx).await {
                    Ok(()) => (Outcome::Failed { reason }, Ack::Done),
                    // What is left behind must go before the row says that it is over.
                    Err(error) => self.again(claimed, &entry, Box::new(error)),
                }
            }
            Err(JobError::Transient { not_before, source }) => {
                let (outcome, ack) = self.again(claimed, &entry, source);
                match (outcome, ack, not_before) {
                    (Outcome::Again { due_at, reason }, Ack::Again(delay), Some(hint)) if hint > delay => {
                        let later = due_at.after(hint.saturating_sub(delay));
                        (Outcome::Again { due_at: later, reason }, Ack::Again(hint))
                    }
                    (outcome, ack, _) => (outcome, ack),
                }
            }
        }
    }

    fn context(&self, claimed: &Claimed, tenant: Option<Tenant>) -> JobContext {
        let services = &self.services;
        JobContext {
            job: claimed.id.clone(),
            attempt: claimed.attempt,
            trace: claimed.trace.clone(),
            created_at: claimed.created_at,
            reserved: claimed.reserved,
            objects: services.objects.clone(),
            quota: services.quota.clone(),
            clock: services.clock.clone(),
            admission: self.admission.clone(),
            processors: Arc::clone(&self.processors),
            cancel: CancellationToken::new(),
            last_cause: claimed.last_cause.clone(),
            decoder: self.decoder.clone(),
            tenant,
            tenant_id: claimed.tenant.clone(),
            lifecycle: services.lifecycle.clone(),
            cache: services.cache.clone(),
        }
    }

    /// The handler under its timeout; a panic is an error with its text.
    async fn run(&self, entry: &Entry, claimed: &Claimed, cx: &JobContext) -> Result<(), JobError> {
        let cancelled = cx.cancel.clone().drop_guard();
        let work = AssertUnwindSafe((entry.run)(claimed.payload.as_bytes(), cx)).catch_unwind();
        let result = tokio::time::timeout(entry.timeout, work).await;
        drop(cancelled);
        let transient = |text: String| JobError::Transient {
            not_before: None,
            source: BoxError::from(text),
        };
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(transient(format!(
                "the handler panicked: {}",
                panic_text(panic.as_ref())
            ))),
            Err(_) => Err(transient(format!("it took longer than {} s", entry.timeout.as_secs()))),
        }
    }

    /// Tries again after the policy's delay, or gives up when the attempts are used up.
    fn again(&self, claimed: &Claimed, entry: &Entry, source: BoxError) -> (Outcome, Ack) {
        // A picture that decoders die of is found by what its attempts before left here.
        let code = if source.is::<Died>() {
            Reason::DECODER_DIED
        } else {
            "transient"
        };
        let error = JobError::Transient {
            not_before: None,
            source,
        };
        let chain = chain(&error);
        let attempt = u32::try_from(claimed.attempt).unwrap_or(u32::MAX);
        let Some(delay) = entry.retry.delay_after(attempt, self.services.entropy.fraction()) else {
            tracing::error!(job.id = %claimed.id, kind = %claimed.kind, attempt, "job is dead, its attempts are used up: {chain}");
            return (
                Outcome::Dead {
                    reason: Reason::new("attempts-used-up", chain),
                },
                Ack::Bury,
            );
        };
        tracing::warn!(
            job.id = %claimed.id, kind = %claimed.kind, attempt,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "job will be tried again: {chain}"
        );
        let due_at = self.services.clock.now().after(delay);
        (
            Outcome::Again {
                due_at,
                reason: Reason::new(code, chain),
            },
            Ack::Again(delay),
        )
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
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
