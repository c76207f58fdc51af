//! An installation of an older release comes to this one with everything in it.

use super::{Db, Engine};
use crate::{
    control::{plans, tenants},
    tenancy::{Isolation, TenantState},
    testing::database::ControlDb,
};
use sqlx::Row;

/// What release 0.1 had written: two plans' worth of tenants, one with two hosts, one whose tables are one step behind.
const WRITTEN: [&str; 7] = [
    "INSERT INTO plans (id, name, limits, created_at, updated_at) VALUES ('p', 'Plan', '{\"media\":5}', 1, 2)",
    "INSERT INTO tenants (id, table_prefix, isolation, state, plan, limits, version, created_at, updated_at) VALUES \
        ('one', 't1', 'prefix', 'active', 'p', '{\"media\":7}', 3, 10, 11)",
    "INSERT INTO tenants (id, table_prefix, isolation, state, plan, limits, version, created_at, updated_at) VALUES \
        ('two', 't2', 'prefix', 'suspended', NULL, '{}', 1, 20, 21)",
    "INSERT INTO tenant_hosts (host, tenant, created_at) VALUES ('b.example', 'one', 1), ('a.example', 'one', 2), ('c.example', 'two', 3)",
    "INSERT INTO tenant_migrations (table_prefix, version, applied_at) VALUES ('t1', 1, 5)",
    "INSERT INTO jobs (id, tenant, kind, pool, state, payload, context_version, trace, attempts, deliveries, reserved_bytes, created_at, \
        due_at, touched_at, lease_until) VALUES ('01hf7y0000000000000000000a', 'one', 'noop', 'maintenance', 'queued', '{}', 3, 'x', 0, 0, 0, 1, 1, 1, 0)",
    "INSERT INTO idempotency_keys (tenant, name, request_hash, answer, created_at) VALUES ('one', 'k', 'h', '{}', 1)",
];

async fn is_kept(database: ControlDb) {
    let db = &database.db;
    db.migrate_control_to(1).await.unwrap();
    for text in WRITTEN {
        sqlx::query(text).execute(db.write()).await.unwrap();
    }
    // As after a crash between the two: a second call ends what the first began.
    for _ in 0..2 {
        db.migrate_control().await.unwrap();
    }
    let one = tenants::get(db, &"one".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (one.state, one.plan.as_deref(), one.version),
        (TenantState::Active, Some("p"), 3)
    );
    assert_eq!(
        (one.limits.to_json(), one.schema_version),
        (r#"{"media":7}"#.to_owned(), 1)
    );
    assert_eq!(
        (one.place.server.is_main(), one.place.isolation),
        (true, Isolation::Prefix)
    );
    assert_eq!(
        (one.place.prefix.as_str(), one.host.as_deref()),
        ("t1", Some("a.example"))
    );
    let two = tenants::get(db, &"two".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (two.state, two.schema_version, two.moving),
        (TenantState::Suspended, 0, None)
    );
    let hosts = tenants::hosts(db, &one.id).await.unwrap();
    let hosts: Vec<_> = hosts.iter().map(|host| (host.name.as_str(), host.main)).collect();
    assert_eq!(hosts, [("a.example", true), ("b.example", false)]);
    let (part, plan) = tenants::by_host(db, &["b.example".to_owned()]).await.unwrap().unwrap();
    assert_eq!((part.id.as_str(), plan.unwrap().id.as_str()), ("one", "p"));
    assert_eq!(tenants::servers(db).await.unwrap(), [("main".to_owned(), 2)]);
    let listed = tenants::page(db, &tenants::Filter::default(), None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["one", "two"]
    );
    for (count, table) in [(2, "tenant_schemas"), (1, "jobs"), (1, "idempotency_keys")] {
        assert_eq!(rows(db, table).await, count, "{table}");
    }
    // Hosts still belong to tenants that there are.
    let orphan = "INSERT INTO tenant_hosts (host, tenant, main, created_at) VALUES ('x.example', 'nobody', 0, 1)";
    assert!(sqlx::query(orphan).execute(db.write()).await.is_err());
}

/// What the release before this one had written.
const BEFORE: [&str; 3] = [
    "INSERT INTO plans (id, name, limits, version, created_at, updated_at) VALUES ('p', 'Plan', '{\"media\":5}', 4, 1, 2)",
    "INSERT INTO tenants (id, serial, state, server, isolation, table_prefix, schema_version, step, plan, limits, version, created_at, \
        updated_at) VALUES ('one', 't1', 'active', 'main', 'prefix', 't1', 2, 'announced', 'p', '{\"media\":7}', 3, 10, 11)",
    "INSERT INTO tenant_hosts (host, tenant, main, created_at) VALUES ('a.example', 'one', 1, 1)",
];

/// Its tenants say nothing of pictures: all is inherited.
async fn says_nothing_of_pictures(database: ControlDb) {
    let db = &database.db;
    db.migrate_control_to(2).await.unwrap();
    for text in BEFORE {
        sqlx::query(text).execute(db.write()).await.unwrap();
    }
    for _ in 0..2 {
        db.migrate_control().await.unwrap();
    }
    let one = tenants::get(db, &"one".parse().unwrap()).await.unwrap().unwrap();
    assert!(one.pictures.is_empty() && one.version == 3);
    assert_eq!(
        (one.limits.to_json().as_str(), one.host.as_deref()),
        (r#"{"media":7}"#, Some("a.example"))
    );
    let plan = plans::get(db, "p").await.unwrap().unwrap();
    assert!(plan.pictures.is_empty() && plan.version == 4);
    let (part, plan) = tenants::by_host(db, &["a.example".to_owned()]).await.unwrap().unwrap();
    assert!(part.pictures.is_empty() && plan.unwrap().pictures.is_empty());
}

#[tokio::test]
async fn tenants_of_the_release_before_inherit_pictures_on_sqlite() {
    says_nothing_of_pictures(ControlDb::bare_sqlite()).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn tenants_of_the_release_before_inherit_pictures_on_postgres() {
    says_nothing_of_pictures(ControlDb::bare_postgres().await).await;
}

async fn rows(db: &Db, table: &'static str) -> i64 {
    let text = match table {
        "tenant_schemas" => "SELECT CAST(COUNT(*) AS BIGINT) FROM tenant_schemas WHERE closed_by IS NULL",
        "jobs" => "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE tenant = 'one' AND state = 'queued'",
        _ => "SELECT CAST(COUNT(*) AS BIGINT) FROM idempotency_keys WHERE tenant = 'one'",
    };
    sqlx::query(text).fetch_one(db.read()).await.unwrap().get(0)
}

#[tokio::test]
async fn what_release_0_1_wrote_is_kept_on_sqlite() {
    let database = ControlDb::bare_sqlite();
    assert_eq!(database.db.engine(), Engine::Sqlite);
    is_kept(database).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn what_release_0_1_wrote_is_kept_on_postgres() {
    is_kept(ControlDb::bare_postgres().await).await;
}
