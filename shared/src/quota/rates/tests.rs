//! What an hour's counter promises, with the cache of both sides and without one.

use super::*;
use crate::{
    cache::{Cache, CacheContext},
    control::changes::Change,
    tenancy::LimitOverrides,
    testing::World,
};
use futures_util::future::join_all;

crate::on_both_sides!(
    the_last_uploads_of_an_hour_are_given_once,
    what_is_given_back_may_be_taken_again,
    the_next_hour_begins_with_nothing,
    a_lost_counter_is_seeded_from_the_rows,
    without_a_cache_the_rows_decide,
    without_a_limit_nothing_is_counted,
);

fn uploads(limit: i64) -> LimitOverrides {
    LimitOverrides::default().set(Limit::UploadsHour, limit)
}

async fn limited(world: &World, limit: i64) -> Tenant {
    let (id, _) = world.another_tenant_with("limited", uploads(limit)).await;
    world.services.resolver.by_id(&id).await.unwrap().unwrap()
}

/// The first tenant, with three uploads that were accepted, and from now on a limit.
async fn three_accepted(world: &World, limit: i64) -> Tenant {
    let (clock, least) = (&world.services.clock, Duration::from_secs(30));
    let left = |now: Millis| Period::hour_of(now).end.since(now);
    while left(clock.now()) < least {
        clock.sleep(left(clock.now())).await;
    }
    for byte in 0..3 {
        world.upload(vec![byte; 10]).await;
    }
    let change = Change {
        limits: Some(uploads(limit)),
        ..Change::default()
    };
    world.change(change).await
}

fn over(answer: Result<Option<Taken>, RateError>) -> OverRate {
    match answer {
        Err(RateError::Over(over)) => over,
        other => panic!("{other:?}"),
    }
}

async fn the_last_uploads_of_an_hour_are_given_once(world: World) {
    let (tenant, quota, now) = (
        limited(&world, 5).await,
        &world.services.quota,
        world.services.clock.now(),
    );
    let answers = join_all((0..20).map(|_| quota.take_uploads(&tenant, 1, now))).await;
    let (fit, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((fit.len(), refused.len()), (5, 15));
    for answer in refused {
        let over = over(answer);
        let (standing, period) = (over.standing, Period::hour_of(now));
        assert_eq!(
            (standing.resource, standing.limit, standing.used),
            (Limit::UploadsHour, 5, 5)
        );
        assert_eq!((over.asked, standing.period, standing.left()), (1, period, 0));
        assert_eq!(over.retry_after, period.seconds_left(now));
    }
}

async fn what_is_given_back_may_be_taken_again(world: World) {
    let (tenant, quota, now) = (
        limited(&world, 5).await,
        &world.services.quota,
        world.services.clock.now(),
    );
    let three = quota.take_uploads(&tenant, 3, now).await.unwrap().unwrap();
    assert_eq!((three.standing().used, three.standing_without().used), (3, 0));
    let refused = over(quota.take_uploads(&tenant, 3, now).await);
    assert_eq!((refused.standing.used, refused.asked), (3, 3));
    // All or none: two still fit.
    let two = quota.take_uploads(&tenant, 2, now).await.unwrap().unwrap();
    assert_eq!(two.standing().left(), 0);
    quota.give_back(&tenant, three).await;
    assert_eq!(quota.uploads_standing(&tenant, now).await.unwrap().used, 2);
    let again = quota.take_uploads(&tenant, 3, now).await.unwrap().unwrap();
    assert_eq!(again.standing().used, 5);
}

async fn the_next_hour_begins_with_nothing(world: World) {
    let (tenant, quota, now) = (
        limited(&world, 1).await,
        &world.services.quota,
        world.services.clock.now(),
    );
    let first = quota.take_uploads(&tenant, 1, now).await.unwrap().unwrap();
    over(quota.take_uploads(&tenant, 1, now).await);
    let next = first.standing().period.end;
    let second = quota.take_uploads(&tenant, 1, next).await.unwrap().unwrap();
    assert_eq!(second.standing().period.start, next);
    // Given back late, it goes to the hour that it came from.
    quota.give_back(&tenant, first).await;
    over(quota.take_uploads(&tenant, 1, next).await);
}

async fn a_lost_counter_is_seeded_from_the_rows(world: World) {
    let (tenant, quota, now) = (
        three_accepted(&world, 4).await,
        &world.services.quota,
        world.services.clock.now(),
    );
    for _ in 0..2 {
        let fourth = quota.take_uploads(&tenant, 1, now).await.unwrap().unwrap();
        assert_eq!(fourth.standing().used, 4);
        over(quota.take_uploads(&tenant, 1, now).await);
        world
            .services
            .cache
            .remove(&key(tenant.id(), Period::hour_of(now)))
            .await
            .unwrap();
    }
    // Uploads of other hours are not this one's.
    let next = Period::hour_of(now).end;
    assert_eq!(quota.uploads_standing(&tenant, next).await.unwrap().used, 0);
}

async fn without_a_cache_the_rows_decide(world: World) {
    let (tenant, services) = (three_accepted(&world, 4).await, &world.services);
    let context = CacheContext {
        clock: services.clock.clone(),
        entropy: services.entropy.clone(),
        shutdown: services.shutdown.clone(),
    };
    // Nobody listens there.
    let away = Cache::open(&"redis://127.0.0.1:1".parse().unwrap(), context)
        .await
        .unwrap();
    let (quota, now) = (Quota::new(services.control.clone(), away), services.clock.now());
    let taken = quota.take_uploads(&tenant, 1, now).await.unwrap().unwrap();
    assert_eq!(taken.standing().used, 4);
    quota.give_back(&tenant, taken).await;
    let refused = over(quota.take_uploads(&tenant, 2, now).await);
    assert_eq!((refused.standing.used, refused.asked), (3, 2));
    assert_eq!(quota.uploads_standing(&tenant, now).await.unwrap().used, 3);
}

async fn without_a_limit_nothing_is_counted(world: World) {
    let (tenant, quota, now) = (
        limited(&world, 0).await,
        &world.services.quota,
        world.services.clock.now(),
    );
    for _ in 0..50 {
        assert_eq!(quota.take_uploads(&tenant, 100, now).await.unwrap(), None);
    }
    let standing = quota.uploads_standing(&tenant, now).await.unwrap();
    assert_eq!((standing.used, standing.limit), (0, 0));
}
