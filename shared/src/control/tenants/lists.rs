//! Lists and numbers of tenants: a page for a person, and what waits for the work of a release, a timer or a cache.

use super::{TenantRow, place, read};
use crate::{
    control::jobs::text,
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    jobs::JobKind,
    tenancy::{Place, TenantState},
    units::Millis,
};
use sqlx::Row;

sql! {
    /// Those in a state for a while that no job will take out of it. Lists of states as the partial indexes have them.
    LEFT = "SELECT t.id FROM tenants t WHERE t.state IN ('provisioning', 'leaving', 'deleting') AND t.state = $1 \
        AND t.updated_at <= $2 AND t.id > $3 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.tenant = t.id AND j.kind = $4 \
        AND j.state IN ('queued', 'running', 'dead') AND (j.state <> 'dead' OR $5 = 1)) \
        ORDER BY t.id LIMIT $6";
    MOVELESS = "SELECT t.id FROM tenants t WHERE t.moving IS NOT NULL AND t.id > $1 AND NOT EXISTS \
        (SELECT 1 FROM jobs j WHERE j.id = t.moving AND j.state IN ('queued', 'running')) ORDER BY t.id LIMIT $2";
    PAGE = "SELECT t.id, t.serial, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.step, t.plan, t.limits, \
        t.env, t.trial_until, t.purge_at, t.last_job_at, t.version, t.created_at, t.updated_at, t.pictures, h.host FROM tenants t \
        LEFT JOIN tenant_hosts h ON h.tenant = t.id AND h.main = 1 \
        WHERE t.serial > $1 AND (t.state = $2 OR $2 IS NULL) AND (t.plan = $3 OR $3 IS NULL) AND (t.server = $4 OR $4 IS NULL) \
        ORDER BY t.serial LIMIT $5";
    CHANGED = "SELECT id, version, updated_at FROM tenants WHERE updated_at >= $1 AND (updated_at > $1 OR id > $2) ORDER BY updated_at, id LIMIT $3";
    BEHIND = "SELECT serial, id, server, isolation, table_prefix FROM tenants WHERE schema_version < $1 AND serial > $2 \
        AND state <> 'provisioning' ORDER BY serial LIMIT $3";
    IN_STATE = "SELECT id FROM tenants WHERE state = $1 AND id > $2 AND (purge_at IS NULL OR purge_at <= $3) ORDER BY id LIMIT $4";
    COUNT_BEHIND = "SELECT CAST(COUNT(*) AS BIGINT) FROM tenants WHERE schema_version < $1 AND state <> 'provisioning'";
    IN_TRANSIT = "SELECT id, state, CASE WHEN moving IS NULL THEN 0 ELSE 1 END, updated_at FROM tenants \
        WHERE updated_at < $1 AND (state IN ('provisioning', 'deleting') OR moving IS NOT NULL) ORDER BY updated_at, id LIMIT $2";
    SERVERS = "SELECT server, tenants FROM tenant_servers";
    COUNT_STATES = "SELECT state, CAST(COUNT(*) AS BIGINT) FROM tenants GROUP BY state";
}

/// Which tenants are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<TenantState>,
    /// Of this plan.
    pub plan: Option<String>,
    /// On this server.
    pub server: Option<String>,
}

/// A tenant that changed.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The tenant.
    pub id: TenantId,
    /// Its version since.
    pub version: i64,
    /// When.
    pub updated_at: Millis,
}

/// A tenant whose tables are older than this release.
#[derive(Debug, Clone)]
pub struct Behind {
    /// Its place in the order of creation.
    pub serial: String,
    /// The tenant.
    pub id: TenantId,
    /// Where its tables are.
    pub place: Place,
}

/// A tenant on its way in, out, or to another place.
#[derive(Debug, Clone)]
pub struct InTransit {
    /// The tenant.
    pub id: TenantId,
    /// Its state.
    pub state: TenantState,
    /// Whether it moves.
    pub moving: bool,
    /// When it changed last.
    pub since: Millis,
}

/// Tenants after `after` (a serial), in order of creation, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, filter: &Filter, after: Option<&str>, limit: i64) -> Result<Vec<TenantRow>, DbError> {
    let rows = PAGE
        .query()
        .bind(after.unwrap_or_default().to_owned())
        .bind(filter.state.map(TenantState::as_str))
        .bind(filter.plan.clone())
        .bind(filter.server.clone())
        .bind(limit)
        .fetch_all(db.read())
        .bounded("list tenants")
        .await?;
    rows.iter().map(read).collect()
}

