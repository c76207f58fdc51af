//! How tenants are shown: in our form, and as objects of Chevereto's Tenants API.

use super::for_each;
use crate::{cli::List, moments, output};
use mediamill_shared::{
    control::{
        findings,
        tenants::{self, Filter, TenantRow},
    },
    secrets::{Env, SealedFor},
    services::Services,
    tenancy::{Finding, FindingState, Reason, Stats, TenantState},
};
use serde_json::{Map, Value, json};

/// Stands where a value of an env would.
const HIDDEN: &str = "***";

pub(super) async fn list(services: &Services, wanted: &List, json: bool) -> anyhow::Result<()> {
    let filter = Filter {
        state: wanted.state,
        plan: wanted.plan.clone(),
        server: wanted.server.as_ref().map(ToString::to_string),
    };
    for_each(services, &filter, wanted.listing.wanted(), async |row| {
        if wanted.chevereto {
            return output::json(&chevereto(services, row, wanted.show_env).await?);
        }
        if json {
            return output::json(&ours(row)?);
        }
        output::line(format!(
            "{:<16}  {:<9}  {:<12}  {}  {}",
            row.id,
            row.state,
            output::plain(row.plan.as_deref().unwrap_or("-")),
            moments::shown(row.created_at),
            row.host.as_deref().unwrap_or("-"),
        ));
        Ok(())
    })
    .await
}

pub(super) async fn one(services: &Services, row: &TenantRow, show_env: bool, json: bool) -> anyhow::Result<()> {
    let hosts: Vec<String> = tenants::hosts(&services.control, &row.id)
        .await?
        .into_iter()
        .map(|host| host.name)
        .collect();
    let env = shown_env(
        services,
        &SealedFor::TenantEnv(row.id.clone()),
        row.env.as_deref(),
        show_env,
    )?;
    let found = findings::of_one(&services.control, &row.id).await?;
    if json {
        let mut value = ours(row)?;
        if let Some(fields) = value.as_object_mut() {
            let frozen = found.iter().any(|one| one.state == FindingState::Frozen);
            fields.insert("frozen".into(), frozen.into());
            fields.insert("findings".into(), found.iter().map(finding).collect());
            fields.insert("hosts".into(), hosts.into());
            fields.insert("env".into(), env.into());
        }
        return output::json(&value);
    }
    let mut rows = vec![
        ("id", row.id.to_string()),
        ("state", row.state.to_string()),
        ("hosts", hosts.join(", ")),
        ("plan", output::plain(row.plan.as_deref().unwrap_or("-"))),
        ("limits", row.limits.to_json()),
        ("env", output::plain(&Value::from(env).to_string())),
        ("tables", row.place.to_string()),
        ("version", row.version.to_string()),
        ("made", moments::shown(row.created_at)),
        ("changed", moments::shown(row.updated_at)),
    ];
    let pictures = (!row.pictures.is_empty()).then(|| row.pictures.to_json());
    let moving = row.moving.as_ref().map(|job| format!("by job {job}"));
    for (name, value) in [
        ("pictures", pictures),
        ("moving", moving),
        ("trial", row.trial_until.map(moments::shown)),
        ("purged", row.purge_at.map(moments::shown)),
        ("worked", row.last_job_at.map(moments::shown)),
    ] {
        rows.extend(value.map(|value| (name, value)));
    }
    rows.extend(found.iter().map(|one| (one.state.as_str(), told(one))));
    output::line(output::fields(&rows));
    Ok(())
}

fn finding(one: &Finding) -> Value {
    json!({
        "limit_name": one.reason.as_str(), "state": one.state, "used": one.used, "limit": one.allowed, "since": one.since,
        "freeze_at": one.freeze_at,
    })
}

fn told(one: &Finding) -> String {
    let (since, freeze_at) = (moments::shown(one.since), moments::shown(one.freeze_at));
    let (what, used, allowed) = (one.reason.as_str(), one.used, one.allowed);
    match one.reason {
        Reason::Limit(_) => format!("{what}: {used} of {allowed} since {since}, grace until {freeze_at}"),
        Reason::Trial => format!("{what}: over since {since}, grace until {freeze_at}"),
    }
}

fn ours(row: &TenantRow) -> anyhow::Result<Value> {
    let limits: Value = serde_json::from_str(&row.limits.to_json())?;
    Ok(json!({
        "id": row.id, "state": row.state, "host": row.host, "plan": row.plan, "limits": limits, "pictures": row.pictures,
        "version": row.version,
        "isolation": row.place.isolation, "server": row.place.server.as_str(), "schema_version": row.schema_version,
        "moving": row.moving, "trial_until": row.trial_until, "purge_at": row.purge_at, "last_job_at": row.last_job_at,
        "created_at": row.created_at, "updated_at": row.updated_at,
    }))
}

/// The object that Chevereto's Tenants API has of a tenant. The values of its env are hidden unless `show_env`.
pub(super) async fn chevereto(services: &Services, row: &TenantRow, show_env: bool) -> anyhow::Result<Value> {
    let (stats, _) = services.lifecycle.stats(&row.id).await?.unwrap_or_default();
    let of = SealedFor::TenantEnv(row.id.clone());
    let mut object = json!({
        "id": row.id, "hostname": row.host, "is_enabled": row.state == TenantState::Active,
        "limits": row.limits.to_chevereto(), "env": shown_env(services, &of, row.env.as_deref(), show_env)?,
        "created_at": moments::plain(row.created_at), "updated_at": moments::plain(row.updated_at),
        "stats": serde_json::to_value::<Stats>(stats)?, "last_job_at": row.last_job_at.map(moments::plain),
    });
    // Absent where there is none.
    if let (Some(fields), Some(plan)) = (object.as_object_mut(), &row.plan) {
        fields.insert("plan_id".to_owned(), plan.as_str().into());
    }
    Ok(object)
}

fn shown_env(
    services: &Services,
    of: &SealedFor,
    sealed: Option<&str>,
    show: bool,
) -> anyhow::Result<Map<String, Value>> {
    Ok(masked(&services.secrets.open_env(of, sealed)?, show))
}

fn masked(env: &Env, show: bool) -> Map<String, Value> {
    let value = |value: &str| Value::from(if show { value } else { HIDDEN });
    let pairs = env.iter().map(|(name, text)| (name.to_owned(), value(text.reveal())));
    pairs.collect()
}

/// A plan's env as the Tenants API has it: `null` where there is none.
pub(crate) fn chevereto_env(
    services: &Services,
    of: &SealedFor,
    sealed: Option<&str>,
    show: bool,
) -> anyhow::Result<Value> {
    let env = shown_env(services, of, sealed, show)?;
    Ok(if env.is_empty() { Value::Null } else { env.into() })
}
