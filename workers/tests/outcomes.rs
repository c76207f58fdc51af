//! What becomes of jobs that fail, panic, hang or meet a full store, on both sides.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_media::sample;
use mediamill_shared::{
    clock::Entropy,
    control::{
        audit::Actor,
        jobs::{self, JobRow, NewJob},
    },
    dead::Pace,
    ids::{JobId, TraceId},
    jobs::{Job, JobError, JobKind, JobState, Pool, ProcessMedia, ResultExt},
    objects::{ObjectKey, Store},
    queue::Broker,
    retry::RetryPolicy,
    services::Services,
    shutdown::Shutdown,
    testing::{PATIENCE, SmallDisk, World, s3::S3Server},
};
use mediamill_workers::{Handler, JobContext, Registry, Settings, run};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::LazyLock, time::Duration};
use tokio::{sync::watch, task::JoinSet};

mediamill_shared::on_both_sides!(
    a_transient_failure_is_tried_again_until_it_succeeds,
    used_up_attempts_make_a_job_dead_and_a_retry_begins_anew,
    a_panic_is_an_attempt_and_not_the_workers_end,
    an_attempt_that_hangs_is_ended,
    a_worker_that_is_told_to_stop_finishes_what_it_has,
    a_job_that_waited_for_its_turn_is_tried_again_like_any_other,
    what_waits_for_a_slot_of_a_worker_that_stops_is_anothers,
);

/// Three attempts, soon after each other.
const QUICK: RetryPolicy = RetryPolicy {
    initial: Duration::from_millis(50),
    max: Duration::from_millis(100),
    multiplier: 2.0,
    jitter: 0.0,
    attempts: Some(3),
};

/// Does what its attempt's number says, in the place of the no-op.
#[derive(Serialize, Deserialize)]
struct Scripted {
    script: Vec<Step>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum Step {
    Succeed,
    Fail,
    Panic,
    Hang,
}

/// Jobs that wait until the test has them go on.
static OPEN: LazyLock<watch::Sender<BTreeSet<JobId>>> = LazyLock::new(|| watch::Sender::new(BTreeSet::new()));

impl Job for Scripted {
    const KIND: JobKind = JobKind::Noop;
    const POOL: Pool = Pool::Maintenance;
    const RETRY: RetryPolicy = QUICK;
    const TIMEOUT: Duration = Duration::from_millis(500);
}

impl Handler for Scripted {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        let attempt = usize::try_from(cx.tries).unwrap();
        match self.script.get(attempt - 1).copied().unwrap_or(Step::Succeed) {
            Step::Succeed => Ok(()),
            Step::Fail => Err("a server is away").transient(),
            Step::Panic => std::panic::panic_any("an attempt's own panic"),
            Step::Hang => std::future::pending().await,
        }
    }
}

/// Succeeds when it is among [`OPEN`], in the place of the no-op.
#[derive(Serialize, Deserialize)]
struct Gated;

impl Job for Gated {
    const KIND: JobKind = JobKind::Noop;
    const POOL: Pool = Pool::Maintenance;
    const RETRY: RetryPolicy = QUICK;
    const TIMEOUT: Duration = PATIENCE;
}

impl Handler for Gated {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        OPEN.subscribe().wait_for(|open| open.contains(&cx.job)).await.unwrap();
        Ok(())
    }
}

fn open(job: &JobId) {
    OPEN.send_modify(|open| {
        open.insert(job.clone());
    });
}

fn work(services: &Services, registry: Registry) {
    let settings = Settings {
        registry,
        ..Settings::from_config(&services.config)
    };
    services.shutdown.spawn(run(services.clone(), settings));
}

fn new(world: &World, payload: &impl Job) -> NewJob {
    let services = &world.services;
    let id = JobId::generate(&services.clock, &services.entropy);
    let trace = TraceId::generate(&services.clock, &services.entropy);
    NewJob::of(id, payload, trace).unwrap()
}

