//! The only way to a tenant's tables.
//!
//! No table of a tenant can be named without a [`TenantDb`], and none comes from anything but a resolved tenant:
//!
//! ```
//! async fn used(tenant: mediamill_shared::tenancy::Tenant) {
//!     let db = tenant.db().expect("an active tenant");
//!     let _ = db.usage().await;
//! }
//! ```
//!
//! What does not compile below differs from this by one name each:
//!
//! ```
//! use mediamill_shared::tenancy::{TablePrefix, Tenant, TenantDatabases, TenantDb, TenantTx};
//! let _ = (Tenant::db, TenantDatabases::servers, TenantDb::begin, TenantDb::usage, TenantTx::commit);
//! ```
//!
//! ```compile_fail
//! // The text that names a table is private.
//! use mediamill_shared::tenancy::sql::TenantSql;
//! ```
//!
//! ```compile_fail
//! // Nobody but the resolver makes a tenant.
//! let _ = mediamill_shared::tenancy::Tenant::new;
//! ```
//!
//! ```compile_fail
//! // Nobody but a tenant makes its `TenantDb`.
//! let _ = mediamill_shared::tenancy::TenantDb::new;
//! ```
//!
//! ```compile_fail
//! // Nor can one run SQL of its own with it,
//! let _ = mediamill_shared::tenancy::TenantDb::query;
//! ```
//!
//! ```compile_fail
//! // nor within its transaction,
//! let _ = mediamill_shared::tenancy::TenantTx::query;
//! ```
//!
//! ```compile_fail
//! // nor make one of a transaction of another place,
//! let _ = mediamill_shared::tenancy::TenantTx::within;
//! ```
//!
//! ```compile_fail
//! // nor reach a tenant's database beside it.
//! let _ = mediamill_shared::tenancy::TenantDatabases::reader;
//! ```

use super::{
    Place, TENANT_SCHEMA_VERSION,
    databases::{TenantConnection, TenantDatabases, TenantTransaction},
    schemas,
    sql::TenantSql,
};
use crate::db::DbError;
use sqlx::{Any, any::AnyArguments, query::Query};

/// One tenant's tables. Exists only for a resolved, served tenant.
#[derive(Debug, Clone)]
pub struct TenantDb {
    databases: TenantDatabases,
    place: Place,
    moving: bool,
}

/// A writing transaction on one tenant's tables. Dropped uncommitted, it changes nothing.
#[derive(Debug)]
pub struct TenantTx {
    pub(super) tx: TenantTransaction,
    place: Place,
}

pub(super) fn render(place: &Place, sql: TenantSql) -> Query<'static, Any, AnyArguments> {
    let prefix = place.table_prefix();
    #[expect(clippy::disallowed_methods, reason = "a checked text and a validated prefix")]
    let text = sqlx::AssertSqlSafe(sql.render(prefix));
    // A prefixed text is another statement for every tenant: caching it would only evict the shared ones.
    sqlx::query(text).persistent(prefix.is_none())
}

impl TenantDb {
    pub(super) const fn new(databases: TenantDatabases, place: Place, moving: bool) -> Self {
        Self {
            databases,
            place,
            moving,
        }
    }

    pub(super) fn query(&self, sql: TenantSql) -> Query<'static, Any, AnyArguments> {
        render(&self.place, sql)
    }

    /// A connection to read with.
    pub(super) async fn reader(&self) -> Result<TenantConnection, DbError> {
        self.databases.reader(&self.place).await
    }

    /// Begins to write.
    ///
    /// # Errors
    /// When the database is away; while the tenant is moved; when its tables are of a newer release.
    pub async fn begin(&self) -> Result<TenantTx, DbError> {
        const WHAT: &str = "write";
        if self.moving {
            return Err(DbError::Moving { during: WHAT });
        }
        let mut tx = self.databases.begin(&self.place).await?;
        let engine = self.databases.engine(&self.place)?;
        // In the transaction itself: the context may be older than a move that has begun since.
        match schemas::look(&mut tx, engine, &self.place.prefix).await? {
            None => Err(DbError::Gone { during: WHAT }),
            Some(schema) if schema.version > TENANT_SCHEMA_VERSION => Err(DbError::NewerSchema {
                has: schema.version,
                known: TENANT_SCHEMA_VERSION,
            }),
            Some(schema) if schema.closed => Err(DbError::Moving { during: WHAT }),
            Some(_) => Ok(TenantTx {
                tx,
                place: self.place.clone(),
            }),
        }
    }
}

impl TenantTx {
    /// For provisioning and moving, which work where there is no context to resolve yet.
    pub(super) const fn within(tx: TenantTransaction, place: Place) -> Self {
        Self { tx, place }
    }

    pub(super) fn query(&self, sql: TenantSql) -> Query<'static, Any, AnyArguments> {
        render(&self.place, sql)
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Makes it so.
    ///
    /// # Errors
    /// When it is unknown whether it is so: look again, everything here may be repeated.
    pub async fn commit(self) -> Result<(), DbError> {
        self.tx.commit("commit a tenant's change").await
    }
}

/// The names that the front comment says cannot be used from outside: gone here, its proofs would prove nothing.
#[cfg(test)]
const _: () = {
    let _ = super::Tenant::new;
    let _ = TenantDb::new;
    let _ = TenantDb::query;
    let _ = TenantTx::query;
    let _ = TenantTx::within;
    let _ = TenantDatabases::reader;
};
