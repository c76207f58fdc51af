//! Forgets what has served its time: finished jobs, idempotency keys, records of runs.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{accept, jobs, storages, timers},
    services::Services,
};
use std::time::Duration;

const BATCH: i64 = 5_000;
/// How long runs of timers are told.
const RUNS: Duration = Duration::from_secs(30 * 24 * 3_600);

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
        let changed = i64::try_from(jobs.saturating_add(keys)).unwrap_or(i64::MAX);
        Ok(Report {
            changed,
            unfinished: i64::try_from(jobs).unwrap_or(0) == BATCH,
        })
    }
}
