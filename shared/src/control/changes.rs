//! What changes tenants: each a transaction with its line in the audit log, after which the tenant has a new version.

use super::{
    accept::{Accepted, Idempotency, remember},
    audit::{self, Entry},
    batches,
    jobs::{self, NewJob},
    tenants::{self, TenantRow},
};
use crate::{
    db::{Bounded, Db, DbError, During, halving, padded, sql},
    ids::{JobId, TenantId},
    tenancy::{LimitOverrides, NewTenant, PictureSettings, Place, ServerName, TENANT_SCHEMA_VERSION, TenantState},
    units::Millis,
};
use sqlx::{AnyConnection, Row};
use std::collections::{BTreeMap, BTreeSet, HashSet};

sql! {
    INSERT (16) = "INSERT INTO tenants (id, serial, state, server, isolation, table_prefix, schema_version, step, plan, limits, env, trial_until, \
        version, created_at, updated_at, pictures) VALUES {rows} ON CONFLICT (id) DO NOTHING RETURNING id";
    INSERT_HOST (4) = "INSERT INTO tenant_hosts (host, tenant, main, created_at) VALUES {rows} ON CONFLICT (host) DO NOTHING RETURNING host, tenant";
    PLANS (1) = "SELECT id FROM plans WHERE id IN (VALUES {rows})";
    HOST_OWNER = "SELECT tenant FROM tenant_hosts WHERE host = $1";
    COUNT_SERVER = "INSERT INTO tenant_servers (server, tenants) VALUES ($1, $2) \
        ON CONFLICT (server) DO UPDATE SET tenants = tenant_servers.tenants + excluded.tenants";
    UNCOUNT_SERVER = "UPDATE tenant_servers SET tenants = tenants - 1 WHERE server = $1 AND tenants > 0";
    STEP = "UPDATE tenants SET step = $1 WHERE id = $2 AND state IN ('provisioning', 'leaving', 'deleting') AND step <> $1";
    ACTIVATE (1) = "UPDATE tenants SET state = $1, step = 'announced', version = CASE WHEN version >= $2 THEN version + 1 ELSE $2 END, updated_at = $2 \
        WHERE state = 'provisioning' AND id IN (VALUES {rows}) RETURNING id";
    CHANGE = "UPDATE tenants SET state = $1, plan = $2, limits = $3, env = $4, trial_until = $5, purge_at = $6, version = CASE WHEN version >= $7 THEN version + 1 ELSE $7 END, \
        updated_at = $7, pictures = $10 WHERE id = $8 AND version = $9 RETURNING version";
    REMOVE_HOST = "DELETE FROM tenant_hosts WHERE host = $1 AND tenant = $2";
    UNSET_MAIN = "UPDATE tenant_hosts SET main = 0 WHERE tenant = $1 AND main = 1";
    SET_MAIN = "UPDATE tenant_hosts SET main = 1 WHERE tenant = $1 AND host = $2";
    BEGIN_PURGE = "UPDATE tenants SET state = 'deleting', step = 'begun', version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 \
        WHERE id = $2 AND state <> 'deleting' AND moving IS NULL RETURNING id";
    BEGIN_UNDO = "UPDATE tenants SET state = 'deleting', step = 'undo', version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 \
        WHERE id = $2 AND state = 'provisioning' RETURNING id";
    FORGET_HOSTS = "DELETE FROM tenant_hosts WHERE tenant = $1";
    FORGET_KEYS = "DELETE FROM idempotency_keys WHERE tenant = $1";
    FORGET_STATS = "DELETE FROM tenant_stats WHERE tenant = $1";
    FORGET = "DELETE FROM tenants WHERE id = $1 RETURNING server";
}

/// A tenant to be written, with its place and its job.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What was asked for.
    pub new: NewTenant,
    /// Where its tables will be.
    pub place: Place,
    /// Its place in the order of creation.
    pub serial: String,
    /// The job that makes it.
    pub job: NewJob,
    /// Its line in the audit log.
    pub entry: Entry,
}

