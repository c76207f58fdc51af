//! `mediamill plans`: limits that tenants inherit.

use crate::{cli::Plans, output};
use anyhow::{Context, ensure};
use mediamill_shared::{
    control::{
        audit::{Actor, Entry},
        plans::{self, Plan},
    },
    services::Services,
    tenancy::LimitOverrides,
};
use std::process::ExitCode;

/// Plans read at a time.
const PAGE: i64 = 500;

pub(crate) async fn run(services: &Services, command: Plans, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Plans::Put { id, name, limits } => {
            let name = name.unwrap_or_else(|| id.clone());
            let plan = put(services, &id, &name, &limits).await?;
            show(&plan, json)?;
        }
        Plans::List(listing) => {
            let (mut left, mut after) = (listing.wanted(), String::new());
            while left > 0 {
                let page = plans::page(&services.control, &after, PAGE).await?;
                let Some(last) = page.last() else { break };
                last.id.clone_into(&mut after);
                for plan in page.iter().take(left) {
                    show(plan, json)?;
                }
                left = left.saturating_sub(page.len());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn put(services: &Services, id: &str, name: &str, limits: &LimitOverrides) -> anyhow::Result<Plan> {
    ensure!(
        plans::is_id(id),
        "{id:?} names no plan: 1 to 64 characters of 0-9, A-Z, a-z, -, _ and ."
    );
    let now = services.clock.now();
    let entry = Entry::new(&services.clock, &services.entropy, &Actor::cli(), "plan.put", None);
    let mut plan = Plan::new(id.to_owned(), now);
    name.clone_into(&mut plan.name);
    plan.limits = limits.clone();
    if !plans::create(&services.control, &plan, &entry, now).await? {
        let edit = |plan: &mut Plan| {
            name.clone_into(&mut plan.name);
            plan.limits = limits.clone();
            true
        };
        let edited = plans::edit(&services.control, id, edit, &entry, now).await?;
        plan = edited.with_context(|| format!("plan {id} was removed at this moment"))?;
    }
    services.resolver.refresh_plan(id).await?;
    Ok(plan)
}

fn show(plan: &Plan, json: bool) -> anyhow::Result<()> {
    if json {
        let limits: serde_json::Value = serde_json::from_str(&plan.limits.to_json())?;
        return output::json(&serde_json::json!({ "id": plan.id, "name": plan.name, "limits": limits }));
    }
    output::line(format!(
        "{}  {}  {}",
        output::plain(&plan.id),
        output::plain(&plan.name),
        plan.limits.to_json()
    ));
    Ok(())
}