async fn accepted(world: &World, payload: &impl Job) -> JobId {
    let (services, job) = (&world.services, new(world, payload));
    let now = services.clock.now();
    let published = services.queue.rows_are_messages();
    jobs::accept(&services.control, std::slice::from_ref(&job), now, published)
        .await
        .unwrap();
    services.outbox.offer(job.pool, job.envelope(now));
    job.id
}

async fn scripted(world: &World, script: &[Step]) -> JobId {
    let script = script.to_vec();
    accepted(world, &Scripted { script }).await
}

/// One of the tenant that waits for its turn.
async fn held(world: &World, payload: &impl Job) -> JobId {
    let (services, mut job) = (&world.services, new(world, payload));
    job.tenant = Some(world.tenant().await.id().clone());
    job.held = true;
    let now = services.clock.now();
    jobs::accept(&services.control, std::slice::from_ref(&job), now, false)
        .await
        .unwrap();
    services.dispatch.held(job.pool, 1).await;
    job.id
}

/// The one job's end.
async fn ended(world: World, script: &[Step]) -> JobRow {
    work(&world.services, Registry::empty().with::<Scripted>());
    let job = scripted(&world, script).await;
    let row = world.finished(&job).await;
    world.services.shutdown.stop();
    row
}

async fn a_transient_failure_is_tried_again_until_it_succeeds(world: World) {
    let row = ended(world, &[Step::Fail, Step::Fail, Step::Succeed]).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 3));
}

async fn used_up_attempts_make_a_job_dead_and_a_retry_begins_anew(world: World) {
    let services = &world.services;
    let mut settings = Settings::from_config(&services.config);
    settings.registry = Registry::empty().with::<Scripted>();
    let mut worker = JoinSet::new();
    worker.spawn(run(services.clone(), settings));
    let job = scripted(&world, &[Step::Fail; 3]).await;
    let row = world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Dead, 3));
    assert!(row.cause.unwrap().contains("a server is away"));
    again(services, &job).await;
    // Not one attempt more, as many again; each has a number of its own.
    let row = world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Dead, 6));
    services.shutdown.stop();
    worker.join_next().await.unwrap().unwrap();
    // Every message of it is settled: it is a row, and nothing in the queue or beside it.
    let depth = services.queue.depth(Pool::Maintenance).await.unwrap();
    assert_eq!((depth.ready, depth.buried), (0, 0));
}

async fn a_panic_is_an_attempt_and_not_the_workers_end(world: World) {
    let row = ended(world, &[Step::Panic, Step::Succeed]).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 2));
}

async fn an_attempt_that_hangs_is_ended(world: World) {
    let row = ended(world, &[Step::Hang, Step::Succeed]).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 2));
}

async fn a_worker_that_is_told_to_stop_finishes_what_it_has(world: World) {
    let services = &world.services;
    work(services, Registry::empty().with::<Gated>());
    let job = accepted(&world, &Gated).await;
    world.until(&job, |state| state == JobState::Running).await;
    services.shutdown.stop();
    open(&job);
    let row = world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 1));
}

/// Where messages are a broker's, whoever released it runs it without one: the retry comes by a message all the same. There is no
/// scheduler that would publish it.
async fn a_job_that_waited_for_its_turn_is_tried_again_like_any_other(world: World) {
    work(&world.services, Registry::empty().with::<Scripted>());
    let script = vec![Step::Fail, Step::Fail, Step::Succeed];
    let job = held(&world, &Scripted { script }).await;
    let row = world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 3));
    world.services.shutdown.stop();
}