/// Why a tenant was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is such a tenant.
    #[error("there is a tenant {id} already")]
    Exists {
        /// The id.
        id: TenantId,
    },
    /// Another tenant is served there.
    #[error("host {host} belongs to another tenant")]
    HostTaken {
        /// The host.
        host: String,
    },
    /// There is no such plan.
    #[error("there is no plan {plan:?}")]
    NoPlan {
        /// As given.
        plan: String,
    },
    /// There is no such tenant.
    #[error("there is no tenant {id}")]
    Missing {
        /// The id.
        id: TenantId,
    },
    /// It is not in a state that allows this.
    #[error("tenant {id} is {state}, which does not allow this")]
    NotNow {
        /// The tenant.
        id: TenantId,
        /// Its state.
        state: TenantState,
    },
    /// It changed since the caller looked.
    #[error("tenant {id} has changed since: it is at version {version}")]
    Outdated {
        /// The tenant.
        id: TenantId,
        /// Its present version.
        version: i64,
    },
    /// It would have more hosts than it may.
    #[error("tenant {id} may have {allowed} hosts")]
    TooManyHosts {
        /// The tenant.
        id: TenantId,
        /// How many.
        allowed: i64,
    },
    /// It would have more variants of a picture than it may.
    #[error("{whose} may have {allowed} variants of a picture, not {given}")]
    TooManyVariants {
        /// A tenant or a plan.
        whose: String,
        /// How many there would be.
        given: usize,
        /// How many.
        allowed: i64,
    },
    /// It would be served nowhere.
    #[error("tenant {id} would have no host left")]
    LastHost {
        /// The tenant.
        id: TenantId,
    },
    /// It is not served at this host.
    #[error("tenant {id} is not served at {host}")]
    NotItsHost {
        /// The tenant.
        id: TenantId,
        /// The host.
        host: String,
    },
}

/// Accepts tenants in one transaction: each with its hosts and its job, or refused by itself. One answer for each, in order.
///
/// # Errors
/// When the database is away: none is accepted then, or it is unknown; a repetition finds those that were.
pub async fn accept(
    db: &Db,
    planned: &[Planned],
    now: Millis,
    published: bool,
) -> Result<Vec<Result<(), Refused>>, DbError> {
    let mut tx = db.begin_write().await?;
    let answers = accept_in(&mut tx, planned, now, published).await?;
    tx.commit().bounded("accept tenants").await?;
    Ok(answers)
}

/// Accepts one tenant unless `owner` asked for it before by the same idempotency key. What is refused is not remembered.
///
/// # Errors
/// When the database is away: it is not accepted then, or it is unknown; a repetition finds it if it was.
pub(crate) async fn accept_once(
    db: &Db,
    planned: &Planned,
    owner: &str,
    once: &Idempotency,
    now: Millis,
    published: bool,
) -> Result<Result<Accepted, Refused>, DbError> {
    let mut tx = db.begin_write().await?;
    if let Some(before) = remember(&mut tx, owner, once, now).await? {
        return Ok(Ok(before));
    }
    for answer in accept_in(&mut tx, std::slice::from_ref(planned), now, published).await? {
        if let Err(refused) = answer {
            return Ok(Err(refused));
        }
    }
    tx.commit().bounded("accept a tenant").await?;
    Ok(Ok(Accepted::New))
}

pub(crate) async fn accept_in(
    connection: &mut AnyConnection,
    planned: &[Planned],
    now: Millis,
    published: bool,
) -> Result<Vec<Result<(), Refused>>, DbError> {
    let mut answers: Vec<Result<(), Refused>> = Vec::with_capacity(planned.len());
    let plans = known_plans(connection, planned).await?;
    for one in planned {
        answers.push(match &one.new.plan {
            Some(plan) if !plans.contains(plan) => Err(Refused::NoPlan { plan: plan.clone() }),
            Some(_) | None => Ok(()),
        });
    }
    insert_tenants(connection, planned, &mut answers, now).await?;
    insert_hosts(connection, planned, &mut answers, now).await?;
    let mut by_server: BTreeMap<&ServerName, i64> = BTreeMap::new();
    let (mut new_jobs, mut entries) = (Vec::new(), Vec::new());
    for (one, answer) in planned.iter().zip(&answers) {
        if answer.is_ok() {
            let count = by_server.entry(&one.place.server).or_insert(0);
            *count = count.saturating_add(1);
            new_jobs.push(one.job.clone());
            entries.push(&one.entry);
        }
    }
    audit::append_all(connection, &entries).await?;
    for (server, count) in by_server {
        let query = COUNT_SERVER.query().bind(server.as_str().to_owned()).bind(count);
        query.execute(&mut *connection).bounded("count tenants").await?;
    }
    jobs::insert_all(connection, &new_jobs, now, published).await?;
    Ok(answers)
}

