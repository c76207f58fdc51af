//! Tenants' tables from one release to the next.

use super::two::{self, Two, fill, fresh, seen};
use crate::{
    control::tenants,
    db::{DbError, Engine},
    ids::{JobId, TenantId},
    services::Services,
    tenancy::{
        Isolation, NotServed, Place, TENANT_SCHEMA_VERSION, TablePrefix,
        db::TenantTx,
        migrate::{self, make_tables_of},
        schemas,
        sql::{TENANT_TABLES, TenantSql},
        store::{
            media::{Media, Variant},
            usage::Usage,
        },
    },
    units::ByteCount,
};
use sqlx::Row;

two::with_two_servers!(
    a_database_is_prepared_by_all_who_come_at_once,
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

/// What release 0.1 could have written: a user with a key, and pictures with what they use.
async fn fill_first(services: &Services, place: &Place, pictures: &[(JobId, Media, Vec<Variant>)]) {
    let mut tx = TenantTx::within(services.databases.begin(place).await.unwrap(), place.clone());
    let user = crate::ids::UserId::generate(&services.clock, &services.entropy).to_string();
    let key = "INSERT INTO {api_keys} (id, user_id, name, hash, created_at) VALUES ($1, $1, 'first', $2, 1)";
    let key = tx.query(TenantSql::new(key)).bind(user.clone()).bind(vec![7_u8]);
    key.execute(&mut *tx.tx).await.unwrap();
    let mut texts = vec![format!(
        "INSERT INTO {{users}} (id, name, role, created_at) VALUES ('{user}', '{}', 'admin', 1)",
        "ä".repeat(100)
    )];
    for (job, media, files) in pictures {
        let (id, bytes) = (&media.id, media.stored_bytes.get());
        texts.push(format!(
            "INSERT INTO {{media}} (id, job, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at) \
             VALUES ('{id}', '{job}', 'ready', 'jpeg', 40, 30, 100, {bytes}, '[]', '[]', 1)"
        ));
        for Variant {
            name,
            object,
            bytes,
            sha256,
            ..
        } in files
        {
            texts.push(format!(
                "INSERT INTO {{variants}} (media, name, format, object_key, width, height, bytes, sha256) \
                 VALUES ('{id}', '{name}', 'jpeg', '{object}', 40, 30, {}, '{sha256}')",
                bytes.get()
            ));
        }
        texts.push(format!(
            "INSERT INTO {{usage_ledger}} (job, media, bytes, at) VALUES ('{job}', 1, {bytes}, 1)"
        ));
        texts.push(format!(
            "UPDATE {{usage}} SET media = media + 1, bytes = bytes + {bytes}"
        ));
    }
    for text in texts {
        let text: &'static str = text.leak();
        tx.query(TenantSql::new(text)).execute(&mut *tx.tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn old_tables_come_to_this_release_with_their_rows(two: Two) {
    let services = two.services();
    for isolation in BOTH {
        for server in ["main", two::OTHER] {
            let (id, place) = of_the_first_release(&two, isolation, server).await;
            let old = fresh(services, &id).await;
            assert!(matches!(old.db().unwrap_err(), NotServed::Older { has: 1, .. }));
            let pictures: Vec<_> = (0..3).map(|_| two::picture(&id)).collect();
            fill_first(services, &place, &pictures).await;
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
            for (_, before, former) in &pictures {
                let media = db.media(&before.id).await.unwrap().unwrap();
                let files = db.variants(&before.id).await.unwrap();
                assert_eq!((media.frames, media.expires_at, media.sha256), (1, None, None));
                let as_before = |file: &Variant| Variant {
                    places: crate::placement::Places::main(),
                    ..file.clone()
                };
                assert_eq!(files, former.iter().map(as_before).collect::<Vec<_>>());
            }
            let expected = Usage {
                media: 3,
                bytes: ByteCount::new(90),
                animation_bytes: ByteCount::ZERO,
            };
            assert_eq!(
                (db.usage().await.unwrap(), db.balance().await.unwrap().ledger),
                (expected, expected)
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
            // A column that was added stands elsewhere in the text than one that was there from the beginning.
            Engine::Sqlite => &[
                "SELECT name || ' ' || type || ' ' || CAST(pk AS TEXT) || ' ' || COALESCE(dflt_value, '-') FROM pragma_table_info($1)",
                "SELECT sql FROM sqlite_master WHERE tbl_name = $1 AND sql IS NOT NULL",
            ],
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
                if engine == Engine::Sqlite && text.starts_with("CREATE") {
                    found.extend(checks(&text).into_iter().map(|check| format!("{table}: {check}")));
                    continue;
                }
                found.push(format!("{table}: {}", text.replace(&format!("{}_", place.prefix), "")));
            }
        }
    }
    found
}

/// The conditions on a table's columns, in order of their texts.
fn checks(text: &str) -> Vec<String> {
    let mut checks: Vec<String> = text
        .split("CHECK (")
        .skip(1)
        .map(|rest| {
            let mut open = 1_u32;
            let inside = rest.chars().take_while(|c| {
                match c {
                    '(' => open += 1,
                    ')' => open -= 1,
                    _ => {}
                }
                open > 0
            });
            inside.collect()
        })
        .collect();
    checks.sort_unstable();
    checks
}

async fn a_database_is_prepared_by_all_who_come_at_once(two: Two) {
    let services = two.services();
    for _ in 0..16 {
        let place = Place {
            isolation: Isolation::Database,
            server: "main".parse().unwrap(),
            prefix: TablePrefix::generate(&services.clock, &services.entropy),
        };
        services.databases.create(&place).await.unwrap();
        let prepare = async || {
            let prepared = schemas::Prepared::default();
            migrate::prepare(&services.databases, &place, &prepared).await
        };
        let (first, second, third, fourth) = tokio::join!(prepare(), prepare(), prepare(), prepare());
        for done in [first, second, third, fourth] {
            done.unwrap();
        }
        services.databases.drop_database(&place).await.unwrap();
    }
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
