//! What shares and turns promise, with the cache, the queue and the database of both sides.

use super::*;
use crate::{
    control::{
        accept::{self, Accepted, Request},
        jobs::NewJob,
    },
    ids::TraceId,
    jobs::{Job, Noop},
    queue::{Broker, Consume},
    tenancy::{Limit, LimitOverrides},
    testing::{PATIENCE, World},
};
use std::collections::BTreeSet;

crate::on_both_sides!(
    what_is_beyond_the_share_is_held_and_follows_one_by_one,
    idle_workers_are_never_kept_idle_by_shares,
    turns_are_taken_by_weight,
    whoever_comes_anew_is_next,
    the_bulk_lane_comes_after_and_is_not_starved,
    jobs_in_flight_are_never_passed,
    whoever_may_have_none_is_not_in_the_way_of_others,
    places_that_nobody_gave_back_come_back,
    a_turn_that_was_forgotten_is_put_back,
    a_job_is_released_once_whoever_does_it,
);

const POOL: Pool = Noop::POOL;
/// The configuration's `dispatch_share`.
const SHARE: usize = 4;

async fn tenant(world: &World, id: &str, limits: LimitOverrides) -> Tenant {
    let (id, _) = world.another_tenant_with(id, limits).await;
    world.services.resolver.by_id(&id).await.unwrap().unwrap()
}

fn weighing(weight: i64) -> LimitOverrides {
    LimitOverrides::default().set(Limit::DispatchWeight, weight)
}

/// Has jobs accepted as the api does. How many of them are held.
async fn accepted(world: &World, tenant: &Tenant, lane: Lane, count: usize) -> usize {
    let services = &world.services;
    let admitted = services.dispatch.admit(tenant, POOL, lane, count).await;
    let jobs: Vec<NewJob> = (0..count)
        .map(|place| {
            let id = JobId::generate(&services.clock, &services.entropy);
            let trace = TraceId::generate(&services.clock, &services.entropy);
            let mut job = NewJob::of(id, &Noop {}, trace).unwrap();
            job.tenant = Some(tenant.id().clone());
            (job.lane, job.held) = (lane, place >= admitted);
            job
        })
        .collect();
    let request = Request {
        jobs: &jobs,
        ..Request::default()
    };
    let (stamp, now) = (tenant.context().stamp(), services.clock.now());
    let published = services.queue.rows_are_messages();
    let done = accept::accept(&services.control, tenant.id(), stamp, request, now, published).await;
    assert_eq!(done.unwrap(), Accepted::New);
    for job in jobs.iter().filter(|job| !job.held) {
        services.outbox.offer(job.pool, job.envelope(now));
    }
    count - admitted
}

async fn release(world: &World, occasion: Occasion) -> Vec<JobId> {
    world.services.dispatch.release(POOL, occasion).await.unwrap().jobs()
}

fn idle(idle: usize) -> Occasion {
    Occasion {
        idle,
        ..Occasion::default()
    }
}

fn ended(tenant: &Tenant, count: i64) -> Occasion {
    Occasion {
        ended: BTreeMap::from([(tenant.id().clone(), count)]),
        ..Occasion::default()
    }
}

/// How many of `jobs` are whose.
async fn whose(world: &World, jobs: &[JobId]) -> BTreeMap<TenantId, usize> {
    let mut whose = BTreeMap::new();
    for job in jobs {
        let row = jobs::get(&world.services.control, job).await.unwrap().unwrap();
        *whose.entry(row.tenant.unwrap()).or_default() += 1;
    }
    whose
}

/// The jobs that a consumer gets next.
async fn delivered(world: &World, count: usize) -> BTreeSet<JobId> {
    let mut consumer = world.services.queue.consume(POOL, 100);
    let mut jobs = BTreeSet::new();
    while jobs.len() < count {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
        jobs.insert(delivery.envelope().unwrap().job().clone());
        delivery.done().await.unwrap();
    }
    jobs
}

async fn held(world: &World) -> i64 {
    let held = jobs::held(&world.services.control).await.unwrap();
    held.iter().map(|(_, count)| count).sum()
}

