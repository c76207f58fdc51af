//! Tenants and their hosts: read for the resolver and for operators. What changes them is in `changes.rs`.

use super::jobs::{optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::{JobId, TenantId},
    jobs::JobKind,
    tenancy::{Host, LimitOverrides, PictureSettings, Place, PlanPart, TenantPart, TenantState},
    units::Millis,
};
use sqlx::{
    Any, AnyConnection, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use std::collections::{BTreeMap, HashMap};

sql! {
    /// One row for each of the tenant's hosts: everything that a context is made of, in one look.
    BY_HOST (1) = "SELECT h.host, t.id, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.plan, t.limits, \
        t.trial_until, t.version, t.updated_at, p.limits, p.version, o.host, o.main, t.pictures, p.pictures FROM tenant_hosts h JOIN tenants t ON t.id = h.tenant \
        LEFT JOIN plans p ON p.id = t.plan LEFT JOIN tenant_hosts o ON o.tenant = t.id WHERE h.host IN (VALUES {rows})";
    /// Rows of one tenant stand together.
    BY_ID (1) = "SELECT '', t.id, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.plan, t.limits, \
        t.trial_until, t.version, t.updated_at, p.limits, p.version, o.host, o.main, t.pictures, p.pictures FROM tenants t \
        LEFT JOIN plans p ON p.id = t.plan LEFT JOIN tenant_hosts o ON o.tenant = t.id WHERE t.id IN (VALUES {rows}) ORDER BY t.id";
    GET = "SELECT t.id, t.serial, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.step, t.plan, t.limits, \
        t.env, t.trial_until, t.purge_at, t.last_job_at, t.version, t.created_at, t.updated_at, t.pictures, h.host FROM tenants t \
        LEFT JOIN tenant_hosts h ON h.tenant = t.id AND h.main = 1 WHERE t.id = $1";
    WITH_HOST = "SELECT t.id, t.serial, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.step, t.plan, t.limits, \
        t.env, t.trial_until, t.purge_at, t.last_job_at, t.version, t.created_at, t.updated_at, t.pictures, h.host FROM tenant_hosts o \
        JOIN tenants t ON t.id = o.tenant LEFT JOIN tenant_hosts h ON h.tenant = t.id AND h.main = 1 WHERE o.host = $1";
    /// One row for each host of each of these.
    MANY (1) = "SELECT t.id, t.serial, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.step, t.plan, t.limits, \
        t.env, t.trial_until, t.purge_at, t.last_job_at, t.version, t.created_at, t.updated_at, t.pictures, h.host, h.main FROM tenants t \
        LEFT JOIN tenant_hosts h ON h.tenant = t.id WHERE t.id IN (VALUES {rows})";
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
    HOSTS = "SELECT host, main FROM tenant_hosts WHERE tenant = $1 ORDER BY main DESC, host";
    HOSTS_OF (1) = "SELECT tenant, host, main FROM tenant_hosts WHERE tenant IN (VALUES {rows}) ORDER BY main DESC, host";
    STANDING = "SELECT t.state, t.version, COALESCE(p.version, 0) FROM tenants t LEFT JOIN plans p ON p.id = t.plan WHERE t.id = $1";
    CHANGED = "SELECT id, version, updated_at FROM tenants WHERE updated_at >= $1 AND (updated_at > $1 OR id > $2) ORDER BY updated_at, id LIMIT $3";
    BEHIND = "SELECT serial, id, server, isolation, table_prefix FROM tenants WHERE schema_version < $1 AND serial > $2 \
        AND state <> 'provisioning' ORDER BY serial LIMIT $3";
    IN_STATE = "SELECT id FROM tenants WHERE state = $1 AND id > $2 AND (purge_at IS NULL OR purge_at <= $3) ORDER BY id LIMIT $4";
    COUNT_BEHIND = "SELECT CAST(COUNT(*) AS BIGINT) FROM tenants WHERE schema_version < $1 AND state <> 'provisioning'";
    IN_TRANSIT = "SELECT id, state, CASE WHEN moving IS NULL THEN 0 ELSE 1 END, updated_at FROM tenants \
        WHERE updated_at < $1 AND (state IN ('provisioning', 'deleting') OR moving IS NOT NULL) ORDER BY updated_at, id LIMIT $2";
    SET_SCHEMA = "UPDATE tenants SET schema_version = $1, version = CASE WHEN version >= $2 THEN version + 1 ELSE $2 END, updated_at = $2 WHERE id = $3 AND table_prefix = $4";
    SERVERS = "SELECT server, tenants FROM tenant_servers";
    COUNT_STATES = "SELECT state, CAST(COUNT(*) AS BIGINT) FROM tenants GROUP BY state";
    WORKED = "UPDATE tenants SET last_job_at = $1 WHERE id = $2 AND (last_job_at IS NULL OR last_job_at < $3)";
}

/// A tenant as its provider sees it.
#[derive(Debug, Clone)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// Tenants are listed in the order of these, which is the order of creation.
    pub serial: String,
    /// Whether it is served.
    pub state: TenantState,
    /// Where its tables are.
    pub place: Place,
    /// What its tables are on.
    pub schema_version: i64,
    /// The job that moves it.
    pub moving: Option<JobId>,
    /// The last step of its coming or going that is done.
    pub step: String,
    /// What it inherits from.
    pub plan: Option<String>,
    /// What it has of its own.
    pub limits: LimitOverrides,
    /// What it says of its pictures.
    pub pictures: PictureSettings,
    /// Its environment, sealed.
    pub env: Option<String>,
    /// Its trial's end.
    pub trial_until: Option<Millis>,
    /// When it is removed for good.
    pub purge_at: Option<Millis>,
    /// When a job of it ended last, to the minute.
    pub last_job_at: Option<Millis>,
    /// Changes so far.
    pub version: i64,
    /// Made.
    pub created_at: Millis,
    /// Changed last.
    pub updated_at: Millis,
    /// Its main host.
    pub host: Option<String>,
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

/// What the resolver reads: the tenant's part and its plan's.
pub(crate) type Parts = (TenantPart, Option<PlanPart>);

/// The tenant at the first of `hosts` that somebody has: the host itself, then wildcards from the nearest on.
pub(crate) async fn by_host(db: &Db, hosts: &[String]) -> Result<Option<Parts>, DbError> {
    let size = crate::db::padded(hosts.len());
    let mut query = BY_HOST.rows(1, size, 1);
    for place in 0..size {
        let host = hosts.get(place).or(hosts.last()).cloned().unwrap_or_default();
        query = query.bind(host);
    }
    let rows = query.fetch_all(db.read()).bounded("look up a host").await?;
    for host in hosts {
        let mut of_host = Vec::new();
        for row in &rows {
            if row.try_get::<String, _>(0).during("look up a host")? == *host {
                of_host.push(row);
            }
        }
        if !of_host.is_empty() {
            return parts(&of_host);
        }
    }
    Ok(None)
}

/// The tenant with this id.
pub(crate) async fn by_id(db: &Db, id: &TenantId) -> Result<Option<Parts>, DbError> {
    Ok(by_ids(db, std::slice::from_ref(id)).await?.pop())
}

/// Those of `ids` that there are.
pub(crate) async fn by_ids(db: &Db, ids: &[TenantId]) -> Result<Vec<Parts>, DbError> {
    const WHAT: &str = "look up tenants";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let size = padded(ids.len());
    let query = bind(BY_ID.rows(1, size, 1), ids, size);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    let (mut found, mut one) = (Vec::with_capacity(ids.len()), Vec::<&AnyRow>::new());
    for row in &rows {
        let same = match one.first() {
            Some(first) => first.try_get::<String, _>(1).during(WHAT)? == row.try_get::<String, _>(1).during(WHAT)?,
            None => true,
        };
        if !same {
            found.extend(parts(&std::mem::take(&mut one))?);
        }
        one.push(row);
    }
    found.extend(parts(&one)?);
    Ok(found)
}

/// Binds `ids` to a list of `size`, the last one as often as it takes.
pub(crate) fn bind<'q>(
    mut query: Query<'q, Any, AnyArguments>,
    ids: &[TenantId],
    size: usize,
) -> Query<'q, Any, AnyArguments> {
    for place in 0..size {
        let id = ids.get(place).or(ids.last()).map_or("", TenantId::as_str);
        query = query.bind(id.to_owned());
    }
    query
}

