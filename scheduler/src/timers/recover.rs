//! Publishes again what the queue has lost: open jobs, due and untouched for a while, of a pool whose queue is empty.
//!
//! A queue that still holds messages may hold theirs, so it is left alone until it is empty: a long queue is no loss.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::jobs::{self, SILENCE},
    jobs::{Pool, publish},
    queue::Broker,
    services::Services,
};
use std::time::Duration;

/// Longer than a message may be on its way: a wait queue's step past its due time, and a worker's silence.
const AGE: Duration = Duration::from_secs(60);
const _: () = assert!(AGE.as_secs() > SILENCE.as_secs() * 2);
const BATCH: i64 = 1_000;

pub(crate) struct Recover;

impl Timer for Recover {
    const NAME: &'static str = "recover";
    const EVERY: Duration = Duration::from_secs(15);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mut report = Report::default();
        if services.queue.rows_are_messages() {
            return Ok(report);
        }
        for pool in Pool::ALL {
            if services.queue.depth(*pool).await?.ready > 0 {
                continue;
            }
            let now = services.clock.now();
            let lost = jobs::stranded(&services.control, *pool, now.before(AGE), now, BATCH).await?;
            if lost.is_empty() {
                continue;
            }
            let ids: Vec<_> = lost.iter().map(|(_, envelope)| envelope.job().clone()).collect();
            tracing::warn!(pool = %pool, jobs = ids.len(), "publishing again what the queue has lost");
            let confirmed = publish(&services.control, &services.queue, &services.clock, lost).await;
            if confirmed == ids.len() {
                jobs::mark_republished(&services.control, &ids, services.clock.now()).await?;
            }
            report.changed = report
                .changed
                .saturating_add(i64::try_from(confirmed).unwrap_or(i64::MAX));
        }
        Ok(report)
    }
}