async fn what_is_beyond_the_share_is_held_and_follows_one_by_one(world: World) {
    let busy = tenant(&world, "busy", LimitOverrides::default()).await;
    assert_eq!(accepted(&world, &busy, Lane::Interactive, SHARE + 2).await, 2);
    // Whoever has none there finds a place at once.
    let quiet = tenant(&world, "quiet", LimitOverrides::default()).await;
    assert_eq!(accepted(&world, &quiet, Lane::Interactive, 1).await, 0);
    let first = delivered(&world, SHARE + 1).await;
    assert!(release(&world, Occasion::default()).await.is_empty());
    // Another one's end is nothing to it.
    assert!(release(&world, ended(&quiet, 1)).await.is_empty());
    let next = release(&world, ended(&busy, 1)).await;
    assert_eq!((next.len(), held(&world).await), (1, 1));
    assert!(!first.contains(&next[0]), "it was released before");
    assert_eq!(delivered(&world, 1).await, BTreeSet::from([next[0].clone()]));
    let last = release(&world, ended(&busy, 3)).await;
    assert!(last.len() == 1 && last[0] > next[0], "the oldest goes first");
    assert_eq!(held(&world).await, 0);
    assert!(
        jobs::turns(&world.services.control, POOL, None, 9)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn idle_workers_are_never_kept_idle_by_shares(world: World) {
    let alone = tenant(&world, "alone", LimitOverrides::default()).await;
    assert_eq!(accepted(&world, &alone, Lane::Interactive, 30).await, 26);
    let mut here = 0;
    for (asked, there_are) in [(10, 10), (20, 16)] {
        let released = world.services.dispatch.release(POOL, idle(asked)).await.unwrap();
        assert_eq!(released.jobs().len(), there_are);
        here += released.here.len();
    }
    // Whoever asked runs them, where messages are a broker's.
    let rows_are_messages = world.services.queue.rows_are_messages();
    assert_eq!(here, if rows_are_messages { 0 } else { 26 });
    assert_eq!(delivered(&world, 30 - here).await.len(), 30 - here);
}

async fn turns_are_taken_by_weight(world: World) {
    let light = tenant(&world, "light", weighing(1)).await;
    let heavy = tenant(&world, "heavy", weighing(3)).await;
    assert_eq!(accepted(&world, &light, Lane::Interactive, 40).await, 36);
    assert_eq!(accepted(&world, &heavy, Lane::Interactive, 52).await, 40);
    let mut released = Vec::new();
    for count in [1, 3, 8, 12] {
        released.extend(release(&world, idle(count)).await);
    }
    let whose = whose(&world, &released).await;
    assert_eq!((whose[light.id()], whose[heavy.id()]), (6, 18));
}

async fn whoever_comes_anew_is_next(world: World) {
    let first = tenant(&world, "first", LimitOverrides::default()).await;
    accepted(&world, &first, Lane::Interactive, 40).await;
    assert_eq!(release(&world, idle(20)).await.len(), 20);
    let late = tenant(&world, "late", LimitOverrides::default()).await;
    accepted(&world, &late, Lane::Interactive, SHARE + 5).await;
    // It does not make up for what it was not there for either.
    let released = release(&world, idle(6)).await;
    let whose = whose(&world, &released).await;
    assert_eq!((whose[first.id()], whose[late.id()]), (3, 3));
}

async fn the_bulk_lane_comes_after_and_is_not_starved(world: World) {
    let busy = tenant(&world, "busy", LimitOverrides::default()).await;
    assert_eq!(
        accepted(&world, &busy, Lane::Bulk, 20).await,
        19,
        "a quarter of the share"
    );
    assert_eq!(accepted(&world, &busy, Lane::Interactive, 43).await, 40);
    let lane = "SELECT CAST(COUNT(id) AS BIGINT) FROM jobs WHERE held = 1 AND lane = 'bulk'";
    assert_eq!(release(&world, idle(20)).await.len(), 20);
    assert_eq!(world.number(lane).await, 15, "one of five");
}

async fn jobs_in_flight_are_never_passed(world: World) {
    let limits = LimitOverrides::default().set(Limit::JobsInFlight, 2);
    let (bound, free) = (
        tenant(&world, "bound", limits).await,
        tenant(&world, "free", LimitOverrides::default()).await,
    );
    assert_eq!(accepted(&world, &bound, Lane::Interactive, 9).await, 7);
    assert!(release(&world, idle(50)).await.is_empty());
    accepted(&world, &free, Lane::Interactive, 10).await;
    // What it may not have is others'.
    let released = release(&world, idle(6)).await;
    assert_eq!(whose(&world, &released).await, BTreeMap::from([(free.id().clone(), 6)]));
    assert_eq!(release(&world, ended(&bound, 1)).await.len(), 1);
}

/// Those whose turn it is have all that they may have, for as long as it takes.
async fn whoever_may_have_none_is_not_in_the_way_of_others(world: World) {
    for id in ["first", "second", "third"] {
        let limits = LimitOverrides::default().set(Limit::JobsInFlight, 1);
        let bound = tenant(&world, id, limits).await;
        assert_eq!(accepted(&world, &bound, Lane::Interactive, 3).await, 2);
    }
    let free = tenant(&world, "free", LimitOverrides::default()).await;
    accepted(&world, &free, Lane::Interactive, SHARE + 5).await;
    assert_eq!(
        release(&world, idle(1)).await.len(),
        1,
        "its turn comes later from now on"
    );
    let turns = jobs::turns(&world.services.control, POOL, None, 9).await.unwrap();
    assert_eq!((turns.len(), &turns[3].tenant), (4, free.id()));
    for page in [1, 2, 3] {
        let released = world.services.dispatch.release_by(POOL, idle(1), page).await.unwrap();
        assert_eq!(released.jobs().len(), 1, "looked at {page} at a time");
    }
}

#[tokio::test]
async fn without_shares_the_bound_holds_all_the_same() {
    let world = World::embedded_with(&[("fair_dispatch", "false".to_owned())]).await;
    let free = tenant(&world, "free", LimitOverrides::default()).await;
    assert_eq!(accepted(&world, &free, Lane::Bulk, 100).await, 0);
    let limits = LimitOverrides::default().set(Limit::JobsInFlight, 2);
    let bound = tenant(&world, "bound", limits).await;
    let dispatch = &world.services.dispatch;
    for _ in 0..2 {
        assert_eq!(dispatch.admit(&bound, POOL, Lane::Interactive, 3).await, 2);
        // Nothing was accepted.
        dispatch.give_back(bound.id(), POOL, 2).await;
    }
    assert_eq!(accepted(&world, &bound, Lane::Interactive, 5).await, 3);
    assert!(release(&world, idle(9)).await.is_empty());
    assert_eq!(release(&world, ended(&bound, 1)).await.len(), 1);
}

async fn places_that_nobody_gave_back_come_back(world: World) {
    let busy = tenant(&world, "busy", LimitOverrides::default()).await;
    accepted(&world, &busy, Lane::Interactive, SHARE + 3).await;
    for job in delivered(&world, SHARE).await {
        // Its worker settled it, and died before it gave the place back.
        world
            .execute("UPDATE jobs SET state = 'done' WHERE id = $1", &[job.as_str()])
            .await;
    }
    let all = || Occasion {
        all: true,
        ..Occasion::default()
    };
    assert!(release(&world, all()).await.is_empty());
    // The count's time is over.
    let cache = &world.services.cache;
    cache.remove(&key(busy.id(), POOL)).await.unwrap();
    assert_eq!(release(&world, all()).await.len(), 3);
}

async fn a_turn_that_was_forgotten_is_put_back(world: World) {
    let busy = tenant(&world, "busy", LimitOverrides::default()).await;
    accepted(&world, &busy, Lane::Interactive, SHARE + 2).await;
    let control = &world.services.control;
    let turn = jobs::turns(control, POOL, None, 9).await.unwrap().remove(0);
    // Not while jobs are held.
    jobs::forget_turn(control, POOL, &turn).await.unwrap();
    assert_eq!(jobs::turns(control, POOL, None, 9).await.unwrap().len(), 1);
    world
        .execute("DELETE FROM dispatch_turns WHERE tenant = $1", &["busy"])
        .await;
    assert!(release(&world, idle(9)).await.is_empty());
    assert_eq!(jobs::mend_turns(control).await.unwrap(), 1);
    assert_eq!(jobs::mend_turns(control).await.unwrap(), 0);
    assert_eq!(release(&world, idle(9)).await.len(), 2);
}

async fn a_job_is_released_once_whoever_does_it(world: World) {
    let busy = tenant(&world, "busy", LimitOverrides::default()).await;
    accepted(&world, &busy, Lane::Interactive, SHARE + 40).await;
    let all = futures_util::future::join_all((0..8).map(|_| release(&world, idle(10)))).await;
    let released: Vec<JobId> = all.into_iter().flatten().collect();
    let different: BTreeSet<&JobId> = released.iter().collect();
    assert_eq!(released.len(), different.len());
    // Some came in each other's way; the next look gets what is left.
    let rest = release(&world, idle(80)).await;
    assert_eq!(released.len() + rest.len(), 40);
    assert_eq!(held(&world).await, 0);
}
