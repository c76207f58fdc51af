//! The timers of usage: what they notice, what they do with it, and that they do it once.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_scheduler::run_once;
use mediamill_shared::{
    control::{
        activity::{self, Watcher},
        audit::{self, Actor},
        changes::Change,
        jobs::{self, Claim, NewJob, Outcome, Settlement},
        metering,
    },
    ids::{JobId, MediaId, ProcessId, TraceId},
    jobs::DeleteMedia,
    quota::export::{Export, Line},
    services::Services,
    tenancy::{
        Limit, LimitOverrides, Limits, Tenant,
        store::usage::{Settled, Usage},
    },
    testing::World,
    units::{ByteCount, Millis},
};
use std::time::Duration;

mediamill_shared::on_both_sides!(
    pictures_that_came_are_rolled_up_once,
    a_line_that_nobody_waited_for_is_found,
    a_tenant_that_nobody_can_read_keeps_nobody_back,
    a_limit_that_comes_near_is_told_once,
    a_removed_tenant_is_told_of_to_its_end,
);

/// A job of the tenant that ended just now, with a line of its ledger.
async fn worked(services: &Services, tenant: &Tenant, media: i64, bytes: i64) {
    let id = JobId::generate(&services.clock, &services.entropy);
    line(services, tenant, &id, media, bytes).await;
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let payload = DeleteMedia {
        holder: None,
        media: MediaId::generate(&services.clock, &services.entropy),
    };
    let mut job = NewJob::of(id.clone(), &payload, trace).unwrap();
    job.tenant = Some(tenant.id().clone());
    let now = services.clock.now();
    jobs::accept(&services.control, &[job], now, true).await.unwrap();
    let claims = jobs::claim(&services.control, "worker", std::slice::from_ref(&id), now)
        .await
        .unwrap();
    let [Claim::Yours(claimed)] = claims.as_slice() else {
        panic!("{claims:?}")
    };
    let settlement = Settlement {
        id,
        attempt: claimed.attempt,
        outcome: Outcome::Done,
        has_message: true,
    };
    assert_eq!(
        jobs::settle(&services.control, &[settlement], now).await.unwrap(),
        [true]
    );
}

async fn line(services: &Services, tenant: &Tenant, job: &JobId, media: i64, bytes: i64) {
    let change = Usage {
        media,
        bytes: ByteCount::new(bytes),
        ..Usage::default()
    };
    let mut tx = tenant.db().unwrap().begin().await.unwrap();
    let settled = tx.settle(job, change, &Limits::builtin(), services.clock.now()).await;
    assert_eq!(settled.unwrap(), Settled::Now);
    tx.commit().await.unwrap();
}

async fn hours(services: &Services, tenant: &Tenant) -> Usage {
    metering::total(&services.control, tenant.id()).await.unwrap()
}

fn usage(media: i64, bytes: i64) -> Usage {
    Usage {
        media,
        bytes: ByteCount::new(bytes),
        ..Usage::default()
    }
}

async fn roll_up(services: &Services) -> i64 {
    run_once(services, "roll-up-usage").await.unwrap().changed
}

async fn pictures_that_came_are_rolled_up_once(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    // A ledger that was there before anybody rolled up.
    line(
        services,
        &tenant,
        &JobId::generate(&services.clock, &services.entropy),
        1,
        10,
    )
    .await;
    // That its files were served before says nothing of its ledger.
    let served = [metering::Served {
        tenant: tenant.id().clone(),
        bytes: 5,
    }];
    let process = ProcessId::generate(&services.clock, &services.entropy);
    let now = services.clock.now();
    metering::count_served(&services.control, &process, 1, &served, now)
        .await
        .unwrap();
    assert_eq!(roll_up(services).await, 2);
    assert_eq!(hours(services, &tenant).await, usage(1, 10));
    worked(services, &tenant, 2, 20).await;
    assert!(roll_up(services).await >= 2);
    assert_eq!(roll_up(services).await, 0);
    assert_eq!(hours(services, &tenant).await, usage(3, 30));
    assert_eq!(
        activity::waiting(&services.control, Watcher::RollUp, None)
            .await
            .unwrap(),
        None
    );
}

