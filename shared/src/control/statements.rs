//! Every SQL text is prepared on both engines, after all migrations: what a checked macro would do for one engine.

use super::{accept, jobs, leases, plans, secrets, tenants, timers};
use crate::{
    clock::{Clock, Entropy},
    db::{Bounded, Db, Sql},
    tenancy::{LimitOverrides, NewTenant, TablePrefix, create, tenant_statements},
    testing::database::ControlDb,
};
use sqlx::Executor;

fn control_statements() -> Vec<(&'static str, &'static str, Sql, usize)> {
    let lists = [
        ("jobs", jobs::STATEMENTS),
        ("accept", accept::STATEMENTS),
        ("leases", leases::STATEMENTS),
        ("plans", plans::STATEMENTS),
        ("secrets", secrets::STATEMENTS),
        ("rotation", secrets::rotation::STATEMENTS),
        ("tenants", tenants::STATEMENTS),
        ("timers", timers::STATEMENTS),
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
    let new = NewTenant {
        id: "t".parse().unwrap(),
        host: "t.example".into(),
        plan: None,
        limits: LimitOverrides::default(),
        admin: "admin".into(),
    };
    create(db, &new, &Clock::system(), &Entropy::system()).await.unwrap();
    let prefix: TablePrefix = tenants::get(db, &new.id).await.unwrap().unwrap().prefix;
    for (module, list) in tenant_statements() {
        for (name, sql) in list {
            prepare(db, &format!("{module}::{name}"), sql.render(&prefix)).await;
        }
    }
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
