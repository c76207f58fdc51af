//! From an accepted upload to a counted picture, on both sides.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use futures_util::future::join_all;
use mediamill_media::sample;
use mediamill_shared::{
    control::{audit::Actor, jobs},
    dead::Pace,
    ids::{JobId, MediaId, TraceId},
    jobs::{DeleteMedia, JobState, MakeVariant},
    objects::{ObjectKey, Store},
    quota::Claim,
    services::Services,
    tenancy::OnDemand,
    testing::World,
    units::ByteCount,
};
use mediamill_workers::{Settings, run};

fn work(services: &Services) {
    let settings = Settings::from_config(&services.config);
    services.shutdown.spawn(run(services.clone(), settings));
}

mediamill_shared::on_both_sides!(
    an_upload_becomes_a_counted_picture,
    bytes_that_are_no_picture_fail_for_good_with_their_cause,
    a_lying_header_fails_before_any_decode,
    a_job_that_runs_again_counts_once,
    what_a_lost_attempt_placed_by_other_settings_is_removed,
    a_deleted_picture_leaves_nothing,
    a_poison_job_is_dead_after_its_delivery_limit,
    two_workers_share_the_work,
    two_jobs_that_make_one_variant_leave_one_file,
    a_variant_that_cannot_be_made_leaves_nothing,
);

async fn an_upload_becomes_a_counted_picture(world: World) {
    work(&world.services);
    let photograph = sample::photographs().swap_remove(1);
    let (media, job) = world.upload(photograph.bytes.clone()).await;
    let row = world.finished(&job).await;
    assert_eq!(row.state, JobState::Done, "{:?}", row.cause);
    let db = world.tenant().await.db().unwrap();
    let picture = db.media(&media).await.unwrap().unwrap();
    // Stored 2400 × 1800, to be turned by a quarter.
    assert_eq!((picture.width, picture.height), (1_800, 2_400));
    assert!(picture.removed.contains("GPS position"), "{}", picture.removed);
    let names: Vec<String> = db
        .variants(&media)
        .await
        .unwrap()
        .into_iter()
        .map(|variant| variant.name)
        .collect();
    assert_eq!(names, ["original", "large", "medium", "thumb"]);
    assert_eq!(db.usage().await.unwrap().media, 1);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn bytes_that_are_no_picture_fail_for_good_with_their_cause(world: World) {
    work(&world.services);
    let whole = sample::photographs().swap_remove(0).bytes;
    let uploads = [
        (b"just text, no picture".to_vec(), "not-an-image"),
        (whole[..whole.len() / 2].to_vec(), "truncated"),
    ];
    for (bytes, code) in uploads {
        let (_, job) = world.upload(bytes).await;
        let row = world.finished(&job).await;
        assert_eq!(
            (row.state, row.cause_code.as_deref()),
            (JobState::Failed, Some(code)),
            "{:?}",
            row.cause
        );
        assert!(row.cause.unwrap().len() > 10, "a cause in words");
    }
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_lying_header_fails_before_any_decode(world: World) {
    work(&world.services);
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 17, 8];
    bytes.extend([65_500_u16.to_be_bytes(), 65_500_u16.to_be_bytes()].concat());
    bytes.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    // A scan follows: what else is to be known stands before it.
    bytes.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0, 0xff, 0xd9]);
    let (_, job) = world.upload(bytes).await;
    let row = world.finished(&job).await;
    assert_eq!(
        (row.state, row.cause_code.as_deref()),
        (JobState::Failed, Some("too-many-pixels"))
    );
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_job_that_runs_again_counts_once(world: World) {
    let services = &world.services;
    let (media, job) = world.upload(sample::photographs().swap_remove(0).bytes).await;
    work(services);
    world.finished(&job).await;
    // As if the settlement had been lost: the row is open again and its message comes again.
    let payload = jobs::payload(&services.control, &job).await.unwrap().unwrap();
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let again = JobId::generate(&services.clock, &services.entropy);
    let mut new = jobs::NewJob::of(
        again.clone(),
        &serde_json::from_str::<mediamill_shared::jobs::ProcessMedia>(&payload).unwrap(),
        trace,
    )
    .unwrap();
    new.tenant = Some(world.tenant().await.id().clone());
    let now = services.clock.now();
    jobs::accept(
        &services.control,
        std::slice::from_ref(&new),
        now,
        services.queue.rows_are_messages(),
    )
    .await
    .unwrap();
    services.outbox.offer(new.pool, new.envelope(now));
    assert_eq!(world.finished(&again).await.state, JobState::Done);
    let db = world.tenant().await.db().unwrap();
    assert_eq!(db.usage().await.unwrap().media, 1);
    assert!(db.media(&media).await.unwrap().is_some());
    world.assert_at_rest().await;
    services.shutdown.stop();
}

