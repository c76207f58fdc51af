//! `mediamill scheduler`: its timers, one run of them, and what they have found.

use crate::{moments, output};
use mediamill_scheduler::{Note, Scope};
use mediamill_shared::{control::object_findings, ids::TenantId, services::Services};
use std::{process::ExitCode, time::Duration};
use tokio::sync::mpsc;

/// Notes that wait to be printed.
const NOTES: usize = 100;
/// Findings read at a time.
const PAGE: i64 = 500;

/// `mediamill scheduler run NAME`.
pub(crate) async fn run(services: &Services, name: &str, scope: Scope, json: bool) -> anyhow::Result<ExitCode> {
    let dry = scope.is_dry();
    let report = if scope.is_all() {
        mediamill_scheduler::run_once(services, name).await?
    } else {
        let (tell, told) = mpsc::channel(NOTES);
        let scope = scope.telling(tell);
        // The sender goes with the scope, and with it the last note.
        let running = async move { mediamill_scheduler::run_in(services, name, &scope).await };
        let (report, printed) = tokio::join!(running, print(told, json));
        printed?;
        report?
    };
    if json {
        output::json(&serde_json::json!({ "timer": name, "changed": report.changed, "dry_run": dry }))?;
    } else if dry {
        output::line(format!("{name}: nothing was changed"));
    } else {
        output::line(format!("{name}: {} changed", report.changed));
    }
    Ok(ExitCode::SUCCESS)
}

async fn print(mut told: mpsc::Receiver<Note>, json: bool) -> anyhow::Result<()> {
    while let Some(note) = told.recv().await {
        if json {
            output::json(&serde_json::json!({ "tenant": note.tenant, "found": note.what }))?;
            continue;
        }
        let tenant = note.tenant.as_ref().map_or("-", TenantId::as_str);
        output::line(format!("{tenant:<16}  {}", output::plain(&note.what)));
    }
    Ok(())
}

/// `mediamill scheduler list`.
pub(crate) async fn list(services: &Services, json: bool) -> anyhow::Result<ExitCode> {
    for timer in mediamill_scheduler::list(services).await? {
        if json {
            let last = timer.last.map(|last| {
                serde_json::json!({
                    "started_at": moments::shown(last.started_at), "ended_at": moments::shown(last.ended_at),
                    "holder": last.holder, "fence": last.fence, "changed": last.changed, "unfinished": last.unfinished,
                    "error": last.error,
                })
            });
            output::json(&serde_json::json!({
                "timer": timer.name, "every_seconds": seconds(timer.every), "last": last,
            }))?;
            continue;
        }
        let last = timer.last.map_or_else(
            || "has not run yet".to_owned(),
            |last| {
                let outcome = match (&last.error, last.changed) {
                    (Some(error), _) => format!("failed: {error}"),
                    (None, changed) => format!("{} changed", changed.unwrap_or(0)),
                };
                let more = if last.unfinished { ", to be gone on with" } else { "" };
                format!("{}  {outcome}{more}", moments::shown(last.ended_at))
            },
        );
        let every = format!("{:?}", timer.every);
        output::line(format!("{:<20} every {every:>7}  {last}", timer.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whole ones are whole.
fn seconds(every: Duration) -> serde_json::Value {
    match every.subsec_nanos() {
        0 => every.as_secs().into(),
        _ => every.as_secs_f64().into(),
    }
}

/// `mediamill scheduler findings`.
pub(crate) async fn findings(services: &Services, tenant: Option<&TenantId>, json: bool) -> anyhow::Result<ExitCode> {
    let mut after = None;
    loop {
        let page = object_findings::page(&services.control, tenant, after.as_ref(), PAGE).await?;
        for found in &page {
            if json {
                output::json(&serde_json::json!({
                    "tenant": found.tenant, "storage": found.storage.to_string(), "object": found.object,
                    "problem": found.problem.as_str(), "since": moments::shown(found.since),
                }))?;
                continue;
            }
            output::line(format!(
                "{:<16}  {:<8}  {}  {} in {}",
                found.tenant,
                found.problem.as_str(),
                moments::shown(found.since),
                output::plain(&found.object),
                found.storage
            ));
        }
        let Some(last) = page.into_iter().next_back() else {
            return Ok(ExitCode::SUCCESS);
        };
        after = Some(last);
    }
}
