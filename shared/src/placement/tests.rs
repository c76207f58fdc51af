//! Room in storages and what is known of them, on both engines.

use super::*;
use crate::{
    control::{
        audit::{Actor, Entry},
        jobs::{self, NewJob, Outcome, Settlement},
        storages::{Bounds, Claimant, Claimed, Share, Shares, StorageError, StorageRole, claim, settle, shares},
    },
    ids::{JobId, TraceId},
    jobs::Noop,
    testing::World,
    units::ByteCount,
};
use futures_util::future::join_all;

crate::on_both_sides!(
    parallel_claims_never_overfill_a_storage,
    a_line_says_what_it_says_however_often_it_is_written,
    an_attempt_that_was_overtaken_changes_nothing,
    only_active_storages_take_more,
    so_many_storages_and_no_more,
    the_last_active_ones_stay,
    what_is_used_is_not_removed,
    another_process_hears_of_a_change,
    nobody_is_sent_to_a_storage_that_is_being_emptied,
    a_probe_leaves_a_tenants_place_alone_that_does_not_answer,
);

fn entry(world: &World) -> Entry {
    Entry::new(
        &world.services.clock,
        &world.services.entropy,
        &Actor::cli(),
        "test",
        None,
    )
}

async fn storage(
    world: &World,
    tenant: Option<TenantId>,
    capacity: i64,
    bounds: Bounds,
) -> Result<StorageRow, StorageError> {
    let (clock, entropy) = (&world.services.clock, &world.services.entropy);
    let row = StorageRow {
        id: StorageId::generate(clock, entropy),
        tenant,
        name: "a".into(),
        settings: StorageSettings::from_json(r#"{"kind":"directory","path":"/nowhere"}"#).unwrap(),
        guarded: false,
        secret: None,
        role: StorageRole::Both,
        state: StorageState::Active,
        capacity: ByteCount::new(capacity),
        weight: 1,
        used: ByteCount::ZERO,
        objects: 0,
        version: 1,
        created_at: clock.now(),
        updated_at: clock.now(),
    };
    storages::add(&world.services.control, &row, bounds, None, &entry(world)).await?;
    Ok(row)
}

async fn providers(world: &World, capacity: i64) -> StorageRow {
    storage(world, None, capacity, Bounds::default()).await.unwrap()
}

async fn used(world: &World, row: &StorageRow) -> (i64, i64) {
    let row = storages::get(&world.services.control, &row.id).await.unwrap().unwrap();
    (row.used.get(), row.objects)
}

fn spot(row: &StorageRow) -> Spot {
    Spot::Storage(row.id.clone())
}

fn share(bytes: i64) -> Share {
    Share {
        bytes: ByteCount::new(bytes),
        objects: 1,
    }
}

/// A job that a worker has.
async fn running(world: &World) -> JobId {
    let services = &world.services;
    let id = JobId::generate(&services.clock, &services.entropy);
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let job = NewJob::of(id.clone(), &Noop {}, trace).unwrap();
    let now = services.clock.now();
    jobs::accept(&services.control, &[job], now, true).await.unwrap();
    again(world, &id, now).await;
    id
}

async fn again(world: &World, id: &JobId, now: crate::units::Millis) {
    let claims = jobs::claim(&world.services.control, "w", std::slice::from_ref(id), now)
        .await
        .unwrap();
    assert!(matches!(claims.as_slice(), [jobs::Claim::Yours(_)]), "{claims:?}");
}

async fn parallel_claims_never_overfill_a_storage(world: World) {
    let row = providers(&world, 100).await;
    let (control, now) = (&world.services.control, world.services.clock.now());
    let claims = join_all((0..20).map(async |number| {
        let by = Claimant::named(format!("claim {number}"));
        claim(control, &by, &Shares::from([(spot(&row), share(9))]), now)
            .await
            .unwrap()
    }));
    let taken = claims.await.into_iter().filter(|claim| *claim == Claimed::Yes).count();
    assert_eq!((taken, used(&world, &row).await), (11, (99, 11)));
    // To the byte.
    let by = Claimant::named("last".into());
    let one = Shares::from([(spot(&row), share(1))]);
    assert_eq!(claim(control, &by, &one, now).await.unwrap(), Claimed::Yes);
    let by = Claimant::named("one too many".into());
    let refused = claim(control, &by, &one, now).await.unwrap();
    assert_eq!(refused, Claimed::NoRoom([spot(&row)].into()));
    assert!(shares(control, &by).await.unwrap().is_empty());
}

async fn a_line_says_what_it_says_however_often_it_is_written(world: World) {
    let (first, second) = (providers(&world, 0).await, providers(&world, 0).await);
    let (control, now, job) = (
        &world.services.control,
        world.services.clock.now(),
        running(&world).await,
    );
    let by = Claimant::job(&job, 1);
    let both = Shares::from([(spot(&first), share(7)), (spot(&second), share(5))]);
    for _ in 0..3 {
        assert_eq!(claim(control, &by, &both, now).await.unwrap(), Claimed::Yes);
    }
    assert_eq!(
        (used(&world, &first).await, used(&world, &second).await),
        ((7, 1), (5, 1))
    );
    let one = Shares::from([(spot(&second), share(6))]);
    for _ in 0..2 {
        assert!(settle(control, &by, &one, now).await.unwrap());
    }
    assert_eq!(
        (used(&world, &first).await, used(&world, &second).await),
        ((0, 0), (6, 1))
    );
    // Where it has been stays known.
    assert_eq!(shares(control, &by).await.unwrap().len(), 2);
    // Another attempt, at the same time as itself.
    join_all((0..8).map(async |_| claim(control, &by, &both, now).await.unwrap())).await;
    assert_eq!(
        (used(&world, &first).await, used(&world, &second).await),
        ((7, 1), (5, 1))
    );
}

async fn an_attempt_that_was_overtaken_changes_nothing(world: World) {
    let row = providers(&world, 0).await;
    let services = &world.services;
    let (control, job) = (&services.control, running(&world).await);
    let one = Shares::from([(spot(&row), share(7))]);
    let (first, second) = (Claimant::job(&job, 1), Claimant::job(&job, 2));
    let now = services.clock.now();
    assert_eq!(claim(control, &first, &one, now).await.unwrap(), Claimed::Yes);
    let late = now.after(jobs::SILENCE * 2);
    again(&world, &job, late).await;
    assert_eq!(claim(control, &first, &one, now).await.unwrap(), Claimed::Overtaken);
    assert!(!settle(control, &first, &Shares::new(), now).await.unwrap());
    assert_eq!(used(&world, &row).await, (7, 1));
    assert_eq!(claim(control, &second, &one, late).await.unwrap(), Claimed::Yes);
    assert_eq!(used(&world, &row).await, (7, 1));
    let settlement = Settlement {
        id: job.clone(),
        attempt: 2,
        outcome: Outcome::Done,
        has_message: true,
    };
    jobs::settle(control, &[settlement], late).await.unwrap();
    assert!(settle(control, &second, &one, late).await.unwrap());
}

async fn only_active_storages_take_more(world: World) {
    let row = providers(&world, 0).await;
    let (control, now) = (&world.services.control, world.services.clock.now());
    let by = Claimant::named("x".into());
    let set = async |bytes| {
        let wanted = Shares::from([(spot(&row), share(bytes))]);
        claim(control, &by, &wanted, now).await.unwrap()
    };
    assert_eq!(set(9).await, Claimed::Yes);
    let draining = StorageRow {
        state: StorageState::Draining,
        ..row.clone()
    };
    storages::update(control, &row, &draining, Bounds::default(), None, &entry(&world))
        .await
        .unwrap();
    assert_eq!(set(10).await, Claimed::Closed([spot(&row)].into()));
    assert_eq!(set(3).await, Claimed::Yes, "less is always taken");
    assert_eq!(used(&world, &row).await, (3, 1));
    let outdated = storages::update(control, &row, &draining, Bounds::default(), None, &entry(&world)).await;
    assert!(matches!(outdated, Err(StorageError::Outdated { .. })));
}

async fn so_many_storages_and_no_more(world: World) {
    let tenant = world.tenant().await.id().clone();
    let bounds = Bounds {
        most: 3,
        least_active: 0,
    };
    let all = join_all((0..6).map(|_| storage(&world, Some(tenant.clone()), 0, bounds))).await;
    let (added, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(added.len(), 3);
    assert!(
        refused
            .iter()
            .all(|one| matches!(one, Err(StorageError::TooMany { has: 3, limit: 3 })))
    );
}

async fn the_last_active_ones_stay(world: World) {
    let tenant = world.tenant().await.id().clone();
    let bounds = Bounds {
        most: 0,
        least_active: 1,
    };
    let mut rows = Vec::new();
    for _ in 0..2 {
        rows.push(storage(&world, Some(tenant.clone()), 0, bounds).await.unwrap());
    }
    let control = &world.services.control;
    let switched = join_all(rows.iter().map(async |row| {
        let off = StorageRow {
            state: StorageState::Off,
            ..row.clone()
        };
        storages::update(control, row, &off, bounds, None, &entry(&world)).await
    }));
    let switched = switched.await;
    assert_eq!(switched.iter().filter(|one| one.is_ok()).count(), 1, "{switched:?}");
}

async fn what_is_used_is_not_removed(world: World) {
    let row = providers(&world, 0).await;
    let (control, now) = (&world.services.control, world.services.clock.now());
    let remove = async || storages::remove(control, &row.id, &entry(&world)).await;
    assert!(
        matches!(remove().await, Err(StorageError::InUse { .. })),
        "it is active"
    );
    let off = StorageRow {
        state: StorageState::Off,
        ..row.clone()
    };
    storages::update(control, &row, &off, Bounds::default(), None, &entry(&world))
        .await
        .unwrap();
    let by = Claimant::named("x".into());
    settle(control, &by, &Shares::from([(spot(&row), share(1))]), now)
        .await
        .unwrap();
    assert!(matches!(remove().await, Err(StorageError::InUse { objects: 1, .. })));
    settle(control, &by, &Shares::new(), now).await.unwrap();
    remove().await.unwrap();
    assert!(matches!(remove().await, Err(StorageError::Missing { .. })));
}

/// What another process knows of storages, by a clock of its own.
fn another_process(world: &World, clock: Clock) -> Storages {
    let services = &world.services;
    let parts = StoragesParts {
        control: services.control.clone(),
        cache: services.cache.clone(),
        secrets: services.secrets.clone(),
        clock,
        entropy: services.entropy.clone(),
        guard: Guard::from_config(&services.config),
        main: services.objects.clone(),
    };
    Storages::new(parts, &services.shutdown)
}

async fn another_process_hears_of_a_change(world: World) {
    let services = &world.services;
    let other = another_process(&world, services.clock.clone());
    let tenant = world.tenant().await;
    assert_eq!(other.everywhere(tenant.id()).await.unwrap().len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let new = NewStorage {
        name: "a".into(),
        settings: StorageSettings::Directory(DirectorySettings {
            path: folder.path().to_owned(),
        }),
        credentials: None,
        role: StorageRole::Both,
        capacity: ByteCount::ZERO,
        weight: 1,
    };
    let row = services
        .storages
        .add(None, new, false, &Editor::operator(Actor::cli()))
        .await
        .unwrap();
    let heard = async {
        while other.everywhere(tenant.id()).await.unwrap().len() == 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::testing::PATIENCE, heard).await.unwrap();
    // Whoever has not heard finds one by its id all the same.
    let spot = Spot::Storage(row.id.clone());
    assert!(other.spot(tenant.id(), &spot).await.unwrap().is_some());
}

async fn nobody_is_sent_to_a_storage_that_is_being_emptied(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    let mut spots = Vec::new();
    for name in ["a", "b"] {
        let text = format!(
            r#"{{"kind":"s3","bucket":"pictures","endpoint":"https://localhost:9000","delivery":"public","public_url":"https://{name}.example"}}"#
        );
        let new = NewStorage {
            name: name.into(),
            settings: StorageSettings::from_json(&text).unwrap(),
            credentials: Some(crate::testing::s3::S3Server::credentials()),
            role: StorageRole::Both,
            capacity: ByteCount::ZERO,
            weight: 1,
        };
        let by = Editor::operator(Actor::cli());
        let added = services.storages.add(None, new, true, &by).await.unwrap();
        spots.push(Spot::Storage(added.id));
    }
    let key: crate::objects::ObjectKey = "media/demo/x/original.jpg".parse().unwrap();
    let become_so = async |state: &'static str, id: &Spot| {
        let id = id.to_string();
        world
            .execute("UPDATE storages SET state = $1 WHERE id = $2", &[state, &id])
            .await;
        services.storages.forget();
    };
    let sent_to = async |places: &[Spot]| {
        let places = Places::of(places.iter().cloned());
        let ttl = std::time::Duration::from_secs(60);
        services
            .storages
            .redirect(tenant.id(), &places, &key, ttl)
            .await
            .unwrap()
    };
    for spot in &spots {
        become_so("active", spot).await;
    }
    let (at_a, at_b) = (format!("https://a.example/{key}"), format!("https://b.example/{key}"));
    assert_eq!(sent_to(&spots).await, Some(at_a));
    become_so("draining", &spots[0]).await;
    assert_eq!(sent_to(&spots[..1]).await, None);
    // A copy elsewhere is as good.
    assert_eq!(sent_to(&spots).await, Some(at_b));
}

async fn a_probe_leaves_a_tenants_place_alone_that_does_not_answer(world: World) {
    let tenant = world.tenant().await;
    let text = r#"{"kind":"s3","bucket":"pictures","endpoint":"https://localhost:9000"}"#;
    let new = NewStorage {
        name: "a".into(),
        settings: StorageSettings::from_json(text).unwrap(),
        credentials: Some(crate::testing::s3::S3Server::credentials()),
        role: StorageRole::Both,
        capacity: ByteCount::ZERO,
        weight: 1,
    };
    let by = Editor::tenant(Actor::cli());
    let mut row = world
        .services
        .storages
        .add(Some(&tenant), new, true, &by)
        .await
        .unwrap();
    assert!(row.guarded);
    let clock = Clock::manual(crate::units::Millis::new(1_000_000));
    let other = another_process(&world, clock.clone());
    let asked = async |row: &StorageRow| match other.probe(row).await {
        Err(ProbeError::Objects(ObjectError::Address(_))) => true,
        Err(ProbeError::LeftAlone) => false,
        odd => panic!("{odd:?}"),
    };
    assert!(asked(&row).await);
    let left_alone = async { while asked(&row).await {} };
    tokio::time::timeout(crate::testing::PATIENCE, left_alone)
        .await
        .unwrap();
    // What it told others it hears too: each word may prolong the pause.
    let asked_again = async {
        while !asked(&row).await {
            clock.advance(Duration::from_secs(300));
        }
    };
    tokio::time::timeout(crate::testing::PATIENCE, asked_again)
        .await
        .unwrap();
    assert!(!asked(&row).await, "it is one call that is let through");
    // An operator's is asked each time: it is to be back as soon as it answers.
    row.guarded = false;
    assert!(matches!(other.probe(&row).await, Err(ProbeError::Objects(_))));
    assert!(matches!(other.probe(&row).await, Err(ProbeError::Objects(_))));
}
