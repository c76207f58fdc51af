//! `mediamill plans`, which is `mediamill tenants plans` too: what tenants inherit.

use crate::{
    cli::{PlanFields, Plans},
    moments, output,
    tenants::chevereto_env,
};
use anyhow::{Context, bail, ensure};
use mediamill_shared::{
    control::{
        audit::Actor,
        plans::{self, Plan},
    },
    secrets::SealedFor,
    services::Services,
    tenancy::LimitOverrides,
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Plans read at a time.
const PAGE: i64 = 500;

pub(crate) async fn run(services: &Services, command: Plans, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Plans::Create { id, fields } => show(services, &create(services, &id, &fields).await?, json)?,
        Plans::Edit {
            id,
            fields,
            preview: true,
        } => {
            let limits = limits(&get(services, &id).await?, &fields)?;
            return preview(services, &id, &limits, json).await;
        }
        Plans::Edit {
            id,
            fields,
            preview: false,
        } => show(services, &edit(services, &id, &fields).await?, json)?,
        Plans::Preview { id, limits, changes } => {
            let plan = get(services, &id).await?;
            let limits = changes.apply(limits.as_ref().unwrap_or(&plan.limits))?;
            return preview(services, &id, &limits, json).await;
        }
        Plans::List(listing) => for_each(services, listing.wanted(), |plan| show(services, plan, json)).await?,
        Plans::Show { id, show_env } => one(services, &get(services, &id).await?, show_env, json).await?,
        Plans::Delete { id } => delete(services, &id, json).await?,
        Plans::Put { id, name, limits } => {
            let fields = PlanFields {
                name: Some(name.unwrap_or_else(|| id.clone())),
                limits: Some(limits),
                ..PlanFields::default()
            };
            let plan = match plans::get(&services.control, &id).await? {
                Some(_) => edit(services, &id, &fields).await?,
                None => create(services, &id, &fields).await?,
            };
            show(services, &plan, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(services: &Services, id: &str) -> anyhow::Result<Plan> {
    let plan = plans::get(&services.control, id).await?;
    plan.with_context(|| format!("there is no plan {id:?}: `mediamill plans list` shows those there are"))
}

/// Calls `each` for every plan in the order of ids, at most `wanted`.
pub(crate) async fn for_each(
    services: &Services,
    wanted: usize,
    each: impl Fn(&Plan) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut left, mut after) = (wanted, String::new());
    while left > 0 {
        let page = plans::page(&services.control, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        last.id.clone_into(&mut after);
        page.iter().take(left).try_for_each(&each)?;
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

/// What `plan` would limit with `fields`.
fn limits(plan: &Plan, fields: &PlanFields) -> anyhow::Result<LimitOverrides> {
    fields.changes.apply(fields.limits.as_ref().unwrap_or(&plan.limits))
}

/// What is given, put into a plan.
fn with_fields(services: &Services, plan: &Plan, fields: &PlanFields) -> anyhow::Result<Plan> {
    let mut plan = plan.clone();
    plan.limits = limits(&plan, fields)?;
    if let Some(name) = &fields.name {
        name.clone_into(&mut plan.name);
    }
    if let Some(env) = &fields.env {
        let of = SealedFor::PlanEnv(plan.id.clone());
        plan.env = services.secrets.seal_env(&of, &env.read()?, &services.entropy)?;
    }
    if let Some(pictures) = &fields.pictures {
        plan.pictures = pictures.read()?;
    }
    if let Some(isolation) = &fields.isolation {
        plan.isolation = isolation.0;
    }
    if let Some(server) = &fields.server {
        plan.server.clone_from(&server.0);
    }
    Ok(plan)
}

/// Makes a plan.
pub(crate) async fn create(services: &Services, id: &str, fields: &PlanFields) -> anyhow::Result<Plan> {
    ensure!(
        plans::is_id(id),
        "{id:?} names no plan: 1 to 64 characters of 0-9, A-Z, a-z, -, _ and ."
    );
    let plan = with_fields(services, &Plan::new(id.to_owned(), services.clock.now()), fields)?;
    if !services.lifecycle.create_plan(&plan, &Actor::cli()).await? {
        bail!("there is a plan {id} already: `mediamill plans edit {id}` changes it");
    }
    Ok(plan)
}

/// Changes a plan; its tenants follow.
pub(crate) async fn edit(services: &Services, id: &str, fields: &PlanFields) -> anyhow::Result<Plan> {
    // What is wrong with the fields is told from here; the transaction then sees the plan as it is.
    let seen = with_fields(services, &get(services, id).await?, fields)?;
    let change = |plan: &mut Plan| {
        let Ok(limits) = limits(plan, fields) else { return false };
        plan.limits = limits;
        plan.name = fields.name.clone().unwrap_or_else(|| plan.name.clone());
        if fields.env.is_some() {
            plan.env.clone_from(&seen.env);
        }
        if fields.pictures.is_some() {
            plan.pictures.clone_from(&seen.pictures);
        }
        if fields.isolation.is_some() {
            plan.isolation = seen.isolation;
        }
        if fields.server.is_some() {
            plan.server.clone_from(&seen.server);
        }
        true
    };
    let edited = services.lifecycle.edit_plan(id, change, &Actor::cli()).await?;
    edited.with_context(|| format!("plan {id} was removed at this moment"))
}

/// Removes a plan and says how many tenants inherited from it.
pub(crate) async fn delete(services: &Services, id: &str, json: bool) -> anyhow::Result<()> {
    let tenants = plans::tenants(&services.control, id).await?;
    if !services.lifecycle.delete_plan(id, &Actor::cli()).await? {
        bail!("there is no plan {id:?}");
    }
    output::done(
        json,
        &json!({ "id": id, "removed": true, "tenants": tenants }),
        format!("plan {id} is removed; {tenants} tenants stay, without what they inherited"),
    )
}

/// Lists who would be over, as they are found.
async fn preview(services: &Services, id: &str, limits: &LimitOverrides, json: bool) -> anyhow::Result<ExitCode> {
    let (mut seen, mut over) = (0_u64, 0_u64);
    let mut written = Ok(());
    let each = |_: &_, found: Vec<mediamill_shared::tenancy::Over>| {
        seen = seen.saturating_add(1);
        over = over.saturating_add(u64::from(!found.is_empty()));
        for one in found {
            let (limit, tenant) = (one.limit.as_str(), one.tenant);
            if json {
                let line = json!({ "tenant": tenant, "limit": limit, "used": one.used, "allowed": one.allowed });
                written = output::json(&line);
            } else {
                output::line(format!(
                    "{tenant:<16}  {limit:<14}  uses {} of {}",
                    one.used, one.allowed
                ));
            }
        }
        written.is_ok()
    };
    services.lifecycle.preview_plan(id, limits, each).await?;
    written?;
    output::remark(format!(
        "{over} of {seen} tenants of plan {id} would be over; nothing is changed"
    ));
    Ok(if over == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(services: &Services, plan: &Plan, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&ours(services, plan, false)?);
    }
    output::line(format!(
        "{}  {}  {}",
        output::plain(&plan.id),
        output::plain(&plan.name),
        plan.limits.to_json()
    ));
    Ok(())
}

async fn one(services: &Services, plan: &Plan, show_env: bool, json: bool) -> anyhow::Result<()> {
    let tenants = plans::tenants(&services.control, &plan.id).await?;
    let mut value = ours(services, plan, show_env)?;
    if json {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("tenants".to_owned(), tenants.into());
        }
        return output::json(&value);
    }
    let auto = || "auto".to_owned();
    output::line(output::fields(&[
        ("id", plan.id.clone()),
        ("name", output::plain(&plan.name)),
        ("tenants", tenants.to_string()),
        ("limits", plan.limits.to_json()),
        ("pictures", plan.pictures.to_json()),
        ("env", output::plain(&value["env"].to_string())),
        (
            "isolation",
            plan.isolation.map_or_else(auto, |isolation| isolation.to_string()),
        ),
        ("server", plan.server.as_ref().map_or_else(auto, ToString::to_string)),
        ("version", plan.version.to_string()),
        ("made", moments::shown(plan.created_at)),
        ("changed", moments::shown(plan.updated_at)),
    ]));
    Ok(())
}

fn env(services: &Services, plan: &Plan, show: bool) -> anyhow::Result<Value> {
    chevereto_env(
        services,
        &SealedFor::PlanEnv(plan.id.clone()),
        plan.env.as_deref(),
        show,
    )
}

fn ours(services: &Services, plan: &Plan, show_env: bool) -> anyhow::Result<Value> {
    let limits: Value = serde_json::from_str(&plan.limits.to_json())?;
    Ok(json!({
        "id": plan.id, "name": plan.name, "limits": limits, "pictures": plan.pictures, "env": env(services, plan, show_env)?,
        "isolation": plan.isolation, "server": plan.server.as_ref().map(ToString::to_string), "version": plan.version,
        "created_at": plan.created_at, "updated_at": plan.updated_at,
    }))
}

/// The object that Chevereto's Tenants API has of a plan. The values of its env are hidden unless `show_env`.
pub(crate) fn chevereto(services: &Services, plan: &Plan, show_env: bool) -> anyhow::Result<Value> {
    Ok(json!({
        "id": plan.id, "name": plan.name, "limits": plan.limits.to_chevereto(), "env": env(services, plan, show_env)?,
        "created_at": moments::plain(plan.created_at), "updated_at": moments::plain(plan.updated_at),
    }))
}
