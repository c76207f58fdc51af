//! The sealed configuration values of a tenant. Values come from standard input or a file, and are shown one at a time.

use super::{edit, row};
use crate::{cli::EnvCommand, input, output};
use anyhow::Context;
use mediamill_shared::{
    control::{changes::Change, plans, tenants::TenantRow},
    ids::TenantId,
    secrets::{Env, SealedFor},
    services::Services,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn run(services: &Services, id: &TenantId, command: EnvCommand, json: bool) -> anyhow::Result<()> {
    match command {
        EnvCommand::Set { name, file } => {
            let value = input::value(file.as_deref())?;
            let one = Env::new(BTreeMap::from([(name.clone(), value)]))?;
            // Together they must fit too.
            change(services, id, |env| {
                Ok(Env::from_json(env.merge(&one).to_json().reveal())?)
            })
            .await?;
            output::done(json, &json!({ "id": id, "set": [name] }), format!("{name} is set"))
        }
        EnvCommand::Unset { names } => {
            change(services, id, |mut env| {
                for name in &names {
                    if !env.remove(name) {
                        anyhow::bail!("the env of tenant {id} has no {name:?}");
                    }
                }
                Ok(env)
            })
            .await?;
            let words = format!("{} taken away", names.join(", "));
            output::done(json, &json!({ "id": id, "unset": names }), words)
        }
        EnvCommand::List => list(services, &row(services, id).await?, json).await,
        EnvCommand::Show { name } => {
            let row = row(services, id).await?;
            let (own, plans) = layers(services, &row).await?;
            let merged = plans.merge(&own);
            let value = merged.get(&name);
            let value = value.with_context(|| format!("neither tenant {id} nor its plan has {name:?} in its env"))?;
            if json {
                return output::json(&json!({ "name": name, "value": value.reveal() }));
            }
            output::line(value.reveal());
            Ok(())
        }
    }
}

/// The tenant's own, and its plan's.
async fn layers(services: &Services, row: &TenantRow) -> anyhow::Result<(Env, Env)> {
    let own = services
        .secrets
        .open_env(&SealedFor::TenantEnv(row.id.clone()), row.env.as_deref())?;
    let plan = match &row.plan {
        Some(plan) => plans::get(&services.control, plan).await?,
        None => None,
    };
    let plans = match plan {
        Some(plan) => services
            .secrets
            .open_env(&SealedFor::PlanEnv(plan.id), plan.env.as_deref())?,
        None => Env::default(),
    };
    Ok((own, plans))
}

async fn list(services: &Services, row: &TenantRow, json: bool) -> anyhow::Result<()> {
    let (own, plans) = layers(services, row).await?;
    let names: BTreeSet<&str> = own.iter().chain(plans.iter()).map(|(name, _)| name).collect();
    for name in names {
        let from = if own.get(name).is_some() { "tenant" } else { "plan" };
        if json {
            output::json(&json!({ "name": name, "from": from }))?;
        } else {
            output::line(format!("{name}  {from}"));
        }
    }
    Ok(())
}

async fn change(services: &Services, id: &TenantId, what: impl Fn(Env) -> anyhow::Result<Env>) -> anyhow::Result<()> {
    let of = SealedFor::TenantEnv(id.clone());
    edit::by(services, id, |row| {
        let env = what(services.secrets.open_env(&of, row.env.as_deref())?)?;
        Ok(Change {
            env: Some(services.secrets.seal_env(&of, &env, &services.entropy)?),
            ..Change::default()
        })
    })
    .await?;
    Ok(())
}
