//! Hosts, wildcards, plans and trials, as every process sees them.

use super::second_process;
use crate::{
    cache::{CachePort, TENANT_CHANNEL},
    clock::Stopwatch,
    control::{
        accept::{self, Accepted},
        audit::{Actor, Entry},
        changes::Change,
        plans::{self, Plan},
    },
    services::Services,
    tenancy::{Limit, LimitOverrides, NewTenant},
    testing::{PATIENCE, World, faults::Proxy, make_tenant, servers},
};
use std::time::Duration;

crate::on_both_sides!(
    the_nearest_name_has_the_last_word,
    a_wildcard_that_is_taken_away_is_seen_everywhere,
    a_host_that_changes_hands_is_seen_everywhere,
    a_nearer_wildcard_takes_over_hosts_that_are_known_already,
    a_plans_change_is_seen_everywhere_and_by_acceptance_at_once,
    a_trial_ends_by_itself,
    who_asks_at_the_same_time_asks_once,
);

async fn at(services: &Services, id: &str, hosts: &[&str]) {
    let mut new = NewTenant::plain(id.parse().unwrap(), hosts[0]);
    new.hosts = crate::tenancy::normal_hosts(hosts).unwrap();
    make_tenant(services, new).await;
}

async fn whose(services: &Services, host: &str) -> Option<String> {
    let tenant = services.resolver.by_host(host).await.unwrap();
    tenant.map(|tenant| tenant.id().to_string())
}

/// Waits until `host` is `wanted`'s, which the bound promises soon.
async fn becomes(services: &Services, host: &str, wanted: Option<&str>) {
    let watch = Stopwatch::start();
    while whose(services, host).await.as_deref() != wanted {
        assert!(watch.elapsed() < PATIENCE, "{host} is not {wanted:?}'s");
        services.clock.sleep(Duration::from_millis(10)).await;
    }
}

async fn change(services: &Services, id: &str, add: &[&str], remove: &[&str]) {
    let change = Change {
        add_hosts: add.iter().map(|host| (*host).to_owned()).collect(),
        remove_hosts: remove.iter().map(|host| (*host).to_owned()).collect(),
        ..Change::default()
    };
    let id = id.parse().unwrap();
    services.lifecycle.change(&id, &change, &Actor::cli()).await.unwrap();
}

async fn the_nearest_name_has_the_last_word(world: World) {
    let services = &world.services;
    at(services, "wide", &["wide.example", "*.site.example"]).await;
    at(services, "near", &["near.example", "*.b.site.example"]).await;
    at(services, "exact", &["x.b.site.example", "second.example"]).await;
    for services in [services, &second_process(&world).await] {
        for _ in 0..2 {
            for (host, wanted) in [
                ("a.site.example", Some("wide")),
                ("c.a.site.example", Some("wide")),
                ("y.b.site.example", Some("near")),
                ("x.b.site.example", Some("exact")),
                ("z.x.b.site.example", Some("near")),
                ("second.example", Some("exact")),
                ("b.site.example", Some("wide")),
                // A wildcard stands for hosts under it, not for the name itself.
                ("site.example", None),
                ("*.site.example", None),
                ("example", None),
            ] {
                assert_eq!(whose(services, host).await.as_deref(), wanted, "{host}");
            }
        }
        let tenant = services.resolver.by_host("second.example").await.unwrap().unwrap();
        let hosts: Vec<_> = tenant
            .context()
            .hosts
            .iter()
            .map(|host| (host.name.as_str(), host.main))
            .collect();
        assert_eq!(hosts, [("x.b.site.example", true), ("second.example", false)]);
    }
}

async fn a_wildcard_that_is_taken_away_is_seen_everywhere(world: World) {
    let (here, there) = (&world.services, second_process(&world).await);
    at(here, "wide", &["wide.example", "*.site.example"]).await;
    for services in [here, &there] {
        assert_eq!(whose(services, "a.site.example").await.as_deref(), Some("wide"));
    }
    change(here, "wide", &[], &["*.site.example"]).await;
    becomes(here, "a.site.example", None).await;
    becomes(&there, "a.site.example", None).await;
    assert_eq!(whose(&there, "wide.example").await.as_deref(), Some("wide"));
    there.shutdown.stop();
}

