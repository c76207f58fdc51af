//! Tenants with databases of their own, many more of them than connections.

use crate::{
    control::tenants,
    db::Engine,
    ids::TenantId,
    services::Services,
    tenancy::NewTenant,
    testing::{World, make_tenant},
};
use futures_util::{StreamExt, stream};
use sqlx::Row;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

/// Tenants of the test; `MEDIAMILL_TEST_TENANTS` for another size by hand.
const FILES: usize = 300;
/// On a server each is a database of several megabytes.
const DATABASES: usize = 40;
/// Uses at a time: many times the ceiling.
const AT_ONCE: usize = 60;
/// `MEDIAMILL_TEST_CEILING` for another by hand.
const CEILING: usize = 10;

#[expect(clippy::disallowed_methods, reason = "tests are set up by their environment")]
fn by_hand(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn ceiling() -> usize {
    by_hand("MEDIAMILL_TEST_CEILING", CEILING)
}

fn settings() -> Vec<(&'static str, String)> {
    vec![
        ("tenant_connections", ceiling().to_string()),
        ("tenant_isolation", "database".to_owned()),
    ]
}

async fn many(services: &Services, count: usize) -> Vec<TenantId> {
    let ids = stream::iter(0..count).map(|number| async move {
        let id: TenantId = format!("t{number}").parse().unwrap();
        make_tenant(services, NewTenant::plain(id.clone(), &format!("{id}.localhost"))).await;
        id
    });
    ids.buffer_unordered(4).collect().await
}

/// Connections to databases of tenants that the server knows of.
async fn at_the_server(services: &Services) -> i64 {
    match services.control.engine() {
        Engine::Sqlite => 0,
        Engine::Postgres => {
            let count =
                "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_stat_activity WHERE datname LIKE current_database() || '\\_%'";
            let row = sqlx::query(count).fetch_one(services.control.read()).await.unwrap();
            row.get(0)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what is measured by hand")]
async fn all_are_used_under_the_ceiling(world: World, count: usize) {
    let services = &world.services;
    let watch = crate::clock::Stopwatch::start();
    let ids = many(services, count).await;
    let made = watch.elapsed();
    let watch = crate::clock::Stopwatch::start();
    let (over, peak, peak_there) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicI64::new(0));
    let look = async {
        while !over.load(Ordering::SeqCst) {
            peak.fetch_max(services.databases.open_connections(), Ordering::SeqCst);
            peak_there.fetch_max(at_the_server(services).await, Ordering::SeqCst);
            services.clock.sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let work = async {
        // Every tenant three times.
        let uses = (0..3).flat_map(|_| &ids).map(|id| async move {
            let tenant = services.resolver.by_id(id).await.unwrap().unwrap();
            super::two::record(&tenant.db().unwrap(), id).await.unwrap();
            tenant.db().unwrap().usage().await.unwrap();
        });
        stream::iter(uses).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(look, work);
    for id in &ids {
        let db = services.resolver.by_id(id).await.unwrap().unwrap().db().unwrap();
        assert_eq!(db.usage().await.unwrap().media, 3);
    }
    let (peak, there) = (peak.into_inner(), peak_there.into_inner());
    println!(
        "{count} tenants made in {made:?}, used 3 times each in {:?}: {peak} connections at most, {there} at the server",
        watch.elapsed()
    );
    // The server counts those that are closed here until their processes have ended.
    assert!(
        peak <= ceiling() && there <= 2 * i64::try_from(ceiling()).unwrap(),
        "{peak} {there}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_files_are_used_under_the_ceiling() {
    all_are_used_under_the_ceiling(
        World::embedded_with(&settings()).await,
        by_hand("MEDIAMILL_TEST_TENANTS", FILES),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers: run ./test.sh"]
async fn many_databases_are_used_under_the_ceiling() {
    all_are_used_under_the_ceiling(
        World::distributed_with(&settings()).await,
        by_hand("MEDIAMILL_TEST_TENANTS", DATABASES),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers: run ./test.sh"]
async fn an_idle_connection_that_died_is_replaced_unnoticed() {
    let world = World::distributed_with(&settings()).await;
    let services = &world.services;
    let ids = many(services, 4).await;
    for _ in 0..3 {
        let end = "SELECT CAST(COUNT(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity \
            WHERE datname LIKE current_database() || '\\_%'";
        let row = sqlx::query(end).fetch_one(services.control.read()).await.unwrap();
        assert!(row.get::<i64, _>(0) > 0, "there were idle ones");
        for id in &ids {
            assert!(tenants::get(&services.control, id).await.unwrap().is_some());
            let db = services.resolver.by_id(id).await.unwrap().unwrap().db().unwrap();
            super::two::record(&db, id).await.unwrap();
            db.usage().await.unwrap();
        }
    }
    assert!(services.databases.open_connections() <= ceiling());
}
