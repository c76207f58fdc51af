//! Tenant schemas: the same steps for every tenant, each in one transaction with its line in `tenant_migrations`.

use super::{Isolation, TablePrefix, db::TenantTx, sql::TenantSql};
use crate::{
    control::tenants,
    db::{Bounded, Db, DbError},
    units::Millis,
};
use sqlx::{Executor, raw_sql};

const STEPS: &[TenantSql] = &[TenantSql::new(include_str!("../../../migrations/tenant/0001_init.sql"))];

/// The version that this release brings tenants to. A tenant that is newer is refused.
pub const TENANT_SCHEMA_VERSION: i64 = 1;
const _: () = assert!(STEPS.len() == 1, "TENANT_SCHEMA_VERSION is the number of steps");

/// Applies what a tenant's tables lack, within `tx`. Called twice it changes nothing.
pub(super) async fn apply(tx: &mut TenantTx, has: i64, now: Millis) -> Result<(), DbError> {
    let Isolation::Prefix(prefix) = tx.isolation().clone();
    for (version, step) in (1_i64..).zip(STEPS).skip(usize::try_from(has).unwrap_or(0)) {
        #[expect(clippy::disallowed_methods, reason = "a checked text and a validated prefix")]
        let text = sqlx::AssertSqlSafe(step.render(&prefix));
        (&mut *tx.tx).execute(raw_sql(text)).bounded("migrate a tenant").await?;
        tenants::record_migration(&mut tx.tx, &prefix, version, now).await?;
    }
    Ok(())
}

/// Brings one tenant's tables to this release's version. DDL is transactional on both engines, so a tenant is on one
/// version or the next, never between.
///
/// # Errors
/// When the database is away.
pub async fn migrate_tenant(db: &Db, prefix: &TablePrefix, now: Millis) -> Result<(), DbError> {
    let tx = db.begin_write().await?;
    let mut tx = TenantTx::within(tx, Isolation::Prefix(prefix.clone()));
    let has = tenants::migration_version(&mut tx.tx, prefix).await?;
    apply(&mut tx, has, now).await?;
    tx.commit().await
}

/// Removes a tenant's tables, within `tx`.
pub(super) async fn drop_tables(tx: &mut TenantTx) -> Result<(), DbError> {
    const DROP: TenantSql = TenantSql::new(
        "DROP TABLE IF EXISTS {usage_ledger}; DROP TABLE IF EXISTS {usage}; DROP TABLE IF EXISTS {variants}; \
         DROP TABLE IF EXISTS {media}; DROP TABLE IF EXISTS {api_keys}; DROP TABLE IF EXISTS {users}",
    );
    let Isolation::Prefix(prefix) = tx.isolation().clone();
    #[expect(clippy::disallowed_methods, reason = "a checked text and a validated prefix")]
    let text = sqlx::AssertSqlSafe(DROP.render(&prefix));
    (&mut *tx.tx)
        .execute(raw_sql(text))
        .bounded("drop a tenant's tables")
        .await?;
    tenants::forget_migrations(&mut tx.tx, &prefix).await
}