async fn a_host_that_changes_hands_is_seen_everywhere(world: World) {
    let (here, there) = (&world.services, second_process(&world).await);
    at(here, "one", &["one.example", "shop.example"]).await;
    at(here, "two", &["two.example"]).await;
    for _ in 0..3 {
        for (from, to) in [("one", "two"), ("two", "one")] {
            assert_eq!(whose(&there, "shop.example").await.as_deref(), Some(from));
            change(here, from, &[], &["shop.example"]).await;
            change(here, to, &["shop.example"], &[]).await;
            becomes(&there, "shop.example", Some(to)).await;
            becomes(here, "shop.example", Some(to)).await;
        }
    }
    there.shutdown.stop();
}

async fn a_nearer_wildcard_takes_over_hosts_that_are_known_already(world: World) {
    let (here, there) = (&world.services, second_process(&world).await);
    at(here, "wide", &["wide.example", "*.site.example"]).await;
    at(here, "near", &["near.example"]).await;
    for services in [here, &there] {
        assert_eq!(whose(services, "a.b.site.example").await.as_deref(), Some("wide"));
    }
    change(here, "near", &["*.b.site.example"], &[]).await;
    becomes(here, "a.b.site.example", Some("near")).await;
    becomes(&there, "a.b.site.example", Some("near")).await;
    there.shutdown.stop();
}

fn entry(services: &Services, action: &str) -> Entry {
    Entry::new(&services.clock, &services.entropy, &Actor::cli(), action, None)
}

async fn a_plans_change_is_seen_everywhere_and_by_acceptance_at_once(world: World) {
    let (here, there) = (&world.services, second_process(&world).await);
    let mut plan = Plan::new("p".into(), here.clock.now());
    plan.limits = LimitOverrides::default().set(Limit::Media, 5);
    assert!(
        plans::create(&here.control, &plan, &entry(here, "plan.create"), here.clock.now())
            .await
            .unwrap()
    );
    let mut new = NewTenant::plain("t".parse().unwrap(), "t.example");
    new.plan = Some("p".into());
    make_tenant(here, new).await;
    let before = there.resolver.by_host("t.example").await.unwrap().unwrap();
    assert_eq!(before.context().limits.media, 5);
    let edit = |plan: &mut Plan| {
        plan.limits = LimitOverrides::default().set(Limit::Media, 2);
        true
    };
    plans::edit(&here.control, "p", edit, &entry(here, "plan.edit"), here.clock.now())
        .await
        .unwrap()
        .unwrap();
    // Nobody was told yet, and what was judged by the old plan is judged anew.
    let accept = async |stamp| {
        let now = there.clock.now();
        accept::accept(
            &there.control,
            before.id(),
            stamp,
            accept::Request::default(),
            now,
            true,
        )
        .await
        .unwrap()
    };
    assert_eq!(accept(before.context().stamp()).await, Accepted::Outdated);
    let fresh = there.resolver.refresh(before.id()).await.unwrap().unwrap();
    assert_eq!(fresh.context().limits.media, 2);
    assert_eq!(accept(fresh.context().stamp()).await, Accepted::New);
    here.resolver.refresh_plan("p").await.unwrap();
    for services in [here, &there] {
        let watch = Stopwatch::start();
        while services
            .resolver
            .by_host("t.example")
            .await
            .unwrap()
            .unwrap()
            .context()
            .limits
            .media
            != 2
        {
            assert!(watch.elapsed() < PATIENCE);
            services.clock.sleep(Duration::from_millis(10)).await;
        }
    }
    there.shutdown.stop();
}

