//! Forgets what has served its time: finished jobs, idempotency keys, records of runs, the usage of tenants that went long ago.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{accept, jobs, metering, storages, timers},
    services::Services,
};
use std::time::Duration;

/// What is forgotten of each kind in one run.
const MOST: i64 = 5_000;
/// How long runs of timers are told.
const RUNS: Duration = Duration::from_secs(30 * 24 * 3_600);
/// A process that counts served bytes does so every few seconds.
const COUNTED: Duration = Duration::from_secs(24 * 3_600);
/// Removed tenants whose usage is forgotten in one run.
const CLOSED: i64 = 200;

/// How long what single jobs put into storages is told, beyond the jobs themselves.
const SHARES: Duration = Duration::from_secs(30 * 24 * 3_600);

pub(crate) struct Prune;

impl Timer for Prune {
    const NAME: &'static str = "prune";
    const EVERY: Duration = Duration::from_secs(300);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let (control, now, config) = (&services.control, services.clock.now(), &services.config);
    let jobs = jobs::prune(control, now.before(config.job_retention), most).await?;
    let keys = accept::prune_keys(control, now.before(config.idempotency_ttl), most).await?;
    // These are nobody's concern, and not told.
    let shares = storages::prune(control, now.before(SHARES), most).await?;
    let runs = timers::prune(control, now.before(RUNS), most).await?;
    let counts = metering::prune_counts(control, now.before(COUNTED), most).await?;
    let closed = metering::forget_closed(control, now.before(metering::KEPT), most.min(CLOSED)).await?;
    let closed = u64::try_from(closed).unwrap_or(u64::MAX);
    let number = |gone: u64| i64::try_from(gone).unwrap_or(i64::MAX);
    let is_cut = [jobs, keys, shares, runs, counts]
        .into_iter()
        .any(|gone| number(gone) >= most);
    Ok(Report {
        changed: number(jobs.saturating_add(keys).saturating_add(closed)),
        unfinished: is_cut || number(closed) >= most.min(CLOSED),
    })
}
