//! `tenant_schemas`: in each database, which tenants' tables it holds, of which version, and whether they take writes.
//!
//! It stands beside the tables themselves, so a transaction that writes can look at it and lock it: whoever moves a
//! tenant closes its row first, and from then on no writer commits there, however old the context that sent it.

use super::{ServerName, TablePrefix, databases::TenantTransaction};
use crate::{
    db::{Bounded, DbError, During, Engine, Sql, sql},
    ids::{JobId, TenantId},
    units::Millis,
};
use sqlx::{AnyConnection, Row};

sql! {
    /// In the control database a migration made it; the text is the same.
    MAKE = "CREATE TABLE IF NOT EXISTS tenant_schemas (table_prefix TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, \
        version BIGINT NOT NULL CHECK (version BETWEEN 0 AND 9000000000000000000), \
        closed_by TEXT, changed_at BIGINT NOT NULL)";
    ENTER = "INSERT INTO tenant_schemas (table_prefix, tenant, version, closed_by, changed_at) VALUES ($1, $2, $3, NULL, $4) \
        ON CONFLICT (table_prefix) DO NOTHING RETURNING table_prefix";
    LOOK = "SELECT version, closed_by FROM tenant_schemas WHERE table_prefix = $1";
    SET_VERSION = "UPDATE tenant_schemas SET version = $1, changed_at = $2 WHERE table_prefix = $3";
    OWNER = "SELECT tenant FROM tenant_schemas WHERE table_prefix = $1";
    CLOSE = "UPDATE tenant_schemas SET closed_by = $1, changed_at = $2 WHERE table_prefix = $3 RETURNING table_prefix";
    /// Only what this job closed: a later move may have closed it since.
    OPEN = "UPDATE tenant_schemas SET closed_by = NULL, changed_at = $2 WHERE table_prefix = $3 AND closed_by = $1";
    LEAVE = "DELETE FROM tenant_schemas WHERE table_prefix = $1";
}

/// On PostgreSQL a writer holds the row until it commits; on SQLite it holds the database.
const LOOK_LOCKED: Sql = Sql::new("SELECT version, closed_by FROM tenant_schemas WHERE table_prefix = $1 FOR SHARE");
const LOOK_ALONE: Sql = Sql::new("SELECT version, closed_by FROM tenant_schemas WHERE table_prefix = $1 FOR UPDATE");

/// What a database says of one tenant's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) version: i64,
    /// While it is being moved away, nobody writes.
    pub(crate) closed: bool,
}

