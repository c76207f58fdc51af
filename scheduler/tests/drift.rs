//! Figures that somebody has changed by hand are found, mended, and then left alone.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_scheduler::run_once;
use mediamill_shared::{
    cache::CachePort,
    clock::Clock,
    control::{
        changes::Change,
        object_findings,
        storages::{self, StorageRow},
    },
    ids::MediaId,
    objects::{ObjectKey, Store},
    placement::Spot,
    services::Services,
    tenancy::LimitOverrides,
    testing::{World, s3::S3Server},
    units::ByteCount,
};

mediamill_shared::on_both_sides!(
    a_counter_that_was_changed_is_counted_anew,
    a_storages_figures_that_were_changed_are_mended,
    storages_are_compared_though_a_tenant_is_on_its_way_in_or_does_not_answer,
    an_orphan_that_cannot_be_removed_keeps_nothing_from_being_found,
);

async fn changed(world: &World, timer: &str) -> i64 {
    run_once(&world.services, timer).await.unwrap().changed
}

async fn a_counter_that_was_changed_is_counted_anew(world: World) {
    let change = Change {
        limits: Some(LimitOverrides::from_json(r#"{"media": 9, "stored_bytes": "1 MB"}"#).unwrap()),
        ..Change::default()
    };
    let tenant = world.change(change).await;
    let db = tenant.db().unwrap();
    let (quota, cache) = (&world.services.quota, &world.services.cache);
    // Seeded by what is accepted.
    let (_, job) = world.upload(no_picture()).await;
    let claim = mediamill_shared::quota::Claim {
        media: 1,
        bytes: ByteCount::new(1),
    };
    quota.reserve(&tenant, &db, claim).await.unwrap();
    quota.release(&tenant, claim).await;
    assert_eq!(quota.drift(&tenant, &db).await.unwrap(), []);
    assert_eq!(changed(&world, "reconcile-usage").await, 0);
    cache.add_within("quota:demo:media", 3, None).await.unwrap();
    let drift = quota.drift(&tenant, &db).await.unwrap();
    assert_eq!((drift.len(), drift[0].counted, drift[0].used), (1, 4, 1));
    assert_eq!(changed(&world, "reconcile-usage").await, 1);
    assert_eq!(changed(&world, "reconcile-usage").await, 0);
    quota.reserve(&tenant, &db, claim).await.unwrap();
    quota.release(&tenant, claim).await;
    assert_eq!(quota.drift(&tenant, &db).await.unwrap(), []);
    world
        .execute("UPDATE jobs SET state = 'failed' WHERE id = $1", &[job.as_str()])
        .await;
}

/// Bytes that nobody makes a picture of.
fn no_picture() -> Vec<u8> {
    vec![0; 100]
}

async fn storage(world: &World, id: &StorageRow) -> (i64, i64) {
    let row = storages::get(&world.services.control, &id.id).await.unwrap().unwrap();
    (row.used.get(), row.objects)
}

async fn a_storages_figures_that_were_changed_are_mended(world: World) {
    let server = S3Server::start().await.unwrap();
    let added = world.add_storage("one", &server, None).await;
    assert_eq!(changed(&world, "reconcile-storages").await, 0);
    world
        .execute("UPDATE storages SET used = 5000, objects = 2 WHERE name = $1", &["one"])
        .await;
    // Whoever works may be about to change it.
    let (_, job) = world.upload(no_picture()).await;
    assert_eq!(changed(&world, "reconcile-storages").await, 0);
    assert_eq!(storage(&world, &added).await, (5_000, 2));
    world
        .execute("UPDATE jobs SET state = 'failed' WHERE id = $1", &[job.as_str()])
        .await;
    assert_eq!(changed(&world, "reconcile-storages").await, 1);
    assert_eq!(storage(&world, &added).await, (0, 0));
    assert_eq!(changed(&world, "reconcile-storages").await, 0);
}

/// What figures say when nothing lies there.
async fn count_too_much(world: &World) {
    world.execute("UPDATE storages SET used = 5000, objects = 2", &[]).await;
}

async fn storages_are_compared_though_a_tenant_is_on_its_way_in_or_does_not_answer(world: World) {
    let (server, services) = (S3Server::start().await.unwrap(), &world.services);
    let (away, _) = world.another_tenant("away").await;
    let (coming, _) = world.another_tenant("coming").await;
    let demo = world.tenant().await;
    let place = services.resolver.by_id(&away).await.unwrap().unwrap();
    let shared = world.add_storage("shared", &server, None).await;
    let own = world.add_storage("own", &server, Some(&demo)).await;
    let lost = world.add_storage("lost", &server, Some(&place)).await;
    world
        .execute(
            "UPDATE tenants SET state = 'provisioning', table_prefix = 'tnowhere', version = version + 1 WHERE id = 'coming'",
            &[],
        )
        .await;
    services.resolver.refresh(&coming).await.unwrap();
    count_too_much(&world).await;
    assert_eq!(changed(&world, "reconcile-storages").await, 3);
    count_too_much(&world).await;
    let put = "UPDATE tenants SET table_prefix = $1, version = version + 1 WHERE id = 'away'";
    world.execute(put, &["tnowhere"]).await;
    services.resolver.refresh(&away).await.unwrap();
    assert_eq!(changed(&world, "reconcile-storages").await, 1);
    assert_eq!(storage(&world, &own).await, (0, 0));
    for left in [&shared, &lost] {
        assert_eq!(storage(&world, left).await, (5_000, 2));
    }
    world.execute(put, &[place.context().place.prefix.as_str()]).await;
    services.resolver.refresh(&away).await.unwrap();
    assert_eq!(changed(&world, "reconcile-storages").await, 2);
}

/// Its key has not the right to. It comes before what is found.
async fn an_orphan_that_cannot_be_removed_keeps_nothing_from_being_found(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    let server = S3Server::start().await.unwrap();
    let storage = world.add_storage("one", &server, None).await;
    let place = Spot::Storage(storage.id.clone());
    let opened = services.storages.spot(tenant.id(), &place).await.unwrap().unwrap();
    let nobodys = MediaId::generate(&services.clock, &services.entropy);
    let orphan = ObjectKey::placed(tenant.id(), &nobodys, "original", "jpg").unwrap();
    let foreign: ObjectKey = "media/demo/zzz/read.me".parse().unwrap();
    assert!(orphan < foreign);
    for key in [&orphan, &foreign] {
        opened.objects.put(key, vec![1].into(), "text/plain").await.unwrap();
    }
    let weeks = std::time::Duration::from_secs(14 * 86_400);
    let later = Services {
        clock: Clock::manual(services.clock.now().after(weeks)),
        ..services.clone()
    };
    let changed = async || run_once(&later, "reconcile-objects").await.unwrap().changed;
    server.deny(&["DeleteObject"]);
    assert_eq!(changed().await, 1);
    let found = object_findings::page(&services.control, None, None, 10).await.unwrap();
    assert!(
        found.iter().map(|one| one.object.as_str()).eq([foreign.as_str()]),
        "{found:?}"
    );
    assert!(opened.objects.stat(&orphan).await.unwrap().is_some());
    server.deny(&[]);
    assert_eq!(changed().await, 1);
    assert_eq!(opened.objects.stat(&orphan).await.unwrap(), None);
}
