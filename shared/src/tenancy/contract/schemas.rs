//! Tenants' tables from one release to the next.

use super::two::{self, Two, fill, fresh, record, seen};
use crate::{
    control::tenants,
    db::{DbError, Engine},
    ids::TenantId,
    services::Services,
    tenancy::{
        Isolation, NotServed, Place, TENANT_SCHEMA_VERSION, TablePrefix, TenantDb,
        db::TenantTx,
        migrate::{self, make_tables_of},
        schemas,
        sql::{TENANT_TABLES, TenantSql},
    },
};
use sqlx::Row;

two::with_two_servers!(
    old_tables_come_to_this_release_with_their_rows,
    the_steps_and_the_one_text_make_the_same_tables,
    a_tenant_of_a_newer_release_is_refused,
    a_tenant_of_a_newer_release_is_not_moved,
);

const BOTH: [Isolation; 2] = [Isolation::Prefix, Isolation::Database];

/// A tenant as release 0.1 left it.
async fn of_the_first_release(two: &Two, isolation: Isolation, server: &str) -> (TenantId, Place) {
    let services = two.services();
    let name = format!("{}{}", &isolation.as_str()[..1], &server[..1]);
    let (id, _) = two.tenant_at(&name, isolation, Some(server)).await;
    let place = fresh(services, &id).await.context().place.clone();
    migrate::drop_place(&services.databases, &place).await.unwrap();
    make_first(services, &place, &id).await;
    let now = services.clock.now();
    tenants::set_schema(&services.control, &id, &place, 1, now)
        .await
        .unwrap();
    (id, place)
}

async fn make_first(services: &Services, place: &Place, id: &TenantId) {
    let now = services.clock.now();
    services.databases.create(place).await.unwrap();
    let prepared = schemas::Prepared::default();
    migrate::prepare(&services.databases, place, &prepared).await.unwrap();
    let mut tx = TenantTx::within(services.databases.begin(place).await.unwrap(), place.clone());
    make_tables_of(&mut tx, id, 1, now).await.unwrap();
    tx.commit().await.unwrap();
}

