//! Has retried jobs go on whose time has come, and publishes jobs that no queue has confirmed: the process that accepted or
//! released them died, or the queue was away.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::jobs, jobs::publish, services::Services};
use std::time::Duration;

/// What is due since then is still in the hands of the process that accepted or released it.
const AGE: Duration = Duration::from_secs(3);
const BATCH: i64 = 1_000;

pub(crate) struct Dispatch;

impl Timer for Dispatch {
    const NAME: &'static str = "dispatch";
    const EVERY: Duration = Duration::from_secs(1);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let ripe = services.dispatch.ripen(BATCH).await?;
        let now = services.clock.now();
        let waiting = jobs::unpublished(&services.control, now.before(AGE), now, BATCH).await?;
        let found = waiting.len();
        let confirmed = publish(&services.control, &services.queue, &services.clock, waiting).await;
        let full = |count: usize| i64::try_from(count).unwrap_or(0) == BATCH;
        Ok(Report {
            changed: i64::try_from(ripe.saturating_add(confirmed)).unwrap_or(i64::MAX),
            unfinished: full(ripe) || (confirmed == found && full(found)),
        })
    }
}
