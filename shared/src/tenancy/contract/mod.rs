//! What tenancy promises, with the cache and the databases of both sides: here what every tenant relies on, beside it a
//! file for each subject.

mod connections;
mod crashes;
mod holders;
mod hosts;
mod making;
mod modes;
mod moves;
mod overtaken;
mod pictures;
mod schemas;
mod two;

use super::{LimitOverrides, RemoveError, TenantState};
use crate::{
    clock::{Entropy, Stopwatch},
    control::{audit::Actor, changes::Change, jobs, tenants},
    ids::TenantId,
    services::Services,
    shutdown::Shutdown,
    tenancy::Limit,
    testing::{PATIENCE, World},
};
use std::time::Duration;

crate::on_both_sides!(
    hosts_are_found_however_they_are_written,
    a_change_reaches_every_process_within_its_bound,
    a_new_host_is_found_although_it_was_asked_for_before,
    tables_of_one_tenant_are_not_another_ones,
    a_removed_tenant_leaves_no_table_and_no_row,
    a_removal_waits_for_a_worker_that_may_place_something,
);

/// Another process of the same installation.
async fn second_process(world: &World) -> Services {
    let config = (*world.services.config).clone();
    let clock = world.services.clock.clone();
    Services::open(config, clock, Entropy::system(), Shutdown::new())
        .await
        .unwrap()
}

/// Removes a tenant for good.
async fn remove(services: &Services, id: &TenantId) {
    let lifecycle = &services.lifecycle;
    lifecycle.begin_purge(id, &Actor::cli()).await.unwrap().unwrap();
    lifecycle.purge(id, None, &Actor::cli()).await.unwrap();
}

async fn hosts_are_found_however_they_are_written(world: World) {
    let resolver = &world.services.resolver;
    for host in [
        "demo.localhost",
        "DEMO.localhost",
        "demo.localhost:8080",
        "demo.localhost.",
    ] {
        let tenant = resolver.by_host(host).await.unwrap().unwrap();
        assert_eq!(tenant.id().as_str(), "demo", "{host}");
    }
    for host in [
        "",
        "nobody.localhost",
        "demo",
        "demo.localhost.evil",
        "x.demo.localhost",
        "\u{0}",
    ] {
        assert!(resolver.by_host(host).await.unwrap().is_none(), "{host}");
    }
}

async fn a_change_reaches_every_process_within_its_bound(world: World) {
    let (here, there) = (&world.services, second_process(&world).await);
    let id = world.tenant().await.id().clone();
    assert!(there.resolver.by_id(&id).await.unwrap().unwrap().db().is_ok());
    let limits = LimitOverrides::default().set(Limit::Media, 7);
    let change = Change {
        state: Some(TenantState::Suspended),
        limits: Some(limits),
        ..Change::default()
    };
    here.lifecycle.change(&id, &change, &Actor::cli()).await.unwrap();
    let (mut seen, watch) = (false, Stopwatch::start());
    while !seen {
        let tenant = there.resolver.by_id(&id).await.unwrap().unwrap();
        // State and limits come together: a context is one thing of one version.
        assert_eq!(tenant.db().is_err(), tenant.context().limits.media == 7);
        seen = tenant.db().is_err();
        assert!(watch.elapsed() < PATIENCE);
        here.clock.sleep(Duration::from_millis(20)).await;
    }
    there.shutdown.stop();
}

async fn a_new_host_is_found_although_it_was_asked_for_before(world: World) {
    let there = second_process(&world).await;
    assert!(there.resolver.by_host("late.localhost").await.unwrap().is_none());
    world.another_tenant("late").await;
    let watch = Stopwatch::start();
    while there.resolver.by_host("late.localhost").await.unwrap().is_none() {
        assert!(watch.elapsed() < PATIENCE);
        there.clock.sleep(Duration::from_millis(20)).await;
    }
    there.shutdown.stop();
}

async fn tables_of_one_tenant_are_not_another_ones(world: World) {
    let (id, _) = world.another_tenant("other").await;
    let other = world.services.resolver.by_id(&id).await.unwrap().unwrap().db().unwrap();
    let own = world.tenant().await.db().unwrap();
    let user = own.user_named("admin").await.unwrap().unwrap();
    assert_ne!(other.user_named("admin").await.unwrap().unwrap(), user);
}

async fn a_removal_waits_for_a_worker_that_may_place_something(world: World) {
    let (services, tenant) = (&world.services, world.tenant().await);
    let (lifecycle, id) = (&services.lifecycle, tenant.id());
    let (_, job) = world.upload(vec![1; 10]).await;
    let claimed = jobs::claim(&services.control, "a worker", &[job], services.clock.now()).await;
    assert!(matches!(claimed.unwrap()[0], jobs::Claim::Yours(_)));
    lifecycle.begin_purge(id, &Actor::cli()).await.unwrap().unwrap();
    let refused = lifecycle.purge(id, None, &Actor::cli()).await.unwrap_err();
    assert!(matches!(refused, RemoveError::AtWork { .. }), "{refused}");
    assert!(tenants::get(&services.control, id).await.unwrap().is_some());
    // It is dead, or was told to stop.
    world
        .execute("UPDATE jobs SET touched_at = 0 WHERE state = 'running'", &[])
        .await;
    lifecycle.purge(id, None, &Actor::cli()).await.unwrap();
    assert!(tenants::get(&services.control, id).await.unwrap().is_none());
}

async fn a_removed_tenant_leaves_no_table_and_no_row(world: World) {
    let services = &world.services;
    let (id, _) = world.another_tenant("leaving").await;
    let old = services.resolver.by_id(&id).await.unwrap().unwrap().db().unwrap();
    remove(services, &id).await;
    // Broken off and begun again.
    services.lifecycle.purge(&id, None, &Actor::cli()).await.unwrap();
    assert!(tenants::get(&services.control, &id).await.unwrap().is_none());
    assert!(old.usage().await.is_err(), "its tables are gone");
    // The name is free, and nothing of the old one comes back.
    world.another_tenant("leaving").await;
    let new = services.resolver.refresh(&id).await.unwrap().unwrap().db().unwrap();
    assert_eq!(new.usage().await.unwrap().media, 0);
}
