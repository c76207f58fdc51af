//! What the timers put right, and who runs them, on both sides.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_scheduler::{run, run_once};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    control::{
        audit::Actor,
        batches::{BatchState, Step},
        jobs::{self, Claim, NewJob, Outcome, Settlement},
        resumable::{self, Bounds, NewUpload, Piece, UploadKind},
        tenants, timers,
    },
    ids::{JobId, KeyId, TenantId, TraceId, UploadId},
    jobs::{Job, JobState, Noop, Reason},
    objects::{ObjectKey, Store},
    queue::{Broker, Consume},
    rows::Format,
    services::Services,
    shutdown::Shutdown,
    tenancy::{Isolation, NewTenant, TenantState},
    testing::{PATIENCE, World},
    units::{ByteCount, Millis},
};
use std::time::Duration;

mediamill_shared::on_both_sides!(
    jobs_that_no_queue_has_confirmed_are_published,
    jobs_that_the_queue_has_lost_are_published_again,
    young_jobs_are_left_to_whoever_accepted_them,
    finished_jobs_are_forgotten_after_their_time,
    one_process_leads_and_another_takes_over,
    a_silent_workers_job_is_published_whatever_the_queue_holds,
    every_timer_runs_on_its_own_and_an_unknown_one_is_refused,
    what_waits_for_very_long_is_published_again_whatever_the_queue_holds,
    what_was_claimed_is_not_published_again,
    what_has_no_message_is_published_when_it_is_due,
    rows_of_a_running_batch_are_fed,
    a_batch_whose_sender_broke_off_is_cancelled,
    a_tenant_that_left_is_removed_when_its_time_is_over,
    a_removal_that_lost_its_job_gets_another,
    an_accepted_tenant_that_nobody_makes_is_undone,
    a_move_that_nobody_goes_on_with_is_given_up,
    uploads_in_pieces_end_when_their_time_is_over,
);

/// A no-op's row, as accepted `ago`; its message is nowhere.
async fn accepted(services: &Services, ago: Duration, published: bool) -> JobId {
    let id = JobId::generate(&services.clock, &services.entropy);
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let job = NewJob::of(id.clone(), &Noop {}, trace).unwrap();
    let then = services.clock.now().before(ago);
    jobs::accept(&services.control, &[job], then, published).await.unwrap();
    id
}

/// The job that a consumer gets next.
async fn delivered(services: &Services) -> JobId {
    let mut consumer = services.queue.consume(Noop::POOL, 1);
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
    let id = delivery.envelope().unwrap().job().clone();
    delivery.done().await.unwrap();
    id
}

async fn jobs_that_no_queue_has_confirmed_are_published(world: World) {
    let services = &world.services;
    let job = accepted(services, Duration::from_secs(10), services.queue.rows_are_messages()).await;
    let report = run_once(services, "dispatch").await.unwrap();
    let waiting = i64::from(!services.queue.rows_are_messages());
    assert_eq!(report.changed, waiting);
    assert_eq!(delivered(services).await, job);
    assert_eq!(run_once(services, "dispatch").await.unwrap().changed, 0);
}

async fn jobs_that_the_queue_has_lost_are_published_again(world: World) {
    let services = &world.services;
    let job = accepted(services, Duration::from_secs(300), true).await;
    let report = run_once(services, "recover").await.unwrap();
    assert_eq!(report.changed, i64::from(!services.queue.rows_are_messages()));
    assert_eq!(delivered(services).await, job);
    // Marked as touched: it is not published again at once.
    assert_eq!(run_once(services, "recover").await.unwrap().changed, 0);
}

/// Another's message is in the queue.
async fn another_waits(services: &Services) {
    accepted(services, Duration::from_secs(10), services.queue.rows_are_messages()).await;
    run_once(services, "dispatch").await.unwrap();
    let watch = Stopwatch::start();
    while services.queue.depth(Noop::POOL).await.unwrap().ready == 0 {
        assert!(watch.elapsed() < PATIENCE, "the message does not come");
        services.clock.sleep(Duration::from_millis(20)).await;
    }
}

async fn what_waits_for_very_long_is_published_again_whatever_the_queue_holds(world: World) {
    let services = &world.services;
    another_waits(services).await;
    accepted(services, Duration::from_secs(10 * 60), true).await;
    accepted(services, Duration::from_secs(20 * 60), true).await;
    let found = i64::from(!services.queue.rows_are_messages());
    assert_eq!(run_once(services, "recover").await.unwrap().changed, found);
    assert_eq!(run_once(services, "recover").await.unwrap().changed, 0);
}