async fn what_a_lost_attempt_placed_by_other_settings_is_removed(world: World) {
    let services = &world.services;
    let (media, job) = world.upload(sample::small(1)).await;
    let long_ago = services.clock.now().before(jobs::SILENCE * 2);
    let claims = jobs::claim(&services.control, "gone", std::slice::from_ref(&job), long_ago).await;
    assert!(matches!(claims.unwrap().as_slice(), [jobs::Claim::Yours(_)]));
    let former = ObjectKey::placed(world.tenant().await.id(), &media, "former", "jpg").unwrap();
    let bytes = bytes::Bytes::from_static(b"a variant that is not wanted any more");
    services.objects.put(&former, bytes, "image/jpeg").await.unwrap();
    work(services);
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    let db = world.tenant().await.db().unwrap();
    let recorded = db.variants(&media).await.unwrap().into_iter();
    let mut recorded: Vec<ObjectKey> = recorded.map(|variant| variant.object).collect();
    let listed = services.objects.list(ObjectKey::MEDIA, None, 10).await.unwrap();
    let mut listed: Vec<ObjectKey> = listed.into_iter().map(|listed| listed.key).collect();
    recorded.sort();
    listed.sort();
    assert_eq!(listed, recorded);
    world.assert_at_rest().await;
    services.shutdown.stop();
}

async fn a_deleted_picture_leaves_nothing(world: World) {
    let services = &world.services;
    work(services);
    let (media, job) = world.upload(sample::photographs().swap_remove(0).bytes).await;
    world.finished(&job).await;
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let id = JobId::generate(&services.clock, &services.entropy);
    let mut delete = jobs::NewJob::of(
        id.clone(),
        &DeleteMedia {
            media: media.clone(),
            holder: None,
        },
        trace,
    )
    .unwrap();
    delete.tenant = Some(world.tenant().await.id().clone());
    let now = services.clock.now();
    jobs::accept(
        &services.control,
        std::slice::from_ref(&delete),
        now,
        services.queue.rows_are_messages(),
    )
    .await
    .unwrap();
    services.outbox.offer(delete.pool, delete.envelope(now));
    assert_eq!(world.finished(&id).await.state, JobState::Done);
    let db = world.tenant().await.db().unwrap();
    assert_eq!(db.media(&media).await.unwrap(), None);
    assert_eq!(
        db.usage().await.unwrap(),
        mediamill_shared::tenancy::store::usage::Usage::default()
    );
    assert_eq!(services.objects.list(ObjectKey::MEDIA, None, 10).await.unwrap(), []);
    world.assert_at_rest().await;
    services.shutdown.stop();
}

async fn a_poison_job_is_dead_after_its_delivery_limit(world: World) {
    let services = &world.services;
    let (_, job) = world.upload(sample::photographs().swap_remove(0).bytes).await;
    // Claimed again and again by workers that were never heard of since.
    let long_ago = services.clock.now().before(jobs::SILENCE * 2);
    for worker in 0..mediamill_shared::jobs::DELIVERY_LIMIT {
        let claims = jobs::claim(
            &services.control,
            &format!("gone-{worker}"),
            std::slice::from_ref(&job),
            long_ago.after(jobs::SILENCE * u32::try_from(worker).unwrap()),
        )
        .await;
        assert!(
            matches!(claims.unwrap().as_slice(), [jobs::Claim::Yours(_)]),
            "claim {worker}"
        );
    }
    jobs::touch(
        &services.control,
        &format!("gone-{}", mediamill_shared::jobs::DELIVERY_LIMIT - 1),
        std::slice::from_ref(&job),
        long_ago,
    )
    .await
    .unwrap();
    work(services);
    let row = world.finished(&job).await;
    assert_eq!(
        (row.state, row.cause_code.as_deref()),
        (JobState::Dead, Some("delivery-limit"))
    );
    // Its bytes stay: an operator may retry it.
    assert_eq!(
        services.objects.list(ObjectKey::STAGED, None, 10).await.unwrap().len(),
        1
    );
    let mut pace = Pace::new(None, services.clock.now());
    assert!(services.dead.retry(&job, &mut pace, &Actor::cli()).await.unwrap());
    services.shutdown.stop();
}