/// Makes the table where it is missing.
pub(crate) async fn make(connection: &mut AnyConnection) -> Result<(), DbError> {
    let made = MAKE
        .query()
        .execute(&mut *connection)
        .bounded("prepare a database for tenants")
        .await;
    match made {
        // PostgreSQL: two that make it at once collide in the catalogue, and one has made it.
        Err(error) if error.fault() == crate::db::Fault::Conflict => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Returns whether the place was new.
///
/// # Errors
/// When it is another tenant's: two got one name, and must not get one another's rows.
pub(crate) async fn enter(
    tx: &mut TenantTransaction,
    prefix: &TablePrefix,
    tenant: &TenantId,
    version: i64,
    now: Millis,
) -> Result<bool, DbError> {
    const WHAT: &str = "enter a tenant's schema";
    let query = ENTER
        .query()
        .bind(prefix.as_str().to_owned())
        .bind(tenant.as_str().to_owned())
        .bind(version)
        .bind(now.get());
    let row = query.fetch_optional(&mut **tx).bounded(WHAT).await?;
    if row.is_some() {
        return Ok(true);
    }
    let query = OWNER.query().bind(prefix.as_str().to_owned());
    let row = query.fetch_one(&mut **tx).bounded(WHAT).await?;
    let owner: String = row.try_get(0).during(WHAT)?;
    if owner == tenant.as_str() {
        Ok(false)
    } else {
        Err(DbError::unreadable(
            WHAT,
            format!("{prefix} holds tenant {owner}'s tables"),
        ))
    }
}

/// The same as a text for a place that is known to be new, to go with the texts that make its tables in one round trip.
pub(crate) fn entry_text(prefix: &TablePrefix, tenant: &TenantId, version: i64, now: Millis) -> String {
    // Prefixes and ids are checked when they are read: none of them holds a quote.
    format!(
        "INSERT INTO tenant_schemas (table_prefix, tenant, version, closed_by, changed_at) \
         VALUES ('{prefix}', '{tenant}', {version}, NULL, {});",
        now.get()
    )
}

/// What stands there, locked against a change until the transaction ends. `None`: no such tenant here.
pub(crate) async fn look(
    tx: &mut TenantTransaction,
    engine: Engine,
    prefix: &TablePrefix,
) -> Result<Option<Schema>, DbError> {
    read(tx, engine, LOOK_LOCKED, prefix).await
}

/// The same for whoever is to change it: the only one until the transaction ends.
pub(crate) async fn look_alone(
    tx: &mut TenantTransaction,
    engine: Engine,
    prefix: &TablePrefix,
) -> Result<Option<Schema>, DbError> {
    read(tx, engine, LOOK_ALONE, prefix).await
}

async fn read(
    tx: &mut TenantTransaction,
    engine: Engine,
    on_postgres: Sql,
    prefix: &TablePrefix,
) -> Result<Option<Schema>, DbError> {
    const WHAT: &str = "look at a tenant's schema";
    let sql = match engine {
        Engine::Sqlite => LOOK,
        Engine::Postgres => on_postgres,
    };
    let query = sql.query().bind(prefix.as_str().to_owned());
    let row = query.fetch_optional(&mut **tx).bounded(WHAT).await?;
    row.map(|row| {
        Ok(Schema {
            version: row.try_get(0).during(WHAT)?,
            closed: row.try_get::<Option<String>, _>(1).during(WHAT)?.is_some(),
        })
    })
    .transpose()
}

pub(crate) async fn set_version(
    tx: &mut TenantTransaction,
    prefix: &TablePrefix,
    version: i64,
    now: Millis,
) -> Result<(), DbError> {
    let query = SET_VERSION
        .query()
        .bind(version)
        .bind(now.get())
        .bind(prefix.as_str().to_owned());
    query
        .execute(&mut **tx)
        .bounded("record a tenant's schema")
        .await
        .map(|_| ())
}

/// Closes a place for writers on behalf of the job that moves the tenant away; waits for those that are writing. Returns
/// whether it is there.
pub(crate) async fn close(
    tx: &mut TenantTransaction,
    prefix: &TablePrefix,
    job: &JobId,
    now: Millis,
) -> Result<bool, DbError> {
    let query = CLOSE
        .query()
        .bind(job.as_str().to_owned())
        .bind(now.get())
        .bind(prefix.as_str().to_owned());
    let row = query
        .fetch_optional(&mut **tx)
        .bounded("close a tenant's tables")
        .await?;
    Ok(row.is_some())
}

/// Opens a place that `job` closed. What another job has closed since stays closed.
pub(crate) async fn open(
    tx: &mut TenantTransaction,
    prefix: &TablePrefix,
    job: &JobId,
    now: Millis,
) -> Result<(), DbError> {
    let query = OPEN
        .query()
        .bind(job.as_str().to_owned())
        .bind(now.get())
        .bind(prefix.as_str().to_owned());
    query
        .execute(&mut **tx)
        .bounded("open a tenant's tables")
        .await
        .map(|_| ())
}

pub(crate) async fn leave(tx: &mut TenantTransaction, prefix: &TablePrefix) -> Result<(), DbError> {
    let query = LEAVE.query().bind(prefix.as_str().to_owned());
    query
        .execute(&mut **tx)
        .bounded("forget a tenant's schema")
        .await
        .map(|_| ())
}

/// Servers whose shared database this process has prepared.
#[derive(Debug, Default)]
pub(crate) struct Prepared(std::sync::Mutex<std::collections::BTreeSet<ServerName>>);

impl Prepared {
    pub(crate) fn has(&self, server: &ServerName) -> bool {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .contains(server)
    }

    pub(crate) fn add(&self, server: &ServerName) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(server.clone());
    }
}
