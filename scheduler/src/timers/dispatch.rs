//! Publishes accepted jobs that no queue has confirmed: the process that accepted them died, or the queue was away.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::jobs, jobs::publish, services::Services};
use std::time::Duration;

/// Younger rows are still in the hands of the process that accepted them.
const AGE: Duration = Duration::from_secs(3);
const BATCH: i64 = 1_000;

pub(crate) struct Dispatch;

impl Timer for Dispatch {
    const NAME: &'static str = "dispatch";
    const EVERY: Duration = Duration::from_secs(1);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let now = services.clock.now();
        let waiting = jobs::unpublished(&services.control, now.before(AGE), now, BATCH).await?;
        let found = waiting.len();
        if found == 0 {
            return Ok(Report::default());
        }
        let confirmed = publish(&services.control, &services.queue, &services.clock, waiting).await;
        let unfinished = confirmed == found && i64::try_from(found).unwrap_or(0) == BATCH;
        Ok(Report {
            changed: i64::try_from(confirmed).unwrap_or(i64::MAX),
            unfinished,
        })
    }
}
