//! Forgets what has served its time: finished jobs, idempotency keys, records of runs, the usage of tenants that went long ago.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{accept, jobs, metering, storages, timers},
    services::Services,
};
use std::time::Duration;

const BATCH: i64 = 5_000;
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
        let now = services.clock.now();
        let jobs = jobs::prune(&services.control, now.before(services.config.job_retention), BATCH).await?;
        let keys = accept::prune_keys(&services.control, now.before(services.config.idempotency_ttl)).await?;
        storages::prune(&services.control, now.before(SHARES)).await?;
        timers::prune(&services.control, now.before(RUNS)).await?;
        metering::prune_counts(&services.control, now.before(COUNTED)).await?;
        let closed = metering::forget_closed(&services.control, now.before(metering::KEPT), CLOSED).await?;
        let changed = jobs
            .saturating_add(keys)
            .saturating_add(u64::try_from(closed).unwrap_or(u64::MAX));
        let changed = i64::try_from(changed).unwrap_or(i64::MAX);
        Ok(Report {
            changed,
            unfinished: i64::try_from(jobs).unwrap_or(0) == BATCH,
        })
    }
}
