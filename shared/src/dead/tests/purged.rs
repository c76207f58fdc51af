//! Dead jobs are purged, with everything that they keep alive.

use super::*;
use crate::{
    control::{changes::Change, tenants},
    jobs::{FetchMedia, MakeVariant},
    objects::{ObjectKey, Store},
    quota::Claim as Room,
    tenancy::{Limit, LimitOverrides, NewTenant, OnDemand, TenantState},
    units::ByteCount,
};

crate::on_both_sides!(
    a_purged_upload_leaves_nothing,
    a_purged_fetch_leaves_nothing,
    a_purged_upload_of_a_suspended_tenant_leaves_nothing,
    a_purged_variant_leaves_its_picture_alone,
    a_purged_move_leaves_the_tenant_where_it_is,
    a_purged_provisioning_frees_id_and_host,
    what_cannot_be_cleared_is_told_and_the_rest_goes_on,
);

async fn purged(world: &World, id: &JobId) {
    let purge = world.services.dead.purge(id, &Actor::cli()).await.unwrap();
    assert!(matches!(purge, Purge::Gone), "{purge:?}");
    let again = world.services.dead.purge(id, &Actor::cli()).await.unwrap();
    assert!(matches!(again, Purge::NotDead), "{again:?}");
    assert!(jobs::get(&world.services.control, id).await.unwrap().is_none());
}

/// Has room for one picture.
async fn narrow(world: &World) {
    let limits = LimitOverrides::default().set(Limit::Media, 1);
    let change = Change {
        limits: Some(limits),
        ..Change::default()
    };
    world.change(change).await;
}

/// Whether one more picture fits. What was taken for it is given back.
async fn fits(world: &World) -> bool {
    let (tenant, claim) = (
        world.tenant().await,
        Room {
            media: 1,
            bytes: ByteCount::ZERO,
        },
    );
    let reserved = world
        .services
        .quota
        .reserve(&tenant, &tenant.tables().unwrap(), claim)
        .await;
    if reserved.is_ok() {
        world.services.quota.release(&tenant, claim).await;
    }
    reserved.is_ok()
}

/// Objects of the installation's own store under `prefix`.
async fn stored(world: &World, prefix: &str) -> usize {
    world.services.objects.list(prefix, None, 100).await.unwrap().len()
}

/// Puts what an attempt may have left of a picture.
async fn half_placed(world: &World, media: &MediaId, name: &str) -> ObjectKey {
    let tenant = world.tenant().await;
    let key = ObjectKey::placed(tenant.id(), media, name, "jpg").unwrap();
    world
        .services
        .objects
        .put(&key, "half".into(), "image/jpeg")
        .await
        .unwrap();
    key
}

async fn a_purged_upload_leaves_nothing(world: World) {
    narrow(&world).await;
    let (media, job) = world.dead_upload("a picture").await;
    half_placed(&world, &media, "original").await;
    assert!(!fits(&world).await);
    assert_eq!(
        (
            stored(&world, ObjectKey::STAGED).await,
            stored(&world, ObjectKey::MEDIA).await
        ),
        (1, 1)
    );
    purged(&world, &job).await;
    assert_eq!(
        (
            stored(&world, ObjectKey::STAGED).await,
            stored(&world, ObjectKey::MEDIA).await
        ),
        (0, 0)
    );
    assert!(fits(&world).await, "what was reserved came back once");
    world.assert_at_rest().await;
}

async fn a_purged_fetch_leaves_nothing(world: World) {
    narrow(&world).await;
    let (tenant, reserved) = (world.tenant().await, ByteCount::new(1_000));
    let claim = Room {
        media: 1,
        bytes: reserved,
    };
    let db = tenant.db().unwrap();
    world.services.quota.reserve(&tenant, &db, claim).await.unwrap();
    let payload = FetchMedia {
        media: media_id(&world),
        url: "https://pictures.example/a.jpg".parse().unwrap(),
        file_name: None,
        key: None,
        reserved,
        expires_at: None,
        holder: None,
    };
    let now = world.services.clock.now();
    let job = world.dead(Some(tenant.id()), &payload, "attempts-used-up", now).await;
    // It had fetched the bytes, and placed a part of what was made of them.
    let staged = ObjectKey::staged(tenant.id(), &job);
    world
        .services
        .objects
        .put(&staged, "bytes".into(), "image/jpeg")
        .await
        .unwrap();
    half_placed(&world, &payload.media, "thumb").await;
    assert!(!fits(&world).await);
    purged(&world, &job).await;
    assert_eq!(
        (
            stored(&world, ObjectKey::STAGED).await,
            stored(&world, ObjectKey::MEDIA).await
        ),
        (0, 0)
    );
    assert!(fits(&world).await);
}

