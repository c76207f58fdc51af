//! `mediamill plans`: limits that tenants inherit.

use crate::{cli::Plans, output};
use mediamill_shared::{
    control::{
        plans::{self, Plan},
        tenants,
    },
    services::Services,
};
use std::process::ExitCode;

/// Plans read at a time.
const PAGE: i64 = 500;
/// Tenants whose caches are told at once; the scheduler tells the rest.
const TOLD: i64 = 10_000;

pub(crate) async fn run(services: &Services, command: Plans, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Plans::Put { id, name, limits } => {
            let now = services.clock.now();
            let plan = Plan {
                name: name.unwrap_or_else(|| id.clone()),
                id,
                limits,
            };
            plans::put(&services.control, &plan, now).await?;
            for tenant in tenants::changed_since(&services.control, now, TOLD).await? {
                services.resolver.refresh(&tenant).await?;
            }
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
