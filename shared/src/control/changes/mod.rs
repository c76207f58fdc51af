//! What changes tenants: each a transaction with its line in the audit log, after which the tenant has a new version.

pub(super) mod change;
pub(super) mod leave;

pub use change::{Change, change};
pub use leave::{Purge, begin_purge};
pub(crate) use leave::{begin_undo, forget};

use super::{
    accept::{Accepted, Idempotency, remember},
    audit::{self, Entry},
    jobs::{self, NewJob},
};
use crate::{
    db::{Bounded, Db, DbError, During, Engine, Sql, halving, padded, sql},
    ids::TenantId,
    tenancy::{NewTenant, Place, ServerName, TENANT_SCHEMA_VERSION, TablePrefix, TenantState},
    units::Millis,
};
use leave::forget_rows;
use sqlx::{AnyConnection, Row, any::AnyRow};
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
    // With its place: a job of a tenant that was here before by this id does not put the new one into service.
    ACTIVATE (2) = "UPDATE tenants SET state = $1, step = 'announced', version = CASE WHEN version >= $2 THEN version + 1 ELSE $2 END, updated_at = $2 \
        WHERE state = 'provisioning' AND (id, table_prefix) IN (VALUES {rows}) RETURNING id, table_prefix";
}

/// PostgreSQL: until the transaction ends it can be changed, and not removed. On SQLite it holds the database.
const PLANS_LOCKED: Sql = Sql::new("SELECT id FROM plans WHERE id IN (VALUES {rows}) ORDER BY id FOR KEY SHARE");

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
        /// How many it has.
        used: i64,
        /// How many it would get.
        asked: i64,
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
    let answers = accept_in(&mut tx, db.engine(), planned, now, published).await?;
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
    for answer in accept_in(&mut tx, db.engine(), std::slice::from_ref(planned), now, published).await? {
        if let Err(refused) = answer {
            return Ok(Err(refused));
        }
    }
    tx.commit().bounded("accept a tenant").await?;
    Ok(Ok(Accepted::New))
}

pub(crate) async fn accept_in(
    connection: &mut AnyConnection,
    engine: Engine,
    planned: &[Planned],
    now: Millis,
    published: bool,
) -> Result<Vec<Result<(), Refused>>, DbError> {
    let mut answers: Vec<Result<(), Refused>> = Vec::with_capacity(planned.len());
    let plans = known_plans(connection, engine, planned).await?;
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

/// Which of them there are. They stay until the transaction ends: nobody removes one in between.
pub(super) fn plans(engine: Engine) -> Sql {
    match engine {
        Engine::Sqlite => PLANS,
        Engine::Postgres => PLANS_LOCKED,
    }
}

async fn known_plans(
    connection: &mut AnyConnection,
    engine: Engine,
    planned: &[Planned],
) -> Result<Vec<String>, DbError> {
    let mut names: Vec<&String> = planned.iter().filter_map(|one| one.new.plan.as_ref()).collect();
    names.sort_unstable();
    names.dedup();
    let Some(last) = names.last().copied() else {
        return Ok(Vec::new());
    };
    let size = crate::db::padded(names.len());
    let mut query = plans(engine).rows(1, size, 1);
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

/// Puts provisioned tenants, whose tables are at these places, into service. Returns those that this call did.
pub(crate) async fn activate(
    connection: &mut AnyConnection,
    ones: &[(&TenantId, &TablePrefix)],
    state: TenantState,
    now: Millis,
) -> Result<BTreeSet<(TenantId, TablePrefix)>, DbError> {
    const WHAT: &str = "activate tenants";
    let Some(last) = ones.last() else {
        return Ok(BTreeSet::new());
    };
    let size = padded(ones.len());
    let mut query = ACTIVATE.rows(3, size, 2).bind(state.as_str()).bind(now.get());
    for place in 0..size {
        let (id, prefix) = ones.get(place).unwrap_or(last);
        query = query.bind(id.as_str().to_owned()).bind(prefix.as_str().to_owned());
    }
    let rows = query.fetch_all(connection).bounded(WHAT).await?;
    let one = |row: &AnyRow| Ok((jobs::text(row, 0)?, jobs::text(row, 1)?));
    rows.iter().map(one).collect()
}

/// Counts a tenant at another server than before.
pub(super) async fn recount(connection: &mut AnyConnection, from: &ServerName, to: &ServerName) -> Result<(), DbError> {
    const WHAT: &str = "count a tenant that moves";
    if from == to {
        return Ok(());
    }
    let gone = UNCOUNT_SERVER.query().bind(from.as_str().to_owned());
    let come = COUNT_SERVER.query().bind(to.as_str().to_owned()).bind(1_i64);
    // Whoever counts several does so in the order of their names: nobody waits for somebody who waits for him.
    let (first, second) = if from < to { (gone, come) } else { (come, gone) };
    first.execute(&mut *connection).bounded(WHAT).await?;
    second.execute(connection).bounded(WHAT).await.map(|_| ())
}