async fn a_line_that_nobody_waited_for_is_found(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    // Its job was given up before its worker came to its end.
    world.record(&tenant, 1).await;
    run_once(services, "reconcile-usage").await.unwrap();
    assert!(
        activity::waiting(&services.control, Watcher::RollUp, Some(tenant.id()))
            .await
            .unwrap()
            .is_some()
    );
    roll_up(services).await;
    assert_eq!(hours(services, &tenant).await, usage(1, 10));
}

async fn a_tenant_that_nobody_can_read_keeps_nobody_back(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    let nobody = "nobody".parse().unwrap();
    let now = services.clock.now();
    activity::mark(
        &services.control,
        Watcher::RollUp,
        &nobody,
        now.before(Duration::from_secs(1)),
    )
    .await
    .unwrap();
    worked(services, &tenant, 1, 10).await;
    roll_up(services).await;
    assert_eq!(hours(services, &tenant).await, usage(1, 10));
    assert_eq!(
        activity::waiting(&services.control, Watcher::RollUp, None)
            .await
            .unwrap(),
        None
    );
}

async fn told(services: &Services, tenant: &Tenant) -> Vec<String> {
    let lines = audit::page(&services.control, Some(tenant.id()), None, 100)
        .await
        .unwrap();
    let mut told: Vec<_> = lines
        .into_iter()
        .filter(|line| line.action.starts_with("limit."))
        .map(|line| format!("{} {}", line.action, line.detail["limit_name"].as_str().unwrap()))
        .collect();
    told.sort();
    told
}

async fn a_limit_that_comes_near_is_told_once(world: World) {
    let change = Change {
        limits: Some(LimitOverrides::default().set(Limit::Media, 5)),
        ..Change::default()
    };
    let (services, tenant) = (&world.services, world.change(change).await);
    worked(services, &tenant, 4, 10).await;
    for changed in [1, 0] {
        assert_eq!(run_once(services, "watch-limits").await.unwrap().changed, changed);
    }
    assert_eq!(told(services, &tenant).await, ["limit.warning media"]);
    worked(services, &tenant, 1, 10).await;
    for changed in [1, 0] {
        assert_eq!(run_once(services, "watch-limits").await.unwrap().changed, changed);
    }
    assert_eq!(
        told(services, &tenant).await,
        ["limit.reached media", "limit.warning media"]
    );
}

async fn a_removed_tenant_is_told_of_to_its_end(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    let id = tenant.id().clone();
    // Not rolled up before it goes.
    worked(services, &tenant, 3, 30).await;
    services
        .lifecycle
        .begin_purge(&id, &Actor::cli())
        .await
        .unwrap()
        .unwrap();
    for _ in 0..2 {
        services.lifecycle.purge(&id, None, &Actor::cli()).await.unwrap();
    }
    assert_eq!(services.resolver.refresh(&id).await.unwrap().map(|_| ()), None);
    roll_up(services).await;
    let now = services.clock.now();
    let from = Millis::new(0);
    let mut export = Export::new(services.control.clone(), Some(id), from, now);
    let mut lines: Vec<Line> = Vec::new();
    while let Some(page) = export.next().await.unwrap() {
        lines.extend(page);
    }
    for resource in ["media", "bytes"] {
        let of: Vec<_> = lines.iter().filter(|line| line.resource.as_str() == resource).collect();
        // Came and went, in one hour or in two.
        assert!(!of.is_empty(), "{lines:?}");
        assert_eq!(of.last().unwrap().total, 0, "{lines:?}");
        assert_eq!(of.iter().map(|line| line.change).sum::<i64>(), 0);
    }
    let later = now.after(metering::KEPT).after(Duration::from_secs(1));
    assert_eq!(metering::forget_closed(&services.control, later, 10).await.unwrap(), 1);
}