async fn known_plans(connection: &mut AnyConnection, planned: &[Planned]) -> Result<Vec<String>, DbError> {
    let mut names: Vec<&String> = planned.iter().filter_map(|one| one.new.plan.as_ref()).collect();
    names.sort_unstable();
    names.dedup();
    let Some(last) = names.last().copied() else {
        return Ok(Vec::new());
    };
    let size = crate::db::padded(names.len());
    let mut query = PLANS.rows(1, size, 1);
    for place in 0..size {
        query = query.bind((*names.get(place).unwrap_or(&last)).clone());
    }
    let rows = query.fetch_all(connection).bounded("look up plans").await?;
    rows.iter().map(|row| row.try_get(0).during("look up plans")).collect()
}

async fn insert_tenants(
    connection: &mut AnyConnection,
    planned: &[Planned],
    answers: &mut [Result<(), Refused>],
    now: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "add tenants";
    let mut wanted: Vec<&Planned> = Vec::new();
    for (one, answer) in planned.iter().zip(answers.iter_mut()) {
        // The same id twice in one statement would be inserted by whichever comes first.
        if answer.is_ok() && wanted.iter().any(|other| other.new.id == one.new.id) {
            *answer = Err(Refused::Exists { id: one.new.id.clone() });
        } else if answer.is_ok() {
            wanted.push(one);
        }
    }
    let mut made: Vec<String> = Vec::with_capacity(wanted.len());
    let mut rest = wanted.as_slice();
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len()));
        rest = others;
        let mut query = INSERT.rows(1, these.len(), 16);
        for one in these {
            query = query
                .bind(one.new.id.as_str().to_owned())
                .bind(one.serial.clone())
                .bind(TenantState::Provisioning.as_str())
                .bind(one.place.server.as_str().to_owned())
                .bind(one.place.isolation.as_str())
                .bind(one.place.prefix.as_str().to_owned())
                .bind(TENANT_SCHEMA_VERSION)
                .bind("accepted")
                .bind(one.new.plan.clone())
                .bind(one.new.limits.to_json())
                .bind(one.new.env.clone())
                .bind(one.new.trial_until.map(Millis::get))
                // The moment, not 1: a tenant that is made again under an old name must beat what caches know of that one.
                .bind(now.get())
                .bind(now.get())
                .bind(now.get())
                .bind(one.new.pictures.to_column());
        }
        for row in query.fetch_all(&mut *connection).bounded(WHAT).await? {
            made.push(row.try_get(0).during(WHAT)?);
        }
    }
    for (one, answer) in planned.iter().zip(answers.iter_mut()) {
        if answer.is_ok() && !made.iter().any(|id| id == one.new.id.as_str()) {
            *answer = Err(Refused::Exists { id: one.new.id.clone() });
        }
    }
    Ok(())
}

async fn insert_hosts(
    connection: &mut AnyConnection,
    planned: &[Planned],
    answers: &mut [Result<(), Refused>],
    now: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "add hosts";
    let hosts: Vec<(&TenantId, &String, bool)> = planned
        .iter()
        .zip(answers.iter())
        .filter(|(_, answer)| answer.is_ok())
        .flat_map(|(one, _)| {
            let hosts = one.new.hosts.iter().enumerate();
            hosts.map(|(place, host)| (&one.new.id, host, place == 0))
        })
        .collect();
    // Two of this transaction may want the same host: what comes back says whose it became.
    let mut made: HashSet<(String, String)> = HashSet::with_capacity(hosts.len());
    let mut rest = hosts.as_slice();
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = INSERT_HOST.rows(1, these.len(), 4);
        for (id, host, main) in these {
            query = query
                .bind((*host).clone())
                .bind(id.as_str().to_owned())
                .bind(i64::from(*main))
                .bind(now.get());
        }
        for row in query.fetch_all(&mut *connection).bounded(WHAT).await? {
            made.insert((row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?));
        }
    }
    for (one, answer) in planned.iter().zip(answers.iter_mut()) {
        if answer.is_err() {
            continue;
        }
        let ours = |host: &String| made.contains(&(host.clone(), one.new.id.as_str().to_owned()));
        if let Some(host) = one.new.hosts.iter().find(|host| !ours(host)) {
            forget_rows(connection, &one.new.id).await?;
            *answer = Err(Refused::HostTaken { host: host.clone() });
        }
    }
    Ok(())
}

