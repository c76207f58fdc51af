//! The figures of tenants.

use super::{bar, for_each};
use crate::{moments, output};
use anyhow::Context;
use mediamill_shared::{control::tenants::Filter, ids::TenantId, services::Services};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) async fn one(services: &Services, id: &TenantId, refresh: bool, json: bool) -> anyhow::Result<()> {
    if refresh {
        services.lifecycle.refresh_stats(id).await?;
    }
    let found = services.lifecycle.stats(id).await?;
    let (stats, at) = found
        .with_context(|| format!("the figures of {id} were never counted, if there is such a tenant: say --refresh"))?;
    if json {
        return output::json(&json!({ "id": id, "stats": stats, "refreshed_at": at }));
    }
    let value = serde_json::to_value(&stats)?;
    let figures = value.as_object().into_iter().flatten();
    let mut rows: Vec<(&str, String)> = figures
        .map(|(name, value)| (name.as_str(), value.to_string()))
        .collect();
    rows.push(("counted", moments::shown(at)));
    output::line(output::fields(&rows));
    Ok(())
}

/// Counts one tenant's figures anew, or everybody's; one that fails does not stop the others.
pub(super) async fn refresh(services: &Services, id: Option<&TenantId>, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(id) = id {
        let stats = services.lifecycle.refresh_stats(id).await?;
        output::json(&json!({ "id": id, "stats": stats }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let bar = bar(services).await?;
    let (mut done, mut failed) = (0_u64, Vec::<Value>::new());
    for_each(services, &Filter::default(), usize::MAX, async |row| {
        match services.lifecycle.refresh_stats(&row.id).await {
            Ok(_) => done = done.saturating_add(1),
            Err(error) => {
                let error = mediamill_shared::chain(&error);
                bar.suspend(|| output::remark(format!("tenant {}: {error}", row.id)));
                failed.push(json!({ "id": row.id, "error": error }));
            }
        }
        bar.inc(1);
        Ok(())
    })
    .await?;
    bar.finish_and_clear();
    let code = if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    let words = format!("{done} tenants counted, {} failed", failed.len());
    output::done(json, &json!({ "tenants": done, "failed": failed }), words)?;
    Ok(code)
}