async fn a_purged_upload_of_a_suspended_tenant_leaves_nothing(world: World) {
    let (media, job) = world.dead_upload("a picture").await;
    half_placed(&world, &media, "original").await;
    let change = Change {
        state: Some(TenantState::Suspended),
        ..Change::default()
    };
    world.change(change).await;
    purged(&world, &job).await;
    assert_eq!(
        (
            stored(&world, ObjectKey::STAGED).await,
            stored(&world, ObjectKey::MEDIA).await
        ),
        (0, 0)
    );
}

async fn a_purged_variant_leaves_its_picture_alone(world: World) {
    let (tenant, media) = (world.tenant().await, media_id(&world));
    let wanted: OnDemand = "w100.webp".parse().unwrap();
    let payload = MakeVariant {
        media: media.clone(),
        name: wanted.name().to_owned(),
        variant: wanted.preset().clone(),
        reserved: ByteCount::new(10),
    };
    let job = world
        .dead(Some(tenant.id()), &payload, "test", world.services.clock.now())
        .await;
    let own = format!("{}-{job}", payload.name);
    let (kept, left) = (
        half_placed(&world, &media, "original").await,
        half_placed(&world, &media, &own).await,
    );
    purged(&world, &job).await;
    let prefix = ObjectKey::pictures(tenant.id());
    let listed = world.services.objects.list(&prefix, None, 10).await.unwrap();
    let keys: Vec<&ObjectKey> = listed.iter().map(|listed| &listed.key).collect();
    assert_eq!(keys, [&kept], "{left:?} was to go");
}

async fn a_purged_move_leaves_the_tenant_where_it_is(world: World) {
    let services = &world.services;
    let id = world.tenant().await.id().clone();
    let before = tenants::get(&services.control, &id).await.unwrap().unwrap();
    let (job, _) = world.begin_move().await;
    let moving = tenants::get(&services.control, &id).await.unwrap().unwrap();
    assert_eq!(moving.moving.as_ref(), Some(&job));
    // Its workers died of it.
    let claim = claimed(&world, &job).await;
    settled(&world, claim, dead()).await;
    purged(&world, &job).await;
    let after = tenants::get(&services.control, &id).await.unwrap().unwrap();
    assert_eq!((after.place, after.moving), (before.place, None));
    // It takes uploads, and can be moved again.
    world.upload("a picture").await;
    world.begin_move().await;
}

async fn a_purged_provisioning_frees_id_and_host(world: World) {
    let services = &world.services;
    let new = NewTenant::plain("late".parse().unwrap(), "late.example");
    let job = services.lifecycle.accept(new.clone(), &Actor::cli()).await.unwrap();
    let claim = claimed(&world, &job).await;
    settled(&world, claim, dead()).await;
    purged(&world, &job).await;
    assert!(tenants::get(&services.control, &new.id).await.unwrap().is_none());
    services.lifecycle.accept(new, &Actor::cli()).await.unwrap();
}

async fn what_cannot_be_cleared_is_told_and_the_rest_goes_on(world: World) {
    let services = &world.services;
    let (first, _) = (world.dead_upload("a picture").await, world.dead_upload("another").await);
    // A tenant whose tables a newer release has changed.
    let tenant = world.tenant().await.id().clone();
    let newer = "UPDATE tenants SET schema_version = schema_version + 1, version = version + 1 WHERE id = $1";
    world.execute(newer, &[tenant.as_str()]).await;
    services.resolver.refresh(&tenant).await.unwrap();
    let part = services.dead.purge_part(&all(), None, 10, &Actor::cli()).await.unwrap();
    assert_eq!((part.jobs, part.left.len(), part.last.is_none()), (2, 2, true));
    assert_eq!(part.left[0].0, first.1);
    let told = part.left[0].1.to_string();
    assert!(told.contains("update this process"), "{told}");
    // What needs nobody's tables is gone all the same.
    assert_eq!(stored(&world, ObjectKey::STAGED).await, 0);
}
