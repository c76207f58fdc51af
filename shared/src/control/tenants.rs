//! Tenants, their hosts and their migrations.

use super::jobs::{optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    tenancy::{Isolation, LimitOverrides, Limits, NewTenant, TablePrefix, TenantContext, TenantState},
    units::Millis,
};
use sqlx::{AnyConnection, Row, any::AnyRow};

sql! {
    PLAN = "SELECT id FROM plans WHERE id = $1";
    INSERT = "INSERT INTO tenants (id, table_prefix, isolation, state, plan, limits, version, created_at, updated_at) \
        VALUES ($1, $2, 'prefix', $3, $4, $5, 1, $6, $6) ON CONFLICT (id) DO NOTHING RETURNING id";
    INSERT_HOST = "INSERT INTO tenant_hosts (host, tenant, created_at) VALUES ($1, $2, $3) ON CONFLICT (host) DO NOTHING RETURNING host";
    BY_HOST = "SELECT tenant, created_at FROM tenant_hosts WHERE host = $1";
    CONTEXT = "SELECT t.id, t.state, t.table_prefix, t.limits, t.version, p.limits FROM tenants t LEFT JOIN plans p ON p.id = t.plan WHERE t.id = $1";
    GET = "SELECT id, table_prefix, state, plan, limits, version, created_at, updated_at FROM tenants WHERE id = $1";
    PAGE = "SELECT id, table_prefix, state, plan, limits, version, created_at, updated_at FROM tenants WHERE table_prefix > $1 ORDER BY table_prefix LIMIT $2";
    HOSTS = "SELECT host, created_at FROM tenant_hosts WHERE tenant = $1 ORDER BY host";
    STANDING = "SELECT state, version FROM tenants WHERE id = $1";
    SET_STATE = "UPDATE tenants SET state = $1, version = version + 1, updated_at = $2 WHERE id = $3 AND state <> 'deleting' RETURNING version";
    SET_LIMITS = "UPDATE tenants SET limits = $1, version = version + 1, updated_at = $2 WHERE id = $3 AND state <> 'deleting' RETURNING version";
    CHANGED = "SELECT id FROM tenants WHERE updated_at >= $1 ORDER BY updated_at LIMIT $2";
    DELETING = "SELECT table_prefix FROM tenants WHERE id = $1 AND state = 'deleting'";
    FORGET_HOSTS = "DELETE FROM tenant_hosts WHERE tenant = $1";
    FORGET_KEYS = "DELETE FROM idempotency_keys WHERE tenant = $1";
    FORGET = "DELETE FROM tenants WHERE id = $1";
    VERSION = "SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM tenant_migrations WHERE table_prefix = $1";
    RECORD = "INSERT INTO tenant_migrations (table_prefix, version, applied_at) VALUES ($1, $2, $3)";
    FORGET_MIGRATIONS = "DELETE FROM tenant_migrations WHERE table_prefix = $1";
    BEHIND = "SELECT t.table_prefix FROM tenants t WHERE t.table_prefix > $1 AND \
        (SELECT COUNT(*) FROM tenant_migrations m WHERE m.table_prefix = t.table_prefix) < $2 ORDER BY t.table_prefix LIMIT $3";
}

/// A tenant as its provider sees it.
#[derive(Debug, Clone)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// Its tables' prefix; tenants are listed in its order, which is the order of creation.
    pub prefix: TablePrefix,
    /// Whether it is served.
    pub state: TenantState,
    /// What it inherits from.
    pub plan: Option<String>,
    /// What it has of its own.
    pub limits: LimitOverrides,
    /// Changes so far.
    pub version: i64,
    /// Made.
    pub created_at: Millis,
    /// Changed last.
    pub updated_at: Millis,
}

pub(crate) async fn plan_exists(connection: &mut AnyConnection, plan: &str) -> Result<bool, DbError> {
    let row = PLAN
        .query()
        .bind(plan.to_owned())
        .fetch_optional(connection)
        .bounded("look up a plan")
        .await?;
    Ok(row.is_some())
}

