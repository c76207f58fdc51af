//! Tenants and their hosts: read for the resolver and for operators. What changes them is in [`super::changes`].

pub(super) mod lists;
pub(super) mod parts;

pub use lists::{
    Behind, Changed, Filter, InTransit, behind, changed_since, count_behind, in_state, in_transit, left_in, moveless,
    page, servers, states,
};
pub(crate) use parts::{Parts, by_host, by_id, by_ids};

use super::jobs::{optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::{JobId, TenantId},
    tenancy::{Host, LimitOverrides, PictureSettings, Place, Stamp, TenantState},
    units::Millis,
};
use sqlx::{
    Any, AnyConnection, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use std::collections::{BTreeMap, HashMap};

sql! {
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
    HOSTS = "SELECT host, main FROM tenant_hosts WHERE tenant = $1 ORDER BY main DESC, host";
    HOSTS_OF (1) = "SELECT tenant, host, main FROM tenant_hosts WHERE tenant IN (VALUES {rows}) ORDER BY main DESC, host";
    STANDING = "SELECT t.state, t.version, COALESCE(p.version, 0), CASE WHEN t.frozen IS NULL THEN 0 ELSE 1 END FROM tenants t LEFT JOIN plans p ON p.id = t.plan WHERE t.id = $1";
    SET_SCHEMA = "UPDATE tenants SET schema_version = $1, version = CASE WHEN version >= $2 THEN version + 1 ELSE $2 END, updated_at = $2 WHERE id = $3 AND table_prefix = $4";
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

pub(super) fn overrides(row: &AnyRow, column: usize) -> Result<LimitOverrides, DbError> {
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

pub(super) fn place(row: &AnyRow, server: usize) -> Result<Place, DbError> {
    Ok(Place {
        server: text(row, server)?,
        isolation: text(row, server.saturating_add(1))?,
        prefix: text(row, server.saturating_add(2))?,
    })
}

pub(super) fn millis(row: &AnyRow, column: usize) -> Result<Option<Millis>, DbError> {
    const WHAT: &str = "read a moment";
    Ok(row.try_get::<Option<i64>, _>(column).during(WHAT)?.map(Millis::new))
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

/// State and what a context is judged by, within a transaction that writes for it. `None`: there is none.
pub(crate) async fn standing(
    connection: &mut AnyConnection,
    id: &TenantId,
) -> Result<Option<(TenantState, Stamp)>, DbError> {
    const WHAT: &str = "check a tenant";
    let row = STANDING
        .query()
        .bind(id.as_str().to_owned())
        .fetch_optional(connection)
        .bounded(WHAT)
        .await?;
    row.map(|row| {
        let stamp = Stamp {
            tenant: row.try_get(1).during(WHAT)?,
            plan: row.try_get(2).during(WHAT)?,
            frozen: row.try_get::<i64, _>(3).during(WHAT)? == 1,
        };
        Ok((text(&row, 0)?, stamp))
    })
    .transpose()
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