fn overrides(row: &AnyRow, column: usize) -> Result<LimitOverrides, DbError> {
    const WHAT: &str = "read limits";
    let text: String = row.try_get(column).during(WHAT)?;
    LimitOverrides::from_json(&text).map_err(|error| DbError::unreadable(WHAT, error))
}

/// What a row says of pictures; nothing is that everything is inherited.
pub(super) fn pictures(row: &AnyRow, column: usize) -> Result<PictureSettings, DbError> {
    const WHAT: &str = "read picture settings";
    let text: Option<String> = row.try_get(column).during(WHAT)?;
    let settings = text.map(|text| PictureSettings::from_json(&text)).transpose();
    settings
        .map(Option::unwrap_or_default)
        .map_err(|error| DbError::unreadable(WHAT, error))
}

fn place(row: &AnyRow, server: usize) -> Result<Place, DbError> {
    Ok(Place {
        server: text(row, server)?,
        isolation: text(row, server.saturating_add(1))?,
        prefix: text(row, server.saturating_add(2))?,
    })
}

fn millis(row: &AnyRow, column: usize) -> Result<Option<Millis>, DbError> {
    const WHAT: &str = "read a moment";
    Ok(row.try_get::<Option<i64>, _>(column).during(WHAT)?.map(Millis::new))
}

