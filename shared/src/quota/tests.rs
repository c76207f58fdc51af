//! What the counters promise, with the cache and the database of both sides.

use super::*;
use crate::{control::changes::Change, tenancy::LimitOverrides, testing::World};
use futures_util::future::join_all;

crate::on_both_sides!(
    the_last_places_are_given_once,
    what_is_released_fits_again,
    a_lost_counter_is_seeded_from_rows_and_open_jobs,
    of_two_limits_both_hold,
    without_a_limit_everything_fits,
);

const ONE: Claim = Claim {
    media: 1,
    bytes: ByteCount::new(100),
};

async fn limited(world: &World, limits: LimitOverrides) -> (Tenant, TenantDb) {
    let (id, _) = world.another_tenant_with("limited", limits).await;
    let tenant = world.services.resolver.by_id(&id).await.unwrap().unwrap();
    let db = tenant.db().unwrap();
    (tenant, db)
}

async fn the_last_places_are_given_once(world: World) {
    let (tenant, db) = limited(&world, LimitOverrides::default().set(Limit::Media, 5)).await;
    let quota = &world.services.quota;
    let answers = join_all((0..20).map(|_| quota.reserve(&tenant, &db, ONE))).await;
    let (fit, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((fit.len(), refused.len()), (5, 15));
    for answer in refused {
        let Err(ReserveError::Over(over)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((over.resource, over.limit, over.asked), (Limit::Media, 5, 1));
        assert!(over.used <= 5);
    }
}

async fn what_is_released_fits_again(world: World) {
    let (tenant, db) = limited(&world, LimitOverrides::default().set(Limit::StoredBytes, 250)).await;
    let quota = &world.services.quota;
    quota.reserve(&tenant, &db, ONE).await.unwrap();
    quota.reserve(&tenant, &db, ONE).await.unwrap();
    assert!(quota.reserve(&tenant, &db, ONE).await.is_err());
    quota.release(&tenant, ONE).await;
    quota.reserve(&tenant, &db, ONE).await.unwrap();
    // What really came was less than what was reserved.
    let change = Usage {
        bytes: ByteCount::new(-50),
        ..Usage::default()
    };
    quota.correct(&tenant, change).await;
    quota.reserve(&tenant, &db, ONE).await.unwrap();
    assert!(quota.reserve(&tenant, &db, ONE).await.is_err());
}

async fn a_lost_counter_is_seeded_from_rows_and_open_jobs(world: World) {
    // Two jobs that nobody works on: their reservations stand in their rows.
    world.upload(vec![1; 100]).await;
    world.upload(vec![2; 100]).await;
    let limits = LimitOverrides::default()
        .set(Limit::Media, 4)
        .set(Limit::StoredBytes, 400);
    let change = Change {
        limits: Some(limits),
        ..Change::default()
    };
    let (services, tenant) = (&world.services, world.change(change).await);
    let db = tenant.db().unwrap();
    for _ in 0..2 {
        services.quota.forget(tenant.id()).await;
        services.quota.reserve(&tenant, &db, ONE).await.unwrap();
        services.quota.reserve(&tenant, &db, ONE).await.unwrap();
        assert!(services.quota.reserve(&tenant, &db, ONE).await.is_err());
    }
}

async fn of_two_limits_both_hold(world: World) {
    let limits = LimitOverrides::default()
        .set(Limit::Media, 10)
        .set(Limit::StoredBytes, 150);
    let (tenant, db) = limited(&world, limits).await;
    let quota = &world.services.quota;
    quota.reserve(&tenant, &db, ONE).await.unwrap();
    for _ in 0..20 {
        // What one limit refuses is given back to the other, or ten of these would use up the places.
        let Err(ReserveError::Over(over)) = quota.reserve(&tenant, &db, ONE).await else {
            panic!("250 of 150 bytes fit")
        };
        assert_eq!(over.resource, Limit::StoredBytes);
    }
    let small = Claim {
        media: 1,
        bytes: ByteCount::new(5),
    };
    for _ in 0..9 {
        quota.reserve(&tenant, &db, small).await.unwrap();
    }
    assert!(quota.reserve(&tenant, &db, small).await.is_err());
}

async fn without_a_limit_everything_fits(world: World) {
    let (tenant, db) = limited(&world, LimitOverrides::default()).await;
    for _ in 0..50 {
        world.services.quota.reserve(&tenant, &db, ONE).await.unwrap();
    }
}