pub(crate) async fn host_owner(connection: &mut AnyConnection, host: &str) -> Result<Option<TenantId>, DbError> {
    let query = HOST_OWNER.query().bind(host.to_owned());
    let row = query.fetch_optional(connection).bounded("look up a host").await?;
    row.as_ref().map(|row| jobs::text(row, 0)).transpose()
}

/// Records the last step that is done of a tenant that comes or goes.
///
/// # Errors
/// When the database is away.
pub async fn step(db: &Db, id: &TenantId, step: &str) -> Result<(), DbError> {
    let query = STEP.query().bind(step.to_owned()).bind(id.as_str().to_owned());
    query.execute(db.write()).bounded("record a step").await.map(|_| ())
}

/// Puts provisioned tenants into service. Returns those that this call did.
pub(crate) async fn activate(
    connection: &mut AnyConnection,
    ids: &[TenantId],
    state: TenantState,
    now: Millis,
) -> Result<BTreeSet<TenantId>, DbError> {
    const WHAT: &str = "activate tenants";
    let size = padded(ids.len());
    let query = ACTIVATE.rows(3, size, 1).bind(state.as_str()).bind(now.get());
    let rows = tenants::bind(query, ids, size)
        .fetch_all(connection)
        .bounded(WHAT)
        .await?;
    rows.iter().map(|row| jobs::text(row, 0)).collect()
}

/// What is to change; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Serve it, stop serving it, or let it leave.
    pub state: Option<TenantState>,
    /// Its plan; `Some(None)` takes it away.
    pub plan: Option<Option<String>>,
    /// All of its own limits.
    pub limits: Option<LimitOverrides>,
    /// All that it says of its pictures; what it does not is inherited.
    pub pictures: Option<PictureSettings>,
    /// Its environment, sealed; `Some(None)` empties it.
    pub env: Option<Option<String>>,
    /// Its trial's end; `Some(None)` ends it.
    pub trial_until: Option<Option<Millis>>,
    /// When a tenant that leaves is removed for good.
    pub purge_at: Option<Millis>,
    /// Hosts that it gets.
    pub add_hosts: Vec<String>,
    /// Hosts that it loses.
    pub remove_hosts: Vec<String>,
    /// The host that becomes its main one.
    pub main_host: Option<String>,
    /// Hosts that it may have; 0 is any number.
    pub most_hosts: i64,
    /// Only if it is at this version.
    pub if_version: Option<i64>,
}

/// Whether a tenant may go from one state to another by its provider's word. Provisioning and removal end by themselves.
const fn allowed(from: TenantState, to: TenantState) -> bool {
    use TenantState::{Active, Deleting, Leaving, Provisioning, Suspended};
    match (from, to) {
        (Active | Suspended | Leaving, Active | Suspended | Leaving) => true,
        (Provisioning | Deleting, _) | (_, Provisioning | Deleting) => false,
    }
}

