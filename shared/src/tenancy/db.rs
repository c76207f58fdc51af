//! The only way to a tenant's tables.

use super::{Isolation, sql::TenantSql};
use crate::db::{Bounded, Db, DbError};
use sqlx::{Any, AnyPool, Transaction, any::AnyArguments, query::Query};

/// One tenant's tables. Exists only for a resolved, active tenant.
#[derive(Debug, Clone)]
pub struct TenantDb {
    db: Db,
    isolation: Isolation,
}

/// A writing transaction on one tenant's tables. Dropped uncommitted, it changes nothing.
#[derive(Debug)]
pub struct TenantTx {
    pub(super) tx: Transaction<'static, Any>,
    isolation: Isolation,
}

pub(super) fn render(isolation: &Isolation, sql: TenantSql) -> Query<'static, Any, AnyArguments> {
    #[expect(clippy::disallowed_methods, reason = "a checked text and a validated prefix")]
    let text = sqlx::AssertSqlSafe(sql.render(isolation.prefix()));
    // A prefixed text is another statement for every tenant: caching it would only evict the shared ones.
    sqlx::query(text).persistent(false)
}

impl TenantDb {
    pub(super) const fn new(db: Db, isolation: Isolation) -> Self {
        Self { db, isolation }
    }

    pub(super) fn query(&self, sql: TenantSql) -> Query<'static, Any, AnyArguments> {
        render(&self.isolation, sql)
    }

    pub(super) const fn read(&self) -> &AnyPool {
        self.db.read()
    }

    pub(super) const fn write(&self) -> &AnyPool {
        self.db.write()
    }

    /// Begins to write.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin(&self) -> Result<TenantTx, DbError> {
        Ok(TenantTx {
            tx: self.db.begin_write().await?,
            isolation: self.isolation.clone(),
        })
    }
}

impl TenantTx {
    /// For provisioning, which begins before there is a context to resolve.
    pub(super) const fn within(tx: Transaction<'static, Any>, isolation: Isolation) -> Self {
        Self { tx, isolation }
    }

    pub(super) fn query(&self, sql: TenantSql) -> Query<'static, Any, AnyArguments> {
        render(&self.isolation, sql)
    }

    pub(super) const fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Makes it so.
    ///
    /// # Errors
    /// When it is unknown whether it is so: look again, everything here may be repeated.
    pub async fn commit(self) -> Result<(), DbError> {
        self.tx.commit().bounded("commit a tenant's change").await
    }
}
