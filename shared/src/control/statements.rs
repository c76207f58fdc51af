//! Every SQL text is prepared on both engines, after all migrations: what a checked macro would do for one engine.

use super::{
    accept, activity, audit, batches, changes, expiries, findings, jobs, leadership, leases, limit_marks, link_keys,
    metering, moves, object_findings, operator_keys, passes, plans, resumable, secrets, stats, storages, tenants,
    timers,
};
use crate::{
    clock::{Clock, Entropy},
    db::{Bounded, Db, Sql},
    tenancy::{TablePrefix, schemas, tables_text, tenant_statements},
    testing::database::ControlDb,
};
use sqlx::Executor;

fn control_statements() -> Vec<(&'static str, &'static str, Sql, usize)> {
    let lists = [
        ("jobs", jobs::STATEMENTS),
        ("claims", jobs::claims::STATEMENTS),
        ("counts", jobs::counts::STATEMENTS),
        ("dead", jobs::dead::STATEMENTS),
        ("held", jobs::held::STATEMENTS),
        ("outbox", jobs::outbox::STATEMENTS),
        ("revived", jobs::revived::STATEMENTS),
        ("accept", accept::STATEMENTS),
        ("activity", activity::STATEMENTS),
        ("audit", audit::STATEMENTS),
        ("batches", batches::STATEMENTS),
        ("changes", changes::STATEMENTS),
        ("change", changes::change::STATEMENTS),
        ("leave", changes::leave::STATEMENTS),
        ("expiries", expiries::STATEMENTS),
        ("findings", findings::STATEMENTS),
        ("figures", findings::figures::STATEMENTS),
        ("leadership", leadership::STATEMENTS),
        ("leases", leases::STATEMENTS),
        ("limit_marks", limit_marks::STATEMENTS),
        ("link_keys", link_keys::STATEMENTS),
        ("metering", metering::STATEMENTS),
        ("export", metering::export::STATEMENTS),
        ("served", metering::served::STATEMENTS),
        ("moves", moves::STATEMENTS),
        ("object_findings", object_findings::STATEMENTS),
        ("operator_keys", operator_keys::STATEMENTS),
        ("passes", passes::STATEMENTS),
        ("plans", plans::STATEMENTS),
        ("resumable", resumable::STATEMENTS),
        ("begin", resumable::begin::STATEMENTS),
        ("progress", resumable::progress::STATEMENTS),
        ("end", resumable::end::STATEMENTS),
        ("secrets", secrets::STATEMENTS),
        ("rotation", secrets::rotation::STATEMENTS),
        ("stats", stats::STATEMENTS),
        ("storages", storages::STATEMENTS),
        ("space", storages::space::STATEMENTS),
        ("tasks", storages::tasks::STATEMENTS),
        ("tenants", tenants::STATEMENTS),
        ("lists", tenants::lists::STATEMENTS),
        ("parts", tenants::parts::STATEMENTS),
        ("timers", timers::STATEMENTS),
        ("schemas", schemas::STATEMENTS),
    ];
    lists
        .into_iter()
        .flat_map(|(module, list)| {
            list.iter()
                .map(move |(name, sql, columns)| (module, *name, *sql, *columns))
        })
        .collect()
}

async fn prepare(db: &Db, what: &str, text: String) {
    let mut connection = db.writer().await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the texts under test")]
    let text = sqlx::AssertSqlSafe(text);
    let sql = sqlx::SqlSafeStr::into_sql_str(text);
    if let Err(error) = (&mut *connection).prepare(sql).bounded("prepare").await {
        panic!("{what} on {:?}: {error:?}", db.engine());
    }
}

async fn every_statement_is_understood(db: &Db) {
    for (module, name, sql, columns) in control_statements() {
        prepare(db, &format!("{module}::{name}"), sql.sample(columns)).await;
    }
    let prefix: TablePrefix = TablePrefix::generate(&Clock::system(), &Entropy::system());
    for prefix in [Some(&prefix), None] {
        make(db, tables_text(prefix)).await;
        for (module, list) in tenant_statements() {
            for (name, sql) in list {
                prepare(db, &format!("{module}::{name}"), sql.render(prefix)).await;
            }
        }
    }
}

async fn make(db: &Db, text: String) {
    let mut connection = db.writer().await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the text that makes a tenant's tables")]
    let text = sqlx::AssertSqlSafe(text);
    (&mut *connection).execute(sqlx::raw_sql(text)).await.unwrap();
}

#[tokio::test]
async fn sqlite_understands_every_statement() {
    every_statement_is_understood(&ControlDb::sqlite().await.db).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn postgres_understands_every_statement() {
    every_statement_is_understood(&ControlDb::postgres().await.db).await;
}