/// Whoever ran it without a message, or took the message with it, is gone: nobody gives it back.
async fn a_silent_workers_job_is_published_whatever_the_queue_holds(world: World) {
    let services = &world.services;
    let rows_are_messages = services.queue.rows_are_messages();
    let (now, silent) = (
        services.clock.now(),
        accepted(services, Duration::from_secs(300), true).await,
    );
    let heard_of = now.before(Duration::from_secs(31));
    let claimed = jobs::claim(&services.control, "w", std::slice::from_ref(&silent), heard_of).await;
    assert!(matches!(claimed.unwrap().as_slice(), [Claim::Yours(_)]));
    another_waits(services).await;
    let found = i64::from(!rows_are_messages);
    assert_eq!(run_once(services, "recover").await.unwrap().changed, found);
    // Its message is on its way.
    assert_eq!(run_once(services, "recover").await.unwrap().changed, 0);
    // Where nobody comes for it, it is published again when it has been silent for as long once more.
    let earlier = "UPDATE jobs SET published_at = published_at - 31000 WHERE id = $1";
    world.execute(earlier, &[silent.as_str()]).await;
    assert_eq!(run_once(services, "recover").await.unwrap().changed, found);
}

async fn young_jobs_are_left_to_whoever_accepted_them(world: World) {
    // They grow no older.
    let services = &Services {
        clock: Clock::manual(world.services.clock.now()),
        ..world.services.clone()
    };
    accepted(services, Duration::ZERO, services.queue.rows_are_messages()).await;
    accepted(services, Duration::ZERO, true).await;
    for timer in ["dispatch", "recover"] {
        assert_eq!(run_once(services, timer).await.unwrap().changed, 0, "{timer}");
    }
}

/// Claims and finishes a job as a worker would have at `then`.
async fn settled(services: &Services, job: &JobId, then: Millis) {
    ended(services, job, then, Outcome::Done).await;
}

/// Claims and settles a job as a worker would have at `then`.
async fn ended(services: &Services, job: &JobId, then: Millis, outcome: Outcome) {
    ended_by(services, job, then, outcome, true).await;
}

async fn ended_by(services: &Services, job: &JobId, then: Millis, outcome: Outcome, has_message: bool) {
    let claims = jobs::claim(&services.control, "worker", std::slice::from_ref(job), then)
        .await
        .unwrap();
    let [Claim::Yours(claimed)] = claims.as_slice() else {
        panic!("{claims:?}")
    };
    let settlement = Settlement {
        id: job.clone(),
        attempt: claimed.attempt,
        outcome,
        has_message,
    };
    assert_eq!(
        jobs::settle(&services.control, &[settlement], then).await.unwrap(),
        [true]
    );
}

async fn finished_jobs_are_forgotten_after_their_time(world: World) {
    let services = &world.services;
    let (now, retention) = (services.clock.now(), services.config.job_retention);
    let (old, young, open) = (
        accepted(services, retention * 3, true).await,
        accepted(services, retention * 3, true).await,
        accepted(services, retention * 3, true).await,
    );
    settled(services, &old, now.before(retention * 2)).await;
    settled(services, &young, now).await;
    assert_eq!(run_once(services, "prune").await.unwrap().changed, 1);
    let state = async |id: &JobId| jobs::get(&services.control, id).await.unwrap().map(|row| row.state);
    assert_eq!(state(&old).await, None);
    assert_eq!(state(&young).await, Some(JobState::Done));
    assert_eq!(
        state(&open).await,
        Some(JobState::Queued),
        "what is open is never forgotten"
    );
}

/// A finished job that whoever leads forgets first of all.
async fn outlived(services: &Services) -> JobId {
    let retention = services.config.job_retention;
    let job = accepted(services, retention * 3, true).await;
    settled(services, &job, services.clock.now().before(retention * 2)).await;
    job
}

/// Waits until the timers of a leader have forgotten `job`.
async fn forgotten(services: &Services, job: &JobId) {
    let watch = Stopwatch::start();
    while jobs::get(&services.control, job).await.unwrap().is_some() {
        assert!(watch.elapsed() < PATIENCE, "nobody leads");
        services.clock.sleep(Duration::from_millis(20)).await;
    }
}