async fn a_trial_ends_by_itself(world: World) {
    let services = &world.services;
    let mut new = NewTenant::plain("t".parse().unwrap(), "t.example");
    new.limits = LimitOverrides::default()
        .set(Limit::Media, 100)
        .set_trial(Limit::Media, 3);
    let until = services.clock.now().after(Duration::from_secs(3));
    new.trial_until = Some(until);
    make_tenant(services, new).await;
    let limit = async || {
        services
            .resolver
            .by_host("t.example")
            .await
            .unwrap()
            .unwrap()
            .context()
            .limits
            .media
    };
    // Unless it took so long to make it.
    let first = limit().await;
    assert!(first == 3 || services.clock.now() >= until, "{first}");
    let watch = Stopwatch::start();
    while limit().await != 100 {
        assert!(watch.elapsed() < PATIENCE);
        services.clock.sleep(Duration::from_millis(20)).await;
    }
}

async fn who_asks_at_the_same_time_asks_once(world: World) {
    at(&world.services, "t", &["t.example"]).await;
    let there = second_process(&world).await;
    // Nothing is known anywhere, as after the cache was lost.
    for key in ["host:t.example", "tenant:t"] {
        there.cache.remove(key).await.unwrap();
        world.services.cache.remove(key).await.unwrap();
    }
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let asked = metrics::with_local_recorder(&recorder, || {
        // On this thread alone: the counter is this recorder's.
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(futures_util::future::join_all(
                (0..1_000).map(|_| there.resolver.by_host("t.example")),
            ))
        })
    });
    assert!(asked.into_iter().all(|found| found.unwrap().is_some()));
    let page = page.render();
    assert!(
        page.contains(r#"mediamill_resolver_lookups_total{layer="database"} 1"#),
        "{page}"
    );
    there.shutdown.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_enforces_beats_plan_and_tenant() {
    let world = World::embedded_with(&[("tenant_enforced", r#"{"media": 4}"#.to_owned())]).await;
    let limits = LimitOverrides::default().set(Limit::Media, 1_000);
    let (id, _) = world.another_tenant_with("t", limits).await;
    let tenant = world.services.resolver.by_id(&id).await.unwrap().unwrap();
    assert_eq!(tenant.context().limits.media, 4);
    assert_eq!(world.tenant().await.context().limits.media, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers: run ./test.sh"]
async fn without_the_cache_it_is_slower_and_never_wrong() {
    let redis = format!(
        "{}?prefix=test-{}:",
        servers::redis(),
        crate::ids::JobId::generate(&crate::clock::Clock::system(), &crate::clock::Entropy::system())
    );
    let (proxy, through) = Proxy::to(&redis.parse().unwrap()).await;
    let world = World::distributed_with(&[("cache_url", through.to_string())]).await;
    let there = second_process(&world).await;
    at(&world.services, "one", &["one.example", "shop.example"]).await;
    assert_eq!(whose(&there, "shop.example").await.as_deref(), Some("one"));
    for silent in [false, true] {
        if silent {
            proxy.silence();
        } else {
            proxy.down();
        }
        let name = if silent { "late" } else { "early" };
        at(&world.services, name, &[&format!("{name}.example")]).await;
        becomes(&there, &format!("{name}.example"), Some(name)).await;
        change(&world.services, "one", &[], &["shop.example"]).await;
        // Nobody could be told: within the bound all the same.
        becomes(&there, "shop.example", None).await;
        proxy.mend();
        // What the cache knew from before the outage may come back until a look at the changed rows mends it.
        let id = "one".parse().unwrap();
        let version = crate::control::tenants::get(&world.services.control, &id)
            .await
            .unwrap()
            .unwrap()
            .version;
        let watch = Stopwatch::start();
        while there.cache.get("tenant:one").await.is_err() {
            assert!(watch.elapsed() < PATIENCE);
        }
        there.resolver.freshen(&id, version).await.unwrap();
        change(&world.services, "one", &["shop.example"], &[]).await;
        becomes(&there, "shop.example", Some("one")).await;
    }
    there
        .cache
        .signal(TENANT_CHANNEL, &["t one".to_owned(), "x?".to_owned(), String::new()])
        .await
        .unwrap();
    assert_eq!(whose(&there, "shop.example").await.as_deref(), Some("one"));
    there.shutdown.stop();
}
