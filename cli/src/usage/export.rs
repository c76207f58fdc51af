//! `mediamill usage export`: hours that are over, rolled up first.

use crate::{
    cli::{Export as Args, ExportFormat},
    moments, output,
};
use anyhow::{Context, bail, ensure};
use mediamill_shared::{
    control::activity::{self, Watcher},
    ids::TenantId,
    quota::{
        Period,
        export::{Export, Line},
    },
    services::Services,
};
use std::{process::ExitCode, time::Duration};

/// What happened in an hour is told of so long after its end at the latest: processes count every few seconds.
const SETTLED: Duration = Duration::from_secs(120);
/// The timer, as the scheduler knows it.
const ROLL_UP: &str = "roll-up-usage";
/// The first may be one that began earlier; a tenant that becomes active while the rest is rolled up is caught by the next.
const ROUNDS: u32 = 3;

pub(super) async fn run(services: &Services, args: Args, json: bool) -> anyhow::Result<ExitCode> {
    let from = args.from.context("--from is needed")?;
    let to = args.to.context("--to is needed")?;
    ensure!(from < to, "--from must be before --to");
    let settled = Period::hour_of(services.clock.now().before(SETTLED)).start;
    ensure!(
        to <= settled,
        "hours up to {} are over and complete; --to must not be later",
        moments::shown(settled)
    );
    roll_up(services, args.tenant.as_ref()).await?;
    let format = if json { ExportFormat::Ndjson } else { args.format };
    let mut lines = output::Lines::new();
    if format == ExportFormat::Csv {
        lines.write("tenant,resource,hour,change,total");
    }
    let mut export = Export::new(services.control.clone(), args.tenant, from, to);
    while let Some(page) = export.next().await? {
        for line in page {
            if !lines.write(written(&line, format)?) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    lines.end();
    Ok(ExitCode::SUCCESS)
}

/// Rolls up everything that is to be. Fails when something is left, of all tenants or that one.
pub(super) async fn roll_up(services: &Services, tenant: Option<&TenantId>) -> anyhow::Result<()> {
    let began = services.clock.now();
    for _ in 0..ROUNDS {
        mediamill_scheduler::run_once(services, ROLL_UP).await?;
        let complete = activity::complete_until(&services.control, Watcher::RollUp).await?;
        let waiting = activity::waiting(&services.control, Watcher::RollUp, tenant).await?;
        if waiting.is_none() && complete.is_some_and(|complete| complete >= began.before(SETTLED)) {
            return Ok(());
        }
    }
    let left = activity::waiting(&services.control, Watcher::RollUp, tenant).await?;
    match left {
        None => Ok(()),
        Some(left) => bail!(
            "usage of tenant {left} could not be rolled up: its hours would be incomplete; the log says why, `mediamill doctor` \
             what is away"
        ),
    }
}

fn written(line: &Line, format: ExportFormat) -> serde_json::Result<String> {
    let (tenant, resource, hour) = (&line.tenant, line.resource.as_str(), line.hour_text());
    match format {
        // Ids, names and numbers: nothing that would have to be quoted.
        ExportFormat::Csv => Ok(format!("{tenant},{resource},{hour},{},{}", line.change, line.total)),
        ExportFormat::Ndjson => serde_json::to_string(line),
    }
}