async fn one_process_leads_and_another_takes_over(world: World) {
    let first = &world.services;
    let job = outlived(first).await;
    let own = first.clone();
    first.shutdown.spawn(async move { run(own).await.unwrap() });
    forgotten(first, &job).await;
    let effect = first.clock.now();
    // The run is written down after its effect.
    let watch = Stopwatch::start();
    let began = loop {
        if let Some(last) = timers::state(&first.control, "prune").await.unwrap() {
            break last.started_at;
        }
        assert!(watch.elapsed() < PATIENCE, "a run that is not written down");
        first.clock.sleep(Duration::from_millis(20)).await;
    };
    assert!(began <= effect, "it began after its effect: {began:?}, {effect:?}");
    let job = outlived(first).await;
    // One that stops says so: the next need not wait for the lease to end.
    first.shutdown.stop();
    // It need not wait for the timer's period either.
    let forget = "DELETE FROM timer_states WHERE name = $1";
    world.execute(forget, &["prune"]).await;
    let config = (*first.config).clone();
    let second = Services::open(config, first.clock.clone(), Entropy::system(), Shutdown::new())
        .await
        .unwrap();
    let task = second.clone();
    second.shutdown.spawn(async move { run(task).await.unwrap() });
    forgotten(&second, &job).await;
    second.shutdown.stop();
}

/// Nobody can hold the lease then, and the timers bear to run twice.
#[tokio::test]
async fn without_a_cache_the_timers_run() {
    // A port that nobody listens on.
    let world = World::embedded_with(&[("cache_url", "redis://127.0.0.1:9/".to_owned())]).await;
    let services = &world.services;
    let job = outlived(services).await;
    let own = services.clone();
    services.shutdown.spawn(async move { run(own).await.unwrap() });
    forgotten(services, &job).await;
    services.shutdown.stop();
}

/// A message that came was published, whether its confirm came or not.
async fn what_was_claimed_is_not_published_again(world: World) {
    let services = &world.services;
    let now = services.clock.now();
    let waiting = async || {
        let found = jobs::unpublished(&services.control, now, now, 10).await.unwrap();
        found.len()
    };
    let job = accepted(services, Duration::from_secs(10), false).await;
    assert_eq!(waiting().await, 1);
    let again = Outcome::Again {
        due_at: now,
        reason: Reason::new("test", "at once"),
    };
    ended(services, &job, now, again).await;
    assert_eq!(waiting().await, 0);
}

/// Its worker released it for itself, and has gone since.
async fn what_has_no_message_is_published_when_it_is_due(world: World) {
    let services = &world.services;
    let (now, delay) = (services.clock.now(), Duration::from_secs(5));
    for (has_message, found) in [(true, 0), (false, 1)] {
        let job = accepted(services, Duration::from_secs(10), true).await;
        let again = Outcome::Again {
            due_at: now.after(delay),
            reason: Reason::new("test", "later"),
        };
        ended_by(services, &job, now, again, has_message).await;
        let early = jobs::unpublished(&services.control, now, now, 10).await.unwrap();
        assert!(early.is_empty());
        let due = now.after(delay);
        let late = jobs::unpublished(&services.control, due, due, 10).await.unwrap();
        assert_eq!(late.len(), found, "with a message: {has_message}");
    }
}

async fn every_timer_runs_on_its_own_and_an_unknown_one_is_refused(world: World) {
    for timer in mediamill_scheduler::list(&world.services).await.unwrap() {
        run_once(&world.services, timer.name).await.unwrap();
    }
    let error = run_once(&world.services, "nap").await.unwrap_err().to_string();
    assert!(error.contains("nap") && error.contains("dispatch"), "{error}");
}

/// What is staged for nobody goes; what a job waits for, or a dead one may be retried with, stays.
async fn swept(world: World) {
    let services = &world.services;
    let (_, open) = world.upload(vec![1; 10]).await;
    let nobodys = JobId::generate(&services.clock, &services.entropy);
    let key = ObjectKey::staged(world.tenant().await.id(), &nobodys);
    services
        .objects
        .put(&key, vec![2; 10].into(), "image/jpeg")
        .await
        .unwrap();
    services.clock.sleep(services.config.upload_timeout * 3).await;
    assert_eq!(run_once(services, "sweep-staged").await.unwrap().changed, 1);
    let left = services.objects.list(ObjectKey::STAGED, None, 10).await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|listed| listed.key.as_str().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(left, [open.as_str()]);
}

