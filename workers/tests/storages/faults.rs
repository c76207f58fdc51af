//! What a storage's faults cost: a fail-over or retries, never a picture.

use super::{Bucket, add, done, files, placed_by, read, ready, row, spot, work};
use mediamill_media::sample;
use mediamill_shared::{
    control::jobs::JobRow,
    jobs::{DeleteMedia, JobState},
    placement::{NewStorage, Places},
    tenancy::store::media::ORIGINAL,
    testing::{SmallDisk, World, faults::Proxy, s3::S3Server},
};

mediamill_shared::on_both_sides!(
    a_refusing_storage_costs_a_fail_over,
    a_busy_storage_costs_a_fail_over,
    a_storage_that_cuts_writes_off_costs_a_fail_over,
    a_hanging_storage_costs_a_fail_over,
    the_only_storage_away_costs_retries,
    a_read_goes_on_from_the_next_copy,
);

/// Uploads go on although the storage that they would go to has a fault, and nothing of it stays anywhere when that is over.
async fn costs_a_fail_over(world: World, breaks: impl Fn(&Proxy), mends: impl Fn(&Proxy)) {
    let ((broken, proxy), sound) = (Bucket::proxied().await, Bucket::new().await);
    let broken = add(
        &world,
        NewStorage {
            weight: 1_000,
            ..broken.as_new("broken")
        },
    )
    .await;
    let sound = add(&world, sound.as_new("sound")).await;
    work(&world.services);
    breaks(&proxy);
    let (media, files) = ready(&world).await;
    assert!(
        files.iter().all(|file| file.places == Places::of([spot(&sound)])),
        "{files:?}"
    );
    mends(&proxy);
    // Room that was claimed where nothing is was given back.
    world.assert_at_rest().await;
    assert_eq!(row(&world, &broken).await.objects, 0);
    done(&world, &DeleteMedia { media, holder: None }).await;
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_refusing_storage_costs_a_fail_over(world: World) {
    Box::pin(costs_a_fail_over(world, Proxy::down, Proxy::mend)).await;
}

async fn a_busy_storage_costs_a_fail_over(world: World) {
    Box::pin(costs_a_fail_over(world, Proxy::busy, Proxy::mend)).await;
}

async fn a_storage_that_cuts_writes_off_costs_a_fail_over(world: World) {
    Box::pin(costs_a_fail_over(world, |proxy| proxy.cut_after(1_500), Proxy::mend)).await;
}

async fn a_hanging_storage_costs_a_fail_over(world: World) {
    Box::pin(costs_a_fail_over(world, Proxy::silence, Proxy::mend)).await;
}

async fn the_only_storage_away_costs_retries(world: World) {
    let (bucket, proxy) = Bucket::proxied().await;
    let storage = add(&world, bucket.as_new("only")).await;
    work(&world.services);
    proxy.busy();
    let (media, job) = world.upload(sample::small(1)).await;
    let again = |row: &JobRow| row.attempts > 0 && row.state == JobState::Queued;
    while !again(&world.until(&job, |_| true).await) {}
    assert!(
        files(&world, &media).await.is_empty(),
        "nothing half written is to be seen"
    );
    proxy.mend();
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    assert_eq!(
        row(&world, &storage).await.objects,
        i64::try_from(files(&world, &media).await.len()).unwrap()
    );
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_read_goes_on_from_the_next_copy(world: World) {
    let ((first, proxy), second) = (Bucket::proxied().await, Bucket::new().await);
    let first = add(&world, first.as_new("first")).await;
    add(&world, second.as_new("second")).await;
    placed_by(&world, r#"{"replicas": 2}"#).await;
    work(&world.services);
    let (_, files) = ready(&world).await;
    let original = files.iter().find(|file| file.name == ORIGINAL).unwrap();
    let whole = read(&world, original).await;
    proxy.down();
    assert_eq!(read(&world, original).await, whole);
    proxy.mend();
    // It is read from the first again, and that one stops in the middle.
    let mut first_first = original.clone();
    let other = original
        .places
        .held()
        .iter()
        .find(|place| **place != spot(&first))
        .unwrap()
        .clone();
    first_first.places = Places::of([spot(&first), other]);
    assert_eq!(read(&world, &first_first).await, whole);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root to mount a small file system"]
async fn a_storage_that_fills_up_costs_a_fail_over() {
    let world = World::embedded().await;
    let disk = SmallDisk::of_mebibytes(32);
    let server = S3Server::start_in(disk.path()).await.unwrap();
    let address = server.address();
    let full = Bucket { server, address };
    let full = add(
        &world,
        NewStorage {
            weight: 1_000,
            ..full.as_new("full")
        },
    )
    .await;
    disk.fill(6_000);
    let sound = Bucket::new().await;
    let sound = add(&world, sound.as_new("sound")).await;
    work(&world.services);
    let (media, files) = ready(&world).await;
    assert!(
        files.iter().any(|file| file.places == Places::of([spot(&sound)])),
        "{files:?}"
    );
    disk.empty();
    world.assert_at_rest().await;
    done(&world, &DeleteMedia { media, holder: None }).await;
    world.assert_at_rest().await;
    assert_eq!(row(&world, &full).await.objects, 0);
    world.services.shutdown.stop();
}
