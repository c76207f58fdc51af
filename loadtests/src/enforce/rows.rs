//! A pass over tenants that are rows alone: nothing of them does not fit, so that what is measured is looking.

use crate::{installation::Back, processes::resident, say};
use anyhow::ensure;
use mediamill_scheduler::run_once;
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::{audit::Actor, passes::Pass, plans::Plan},
    ids::TenantId,
    services::Services,
    shutdown::Shutdown,
    tenancy::{Limit, LimitOverrides},
    testing::seed,
};
use std::time::Duration;

const TIMER: &str = "enforce-limits";
const PLAN: &str = "rows";
/// Tenants added in one transaction.
const TOGETHER: i64 = 10_000;
/// Between two looks at this process's memory.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(rows: i64, clock: &Clock) -> anyhow::Result<()> {
    let back = Back::start(clock).await?;
    let config = Config::from_pairs(back.settings()?)?;
    let shutdown = Shutdown::new();
    let services = Services::open(config, clock.clone(), Entropy::system(), shutdown.clone()).await?;
    services.control.migrate_control().await?;
    let mut plan = Plan::new(PLAN.to_owned(), clock.now());
    plan.limits = LimitOverrides::default()
        .set(Limit::Media, 10_000)
        .set(Limit::StoredBytes, 10_000_000);
    ensure!(
        services.lifecycle.create_plan(&plan, &Actor::cli()).await?,
        "the plan is there"
    );
    let mut first = 1;
    while first <= rows {
        let last = rows.min(first + TOGETHER - 1);
        seed::rows(&services.control, first, last).await?;
        seed::metered(&services.control, first, last, PLAN).await?;
        first = last + 1;
    }
    seed::analyze(&services.control).await?;
    say(&format!("PostgreSQL: {rows} tenants of one plan, rows alone"));

    let (seconds, peak) = measured(&services).await?;
    tell("new plan, all looked at twice", rows * 2, seconds, peak);
    let raised = |plan: &mut Plan| {
        plan.limits = LimitOverrides::default()
            .set(Limit::Media, 20_000)
            .set(Limit::StoredBytes, 20_000_000);
        true
    };
    services.lifecycle.edit_plan(PLAN, raised, &Actor::cli()).await?;
    let (seconds, peak) = measured(&services).await?;
    tell("its plan is changed", rows, seconds, peak);
    let (seconds, peak) = measured(&services).await?;
    tell("nothing has changed", 0, seconds, peak);
    // As if the last one had been long ago.
    let pass = Pass::<Option<TenantId>>::new(clock.now());
    pass.keep(&services.control, TIMER).await?;
    let (seconds, peak) = measured(&services).await?;
    tell("a pass over all", rows, seconds, peak);
    let last = Pass::<Option<TenantId>>::last(&services.control, TIMER).await?;
    ensure!(
        last.is_some_and(|pass| pass.ended_at.is_some()),
        "the pass did not come to its end"
    );
    shutdown.stop();
    Ok(())
}

fn tell(what: &str, tenants: i64, seconds: f64, peak: u64) {
    let grown = peak as f64 / 1e6;
    say(&format!(
        "  {what:<32} {seconds:>7.2} s, {tenants} tenants looked at, {grown:.1} MB more memory at most"
    ));
}

/// Runs the timer until it has no more to do: seconds, and by how many bytes this process's memory grew meanwhile.
async fn measured(services: &Services) -> anyhow::Result<(f64, u64)> {
    let before = resident().unwrap_or(0);
    let since = Stopwatch::start();
    let mut ran = std::pin::pin!(run_once(services, TIMER));
    let mut peak = before;
    let report = loop {
        tokio::select! {
            report = &mut ran => break report?,
            () = services.clock.sleep(LOOK) => peak = peak.max(resident().unwrap_or(0)),
        }
    };
    ensure!(
        report.changed == 0,
        "{} decisions, where everybody fits",
        report.changed
    );
    Ok((since.elapsed().as_secs_f64(), peak.saturating_sub(before)))
}