fn parts(rows: &[&AnyRow]) -> Result<Option<Parts>, DbError> {
    const WHAT: &str = "read a tenant";
    let Some(row) = rows.first() else { return Ok(None) };
    let mut hosts = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(name) = row.try_get::<Option<String>, _>(15).during(WHAT)? {
            let main = row.try_get::<Option<i64>, _>(16).during(WHAT)? == Some(1);
            hosts.push(Host { name, main });
        }
    }
    let plan: Option<String> = row.try_get(8).during(WHAT)?;
    let plan_version: Option<i64> = row.try_get(14).during(WHAT)?;
    let plan_part = match (&plan, plan_version) {
        (Some(id), Some(version)) => Some(PlanPart {
            id: id.clone(),
            limits: overrides(row, 13)?,
            pictures: pictures(row, 18)?,
            version,
        }),
        _ => None,
    };
    let part = TenantPart {
        id: text(row, 1)?,
        state: text(row, 2)?,
        place: place(row, 3)?,
        schema_version: row.try_get(6).during(WHAT)?,
        moving: row.try_get::<Option<String>, _>(7).during(WHAT)?.is_some(),
        plan,
        limits: overrides(row, 9)?,
        pictures: pictures(row, 17)?,
        trial_until: millis(row, 10)?,
        hosts,
        version: row.try_get(11).during(WHAT)?,
        updated_at: Millis::new(row.try_get(12).during(WHAT)?),
    };
    Ok(Some((part, plan_part)))
}

/// One tenant.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: &TenantId) -> Result<Option<TenantRow>, DbError> {
    get_in(&mut *db.read().acquire().bounded("read a tenant").await?, id).await
}

pub(crate) async fn get_in(connection: &mut AnyConnection, id: &TenantId) -> Result<Option<TenantRow>, DbError> {
    let row = GET
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(connection)
        .bounded("read a tenant")
        .await?;
    row.as_ref().map(read).transpose()
}

