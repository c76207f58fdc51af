//! Storages beside the installation's own, on both sides: where files go, what a storage's faults cost, and how it is emptied.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all};
use mediamill_media::sample;
use mediamill_shared::{
    control::{
        audit::{self, Actor, Entry},
        changes::Change,
        jobs::{self, NewJob},
        storages::{self, StorageRole, StorageRow, StorageState, tasks},
    },
    ids::{JobId, MediaId, TraceId},
    jobs::{DeleteMedia, Job, JobState, MoveMedia, Pool, ProcessMedia, VerifyMedia},
    objects::{ObjectKey, Store},
    placement::{Editor, NewStorage, Places, Spot, StorageChange},
    secrets::SecretText,
    services::Services,
    tenancy::{
        LimitOverrides, PictureSettings,
        store::media::{ORIGINAL, Variant},
    },
    testing::{World, faults::Proxy, s3::S3Server},
    units::ByteCount,
};
use mediamill_workers::{Settings, run};
use std::net::SocketAddr;

mod faults;
mod moving;
mod variants;

mediamill_shared::on_both_sides!(
    files_go_where_roles_say_and_everything_is_counted,
    a_tenants_own_storages_come_before_the_providers,
    every_copy_is_written_and_every_copy_goes,
    a_full_storage_is_passed_over_and_never_overfilled,
    a_storage_is_emptied_while_uploads_go_on,
    a_damaged_file_is_mended_from_another_copy,
    a_damaged_file_is_told_while_no_other_copy_answers,
    a_storage_that_does_not_work_is_not_added,
    a_settlement_that_was_lost_before_a_deletion_changes_nothing,
    a_picture_that_does_not_fit_its_kind_is_refused_and_leaves_nothing,
);

fn work(services: &Services) {
    let settings = Settings::from_config(&services.config);
    services.shutdown.spawn(run(services.clone(), settings));
}

/// An S3 server with one bucket.
struct Bucket {
    server: S3Server,
    address: SocketAddr,
}

impl Bucket {
    async fn new() -> Self {
        let server = S3Server::start().await.unwrap();
        let address = server.address();
        Self { server, address }
    }

    /// Behind a line that can be broken.
    async fn proxied() -> (Self, Proxy) {
        let mut bucket = Self::new().await;
        let url = format!("http://{}", bucket.address).parse().unwrap();
        let (proxy, _) = Proxy::to(&url).await;
        bucket.address = proxy.address();
        (bucket, proxy)
    }

    fn as_new(&self, name: &str) -> NewStorage {
        NewStorage {
            name: name.to_owned(),
            settings: self.server.settings_at("pictures", self.address).unwrap(),
            credentials: Some(S3Server::credentials()),
            role: StorageRole::Both,
            capacity: ByteCount::ZERO,
            weight: 1,
        }
    }
}

async fn add(world: &World, new: NewStorage) -> StorageRow {
    let added = world
        .services
        .storages
        .add(None, new, false, &Editor::operator(Actor::cli()))
        .await;
    added.unwrap()
}

async fn row(world: &World, storage: &StorageRow) -> StorageRow {
    storages::get(&world.services.control, &storage.id)
        .await
        .unwrap()
        .unwrap()
}

fn spot(storage: &StorageRow) -> Spot {
    Spot::Storage(storage.id.clone())
}

