//! Chevereto's Tenants CLI by its own names: what those commands mean here. They answer in the form of its Tenants API.

use super::{api_keys, stats};
use crate::{
    cli::{Compat, PlanFields},
    input, operator, output, plans,
};
use anyhow::bail;
use mediamill_shared::{config::Config, ids::TenantId, operators::Scopes, services::Services};
use serde_json::json;
use std::process::ExitCode;

/// Makes the control tables.
pub(super) async fn init(services: &Services, json: bool) -> anyhow::Result<ExitCode> {
    let missing = services.control.control_migrations_missing().await?;
    services.control.migrate_control().await?;
    operator::master_keys(services).await?;
    let words = match missing {
        0 => "the control tables are there already".to_owned(),
        missing => format!("the control tables are made: {missing} migrations"),
    };
    output::done(json, &json!({ "control_migrations": missing }), words)?;
    Ok(ExitCode::SUCCESS)
}

/// With more in the log.
pub(super) fn verbose(mut config: Config, verbose: bool) -> Config {
    if verbose {
        "debug".clone_into(&mut config.log_level);
    }
    config
}

/// Workers take from one queue for all tenants: serving one alone would hold the others' jobs up.
pub(super) fn refuse_one(id: Option<&TenantId>) -> anyhow::Result<()> {
    if let Some(id) = id {
        bail!(
            "workers serve every tenant from one queue, so none can be run for {id} alone: leave --id out; `mediamill tenants \
             stats {id} --refresh` and `mediamill migrate --tenant {id}` do one tenant's work"
        );
    }
    Ok(())
}

pub(super) async fn run(services: &Services, command: Compat, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Compat::Init => return init(services, json).await,
        Compat::KeyCreate { name, expires } => {
            api_keys::create(services, &name, expires, &Scopes::all(), json).await?;
        }
        Compat::KeyVerify { key } if key == "-" => {
            return api_keys::verify(services, input::value(None)?.reveal(), json).await;
        }
        Compat::KeyVerify { key } => return api_keys::verify(services, &key, json).await,
        Compat::KeyDelete(of) => api_keys::revoke(services, of.id, of.name.as_deref(), json).await?,
        Compat::PlanCreate(plan) => {
            let fields = PlanFields {
                name: plan.name,
                limits: plan.limits,
                env: plan.env,
                ..PlanFields::default()
            };
            let plan = plans::create(services, &plan.id, &fields).await?;
            output::json(&plans::chevereto(services, &plan, false)?)?;
        }
        Compat::PlanEdit(plan) => {
            let fields = PlanFields {
                name: plan.name,
                limits: plan.limits,
                env: plan.env,
                ..PlanFields::default()
            };
            let plan = plans::edit(services, &plan.id, &fields).await?;
            output::json(&plans::chevereto(services, &plan, false)?)?;
        }
        Compat::PlanList { show_env } => {
            plans::for_each(services, usize::MAX, |plan| {
                output::json(&plans::chevereto(services, plan, show_env)?)
            })
            .await?;
        }
        Compat::PlanDelete { id } => plans::delete(services, &id, json).await?,
        Compat::StatsRefresh { id } => return stats::refresh(services, id.as_ref(), json).await,
        // They run without services, or with roles: see `dispatch`.
        Compat::JobsWorker { .. } | Compat::DatabaseMigrate { .. } => bail!("a command that is dispatched elsewhere"),
    }
    Ok(ExitCode::SUCCESS)
}