fn impatient() -> [(&'static str, String); 1] {
    [("upload_timeout", "1ms".to_owned())]
}

#[tokio::test]
async fn staged_bytes_that_nobody_wants_are_swept_from_a_directory() {
    swept(World::embedded_with(&impatient()).await).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn staged_bytes_that_nobody_wants_are_swept_from_a_bucket() {
    swept(World::distributed_with(&impatient()).await).await;
}

async fn rows_of_a_running_batch_are_fed(world: World) {
    let services = &world.services;
    let opened = services.batches.open(Format::Csv, None, &Actor::cli(), None).await;
    let (id, _) = opened.unwrap();
    let mut receiving = services.batches.receive(&id, Format::Csv);
    receiving.push(b"id,host\na,a.example\nb,b.example\n").await.unwrap();
    receiving.finish().await.unwrap();
    assert_eq!(
        run_once(services, "feed-batches").await.unwrap().changed,
        0,
        "it arrives still"
    );
    services.batches.step(&id, Step::Close).await.unwrap();
    assert_eq!(run_once(services, "feed-batches").await.unwrap().changed, 2);
    assert_eq!(run_once(services, "feed-batches").await.unwrap().changed, 0);
}

async fn state(services: &Services, id: &TenantId) -> Option<TenantState> {
    tenants::get(&services.control, id).await.unwrap().map(|row| row.state)
}

async fn a_tenant_that_left_is_removed_when_its_time_is_over(world: World) {
    let services = &world.services;
    let (soon, _) = world.another_tenant("soon").await;
    let (later, _) = world.another_tenant("later").await;
    services
        .lifecycle
        .leave(&soon, Duration::ZERO, &Actor::cli())
        .await
        .unwrap();
    services
        .lifecycle
        .leave(&later, Duration::from_secs(60), &Actor::cli())
        .await
        .unwrap();
    assert_eq!(run_once(services, "purge-tenants").await.unwrap().changed, 1);
    assert_eq!(state(services, &soon).await, Some(TenantState::Deleting));
    assert_eq!(state(services, &later).await, Some(TenantState::Leaving));
    assert_eq!(run_once(services, "purge-tenants").await.unwrap().changed, 0);
    // Given more time, or back, since somebody saw that they are due.
    for id in [&later, world.tenant().await.id()] {
        let begun = services.lifecycle.begin_due_purge(id, &Actor::scheduler()).await;
        assert_eq!(begun.unwrap(), None);
        assert_ne!(state(services, id).await, Some(TenantState::Deleting));
    }
}

/// The same installation, a quarter of an hour from now.
async fn later(world: &World) -> Services {
    let services = &world.services;
    let then = services.clock.now().after(Duration::from_secs(900));
    let config = (*services.config).clone();
    let opened = Services::open(
        config,
        Clock::manual(then),
        Entropy::system(),
        services.shutdown.clone(),
    );
    opened.await.unwrap()
}

async fn a_removal_that_lost_its_job_gets_another(world: World) {
    let services = &world.services;
    let (id, _) = world.another_tenant("gone").await;
    let job = services
        .lifecycle
        .begin_purge(&id, &Actor::cli())
        .await
        .unwrap()
        .unwrap();
    ended(services, &job, services.clock.now(), Outcome::Done).await;
    // Whoever has just begun it is not overtaken.
    assert_eq!(run_once(services, "purge-tenants").await.unwrap().changed, 0);
    let later = later(&world).await;
    assert_eq!(run_once(&later, "purge-tenants").await.unwrap().changed, 1);
    assert_eq!(run_once(&later, "purge-tenants").await.unwrap().changed, 0);
}

async fn an_accepted_tenant_that_nobody_makes_is_undone(world: World) {
    let services = &world.services;
    let accepted = async |id: &str| {
        let new = NewTenant::plain(id.parse().unwrap(), &format!("{id}.example"));
        (
            new.id.clone(),
            services.lifecycle.accept(new, &Actor::cli()).await.unwrap(),
        )
    };
    let (lost, job) = accepted("lost").await;
    let (kept, _) = accepted("kept").await;
    ended(services, &job, services.clock.now(), Outcome::Done).await;
    assert_eq!(
        run_once(services, "recover-tenants").await.unwrap().changed,
        0,
        "it is young"
    );
    let later = later(&world).await;
    assert_eq!(run_once(&later, "recover-tenants").await.unwrap().changed, 1);
    assert_eq!(state(services, &lost).await, None);
    assert_eq!(state(services, &kept).await, Some(TenantState::Provisioning));
    assert_eq!(run_once(&later, "recover-tenants").await.unwrap().changed, 0);
}

async fn a_batch_whose_sender_broke_off_is_cancelled(world: World) {
    let services = &world.services;
    let opened = services.batches.open(Format::Csv, None, &Actor::cli(), None).await;
    let (id, _) = opened.unwrap();
    assert_eq!(run_once(services, "feed-batches").await.unwrap().changed, 0);
    assert_eq!(run_once(&later(&world).await, "feed-batches").await.unwrap().changed, 1);
    let (batch, _) = services.batches.standing(&id).await.unwrap();
    assert_eq!(batch.state, BatchState::Cancelled);
}

async fn a_move_that_nobody_goes_on_with_is_given_up(world: World) {
    let services = &world.services;
    let (id, _) = world.another_tenant("mover").await;
    let row = tenants::get(&services.control, &id).await.unwrap().unwrap();
    let other = match row.place.isolation {
        Isolation::Prefix => Isolation::Database,
        Isolation::Database => Isolation::Prefix,
    };
    let job = services
        .lifecycle
        .begin_move(&id, other, None, &Actor::cli())
        .await
        .unwrap();
    assert_eq!(run_once(services, "recover-tenants").await.unwrap().changed, 0);
    ended(services, &job, services.clock.now(), Outcome::Done).await;
    assert_eq!(run_once(services, "recover-tenants").await.unwrap().changed, 1);
    let row = tenants::get(&services.control, &id).await.unwrap().unwrap();
    assert_eq!((row.moving, row.state), (None, TenantState::Active));
    // Nobody had begun to make a place for it.
    assert_eq!(run_once(services, "drop-retired").await.unwrap().changed, 0);
}

/// Ten bytes under an upload's name.
async fn piece(services: &Services, tenant: &TenantId, upload: &UploadId) -> Piece {
    let object = ObjectKey::piece(tenant, upload, ByteCount::ZERO, 1);
    services.objects.put(&object, vec![1; 10].into(), "").await.unwrap();
    Piece {
        start: ByteCount::ZERO,
        bytes: ByteCount::new(10),
        object,
    }
}

/// An upload of which all ten bytes have arrived, begun `ago`, given up `left` after that.
async fn begun(services: &Services, tenant: &TenantId, ago: Duration, left: Duration) -> UploadId {
    let then = services.clock.now().before(ago);
    let new = NewUpload {
        id: UploadId::generate(&services.clock, &services.entropy),
        tenant: tenant.clone(),
        key: KeyId::generate(&services.clock, &services.entropy),
        kind: UploadKind::Whole,
        length: Some(ByteCount::new(10)),
        metadata: String::new(),
        parts: Vec::new(),
        created_at: then,
        expires_at: then.after(left),
        direct: None,
    };
    let bounds = Bounds {
        uploads: 10,
        bytes: ByteCount::new(1_000),
        unknown: ByteCount::new(1),
    };
    let created = resumable::create(&services.control, &new, bounds).await.unwrap();
    assert_eq!(created, resumable::Created::New);
    let piece = piece(services, tenant, &new.id).await;
    let added = resumable::append(&services.control, &new.id, ByteCount::ZERO, &[piece], then).await;
    assert!(added.unwrap());
    new.id
}

async fn uploads_in_pieces_end_when_their_time_is_over(world: World) {
    let services = &world.services;
    let tenant = world.tenant().await.id().clone();
    let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
    let old = begun(services, &tenant, day, hour).await;
    let young = begun(services, &tenant, hour, day).await;
    let claimed = begun(services, &tenant, day, hour).await;
    let now = services.clock.now();
    let until = now.after(hour);
    assert!(resumable::claim(&services.control, &claimed, now, until).await.unwrap());
    // Pieces whose upload has no row: written long ago, and just now, when their row may still be on its way.
    let long_ago = Clock::manual(now.before(day * 30));
    let lost = UploadId::generate(&long_ago, &services.entropy);
    let coming = UploadId::generate(&services.clock, &services.entropy);
    for upload in [&lost, &coming] {
        piece(services, &tenant, upload).await;
    }
    let mut left = vec![young.clone(), claimed.clone(), coming];
    left.sort();
    let there = async || {
        let staged = services.objects.list(ObjectKey::STAGED, None, 100).await.unwrap();
        let uploads = staged.iter().filter_map(|listed| listed.key.upload());
        uploads.map(|(_, upload)| upload).collect::<Vec<_>>()
    };
    // The other sweeper has nothing to do with them.
    assert_eq!(run_once(services, "sweep-staged").await.unwrap().changed, 0);
    assert_eq!(there().await.len(), 5);
    assert_eq!(run_once(services, "sweep-resumable").await.unwrap().changed, 2);
    assert_eq!(there().await, left);
    let row = async |id: &UploadId| resumable::get(&services.control, &tenant, id).await.unwrap();
    assert_eq!(row(&old).await, None);
    assert!(row(&young).await.is_some());
    assert_eq!(run_once(services, "sweep-resumable").await.unwrap().changed, 0);
    // Whoever had claimed it is gone.
    assert!(resumable::hold(&services.control, &claimed, until, now).await.unwrap());
    assert_eq!(run_once(services, "sweep-resumable").await.unwrap().changed, 1);
    assert_eq!(row(&claimed).await, None);
}