/// The tenant that has this very host, wildcard or not.
///
/// # Errors
/// When the database is away.
pub async fn with_host(db: &Db, host: &str) -> Result<Option<TenantRow>, DbError> {
    let row = WITH_HOST
        .query()
        .bind(host.to_owned())
        .fetch_optional(db.read())
        .bounded("read a host's tenant")
        .await?;
    row.as_ref().map(read).transpose()
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

/// Those of `ids` that there are, each with its hosts, within a transaction.
pub(crate) async fn many_in(
    connection: &mut AnyConnection,
    ids: &[TenantId],
) -> Result<BTreeMap<TenantId, (TenantRow, Vec<Host>)>, DbError> {
    const WHAT: &str = "read tenants";
    let mut found: BTreeMap<TenantId, (TenantRow, Vec<Host>)> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let size = padded(ids.len());
    let query = bind(MANY.rows(1, size, 1), ids, size);
    for row in query.fetch_all(connection).bounded(WHAT).await? {
        let tenant = read(&row)?;
        let host = tenant.host.clone();
        let main = row.try_get::<Option<i64>, _>(20).during(WHAT)? == Some(1);
        let (tenant, hosts) = found.entry(tenant.id.clone()).or_insert((tenant, Vec::new()));
        if main {
            tenant.host.clone_from(&host);
        }
        hosts.extend(host.map(|name| Host { name, main }));
    }
    Ok(found)
}

/// Those of `ids` that there are, each with its hosts.
///
/// # Errors
/// When the database is away.
pub async fn many(db: &Db, ids: &[TenantId]) -> Result<BTreeMap<TenantId, (TenantRow, Vec<Host>)>, DbError> {
    many_in(&mut *db.read().acquire().bounded("read tenants").await?, ids).await
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

/// A tenant's hosts, the main one first.
///
/// # Errors
/// When the database is away.
pub async fn hosts(db: &Db, id: &TenantId) -> Result<Vec<Host>, DbError> {
    hosts_in(&mut *db.read().acquire().bounded("list hosts").await?, id).await
}

/// Hosts of several tenants, each one's main host first.
///
/// # Errors
/// When the database is away.
pub async fn hosts_of(db: &Db, ids: &[TenantId]) -> Result<HashMap<TenantId, Vec<Host>>, DbError> {
    const WHAT: &str = "list hosts of tenants";
    let mut hosts: HashMap<TenantId, Vec<Host>> = HashMap::with_capacity(ids.len());
    if ids.is_empty() {
        return Ok(hosts);
    }
    let size = padded(ids.len());
    let query = bind(HOSTS_OF.rows(1, size, 1), ids, size);
    for row in query.fetch_all(db.read()).bounded(WHAT).await? {
        hosts.entry(text(&row, 0)?).or_default().push(Host {
            name: row.try_get(1).during(WHAT)?,
            main: row.try_get::<i64, _>(2).during(WHAT)? == 1,
        });
    }
    Ok(hosts)
}

pub(crate) async fn hosts_in(connection: &mut AnyConnection, id: &TenantId) -> Result<Vec<Host>, DbError> {
    const WHAT: &str = "list hosts";
    let query = HOSTS.query().bind(id.as_str().to_owned());
    let rows = query.fetch_all(connection).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(Host {
                name: row.try_get(0).during(WHAT)?,
                main: row.try_get::<i64, _>(1).during(WHAT)? == 1,
            })
        })
        .collect()
}

/// State and versions, the tenant's and its plan's, within a transaction that writes for it. `None`: there is none.
pub(crate) async fn standing(
    connection: &mut AnyConnection,
    id: &TenantId,
) -> Result<Option<(TenantState, i64, i64)>, DbError> {
    const WHAT: &str = "check a tenant";
    let row = STANDING
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(connection)
        .bounded(WHAT)
        .await?;
    row.map(|row| {
        Ok((
            text(&row, 0)?,
            row.try_get(1).during(WHAT)?,
            row.try_get(2).during(WHAT)?,
        ))
    })
    .transpose()
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

/// Records what a tenant's tables at `place` are on now. Nothing happens when it has moved since.
///
/// # Errors
/// When the database is away.
pub async fn set_schema(db: &Db, id: &TenantId, place: &Place, version: i64, now: Millis) -> Result<(), DbError> {
    let query = SET_SCHEMA
        .query()
        .bind(version)
        .bind(now.get())
        .bind(id.as_str().to_owned())
        .bind(place.prefix.as_str().to_owned());
    query
        .execute(db.write())
        .bounded("record a tenant's schema")
        .await
        .map(|_| ())
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

/// Records that a job of the tenant ended now, unless one did since `unless`: once a minute is enough for a person.
///
/// # Errors
/// When the database is away.
pub async fn worked(db: &Db, id: &TenantId, now: Millis, unless: Millis) -> Result<(), DbError> {
    let query = WORKED
        .query()
        .bind(now.get())
        .bind(id.as_str().to_owned())
        .bind(unless.get());
    query
        .execute(db.write())
        .bounded("record a tenant's last job")
        .await
        .map(|_| ())
}

fn read(row: &AnyRow) -> Result<TenantRow, DbError> {
    const WHAT: &str = "read a tenant";
    Ok(TenantRow {
        id: text(row, 0)?,
        serial: row.try_get(1).during(WHAT)?,
        state: text(row, 2)?,
        place: place(row, 3)?,
        schema_version: row.try_get(6).during(WHAT)?,
        moving: optional(row, 7)?,
        step: row.try_get(8).during(WHAT)?,
        plan: row.try_get(9).during(WHAT)?,
        limits: overrides(row, 10)?,
        pictures: pictures(row, 18)?,
        env: row.try_get(11).during(WHAT)?,
        trial_until: millis(row, 12)?,
        purge_at: millis(row, 13)?,
        last_job_at: millis(row, 14)?,
        version: row.try_get(15).during(WHAT)?,
        created_at: Millis::new(row.try_get(16).during(WHAT)?),
        updated_at: Millis::new(row.try_get(17).during(WHAT)?),
        host: row.try_get(19).during(WHAT)?,
    })
}