/// It has released it for its only slot, which has something else to do to the end.
async fn what_waits_for_a_slot_of_a_worker_that_stops_is_anothers(world: World) {
    let services = &world.services;
    let mut settings = Settings {
        registry: Registry::empty().with::<Gated>(),
        ..Settings::from_config(&services.config)
    };
    settings.pools.retain(|pool| pool.pool == Gated::POOL);
    settings.pools[0].slots = 1;
    let mut workers = JoinSet::new();
    workers.spawn(run(services.clone(), settings.clone()));
    let first = accepted(&world, &Gated).await;
    world.until(&first, |state| state == JobState::Running).await;
    let second = held(&world, &Gated).await;
    open(&second);
    if !services.queue.rows_are_messages() {
        let released = async { while !jobs::held(&services.control).await.unwrap().is_empty() {} };
        tokio::time::timeout(PATIENCE, released).await.unwrap();
    }
    services.shutdown.stop();
    open(&first);
    workers.join_next().await.unwrap().unwrap();
    assert_eq!(world.finished(&first).await.state, JobState::Done);
    let row = jobs::get(&services.control, &second).await.unwrap().unwrap();
    assert_eq!((row.state, row.attempts), (JobState::Queued, 0));
    let config = (*services.config).clone();
    let (clock, entropy) = (services.clock.clone(), Entropy::system());
    let other = Services::open(config, clock, entropy, Shutdown::new()).await.unwrap();
    workers.spawn(run(other.clone(), settings));
    let row = world.finished(&second).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 1));
    other.shutdown.stop();
    workers.join_next().await.unwrap().unwrap();
}

/// What `mediamill dead retry` does.
async fn again(services: &Services, job: &JobId) {
    let mut pace = Pace::new(None, services.clock.now());
    assert!(services.dead.retry(job, &mut pace, &Actor::cli()).await.unwrap());
}

/// `media.process` that gives up soon.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Impatient(ProcessMedia);

impl Job for Impatient {
    const KIND: JobKind = ProcessMedia::KIND;
    const POOL: Pool = ProcessMedia::POOL;
    const RETRY: RetryPolicy = QUICK;
}

impl Handler for Impatient {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        self.0.run(cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        self.0.failed(cx).await
    }
}

/// Room for the staged bytes, and not for what becomes of them.
async fn a_full_store_is_tried_again_then_dead_and_nothing_is_half_written(world: World, disk: &SmallDisk, told: &str) {
    let services = &world.services;
    let picture = sample::small(1);
    disk.fill(picture.len() + 20_000);
    work(services, Registry::empty().with::<Impatient>());
    let (media, job) = world.upload(picture).await;
    let row = world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Dead, 3), "{:?}", row.cause);
    let cause = row.cause.unwrap();
    assert!(cause.contains(told), "{cause}");
    let db = world.tenant().await.db().unwrap();
    assert_eq!(db.media(&media).await.unwrap(), None);
    assert_eq!(db.usage().await.unwrap().media, 0);
    assert_eq!(
        services.objects.list(ObjectKey::STAGED, None, 10).await.unwrap().len(),
        1,
        "kept for a retry"
    );
    // There is room again, and an operator says so.
    disk.empty();
    again(services, &job).await;
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    // Sizes and sums of every object are those of the rows: what a failed attempt had placed was whole or is replaced.
    world.assert_at_rest().await;
    services.shutdown.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root to mount a small file system"]
async fn on_a_full_disk() {
    let disk = SmallDisk::mounted();
    let objects = format!("file://{}", disk.path().display());
    let world = World::embedded_with(&[("objects_url", objects)]).await;
    a_full_store_is_tried_again_then_dead_and_nothing_is_half_written(world, &disk, "no space").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers, and root to mount a small file system: run ./test.sh"]
async fn on_a_full_bucket() {
    let disk = SmallDisk::mounted();
    let server = S3Server::start_in(disk.path()).await.unwrap();
    let objects = server.url("objects").unwrap().to_string();
    let world = World::distributed_with(&[("objects_url", objects)]).await;
    // This server says no more than this of a full disk; the words of those that say more are in `objects::s3::fault`.
    a_full_store_is_tried_again_then_dead_and_nothing_is_half_written(world, &disk, "InternalError").await;
    assert_eq!(server.unfinished().unwrap(), [""; 0]);
}