/// What release 0.1 could have written.
async fn fill_first(db: &TenantDb, id: &TenantId) {
    let mut tx = db.begin().await.unwrap();
    let (clock, entropy) = (crate::clock::Clock::system(), crate::clock::Entropy::system());
    let user = crate::ids::UserId::generate(&clock, &entropy);
    let role = crate::tenancy::store::users::Role::Admin;
    tx.add_user(&user, &"ä".repeat(100), role, clock.now()).await.unwrap();
    let key = crate::tenancy::KeyText::generate(&clock, &entropy);
    tx.add_key(&key, &user, "first", None, clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    for _ in 0..3 {
        record(db, id).await.unwrap();
    }
}

async fn old_tables_come_to_this_release_with_their_rows(two: Two) {
    let services = two.services();
    for isolation in BOTH {
        for server in ["main", two::OTHER] {
            let (id, _) = of_the_first_release(&two, isolation, server).await;
            let db = fresh(services, &id).await.db().unwrap();
            fill_first(&db, &id).await;
            let (media, usage) = (db.media_page(None, 100).await.unwrap(), db.usage().await.unwrap());
            let behind = tenants::behind(&services.control, None, TENANT_SCHEMA_VERSION, 10)
                .await
                .unwrap();
            assert_eq!(behind.len(), 1);
            for _ in 0..2 {
                services.lifecycle.migrate(&behind[0]).await.unwrap();
            }
            let left = tenants::behind(&services.control, None, TENANT_SCHEMA_VERSION, 10)
                .await
                .unwrap();
            assert!(left.is_empty());
            let db = fresh(services, &id).await.db().unwrap();
            let now = seen(&db).await;
            assert_eq!(
                (db.media_page(None, 100).await.unwrap(), db.usage().await.unwrap()),
                (media, usage)
            );
            assert!(db.user_named(&"ä".repeat(100)).await.unwrap().is_some());
            assert_eq!(db.user_counts().await.unwrap().admins, 1);
            fill(&db, &id, 1).await;
            assert_ne!(seen(&db).await, now);
        }
    }
}

/// Columns and keys of every table, the tenant's prefix left out.
async fn described(services: &Services, place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    let mut connection = services.databases.reader(place).await.unwrap();
    let engine = services.databases.engine(place).unwrap();
    for table in TENANT_TABLES {
        let name = match place.table_prefix() {
            Some(prefix) => format!("{prefix}_{table}"),
            None => (*table).to_owned(),
        };
        let queries: &[&str] = match engine {
            Engine::Sqlite => &["SELECT sql FROM sqlite_master WHERE tbl_name = $1 AND sql IS NOT NULL"],
            Engine::Postgres => &[
                "SELECT CONCAT(column_name, ' ', data_type, ' ', character_maximum_length, ' ', is_nullable, ' ', column_default) \
                 FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position",
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = CONCAT('\"', $1, '\"')::regclass ORDER BY 1",
            ],
        };
        for text in queries {
            let rows = sqlx::query(*text)
                .bind(name.clone())
                .fetch_all(&mut *connection)
                .await
                .unwrap();
            assert!(!rows.is_empty() || text.contains("pg_constraint"), "{name}");
            for row in rows {
                let text: String = row.get(0);
                found.push(format!("{table}: {}", text.replace(&format!("{}_", place.prefix), "")));
            }
        }
    }
    found
}

async fn the_steps_and_the_one_text_make_the_same_tables(two: Two) {
    let services = two.services();
    for isolation in BOTH {
        let (id, old) = of_the_first_release(&two, isolation, "main").await;
        migrate::migrate_tenant(&services.databases, &old, services.clock.now())
            .await
            .unwrap();
        let new = Place {
            prefix: TablePrefix::generate(&services.clock, &services.entropy),
            ..old.clone()
        };
        services.databases.create(&new).await.unwrap();
        let prepared = schemas::Prepared::default();
        migrate::prepare(&services.databases, &new, &prepared).await.unwrap();
        let mut tx = TenantTx::within(services.databases.begin(&new).await.unwrap(), new.clone());
        assert!(migrate::make_tables(&mut tx, &id, services.clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(described(services, &old).await, described(services, &new).await);
    }
}

/// As a newer release leaves a tenant.
async fn made_newer(services: &Services, id: &TenantId) {
    let (place, now) = (fresh(services, id).await.context().place.clone(), services.clock.now());
    let mut tx = services.databases.begin(&place).await.unwrap();
    schemas::set_version(&mut tx, &place.prefix, TENANT_SCHEMA_VERSION + 1, now)
        .await
        .unwrap();
    tx.commit("a test").await.unwrap();
}

async fn a_tenant_of_a_newer_release_is_refused(two: Two) {
    let services = two.services();
    for isolation in BOTH {
        let (id, _) = two.tenant_at(isolation.as_str(), isolation, None).await;
        let old = fresh(services, &id).await;
        made_newer(services, &id).await;
        // Although it has not heard of it: what it would write may be wrong by now.
        let refused = old.db().unwrap().begin().await.unwrap_err();
        assert!(matches!(refused, DbError::NewerSchema { .. }) && refused.is_transient());
        let place = &old.context().place;
        let now = services.clock.now();
        tenants::set_schema(&services.control, &id, place, TENANT_SCHEMA_VERSION + 1, now)
            .await
            .unwrap();
        let new = fresh(services, &id).await;
        assert!(matches!(new.db().unwrap_err(), NotServed::Newer { .. }));
        assert!(matches!(new.tables().unwrap_err(), NotServed::Newer { .. }));
        // Nor is it taken back to what this release knows.
        let version = migrate::migrate_tenant(&services.databases, place, now).await.unwrap();
        assert_eq!(version, TENANT_SCHEMA_VERSION + 1);
    }
}

async fn a_tenant_of_a_newer_release_is_not_moved(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    let begun = two::begin_move(services, &id, Isolation::Database, "main").await;
    made_newer(services, &id).await;
    let error = two::relocate(services, &id, &begun).await.unwrap_err();
    assert!(format!("{error:?}").contains("NewerSchema"), "{error:?}");
    let query = crate::tenancy::db::render(&begun.from, TenantSql::new("SELECT id FROM {media}"));
    query
        .fetch_all(&mut *services.databases.reader(&begun.from).await.unwrap())
        .await
        .unwrap();
}
