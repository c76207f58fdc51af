//! Feeds the rows of running batches, so many of each at a time, and cancels batches whose senders broke off.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::batches, services::Services};
use std::time::Duration;

/// Batches that are fed beside each other; younger ones wait.
const BATCHES: i64 = 100;

pub(crate) struct FeedBatches;

impl Timer for FeedBatches {
    const NAME: &'static str = "feed-batches";
    const EVERY: Duration = Duration::from_secs(1);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mut report = Report {
            changed: services.batches.cancel_abandoned().await?,
            unfinished: false,
        };
        for batch in batches::running(&services.control, BATCHES).await? {
            let feeding = services.batches.feed(&batch.id).await?;
            let changed = feeding.fed().saturating_add(i64::from(feeding.ended));
            report.changed = report.changed.saturating_add(changed);
            report.unfinished |= feeding.more;
        }
        Ok(report)
    }
}