/// Accepts a job that makes a variant, as the api does.
async fn ask_for(world: &World, media: &MediaId, wanted: &str) -> JobId {
    let (services, tenant) = (&world.services, world.tenant().await);
    let wanted: OnDemand = wanted.parse().unwrap();
    let reserved = ByteCount::new(10_000);
    let claim = Claim {
        media: 0,
        bytes: reserved,
    };
    services
        .quota
        .reserve(&tenant, &tenant.db().unwrap(), claim)
        .await
        .unwrap();
    let id = JobId::generate(&services.clock, &services.entropy);
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let payload = MakeVariant {
        media: media.clone(),
        name: wanted.name().to_owned(),
        variant: wanted.preset().clone(),
        reserved,
    };
    let mut job = jobs::NewJob::of(id.clone(), &payload, trace).unwrap();
    job.tenant = Some(tenant.id().clone());
    job.reserved = reserved;
    let (now, published) = (services.clock.now(), services.queue.rows_are_messages());
    jobs::accept(&services.control, std::slice::from_ref(&job), now, published)
        .await
        .unwrap();
    services.outbox.offer(job.pool, job.envelope(now));
    id
}

async fn two_jobs_that_make_one_variant_leave_one_file(world: World) {
    let (media, job) = world.upload(sample::small(1)).await;
    work(&world.services);
    work(&world.services);
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    let asked = join_all((0..4).map(|_| ask_for(&world, &media, "w40,h40,cover.webp"))).await;
    for job in &asked {
        let row = world.finished(job).await;
        assert_eq!(row.state, JobState::Done, "{:?}", row.cause);
    }
    let db = world.tenant().await.db().unwrap();
    let variants = db.variants(&media).await.unwrap();
    let made: Vec<_> = variants.iter().filter(|one| one.name.starts_with('_')).collect();
    assert_eq!((made.len(), made[0].width, made[0].format.as_str()), (1, 40, "webp"));
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_variant_that_cannot_be_made_leaves_nothing(world: World) {
    let services = &world.services;
    let (media, job) = world.upload(sample::small(1)).await;
    work(services);
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    let nobody = MediaId::generate(&services.clock, &services.entropy);
    let row = world.finished(&ask_for(&world, &nobody, "w40").await).await;
    assert_eq!(
        (row.state, row.cause_code.as_deref()),
        (JobState::Failed, Some("picture-gone"))
    );
    // As many files as a picture may have; those that are too many are made, and gone again.
    let asked = join_all((0..60).map(|number| {
        let wanted = format!("w{}", 20 + number);
        let (world, media) = (&world, &media);
        async move { ask_for(world, media, &wanted).await }
    }));
    let mut refused = 0;
    for job in asked.await {
        let row = world.finished(&job).await;
        if row.state == JobState::Failed {
            assert_eq!(row.cause_code.as_deref(), Some("over-quota"), "{:?}", row.cause);
            refused += 1;
        }
    }
    let db = world.tenant().await.db().unwrap();
    assert_eq!((db.variants(&media).await.unwrap().len(), refused), (60, 4));
    world.assert_at_rest().await;
    // Its original was lost: said so, and not tried for ever.
    let original = db.variant(&media, "original").await.unwrap().unwrap();
    services.objects.delete(&original.object).await.unwrap();
    let row = world.finished(&ask_for(&world, &media, "w90").await).await;
    assert_eq!(row.cause_code.as_deref(), Some("file-missing"), "{:?}", row.cause);
    services.shutdown.stop();
}

async fn two_workers_share_the_work(world: World) {
    work(&world.services);
    work(&world.services);
    let bytes = sample::photographs().swap_remove(1).bytes;
    let uploads = join_all((0..8).map(|_| world.upload(bytes.clone()))).await;
    for (_, job) in &uploads {
        assert_eq!(world.finished(job).await.state, JobState::Done);
    }
    assert_eq!(world.tenant().await.db().unwrap().usage().await.unwrap().media, 8);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}