/// The tenant's files are placed so.
async fn placed_by(world: &World, placement: &str) {
    let settings = format!(r#"{{"placement": {placement}}}"#);
    let change = Change {
        pictures: Some(PictureSettings::from_json(&settings).unwrap()),
        ..Change::default()
    };
    world.change(change).await;
}

async fn files(world: &World, media: &MediaId) -> Vec<Variant> {
    world.tenant().await.db().unwrap().variants(media).await.unwrap()
}

/// Uploads a picture and waits until it is ready.
async fn ready(world: &World) -> (MediaId, Vec<Variant>) {
    let (media, job) = world.upload(sample::small(1)).await;
    let row = world.finished(&job).await;
    assert_eq!(row.state, JobState::Done, "{:?}", row.cause);
    let files = files(world, &media).await;
    assert!(!files.is_empty());
    (media, files)
}

async fn accept<J: Job>(world: &World, payload: &J) -> JobId {
    let services = &world.services;
    let id = JobId::generate(&services.clock, &services.entropy);
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let mut job = NewJob::of(id.clone(), payload, trace).unwrap();
    job.tenant = Some(world.tenant().await.id().clone());
    let now = services.clock.now();
    let published = services.queue.rows_are_messages();
    let accepted = jobs::accept(&services.control, std::slice::from_ref(&job), now, published);
    accepted.await.unwrap();
    services.outbox.offer(job.pool, job.envelope(now));
    id
}

async fn done<J: Job>(world: &World, payload: &J) {
    let job = accept(world, payload).await;
    let row = world.finished(&job).await;
    assert_eq!(row.state, JobState::Done, "{:?}", row.cause);
}

/// Has a job run again whose end is lost, and waits until it has; its row says what it is, whatever its message says.
async fn run_again(world: &World, job: &JobId, pool: Pool, payload: &impl Job) {
    let Services {
        clock, entropy, outbox, ..
    } = &world.services;
    let lost = "UPDATE jobs SET state = 'queued', published_at = NULL, due_at = 0, finished_at = NULL WHERE id = $1";
    world.execute(lost, &[job.as_str()]).await;
    let mut again = NewJob::of(job.clone(), payload, TraceId::generate(clock, entropy)).unwrap();
    again.tenant = Some(world.tenant().await.id().clone());
    // As the dispatcher would, which finds it unpublished.
    outbox.offer(pool, again.envelope(clock.now()));
    assert_eq!(world.finished(job).await.state, JobState::Done);
}

/// Puts something into a place, as what goes wrong there would.
async fn put(world: &World, place: &Spot, key: &ObjectKey, bytes: &[u8]) {
    let storages = &world.services.storages;
    let opened = storages.spot(world.tenant().await.id(), place).await.unwrap().unwrap();
    let bytes = Bytes::copy_from_slice(bytes);
    opened.objects.put(key, bytes, "image/jpeg").await.unwrap();
}

/// What a file holds, from whichever place.
async fn read(world: &World, file: &Variant) -> Vec<u8> {
    let storages = &world.services.storages;
    let tenant = world.tenant().await;
    let fetched = storages
        .get(tenant.id(), &file.places, &file.object, None)
        .await
        .unwrap();
    let chunks: Vec<Bytes> = fetched.body.try_collect().await.unwrap();
    chunks.concat()
}

async fn files_go_where_roles_say_and_everything_is_counted(world: World) {
    let (first, second) = (Bucket::new().await, Bucket::new().await);
    let originals = add(
        &world,
        NewStorage {
            role: StorageRole::Originals,
            ..first.as_new("originals")
        },
    )
    .await;
    let variants = add(
        &world,
        NewStorage {
            role: StorageRole::Variants,
            ..second.as_new("variants")
        },
    )
    .await;
    work(&world.services);
    let (media, files) = ready(&world).await;
    for file in &files {
        let expected = if file.name == ORIGINAL { &originals } else { &variants };
        assert_eq!(file.places, Places::of([spot(expected)]), "{}", file.name);
        assert_eq!(ByteCount::of(read(&world, file).await.len()), file.bytes);
    }
    let (counted, others) = (row(&world, &originals).await, row(&world, &variants).await);
    assert_eq!(counted.objects, 1);
    assert_eq!(others.objects, i64::try_from(files.len() - 1).unwrap());
    assert_eq!(
        counted.used,
        files.iter().find(|file| file.name == ORIGINAL).unwrap().bytes
    );
    world.assert_at_rest().await;
    done(&world, &DeleteMedia { media, holder: None }).await;
    world.assert_at_rest().await;
    assert_eq!(
        (row(&world, &originals).await.used, row(&world, &variants).await.objects),
        (ByteCount::ZERO, 0)
    );
    world.services.shutdown.stop();
}

async fn a_tenants_own_storages_come_before_the_providers(world: World) {
    let (providers, own) = (Bucket::new().await, Bucket::new().await);
    add(&world, providers.as_new("provider's")).await;
    let tenant = world.tenant().await;
    let storages = &world.services.storages;
    let own = storages
        .add(Some(&tenant), own.as_new("own"), false, &Editor::operator(Actor::cli()))
        .await
        .unwrap();
    work(&world.services);
    let (_, files) = ready(&world).await;
    assert!(files.iter().all(|file| file.places == Places::of([spot(&own)])));
    // Another tenant's are none of its own.
    let (other, _) = world.another_tenant("other").await;
    assert!(storages.spot(&other, &spot(&own)).await.unwrap().is_none());
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn every_copy_is_written_and_every_copy_goes(world: World) {
    let buckets = [Bucket::new().await, Bucket::new().await, Bucket::new().await];
    let mut rows = Vec::new();
    for (number, bucket) in buckets.iter().enumerate() {
        rows.push(add(&world, bucket.as_new(&format!("{number}"))).await);
    }
    placed_by(&world, r#"{"policy": "round-robin", "replicas": 2}"#).await;
    work(&world.services);
    let (media, files) = ready(&world).await;
    for file in &files {
        assert_eq!(file.places.held().len(), 2);
        for spot in file.places.held() {
            let opened = world
                .services
                .storages
                .spot(world.tenant().await.id(), spot)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                opened.objects.stat(&file.object).await.unwrap().unwrap().bytes,
                file.bytes
            );
        }
    }
    world.assert_at_rest().await;
    done(&world, &DeleteMedia { media, holder: None }).await;
    world.assert_at_rest().await;
    for storage in &rows {
        assert_eq!(row(&world, storage).await.objects, 0);
    }
    world.services.shutdown.stop();
}

async fn a_full_storage_is_passed_over_and_never_overfilled(world: World) {
    let (small, large) = (Bucket::new().await, Bucket::new().await);
    work(&world.services);
    // What one picture takes.
    let (media, files) = ready(&world).await;
    let size: i64 = files.iter().map(|file| file.bytes.get()).sum();
    done(&world, &DeleteMedia { media, holder: None }).await;
    let capacity = ByteCount::new(size * 3 + size / 2);
    let small = add(
        &world,
        NewStorage {
            capacity,
            weight: 1_000,
            ..small.as_new("small")
        },
    )
    .await;
    let large = add(&world, large.as_new("large")).await;
    let uploads = (0..12).map(|_| world.upload(sample::small(1)));
    let uploads = join_all(uploads).await;
    for (_, job) in &uploads {
        assert_eq!(world.finished(job).await.state, JobState::Done);
    }
    let (small, large) = (row(&world, &small).await, row(&world, &large).await);
    assert!(small.used <= capacity && small.used.get() >= size * 2, "{small:?}");
    assert_eq!(small.used.plus(large.used), ByteCount::new(size * 12));
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_storage_is_emptied_while_uploads_go_on(world: World) {
    let (old, new) = (Bucket::new().await, Bucket::new().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(ready(&world).await);
    }
    let new = add(&world, new.as_new("new")).await;
    let change = StorageChange {
        state: Some(StorageState::Draining),
        ..StorageChange::default()
    };
    let storages = &world.services.storages;
    storages
        .edit(&row(&world, &old).await, None, change, &Editor::operator(Actor::cli()))
        .await
        .unwrap();
    let uploads: Vec<(MediaId, JobId)> = join_all((0..4).map(|_| world.upload(sample::small(1)))).await;
    for (media, _) in &all {
        let payload = MoveMedia {
            media: media.clone(),
            from: old.id.to_string(),
            to: None,
            task: None,
        };
        done(&world, &payload).await;
        // Once more: nothing is moved or counted twice.
        done(&world, &payload).await;
    }
    for (_, job) in &uploads {
        assert_eq!(world.finished(job).await.state, JobState::Done);
    }
    assert_eq!(
        (row(&world, &old).await.objects, row(&world, &old).await.used),
        (0, ByteCount::ZERO)
    );
    for (media, before) in &all {
        for (now, before) in files(&world, media).await.iter().zip(before) {
            assert_eq!(
                (now.places.clone(), &now.sha256),
                (Places::of([spot(&new)]), &before.sha256)
            );
            assert_eq!(ByteCount::of(read(&world, now).await.len()), now.bytes);
        }
    }
    world.assert_at_rest().await;
    // Back to where it began, which has no room to be counted.
    let media = all[0].0.clone();
    done(
        &world,
        &MoveMedia {
            media: media.clone(),
            from: new.id.to_string(),
            to: Some("-".into()),
            task: None,
        },
    )
    .await;
    assert!(
        files(&world, &media)
            .await
            .iter()
            .all(|file| file.places.is_main_alone())
    );
    done(&world, &DeleteMedia { media, holder: None }).await;
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_damaged_file_is_mended_from_another_copy(world: World) {
    let (first, second) = (Bucket::new().await, Bucket::new().await);
    let first = add(&world, first.as_new("first")).await;
    add(&world, second.as_new("second")).await;
    placed_by(&world, r#"{"replicas": 2}"#).await;
    work(&world.services);
    let (media, files) = ready(&world).await;
    let storages = &world.services.storages;
    let opened = storages
        .spot(world.tenant().await.id(), &spot(&first))
        .await
        .unwrap()
        .unwrap();
    let thumb = files.iter().find(|file| file.name == "thumb").unwrap();
    let original = files.iter().find(|file| file.name == ORIGINAL).unwrap();
    opened
        .objects
        .put(&thumb.object, Bytes::from_static(b"rotten"), "image/jpeg")
        .await
        .unwrap();
    opened.objects.delete(&original.object).await.unwrap();
    let payload = verification(&world, &first, &media).await;
    done(&world, &payload).await;
    let found = found(&world, &first).await;
    assert_eq!((found.mended, found.damaged), (2, 0), "{found:?}");
    done(&world, &payload).await;
    let found = self::found(&world, &first).await;
    assert_eq!(found.mended, 2, "nothing was left to mend: {found:?}");
    // A job that runs again, since its end was lost, is counted once.
    let job = accept(&world, &payload).await;
    world.finished(&job).await;
    let once = self::found(&world, &first).await;
    assert_eq!(once.done - found.done, i64::try_from(files.len()).unwrap());
    run_again(&world, &job, VerifyMedia::POOL, &payload).await;
    assert_eq!(self::found(&world, &first).await, once);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

/// Begins a task that verifies a storage. Returns its job for one picture.
async fn verification(world: &World, storage: &StorageRow, media: &MediaId) -> VerifyMedia {
    let Services {
        clock,
        entropy,
        control,
        ..
    } = &world.services;
    let entry = Entry::new(clock, entropy, &Actor::cli(), "storage.verify", None);
    let kind = tasks::TaskKind::Verify;
    tasks::start(control, &spot(storage), kind, None, 1, &entry)
        .await
        .unwrap();
    let task = tasks::get(control, &spot(storage)).await.unwrap().unwrap();
    VerifyMedia {
        media: media.clone(),
        storage: storage.id.to_string(),
        task: Some(task.id),
    }
}

async fn found(world: &World, storage: &StorageRow) -> tasks::Found {
    let task = tasks::get(&world.services.control, &spot(storage)).await;
    task.unwrap().unwrap().found
}

async fn a_damaged_file_is_told_while_no_other_copy_answers(world: World) {
    let (first, (second, proxy)) = (Bucket::new().await, Bucket::proxied().await);
    let first = add(&world, first.as_new("first")).await;
    add(&world, second.as_new("second")).await;
    placed_by(&world, r#"{"replicas": 2}"#).await;
    work(&world.services);
    let (media, files) = ready(&world).await;
    let (tenant, place) = (world.tenant().await, spot(&first));
    let opened = world.services.storages.spot(tenant.id(), &place).await;
    let opened = opened.unwrap().unwrap();
    opened.objects.delete(&files[0].object).await.unwrap();
    proxy.busy();
    let payload = verification(&world, &first, &media).await;
    done(&world, &payload).await;
    let well = i64::try_from(files.len() - 1).unwrap();
    let seen = found(&world, &first).await;
    assert_eq!((seen.done, seen.mended, seen.damaged), (well, 0, 1));
    let told = async || {
        let log = audit::page(&world.services.control, None, None, 10).await.unwrap();
        let told = log.into_iter().filter(|entry| entry.action == "storage.damaged");
        told.map(|entry| entry.detail["mended"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [false]);
    proxy.mend();
    done(&world, &payload).await;
    let seen = found(&world, &first).await;
    assert_eq!((seen.done, seen.mended, seen.damaged), (well * 2, 1, 1));
    assert_eq!(told().await, [true, false]);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_storage_that_does_not_work_is_not_added(world: World) {
    let bucket = Bucket::new().await;
    let add = async |new| {
        world
            .services
            .storages
            .add(None, new, false, &Editor::operator(Actor::cli()))
            .await
    };
    let mut wrong = bucket.as_new("wrong");
    wrong.credentials.as_mut().unwrap().secret_key = SecretText::new("another".into());
    let error = add(wrong).await.unwrap_err().to_string();
    assert!(error.contains("the secret key is not the access key's"), "{error}");
    let (away, proxy) = Bucket::proxied().await;
    proxy.down();
    let error = add(away.as_new("away")).await.unwrap_err().to_string();
    assert!(error.contains("reach: "), "{error}");
    assert!(
        storages::page(&world.services.control, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let tenant = world.tenant().await;
    let mut bare = bucket.as_new("bare");
    bare.credentials = None;
    let error = world
        .services
        .storages
        .add(Some(&tenant), bare, false, &Editor::operator(Actor::cli()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("credentials of its own"), "{error}");
}

async fn a_settlement_that_was_lost_before_a_deletion_changes_nothing(world: World) {
    let bucket = Bucket::new().await;
    let storage = add(&world, bucket.as_new("one")).await;
    work(&world.services);
    let (media, job) = world.upload(sample::small(1)).await;
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    let (kept, _) = ready(&world).await;
    done(&world, &DeleteMedia { media, holder: None }).await;
    let before = row(&world, &storage).await;
    let payload = DeleteMedia {
        media: kept,
        holder: None,
    };
    run_again(&world, &job, ProcessMedia::POOL, &payload).await;
    assert_eq!(row(&world, &storage).await, before);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_picture_that_does_not_fit_its_kind_is_refused_and_leaves_nothing(world: World) {
    let bucket = Bucket::new().await;
    let storage = add(&world, bucket.as_new("one")).await;
    let limits = LimitOverrides::from_json(r#"{"image_bytes": 1000}"#).unwrap();
    let change = Change {
        limits: Some(limits),
        ..Change::default()
    };
    world.change(change).await;
    work(&world.services);
    let (_, job) = world.upload(sample::small(1)).await;
    let failed = world.finished(&job).await;
    assert_eq!(
        (failed.state, failed.cause_code.as_deref()),
        (JobState::Failed, Some("over-quota"))
    );
    assert!(failed.cause.unwrap().contains("image_bytes"));
    world.assert_at_rest().await;
    assert_eq!(row(&world, &storage).await.objects, 0);
    world.services.shutdown.stop();
}