/// Tenants after `after` that have been in `state` since `before` or longer and have no job of `kind` that could end that,
/// at most `limit`. A dead job counts where `or_dead` says so: an operator may retry it.
///
/// # Errors
/// When the database is away.
pub async fn left_in(
    db: &Db,
    (state, kind, or_dead): (TenantState, JobKind, bool),
    before: Millis,
    after: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<TenantId>, DbError> {
    let rows = LEFT
        .query()
        .bind(state.as_str())
        .bind(before.get())
        .bind(after.map_or_else(String::new, |id| id.as_str().to_owned()))
        .bind(kind.as_str())
        .bind(i64::from(or_dead))
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for tenants that were left")
        .await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// Tenants after `after` whose move nobody goes on with, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn moveless(db: &Db, after: Option<&TenantId>, limit: i64) -> Result<Vec<TenantId>, DbError> {
    let rows = MOVELESS
        .query()
        .bind(after.map_or_else(String::new, |id| id.as_str().to_owned()))
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for moves that were left")
        .await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// Tenants that changed at `since` or later, from the one after `after` on if it changed just then, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn changed_since(
    db: &Db,
    since: Millis,
    after: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<Changed>, DbError> {
    const WHAT: &str = "look for changed tenants";
    let rows = CHANGED
        .query()
        .bind(since.get())
        .bind(after.map_or_else(String::new, |id| id.as_str().to_owned()))
        .bind(limit)
        .fetch_all(db.read())
        .bounded(WHAT)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Changed {
                id: text(row, 0)?,
                version: row.try_get(1).during(WHAT)?,
                updated_at: Millis::new(row.try_get(2).during(WHAT)?),
            })
        })
        .collect()
}

/// Tenants after `after` (a serial) whose tables are below `version`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn behind(db: &Db, after: Option<&str>, version: i64, limit: i64) -> Result<Vec<Behind>, DbError> {
    let rows = BEHIND
        .query()
        .bind(version)
        .bind(after.unwrap_or_default().to_owned())
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for old schemas")
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Behind {
                serial: row.try_get(0).during("look for old schemas")?,
                id: text(row, 1)?,
                place: place(row, 2)?,
            })
        })
        .collect()
}

/// How many tenants' tables are below `version`.
///
/// # Errors
/// When the database is away.
pub async fn count_behind(db: &Db, version: i64) -> Result<i64, DbError> {
    const WHAT: &str = "count old schemas";
    let row = COUNT_BEHIND
        .query()
        .bind(version)
        .fetch_one(db.read())
        .bounded(WHAT)
        .await?;
    row.try_get(0).during(WHAT)
}

/// Tenants that have been coming, going or moving since before `before`, the longest first, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn in_transit(db: &Db, before: Millis, limit: i64) -> Result<Vec<InTransit>, DbError> {
    const WHAT: &str = "look for tenants in transit";
    let query = IN_TRANSIT.query().bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(InTransit {
                id: text(row, 0)?,
                state: text(row, 1)?,
                moving: row.try_get::<i64, _>(2).during(WHAT)? == 1,
                since: Millis::new(row.try_get(3).during(WHAT)?),
            })
        })
        .collect()
}

/// Tenants after `after` in `state`, those that wait for their purge only when it is due, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn in_state(
    db: &Db,
    state: TenantState,
    after: Option<&TenantId>,
    now: Millis,
    limit: i64,
) -> Result<Vec<TenantId>, DbError> {
    let rows = IN_STATE
        .query()
        .bind(state.as_str())
        .bind(after.map_or_else(String::new, |id| id.as_str().to_owned()))
        .bind(now.get())
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for tenants in transit")
        .await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// Tenants on each server, by its name.
///
/// # Errors
/// When the database is away.
pub async fn servers(db: &Db) -> Result<Vec<(String, i64)>, DbError> {
    const WHAT: &str = "count tenants by server";
    let rows = SERVERS.query().fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?)))
        .collect()
}

/// How many tenants are in each state.
///
/// # Errors
/// When the database is away.
pub async fn states(db: &Db) -> Result<Vec<(TenantState, i64)>, DbError> {
    const WHAT: &str = "count tenants";
    let rows = COUNT_STATES.query().fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| Ok((text(row, 0)?, row.try_get(1).during(WHAT)?)))
        .collect()
}
