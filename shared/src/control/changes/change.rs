//! A tenant is changed: its state, plan, limits, environment and hosts.

use super::{INSERT_HOST, Refused, host_owner, plans};
use crate::{
    control::{
        audit::{self, Entry},
        tenants::{self, TenantRow},
    },
    db::{Bounded, Db, DbError, During, Engine, sql},
    ids::TenantId,
    tenancy::{LimitOverrides, PictureSettings, TenantState},
    units::Millis,
};
use sqlx::{AnyConnection, Row};

sql! {
    // A rotation of the master key seals the environment anew and leaves the version: the old text must not come back.
    CHANGE = "UPDATE tenants SET state = $1, plan = $2, limits = $3, env = $4, trial_until = $5, purge_at = $6, version = CASE WHEN version >= $7 THEN version + 1 ELSE $7 END, \
        updated_at = $7, pictures = $10 WHERE id = $8 AND version = $9 AND COALESCE(env, '') = $11 RETURNING version";
    REMOVE_HOST = "DELETE FROM tenant_hosts WHERE host = $1 AND tenant = $2";
    UNSET_MAIN = "UPDATE tenant_hosts SET main = 0 WHERE tenant = $1 AND main = 1";
    SET_MAIN = "UPDATE tenant_hosts SET main = 1 WHERE tenant = $1 AND host = $2";
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
        match change_row(&mut tx, db.engine(), &row, change, now).await? {
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
    engine: Engine,
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
        let query = plans(engine).rows(1, 1, 1).bind(wanted.clone());
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
        .bind(change.pictures.as_ref().unwrap_or(&row.pictures).to_column())
        .bind(row.env.clone().unwrap_or_default());
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
    let asked = i64::try_from(change.add_hosts.len()).unwrap_or(i64::MAX);
    if !change.add_hosts.is_empty() && change.most_hosts > 0 && many > change.most_hosts {
        return Ok(Some(Refused::TooManyHosts {
            id: row.id.clone(),
            allowed: change.most_hosts,
            used: many.saturating_sub(asked),
            asked,
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