/// Changes a tenant. Returns its new version.
///
/// # Errors
/// When the database is away.
pub async fn change(
    db: &Db,
    id: &TenantId,
    change: &Change,
    entry: &Entry,
    now: Millis,
) -> Result<Result<i64, Refused>, DbError> {
    loop {
        let mut tx = db.begin_write().await?;
        let Some(row) = tenants::get_in(&mut tx, id).await? else {
            return Ok(Err(Refused::Missing { id: id.clone() }));
        };
        if let Some(wanted) = change.if_version
            && wanted != row.version
        {
            return Ok(Err(Refused::Outdated {
                id: id.clone(),
                version: row.version,
            }));
        }
        if let Some(refused) = change_hosts(&mut tx, &row, change, now).await? {
            return Ok(Err(refused));
        }
        match change_row(&mut tx, &row, change, now).await? {
            Err(refused) => return Ok(Err(refused)),
            // Somebody changed it between our look and our write: look again.
            Ok(None) => {}
            Ok(Some(version)) => {
                audit::append(&mut tx, entry).await?;
                tx.commit().bounded("change a tenant").await?;
                return Ok(Ok(version));
            }
        }
    }
}

async fn change_row(
    connection: &mut AnyConnection,
    row: &TenantRow,
    change: &Change,
    now: Millis,
) -> Result<Result<Option<i64>, Refused>, DbError> {
    const WHAT: &str = "change a tenant";
    let state = change.state.unwrap_or(row.state);
    if row.state == TenantState::Deleting || (state != row.state && !allowed(row.state, state)) {
        return Ok(Err(Refused::NotNow {
            id: row.id.clone(),
            state: row.state,
        }));
    }
    let plan = change.plan.clone().unwrap_or_else(|| row.plan.clone());
    if let Some(Some(wanted)) = &change.plan {
        let query = PLANS.rows(1, 1, 1).bind(wanted.clone());
        if query.fetch_optional(&mut *connection).bounded(WHAT).await?.is_none() {
            return Ok(Err(Refused::NoPlan { plan: wanted.clone() }));
        }
    }
    let purge_at = match state {
        TenantState::Leaving => change.purge_at.or(row.purge_at),
        TenantState::Provisioning | TenantState::Active | TenantState::Suspended | TenantState::Deleting => None,
    };
    let query = CHANGE
        .query()
        .bind(state.as_str())
        .bind(plan)
        .bind(change.limits.as_ref().unwrap_or(&row.limits).to_json())
        .bind(change.env.clone().unwrap_or_else(|| row.env.clone()))
        .bind(change.trial_until.unwrap_or(row.trial_until).map(Millis::get))
        .bind(purge_at.map(Millis::get))
        .bind(now.get())
        .bind(row.id.as_str().to_owned())
        .bind(row.version)
        .bind(change.pictures.as_ref().unwrap_or(&row.pictures).to_column());
    let done = query.fetch_optional(connection).bounded(WHAT).await?;
    let version = done.map(|done| done.try_get(0).during(WHAT)).transpose()?;
    Ok(Ok(version))
}

async fn change_hosts(
    connection: &mut AnyConnection,
    row: &TenantRow,
    change: &Change,
    now: Millis,
) -> Result<Option<Refused>, DbError> {
    const WHAT: &str = "change a tenant's hosts";
    if change.add_hosts.is_empty() && change.remove_hosts.is_empty() && change.main_host.is_none() {
        return Ok(None);
    }
    for host in &change.add_hosts {
        let query = INSERT_HOST
            .rows(1, 1, 4)
            .bind(host.clone())
            .bind(row.id.as_str().to_owned())
            .bind(0_i64)
            .bind(now.get());
        query.fetch_optional(&mut *connection).bounded(WHAT).await?;
        if host_owner(connection, host).await?.as_ref() != Some(&row.id) {
            return Ok(Some(Refused::HostTaken { host: host.clone() }));
        }
    }
    for host in &change.remove_hosts {
        let query = REMOVE_HOST.query().bind(host.clone()).bind(row.id.as_str().to_owned());
        if query.execute(&mut *connection).bounded(WHAT).await?.rows_affected() == 0 {
            return Ok(Some(Refused::NotItsHost {
                id: row.id.clone(),
                host: host.clone(),
            }));
        }
    }
    let left = tenants::hosts_in(connection, &row.id).await?;
    let many = i64::try_from(left.len()).unwrap_or(i64::MAX);
    if !change.add_hosts.is_empty() && change.most_hosts > 0 && many > change.most_hosts {
        return Ok(Some(Refused::TooManyHosts {
            id: row.id.clone(),
            allowed: change.most_hosts,
        }));
    }
    let wanted = change.main_host.clone();
    let present = left.iter().find(|host| host.main).map(|host| host.name.clone());
    // A tenant always has a main host, and one that is no wildcard: URLs begin with it.
    let first = left.iter().map(|host| &host.name).find(|name| !name.starts_with("*."));
    let Some(main) = wanted.clone().or(present.clone()).or(first.cloned()) else {
        return Ok(Some(Refused::LastHost { id: row.id.clone() }));
    };
    if !left.iter().any(|host| host.name == main) {
        return Ok(Some(Refused::NotItsHost {
            id: row.id.clone(),
            host: main,
        }));
    }
    if present.as_ref() != Some(&main) {
        let id = row.id.as_str().to_owned();
        UNSET_MAIN
            .query()
            .bind(id.clone())
            .execute(&mut *connection)
            .bounded(WHAT)
            .await?;
        SET_MAIN
            .query()
            .bind(id)
            .bind(main)
            .execute(connection)
            .bounded(WHAT)
            .await?;
    }
    Ok(None)
}

