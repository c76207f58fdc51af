//! Tenant schemas: the same steps for every tenant, in one transaction with its line in `tenant_schemas`.
//!
//! A new tenant gets all steps at once from one text, in one round trip; a test holds the two to the same result. DDL is
//! transactional on both engines, so a tenant is on one version or the next, never between.

use super::{
    FirstAdmin, Place,
    databases::TenantDatabases,
    db::TenantTx,
    schemas::{self, Prepared},
    sql::TenantSql,
    store::users::first_admin_text,
};
use crate::{
    db::{Bounded, DbError, Engine},
    ids::TenantId,
    units::Millis,
};
use sqlx::{AnyConnection, Executor, raw_sql};

const STEPS: &[TenantSql] = &[
    TenantSql::new(include_str!("../../../migrations/tenant/0001_init.sql")),
    TenantSql::new(include_str!("../../../migrations/tenant/0002_lean.sql")),
    TenantSql::new(include_str!("../../../migrations/tenant/0003_placement.sql")),
];
const CURRENT: TenantSql = TenantSql::new(include_str!("../../../migrations/tenant/current.sql"));

/// The version that this release brings tenants to. A tenant that is newer is refused.
pub const TENANT_SCHEMA_VERSION: i64 = 3;
const _: () = assert!(STEPS.len() == 3, "TENANT_SCHEMA_VERSION is the number of steps");

/// The text that makes a new tenant's tables, for benches that run it bare.
#[cfg(feature = "testing")]
#[must_use]
pub fn tables_text(prefix: Option<&super::TablePrefix>) -> String {
    CURRENT.render(prefix)
}

async fn run(tx: &mut TenantTx, sql: TenantSql, what: &'static str) -> Result<(), DbError> {
    #[expect(clippy::disallowed_methods, reason = "a checked text and a validated prefix")]
    let text = sqlx::AssertSqlSafe(sql.render(tx.place().table_prefix()));
    (&mut *tx.tx).execute(raw_sql(text)).bounded(what).await.map(|_| ())
}

/// Makes sure that the database of `place` can say whose tables it holds.
pub(super) async fn prepare(databases: &TenantDatabases, place: &Place, prepared: &Prepared) -> Result<(), DbError> {
    let shared = place.table_prefix().is_some();
    if shared && (place.server.is_main() || prepared.has(&place.server)) {
        return Ok(());
    }
    schemas::make(&mut *databases.reader(place).await?).await?;
    if shared {
        prepared.add(&place.server);
    }
    Ok(())
}

/// Makes a new tenant's tables, within `tx`. Returns `false`, having done nothing, when they are there.
pub(super) async fn make_tables(tx: &mut TenantTx, tenant: &TenantId, now: Millis) -> Result<bool, DbError> {
    let prefix = tx.place().prefix.clone();
    if !schemas::enter(&mut tx.tx, &prefix, tenant, TENANT_SCHEMA_VERSION, now).await? {
        return Ok(false);
    }
    run(tx, CURRENT, "make a tenant's tables").await?;
    Ok(true)
}

/// A tenant whose place is known to be new.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewTables<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) place: &'a Place,
    pub(super) admin: Option<&'a FirstAdmin>,
}

/// Tables and first administrators of new tenants that share a database, in one round trip.
pub(super) async fn make_new_tables(
    connection: &mut AnyConnection,
    engine: Engine,
    new: &[NewTables<'_>],
    now: Millis,
) -> Result<(), DbError> {
    let mut text = String::new();
    for NewTables { tenant, place, admin } in new {
        text.push_str(&schemas::entry_text(&place.prefix, tenant, TENANT_SCHEMA_VERSION, now));
        text.push_str(&CURRENT.render(place.table_prefix()));
        if let Some(admin) = admin {
            text.push_str(&first_admin_text(engine, place.table_prefix(), admin, now)?);
        }
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "checked texts, validated prefixes and ids, values in hexadecimal digits"
    )]
    let text = sqlx::AssertSqlSafe(text);
    let made = connection.execute(raw_sql(text));
    made.bounded("make tenants' tables").await.map(|_| ())
}

/// Makes them of an older version, for tests of what brings them here.
#[cfg(test)]
pub(super) async fn make_tables_of(
    tx: &mut TenantTx,
    tenant: &TenantId,
    version: i64,
    now: Millis,
) -> Result<(), DbError> {
    let prefix = tx.place().prefix.clone();
    schemas::enter(&mut tx.tx, &prefix, tenant, version, now).await?;
    for (number, step) in (1_i64..).zip(STEPS) {
        if number <= version {
            run(tx, *step, "make a tenant's tables").await?;
        }
    }
    Ok(())
}

/// Brings one tenant's tables to this release's version. Called twice it changes nothing. Returns the version they are on.
///
/// # Errors
/// When the database is away, or the tables are not there.
pub async fn migrate_tenant(databases: &TenantDatabases, place: &Place, now: Millis) -> Result<i64, DbError> {
    const WHAT: &str = "migrate a tenant";
    let mut tx = TenantTx::within(databases.begin(place).await?, place.clone());
    let engine = databases.engine(place)?;
    let Some(schema) = schemas::look_alone(&mut tx.tx, engine, &place.prefix).await? else {
        return Err(DbError::Gone { during: WHAT });
    };
    if schema.version >= TENANT_SCHEMA_VERSION {
        return Ok(schema.version);
    }
    for (version, step) in (1_i64..).zip(STEPS) {
        if version > schema.version {
            run(&mut tx, *step, WHAT).await?;
        }
    }
    schemas::set_version(&mut tx.tx, &place.prefix, TENANT_SCHEMA_VERSION, now).await?;
    tx.commit().await?;
    Ok(TENANT_SCHEMA_VERSION)
}

/// Removes a tenant's tables or its database. Called twice it changes nothing.
pub(super) async fn drop_place(databases: &TenantDatabases, place: &Place) -> Result<(), DbError> {
    const DROP: TenantSql = TenantSql::new(
        "DROP TABLE IF EXISTS {holders}; DROP TABLE IF EXISTS {usage_ledger}; DROP TABLE IF EXISTS {usage}; DROP TABLE IF EXISTS {variants}; \
         DROP TABLE IF EXISTS {media}; DROP TABLE IF EXISTS {api_keys}; DROP TABLE IF EXISTS {users}",
    );
    if place.table_prefix().is_none() {
        return databases.drop_database(place).await;
    }
    if !place.server.is_main() {
        // Its first tenant may be taken back before anything was made there.
        schemas::make(&mut *databases.reader(place).await?).await?;
    }
    let mut tx = TenantTx::within(databases.begin(place).await?, place.clone());
    // First its row, as every writer takes it.
    schemas::leave(&mut tx.tx, &place.prefix).await?;
    run(&mut tx, DROP, "drop a tenant's tables").await?;
    tx.commit().await
}
