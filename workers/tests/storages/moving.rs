//! Where a picture goes that is moved, when a storage that it would go to, or comes from, is not as it should be.

use super::{Bucket, accept, add, done, files, placed_by, put, read, ready, row, run_again, spot, work};
use mediamill_shared::{
    control::{jobs::JobRow, storages::StorageRow},
    ids::MediaId,
    jobs::{DeleteMedia, Job, JobState, MoveMedia, RemoveObjects, VerifyMedia},
    objects::{ObjectError, Store, Subject},
    placement::{DirectorySettings, NewStorage, Places, Spot, StorageSettings},
    tenancy::store::media::{ORIGINAL, Variant},
    testing::World,
    units::ByteCount,
};

mediamill_shared::on_both_sides!(
    a_move_passes_over_a_full_storage,
    a_move_passes_over_a_storage_that_closed_meanwhile,
    a_move_goes_on_elsewhere_from_a_storage_that_fails_in_the_middle,
    a_move_that_nobody_takes_says_what_each_said_and_waits,
    a_move_to_one_storage_goes_nowhere_else,
    a_copy_is_not_given_up_while_a_storage_is_left_alone,
    a_damaged_copy_is_not_what_is_moved_while_another_is_whole,
    a_file_whose_copies_are_all_damaged_is_not_moved,
    a_file_that_may_be_whole_where_nothing_answers_waits,
    what_may_be_a_copy_is_not_removed_while_its_picture_is_moved,
    a_copy_that_was_removed_is_made_again_before_the_old_file_goes,
    a_storage_that_takes_no_moved_files_is_left_alone,
    a_storage_that_answers_no_verifications_or_deletions_is_left_alone,
);

fn out_of(media: &MediaId, from: &Spot, to: Option<&Spot>) -> MoveMedia {
    MoveMedia {
        media: media.clone(),
        from: from.to_string(),
        to: to.map(ToString::to_string),
        task: None,
    }
}

/// Moves a picture and waits until it has, at the first attempt.
async fn moved(world: &World, payload: &MoveMedia) {
    let job = accept(world, payload).await;
    let row = world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 1), "{:?}", row.cause);
}

/// Accepts a job, and waits until an attempt has failed that may be made again.
async fn refused<J: Job>(world: &World, payload: &J) -> JobRow {
    let job = accept(world, payload).await;
    let again = |row: &JobRow| row.attempts > 0 && row.state == JobState::Queued;
    loop {
        let row = world.until(&job, |_| true).await;
        assert!(!row.state.is_final(), "{row:?}");
        if again(&row) {
            return row;
        }
    }
}

async fn all_in(world: &World, media: &MediaId, place: &Spot) {
    for file in files(world, media).await {
        assert_eq!(file.places, Places::of([place.clone()]), "{}", file.name);
        assert_eq!(ByteCount::of(read(world, &file).await.len()), file.bytes);
    }
    world.assert_at_rest().await;
}

/// Comes first nearly always.
fn preferred(new: NewStorage) -> NewStorage {
    NewStorage { weight: 1_000, ..new }
}

fn full(new: NewStorage) -> NewStorage {
    let capacity = ByteCount::new(1);
    NewStorage { capacity, ..new }
}