/// Returns whether the id was free.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    new: &NewTenant,
    prefix: &TablePrefix,
    state: TenantState,
    now: Millis,
) -> Result<bool, DbError> {
    let query = INSERT
        .query()
        .bind(new.id.as_str().to_owned())
        .bind(prefix.as_str().to_owned())
        .bind(state.as_str())
        .bind(new.plan.clone())
        .bind(new.limits.to_json())
        .bind(now.get());
    query
        .fetch_optional(connection)
        .bounded("add a tenant")
        .await
        .map(|row| row.is_some())
}

/// Returns whether the host was free.
pub(crate) async fn insert_host(
    connection: &mut AnyConnection,
    host: &str,
    id: &TenantId,
    now: Millis,
) -> Result<bool, DbError> {
    let query = INSERT_HOST
        .query()
        .bind(host.to_owned())
        .bind(id.as_str().to_owned())
        .bind(now.get());
    query
        .fetch_optional(connection)
        .bounded("add a host")
        .await
        .map(|row| row.is_some())
}

/// The tenant at `host`, and since when it is there.
///
/// # Errors
/// When the database is away.
pub async fn by_host(db: &Db, host: &str) -> Result<Option<(TenantId, Millis)>, DbError> {
    let row = BY_HOST
        .query()
        .bind(host.to_owned())
        .fetch_optional(db.read())
        .bounded("look up a host")
        .await?;
    row.map(|row| Ok((text(&row, 0)?, Millis::new(row.try_get(1).during("look up a host")?))))
        .transpose()
}

/// A tenant's context, everything resolved. `None`: there is none.
pub(crate) async fn context(db: &Db, id: &TenantId, defaults: &Limits) -> Result<Option<TenantContext>, DbError> {
    const WHAT: &str = "resolve a tenant";
    let row = CONTEXT
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(db.read())
        .bounded(WHAT)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let overrides = |text: Option<String>| match text {
        Some(text) => LimitOverrides::from_json(&text).map_err(|error| DbError::unreadable(WHAT, error)),
        None => Ok(LimitOverrides::default()),
    };
    let own = overrides(row.try_get(3).during(WHAT)?)?;
    let plan = overrides(row.try_get(5).during(WHAT)?)?;
    Ok(Some(TenantContext {
        id: text(&row, 0)?,
        state: text(&row, 1)?,
        isolation: Isolation::Prefix(text(&row, 2)?),
        limits: defaults.with(&plan).with(&own),
        version: row.try_get(4).during(WHAT)?,
    }))
}

/// One tenant.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: &TenantId) -> Result<Option<TenantRow>, DbError> {
    let row = GET
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(db.read())
        .bounded("read a tenant")
        .await?;
    row.as_ref().map(read).transpose()
}

/// Tenants after `after`, in order of creation, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, after: Option<&TablePrefix>, limit: i64) -> Result<Vec<TenantRow>, DbError> {
    let after = after.map_or_else(String::new, |prefix| prefix.as_str().to_owned());
    let rows = PAGE
        .query()
        .bind(after)
        .bind(limit)
        .fetch_all(db.read())
        .bounded("list tenants")
        .await?;
    rows.iter().map(read).collect()
}

/// A tenant's hosts, each with the moment it was added.
///
/// # Errors
/// When the database is away.
pub async fn hosts(db: &Db, id: &TenantId) -> Result<Vec<(String, Millis)>, DbError> {
    const WHAT: &str = "list hosts";
    let rows = HOSTS
        .query()
        .bind(id.as_str().to_owned())
        .fetch_all(db.read())
        .bounded(WHAT)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0).during(WHAT)?, Millis::new(row.try_get(1).during(WHAT)?))))
        .collect()
}

/// State and version, within a transaction that writes for the tenant. `None`: there is none.
pub(crate) async fn standing(
    connection: &mut AnyConnection,
    id: &TenantId,
) -> Result<Option<(TenantState, i64)>, DbError> {
    let row = STANDING
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(connection)
        .bounded("check a tenant")
        .await?;
    row.map(|row| Ok((text(&row, 0)?, row.try_get(1).during("check a tenant")?)))
        .transpose()
}

