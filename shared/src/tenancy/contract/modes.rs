//! Both ways to keep tenants apart, side by side, and several servers to place them on.

use super::two::{self, Two, fill, fresh, record, seen};
use crate::{
    control::{
        audit::{Actor, Entry},
        plans::{self, Plan},
        tenants,
    },
    tenancy::{Isolation, NewTenant, Place, sql::TenantSql},
    testing::{World, database::ControlDb, make_tenant},
};

two::with_two_servers!(
    tenants_work_alike_in_every_mode_and_on_every_server,
    what_a_plan_says_of_mode_and_server_holds_for_its_new_tenants,
    a_place_reaches_no_table_of_another,
);

async fn tenants_work_alike_in_every_mode_and_on_every_server(two: Two) {
    let services = two.services();
    let mut all = Vec::new();
    for (number, (isolation, server)) in [
        (Isolation::Prefix, "main"),
        (Isolation::Database, "main"),
        (Isolation::Prefix, two::OTHER),
        (Isolation::Database, two::OTHER),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, key) = two.tenant_at(&format!("t{number}"), isolation, Some(server)).await;
        all.push((id, key.parse::<crate::tenancy::KeyText>().unwrap()));
    }
    for (number, (id, key)) in all.iter().enumerate() {
        let db = fresh(services, id).await.db().unwrap();
        fill(&db, id, number + 1).await;
        assert!(
            db.key(key.id())
                .await
                .unwrap()
                .unwrap()
                .opens(key, services.clock.now())
        );
        assert!(db.revoke_key(key.id(), services.clock.now()).await.unwrap());
    }
    for (number, (id, _)) in all.iter().enumerate() {
        let db = fresh(services, id).await.db().unwrap();
        let pictures = i64::try_from(number + 1).unwrap();
        assert_eq!(db.usage().await.unwrap().media, pictures);
        assert_eq!(db.usage().await.unwrap(), db.balance().await.unwrap().ledger);
        assert_eq!(db.user_counts().await.unwrap().users, 3);
        for (other, key) in &all {
            assert_eq!(db.key(key.id()).await.unwrap().is_some(), other == id);
        }
    }
}

async fn what_a_plan_says_of_mode_and_server_holds_for_its_new_tenants(two: Two) {
    let services = two.services();
    let mut plan = Plan::new("far".into(), services.clock.now());
    plan.isolation = Some(Isolation::Database);
    plan.server = Some(two::OTHER.parse().unwrap());
    let entry = Entry::new(&services.clock, &services.entropy, &Actor::cli(), "plan.create", None);
    assert!(
        plans::create(&services.control, &plan, &entry, services.clock.now())
            .await
            .unwrap()
    );
    for (id, isolation, wanted) in [
        ("a", None, Isolation::Database),
        ("b", Some(Isolation::Prefix), Isolation::Prefix),
    ] {
        let mut new = NewTenant::plain(id.parse().unwrap(), &format!("{id}.localhost"));
        new.plan = Some("far".into());
        new.isolation = isolation;
        make_tenant(services, new).await;
        let row = tenants::get(&services.control, &id.parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((row.place.isolation, row.place.server.as_str()), (wanted, two::OTHER));
    }
    let mut new = NewTenant::plain("c".parse().unwrap(), "c.localhost");
    new.server = Some("nowhere".parse().unwrap());
    services.lifecycle.accept(new, &Actor::cli()).await.unwrap_err();
    assert!(
        tenants::get(&services.control, &"c".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_place_reaches_no_table_of_another(two: Two) {
    let services = two.services();
    let (a, _) = two.tenant_at("a", Isolation::Database, None).await;
    let (b, _) = two.tenant_at("b", Isolation::Prefix, None).await;
    let (a, b_db) = (fresh(services, &a).await, fresh(services, &b).await.db().unwrap());
    record(&b_db, &b).await.unwrap();
    let before = seen(&b_db).await;
    // Even a place that is put together wrongly finds nothing: names in a database of its own have no prefix.
    let mixed = Place {
        isolation: Isolation::Prefix,
        ..a.context().place.clone()
    };
    let query = crate::tenancy::db::render(&mixed, TenantSql::new("SELECT id FROM {media}"));
    let mut reader = services.databases.reader(&mixed).await.unwrap();
    assert!(query.fetch_all(&mut *reader).await.is_err());
    drop(reader);
    assert_eq!(seen(&b_db).await, before);
}

/// How many of 40 tenants went to each of three servers, of which `spare` has weight 0.
async fn placed(
    policy: &str,
    others: [ControlDb; 2],
    world: impl AsyncFn(Vec<(&'static str, String)>) -> World,
) -> [i64; 3] {
    let servers = format!("main*1 big*3={} spare*0={}", others[0].url, others[1].url);
    let world = world(vec![
        ("tenant_databases", servers),
        ("tenant_placement", policy.to_owned()),
        ("tenant_isolation", "prefix".to_owned()),
    ])
    .await;
    for number in 1..40 {
        world.another_tenant(&format!("t{number}")).await;
    }
    let counts = tenants::servers(&world.services.control).await.unwrap();
    let on = |name: &str| {
        counts
            .iter()
            .find(|(server, _)| server == name)
            .map_or(0, |(_, count)| *count)
    };
    [on("main"), on("big"), on("spare")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_tenants_go_to_servers_by_the_policy_on_sqlite() {
    for (policy, wanted) in [("weight", [10, 30, 0]), ("fewest", [20, 20, 0]), ("spare", [0, 0, 40])] {
        let others = [ControlDb::bare_sqlite(), ControlDb::bare_sqlite()];
        let found = placed(policy, others, async |more| World::embedded_with(&more).await).await;
        assert_eq!(found, wanted, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers: run ./test.sh"]
async fn new_tenants_go_to_servers_by_the_policy_on_postgres() {
    for (policy, wanted) in [("weight", [10, 30, 0]), ("fewest", [20, 20, 0]), ("spare", [0, 0, 40])] {
        let others = [ControlDb::bare_postgres().await, ControlDb::bare_postgres().await];
        let found = placed(policy, others, async |more| World::distributed_with(&more).await).await;
        assert_eq!(found, wanted, "{policy}");
    }
}