async fn a_move_passes_over_a_full_storage(world: World) {
    let (old, small, sound) = (Bucket::new().await, Bucket::new().await, Bucket::new().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let (media, _) = ready(&world).await;
    let small = add(&world, full(preferred(small.as_new("small")))).await;
    let sound = add(&world, sound.as_new("sound")).await;
    moved(&world, &out_of(&media, &spot(&old), None)).await;
    all_in(&world, &media, &spot(&sound)).await;
    assert_eq!(row(&world, &small).await.objects, 0);
    world.services.shutdown.stop();
}

async fn a_move_passes_over_a_storage_that_closed_meanwhile(world: World) {
    let (old, closed, sound) = (Bucket::new().await, Bucket::new().await, Bucket::new().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let (media, _) = ready(&world).await;
    let closed = add(&world, preferred(closed.as_new("closed"))).await;
    let sound = add(&world, sound.as_new("sound")).await;
    let known = world.services.storages.everywhere(world.tenant().await.id()).await;
    assert_eq!(known.unwrap().len(), 4, "with the installation's own");
    // By another process, whose word did not come here.
    let sql = "UPDATE storages SET state = 'read-only' WHERE id = $1";
    world.execute(sql, &[closed.id.as_str()]).await;
    moved(&world, &out_of(&media, &spot(&old), None)).await;
    all_in(&world, &media, &spot(&sound)).await;
    world.services.shutdown.stop();
}

async fn a_move_goes_on_elsewhere_from_a_storage_that_fails_in_the_middle(world: World) {
    let (old, folder, sound) = (Bucket::new().await, tempfile::tempdir().unwrap(), Bucket::new().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let (media, before) = ready(&world).await;
    let path = folder.path().to_path_buf();
    let broken = NewStorage {
        settings: StorageSettings::Directory(DirectorySettings { path }),
        credentials: None,
        ..preferred(sound.as_new("broken"))
    };
    let broken = add(&world, broken).await;
    let sound = add(&world, sound.as_new("sound")).await;
    // The largest is copied first; no file is written where a directory is.
    let last = folder.path().join(before.last().unwrap().object.as_str());
    std::fs::create_dir_all(&last).unwrap();
    moved(&world, &out_of(&media, &spot(&old), None)).await;
    all_in(&world, &media, &spot(&sound)).await;
    assert_eq!(row(&world, &broken).await.objects, 0);
    world.services.shutdown.stop();
}

async fn a_move_that_nobody_takes_says_what_each_said_and_waits(world: World) {
    let (old, small, (away, proxy)) = (Bucket::new().await, Bucket::new().await, Bucket::proxied().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let (media, before) = ready(&world).await;
    let small = add(&world, full(small.as_new("small"))).await;
    let away = add(&world, away.as_new("away")).await;
    proxy.busy();
    let row = refused(&world, &out_of(&media, &spot(&old), None)).await;
    let cause = row.cause.unwrap();
    for part in [
        format!("{}: it is full", spot(&small)),
        format!("{}: the store did not write", spot(&away)),
    ] {
        assert!(cause.contains(&part), "{part}: {cause}");
    }
    assert_eq!(files(&world, &media).await, before);
    proxy.mend();
    assert_eq!(world.finished(&row.id).await.state, JobState::Done);
    all_in(&world, &media, &spot(&away)).await;
    world.services.shutdown.stop();
}

async fn a_move_to_one_storage_goes_nowhere_else(world: World) {
    let (old, small, sound) = (Bucket::new().await, Bucket::new().await, Bucket::new().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let (media, before) = ready(&world).await;
    let small = add(&world, full(small.as_new("small"))).await;
    add(&world, sound.as_new("sound")).await;
    let row = refused(&world, &out_of(&media, &spot(&old), Some(&spot(&small)))).await;
    assert!(row.cause.as_ref().unwrap().contains("it is full"), "{row:?}");
    assert_eq!(files(&world, &media).await, before);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

/// What the process notes of a call that failed.
fn fails(world: &World, storage: &StorageRow) {
    let error = ObjectError::Unavailable {
        subject: Subject::Store,
        operation: "write",
        source: "it is away".into(),
    };
    world.services.storages.note::<()>(&spot(storage), &Err(error));
}

async fn a_copy_is_not_given_up_while_a_storage_is_left_alone(world: World) {
    let (first, second, third) = (Bucket::new().await, Bucket::new().await, Bucket::new().await);
    let first = add(&world, first.as_new("first")).await;
    let second = add(&world, second.as_new("second")).await;
    placed_by(&world, r#"{"replicas": 2}"#).await;
    work(&world.services);
    let (media, _) = ready(&world).await;
    let third = add(&world, third.as_new("third")).await;
    // Often enough to be left alone for minutes.
    for _ in 0..9 {
        fails(&world, &third);
    }
    let row = refused(&world, &out_of(&media, &spot(&first), None)).await;
    assert!(row.cause.as_ref().unwrap().contains("left alone"), "{row:?}");
    world.services.storages.note(&spot(&third), &Ok(()));
    assert_eq!(world.finished(&row.id).await.state, JobState::Done);
    for file in files(&world, &media).await {
        let held = file.places.held();
        assert!(
            held.len() == 2 && [&second, &third].map(spot).iter().all(|place| held.contains(place)),
            "{file:?}"
        );
    }
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

/// A picture with two copies of each file, and a storage more.
async fn twice(world: &World, [first, second, third]: [NewStorage; 3]) -> (MediaId, Vec<Variant>, [StorageRow; 3]) {
    let (first, second) = (add(world, first).await, add(world, second).await);
    placed_by(world, r#"{"replicas": 2}"#).await;
    work(&world.services);
    let (media, files) = ready(world).await;
    let third = add(world, third).await;
    (media, files, [first, second, third])
}

async fn a_damaged_copy_is_not_what_is_moved_while_another_is_whole(world: World) {
    let (a, b, c) = (Bucket::new().await, Bucket::new().await, Bucket::new().await);
    let (media, before, [_, _, third]) = twice(&world, [a.as_new("a"), b.as_new("b"), c.as_new("c")]).await;
    // Shorter and longer than they were, where they are read first.
    let from = before[0].places.held()[0].clone();
    let (rotten, longer) = (&before[0], &before[1]);
    put(&world, &from, &rotten.object, b"rotten").await;
    put(&world, &from, &longer.object, &vec![7; 2_000_000]).await;
    moved(&world, &out_of(&media, &from, None)).await;
    for (now, before) in files(&world, &media).await.into_iter().zip(&before) {
        assert_eq!((&now.sha256, now.bytes), (&before.sha256, before.bytes));
        assert!(now.places.held().contains(&spot(&third)), "{now:?}");
        let copy = Variant {
            places: Places::of([spot(&third)]),
            ..now
        };
        assert_eq!(ByteCount::of(read(&world, &copy).await.len()), copy.bytes);
    }
    done(
        &world,
        &VerifyMedia {
            media,
            storage: third.id.to_string(),
            task: None,
        },
    )
    .await;
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_file_whose_copies_are_all_damaged_is_not_moved(world: World) {
    let (a, b, c) = (Bucket::new().await, Bucket::new().await, Bucket::new().await);
    let (media, before, [first, second, third]) = twice(&world, [a.as_new("a"), b.as_new("b"), c.as_new("c")]).await;
    let original = before.iter().find(|file| file.name == ORIGINAL).unwrap();
    let length = usize::try_from(original.bytes.get()).unwrap();
    for storage in [&first, &second] {
        put(&world, &spot(storage), &original.object, &vec![7; length]).await;
    }
    let job = accept(&world, &out_of(&media, &spot(&first), None)).await;
    let ended = world.finished(&job).await;
    assert_eq!(
        (ended.state, ended.cause_code.as_deref(), ended.attempts),
        (JobState::Failed, Some("file-damaged"), 1)
    );
    assert_eq!(files(&world, &media).await, before);
    world.assert_at_rest().await;
    assert_eq!(row(&world, &third).await.objects, 0);
    world.services.shutdown.stop();
}

async fn a_file_that_may_be_whole_where_nothing_answers_waits(world: World) {
    let ((a, proxy), b, c) = (Bucket::proxied().await, Bucket::new().await, Bucket::new().await);
    let (media, before, [_, second, third]) = twice(&world, [a.as_new("a"), b.as_new("b"), c.as_new("c")]).await;
    let original = before.iter().find(|file| file.name == ORIGINAL).unwrap();
    put(&world, &spot(&second), &original.object, b"rotten").await;
    proxy.busy();
    let row = refused(&world, &out_of(&media, &spot(&second), None)).await;
    proxy.mend();
    assert_eq!(world.finished(&row.id).await.state, JobState::Done);
    let now = files(&world, &media).await;
    assert!(
        now.iter().all(|file| file.places.held().contains(&spot(&third))),
        "{now:?}"
    );
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

/// A removal that waited for a storage, and a move that came to write there.
async fn what_may_be_a_copy_is_not_removed_while_its_picture_is_moved(world: World) {
    let (a, b) = (Bucket::new().await, Bucket::new().await);
    let first = add(&world, a.as_new("a")).await;
    work(&world.services);
    let (media, before) = ready(&world).await;
    let second = add(&world, b.as_new("b")).await;
    // One that waits for its time, which does not come.
    let services = &world.services;
    let (tenant, now) = (world.tenant().await, services.clock.now());
    let payload = out_of(&media, &spot(&first), Some(&spot(&second)));
    let held = world.dead(Some(tenant.id()), &payload, "test", now).await;
    let wait =
        "UPDATE jobs SET state = 'queued', held = 2, due_at = due_at + 3600000, finished_at = NULL WHERE id = $1";
    world.execute(wait, &[held.as_str()]).await;
    // As far as it got.
    let original = before.iter().find(|file| file.name == ORIGINAL).unwrap();
    put(&world, &spot(&second), &original.object, b"a copy").await;
    let removal = RemoveObjects {
        media: media.clone(),
        objects: vec![(spot(&second).to_string(), original.object.to_string())],
    };
    let row = refused(&world, &removal).await;
    assert!(row.cause.as_ref().unwrap().contains("is being moved"), "{row:?}");
    let there = async || {
        let place = spot(&second);
        let opened = services.storages.spot(tenant.id(), &place).await.unwrap().unwrap();
        opened.objects.stat(&original.object).await.unwrap().is_some()
    };
    assert!(there().await);
    world
        .execute(
            "UPDATE jobs SET state = 'done', finished_at = 0 WHERE id = $1",
            &[held.as_str()],
        )
        .await;
    assert_eq!(world.finished(&row.id).await.state, JobState::Done);
    assert!(!there().await);
    world.assert_at_rest().await;
    services.shutdown.stop();
}

/// Killed between the switch and the old place's emptying, while somebody removed what no row had a moment before.
async fn a_copy_that_was_removed_is_made_again_before_the_old_file_goes(world: World) {
    let (a, b) = (Bucket::new().await, Bucket::new().await);
    let first = add(&world, a.as_new("a")).await;
    work(&world.services);
    let (media, before) = ready(&world).await;
    let second = add(&world, b.as_new("b")).await;
    let mut bytes = Vec::new();
    for file in &before {
        bytes.push(read(&world, file).await);
    }
    let payload = out_of(&media, &spot(&first), Some(&spot(&second)));
    let job = accept(&world, &payload).await;
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    // As it was then: the old files lie there yet, and are on their way out.
    let (services, tenant) = (&world.services, world.tenant().await);
    let mut tx = tenant.db().unwrap().begin().await.unwrap();
    for (file, before) in files(&world, &media).await.iter().zip(&before) {
        let leaving = before.places.moved(&spot(&first), &spot(&second));
        assert!(tx.set_places(file, &leaving).await.unwrap());
    }
    tx.commit().await.unwrap();
    let lost = services
        .storages
        .spot(tenant.id(), &spot(&second))
        .await
        .unwrap()
        .unwrap();
    for (file, bytes) in before.iter().zip(&bytes) {
        put(&world, &spot(&first), &file.object, bytes).await;
        lost.objects.delete(&file.object).await.unwrap();
    }
    run_again(&world, &job, MoveMedia::POOL, &payload).await;
    for (file, bytes) in files(&world, &media).await.iter().zip(&bytes) {
        assert_eq!(file.places, Places::of([spot(&second)]));
        assert_eq!(&read(&world, file).await, bytes);
    }
    world.assert_at_rest().await;
    services.shutdown.stop();
}

/// Whether reads go to a place before they go to one that is well.
async fn is_well(world: &World, place: &Spot) -> bool {
    let places = Places::of([place.clone(), Spot::Main]);
    let sources = world
        .services
        .storages
        .sources(world.tenant().await.id(), &places)
        .await;
    sources.unwrap()[0].spot == *place
}

async fn a_storage_that_takes_no_moved_files_is_left_alone(world: World) {
    let (old, (to, proxy)) = (Bucket::new().await, Bucket::proxied().await);
    let old = add(&world, old.as_new("old")).await;
    work(&world.services);
    let mut pictures = Vec::new();
    for _ in 0..3 {
        pictures.push(ready(&world).await.0);
    }
    let to = add(&world, to.as_new("to")).await;
    proxy.busy();
    for media in &pictures {
        refused(&world, &out_of(media, &spot(&old), Some(&spot(&to)))).await;
    }
    assert!(!is_well(&world, &spot(&to)).await, "three writes in a row failed");
    world.services.shutdown.stop();
}

async fn a_storage_that_answers_no_verifications_or_deletions_is_left_alone(world: World) {
    let (bucket, proxy) = Bucket::proxied().await;
    let storage = add(&world, bucket.as_new("one")).await;
    let place = spot(&storage);
    work(&world.services);
    let (mut pictures, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        pictures.push(ready(&world).await.0);
    }
    assert!(is_well(&world, &place).await);
    proxy.busy();
    for media in &pictures {
        let payload = VerifyMedia {
            media: media.clone(),
            storage: place.to_string(),
            task: None,
        };
        waiting.push(refused(&world, &payload).await.id);
    }
    assert!(!is_well(&world, &place).await, "three reads in a row failed");
    proxy.mend();
    for job in &waiting {
        assert_eq!(world.finished(job).await.state, JobState::Done);
    }
    assert!(is_well(&world, &place).await, "it was read");
    proxy.busy();
    let media = pictures.swap_remove(0);
    let job = refused(&world, &DeleteMedia { media, holder: None }).await.id;
    assert!(!is_well(&world, &place).await, "its files' deletions failed");
    proxy.mend();
    assert_eq!(world.finished(&job).await.state, JobState::Done);
    assert!(is_well(&world, &place).await, "its files were deleted");
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}