/// Changes a tenant's state. Returns whether there is such a tenant that is not being removed.
///
/// # Errors
/// When the database is away.
pub async fn set_state(db: &Db, id: &TenantId, state: TenantState, now: Millis) -> Result<bool, DbError> {
    let query = SET_STATE
        .query()
        .bind(state.as_str())
        .bind(now.get())
        .bind(id.as_str().to_owned());
    query
        .fetch_optional(db.write())
        .bounded("change a tenant's state")
        .await
        .map(|row| row.is_some())
}

/// Replaces a tenant's own limits. Returns whether there is such a tenant that is not being removed.
///
/// # Errors
/// When the database is away.
pub async fn set_limits(db: &Db, id: &TenantId, limits: &LimitOverrides, now: Millis) -> Result<bool, DbError> {
    let query = SET_LIMITS
        .query()
        .bind(limits.to_json())
        .bind(now.get())
        .bind(id.as_str().to_owned());
    query
        .fetch_optional(db.write())
        .bounded("change a tenant's limits")
        .await
        .map(|row| row.is_some())
}

/// Tenants that changed at `since` or later, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn changed_since(db: &Db, since: Millis, limit: i64) -> Result<Vec<TenantId>, DbError> {
    let rows = CHANGED
        .query()
        .bind(since.get())
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for changed tenants")
        .await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

pub(crate) async fn prefix_of_deleting(
    connection: &mut AnyConnection,
    id: &TenantId,
) -> Result<Option<TablePrefix>, DbError> {
    let row = DELETING
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(connection)
        .bounded("remove a tenant")
        .await?;
    row.as_ref().map(|row| text(row, 0)).transpose()
}

pub(crate) async fn forget(connection: &mut AnyConnection, id: &TenantId) -> Result<(), DbError> {
    for sql in [FORGET_KEYS, FORGET_HOSTS, FORGET] {
        sql.query()
            .bind(id.as_str().to_owned())
            .execute(&mut *connection)
            .bounded("remove a tenant")
            .await?;
    }
    Ok(())
}

pub(crate) async fn migration_version(connection: &mut AnyConnection, prefix: &TablePrefix) -> Result<i64, DbError> {
    let row = VERSION
        .query()
        .bind(prefix.as_str().to_owned())
        .fetch_one(connection)
        .bounded("read a tenant's schema version")
        .await?;
    row.try_get(0).during("read a tenant's schema version")
}

pub(crate) async fn record_migration(
    connection: &mut AnyConnection,
    prefix: &TablePrefix,
    version: i64,
    now: Millis,
) -> Result<(), DbError> {
    let query = RECORD
        .query()
        .bind(prefix.as_str().to_owned())
        .bind(version)
        .bind(now.get());
    query
        .execute(connection)
        .bounded("record a tenant's migration")
        .await
        .map(|_| ())
}

pub(crate) async fn forget_migrations(connection: &mut AnyConnection, prefix: &TablePrefix) -> Result<(), DbError> {
    let query = FORGET_MIGRATIONS.query().bind(prefix.as_str().to_owned());
    query
        .execute(connection)
        .bounded("forget a tenant's migrations")
        .await
        .map(|_| ())
}

/// Prefixes after `after` whose tables have fewer than `version` migrations, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn behind(
    db: &Db,
    after: Option<&TablePrefix>,
    version: i64,
    limit: i64,
) -> Result<Vec<TablePrefix>, DbError> {
    let after = after.map_or_else(String::new, |prefix| prefix.as_str().to_owned());
    let rows = BEHIND
        .query()
        .bind(after)
        .bind(version)
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for old schemas")
        .await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

fn read(row: &AnyRow) -> Result<TenantRow, DbError> {
    const WHAT: &str = "read a tenant";
    let limits: String = row.try_get(4).during(WHAT)?;
    Ok(TenantRow {
        id: text(row, 0)?,
        prefix: text(row, 1)?,
        state: text(row, 2)?,
        plan: optional(row, 3)?,
        limits: LimitOverrides::from_json(&limits).map_err(|error| DbError::unreadable(WHAT, error))?,
        version: row.try_get(5).during(WHAT)?,
        created_at: Millis::new(row.try_get(6).during(WHAT)?),
        updated_at: Millis::new(row.try_get(7).during(WHAT)?),
    })
}
