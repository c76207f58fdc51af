//! Timers that look at whoever was active: with more tenants than a run looks at, each has its turn.

use super::{enforce, roll_up, watch_limits};
use crate::timer::Report;
use mediamill_shared::{
    clock::Clock,
    control::{
        activity::{self, Watcher},
        changes::Change,
        metering,
    },
    ids::{JobId, ProcessId, TenantId},
    services::Services,
    tenancy::{Limit, Limits, store::usage::Usage},
    testing::World,
    units::ByteCount,
};
use std::time::Duration;

mediamill_shared::on_both_sides!(
    everybody_is_watched_in_turn_and_nobody_twice_in_a_round,
    everybody_is_rolled_up_in_turn,
    everybody_is_held_to_limits_in_turn,
    whoever_cannot_be_read_is_not_tried_again_in_the_same_round,
);

/// Tenants that a run looks at here.
const MOST: i64 = 2;

/// With a clock that stands still until a second passes.
pub(super) fn timed(world: &World) -> Services {
    Services {
        clock: Clock::manual(world.services.clock.now()),
        ..world.services.clone()
    }
}

pub(super) fn pass(services: &Services) {
    services.clock.advance(Duration::from_secs(1));
}

pub(super) async fn tenants(world: &World, limits: &[(Limit, i64)]) -> Vec<TenantId> {
    let mut ids = Vec::new();
    for number in 0..5 {
        let limits = limits.iter().copied().collect();
        ids.push(world.another_tenant_with(&format!("t{number}"), limits).await.0);
    }
    ids
}

/// Counts pictures without a job.
pub(super) async fn store(services: &Services, tenant: &TenantId, media: i64) {
    let job = JobId::generate(&services.clock, &services.entropy);
    let change = Usage {
        media,
        bytes: ByteCount::new(media),
        ..Usage::default()
    };
    let tenant = services.resolver.by_id(tenant).await.unwrap().unwrap();
    let mut tx = tenant.db().unwrap().begin().await.unwrap();
    let now = services.clock.now();
    tx.settle(&job, change, &Limits::builtin(), now).await.unwrap();
    tx.commit().await.unwrap();
}

/// Its usage is to be rolled up.
async fn notice(services: &Services, tenant: &TenantId) {
    let marked = activity::mark(&services.control, Watcher::RollUp, tenant, services.clock.now());
    marked.await.unwrap();
}

/// Files of all of them were served just now.
async fn serve(services: &Services, tenants: &[TenantId]) {
    let served = tenants.iter().cloned();
    let served: Vec<_> = served.map(|tenant| metering::Served { tenant, bytes: 1 }).collect();
    let process = ProcessId::generate(&services.clock, &services.entropy);
    let now = services.clock.now();
    metering::count_served(&services.control, &process, 1, &served, now)
        .await
        .unwrap();
}

async fn watched(services: &Services) -> Report {
    watch_limits::some(services, MOST).await.unwrap()
}

pub(super) const fn report(changed: i64, unfinished: bool) -> Report {
    Report { changed, unfinished }
}

async fn everybody_is_watched_in_turn_and_nobody_twice_in_a_round(world: World) {
    let services = &timed(&world);
    let tenants = tenants(&world, &[(Limit::Media, 10)]).await;
    for id in &tenants {
        store(services, id, 8).await;
    }
    serve(services, &tenants).await;
    assert_eq!(watched(services).await, report(2, true));
    // One that was looked at reaches its limit: it waits for the others, and is not forgotten.
    pass(services);
    store(services, &tenants[0], 2).await;
    serve(services, &tenants).await;
    assert_eq!(watched(services).await, report(2, true));
    pass(services);
    assert_eq!(
        watched(services).await,
        report(1, false),
        "the round is over, though all are still active"
    );
    pass(services);
    assert_eq!(watched(services).await, report(1, true));
}

async fn everybody_is_rolled_up_in_turn(world: World) {
    let services = &timed(&world);
    let tenants = tenants(&world, &[]).await;
    for id in &tenants {
        store(services, id, 1).await;
    }
    // Five and the first tenant, none of which was ever rolled up.
    for left in [true, true, false] {
        assert_eq!(roll_up::some(services, MOST).await.unwrap().unfinished, left);
    }
    pass(services);
    for id in &tenants {
        store(services, id, 1).await;
        notice(services, id).await;
    }
    // Whoever is noticed again and again keeps its place, and goes behind the others when it was looked at.
    for left in [true, true, false] {
        assert_eq!(roll_up::some(services, MOST).await.unwrap().unfinished, left);
        pass(services);
        for id in &tenants[..2] {
            notice(services, id).await;
        }
    }
    for id in &tenants {
        let total = metering::total(&services.control, id).await.unwrap();
        assert_eq!(total.media, 2, "{id}");
    }
}

async fn everybody_is_held_to_limits_in_turn(world: World) {
    let services = &timed(&world);
    let tenants = tenants(&world, &[(Limit::Media, 1)]).await;
    for id in &tenants {
        store(services, id, 2).await;
    }
    while roll_up::some(services, MOST).await.unwrap().unfinished {}
    pass(services);
    // All six were made just now, and one is changed again and again.
    let mut report = Report::default();
    for left in [true, true, false] {
        let more = enforce::changed(services, &mut report, MOST).await.unwrap();
        assert_eq!(more, left);
        pass(services);
        world.change(Change::default()).await;
    }
    assert_eq!(report.changed, 5);
}

async fn whoever_cannot_be_read_is_not_tried_again_in_the_same_round(world: World) {
    let services = &timed(&world);
    let tenants = tenants(&world, &[]).await;
    for id in &tenants {
        store(services, id, 1).await;
    }
    while roll_up::some(services, MOST).await.unwrap().unfinished {}
    pass(services);
    for id in &tenants {
        store(services, id, 1).await;
        notice(services, id).await;
    }
    world
        .execute("UPDATE tenants SET table_prefix = 'tnowhere' WHERE id <= 't2'", &[])
        .await;
    for (changed, left) in [(0, true), (2, true), (2, false)] {
        let report = roll_up::some(services, MOST).await.unwrap();
        assert_eq!((report.changed, report.unfinished), (changed, left));
    }
    for id in &tenants[..3] {
        let waiting = activity::waiting(&services.control, Watcher::RollUp, Some(id)).await;
        assert_eq!(waiting.unwrap().as_ref(), Some(id));
    }
}