/// Begins the removal of a tenant for good, with the job that does it. Returns whether this call did.
///
/// # Errors
/// When the database is away.
pub async fn begin_purge(
    db: &Db,
    id: &TenantId,
    job: Option<&NewJob>,
    entry: &Entry,
    now: Millis,
    published: bool,
) -> Result<bool, DbError> {
    let mut tx = db.begin_write().await?;
    let query = BEGIN_PURGE.query().bind(now.get()).bind(id.as_str().to_owned());
    if query
        .fetch_optional(&mut *tx)
        .bounded("begin a removal")
        .await?
        .is_none()
    {
        return Ok(false);
    }
    if let Some(job) = job {
        jobs::insert(&mut tx, job, now, published).await?;
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded("begin a removal").await?;
    Ok(true)
}

/// Begins to take a tenant back that was never served: from now on nobody puts it into service, and its batch row says
/// why. Returns whether this call did.
pub(crate) async fn begin_undo(db: &Db, id: &TenantId, cause: &str, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "begin to undo a tenant";
    let mut tx = db.begin_write().await?;
    let query = BEGIN_UNDO.query().bind(now.get()).bind(id.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    batches::row_failed(&mut tx, id, cause).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Removes the rows of a tenant whose tables are gone, except its line in the audit log.
pub(crate) async fn forget(
    connection: &mut AnyConnection,
    id: &TenantId,
    keep_job: Option<&JobId>,
    entry: &Entry,
) -> Result<bool, DbError> {
    const WHAT: &str = "remove a tenant";
    jobs::forget_tenant(connection, id, keep_job).await?;
    let Some(server) = forget_rows(connection, id).await? else {
        return Ok(false);
    };
    let query = UNCOUNT_SERVER.query().bind(server);
    query.execute(&mut *connection).bounded(WHAT).await?;
    audit::append(connection, entry).await?;
    Ok(true)
}

/// Counts a tenant at another server than before.
pub(super) async fn recount(connection: &mut AnyConnection, from: &ServerName, to: &ServerName) -> Result<(), DbError> {
    const WHAT: &str = "count a tenant that moves";
    if from == to {
        return Ok(());
    }
    let query = UNCOUNT_SERVER.query().bind(from.as_str().to_owned());
    query.execute(&mut *connection).bounded(WHAT).await?;
    let query = COUNT_SERVER.query().bind(to.as_str().to_owned()).bind(1_i64);
    query.execute(connection).bounded(WHAT).await.map(|_| ())
}

async fn forget_rows(connection: &mut AnyConnection, id: &TenantId) -> Result<Option<String>, DbError> {
    const WHAT: &str = "remove a tenant";
    for sql in [FORGET_KEYS, FORGET_HOSTS, FORGET_STATS] {
        let query = sql.query().bind(id.as_str().to_owned());
        query.execute(&mut *connection).bounded(WHAT).await?;
    }
    let query = FORGET.query().bind(id.as_str().to_owned());
    let row = query.fetch_optional(connection).bounded(WHAT).await?;
    row.map(|row| row.try_get(0).during(WHAT)).transpose()
}
