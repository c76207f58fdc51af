//! Publishes again what the queue has lost, and what nobody runs any more.
//!
//! - Open jobs, due and untouched for a while, of a pool whose queue is empty. A queue that still holds messages may hold theirs, so it
//!   is left alone until it is empty: a long queue is no loss.
//! - Running jobs whose worker has not been heard of for a while: it may have run them without a message, which nobody gives back.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::jobs::{self, SILENCE},
    jobs::{Envelope, Pool, publish},
    queue::Broker,
    services::Services,
};
use std::time::Duration;

/// Longer than a message may be on its way: a wait queue's step past its due time, and a worker's silence.
const AGE: Duration = Duration::from_secs(60);
const _: () = assert!(AGE.as_secs() > SILENCE.as_secs() * 2);
/// Longer than a job whose message came back from a dead worker waits for the next one.
const SILENT: Duration = SILENCE.saturating_mul(2);
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
            let now = services.clock.now();
            let silent = jobs::silent(&services.control, *pool, now.before(SILENT), now, BATCH).await?;
            again(
                services,
                *pool,
                silent,
                "publishing jobs again whose workers are silent",
                &mut report,
            )
            .await?;
            if services.queue.depth(*pool).await?.ready > 0 {
                continue;
            }
            let now = services.clock.now();
            let lost = jobs::stranded(&services.control, *pool, now.before(AGE), now, BATCH).await?;
            again(
                services,
                *pool,
                lost,
                "publishing again what the queue has lost",
                &mut report,
            )
            .await?;
        }
        Ok(report)
    }
}

async fn again(
    services: &Services,
    pool: Pool,
    messages: Vec<(Pool, Envelope)>,
    why: &'static str,
    report: &mut Report,
) -> Result<(), TimerError> {
    if messages.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = messages.iter().map(|(_, envelope)| envelope.job().clone()).collect();
    tracing::warn!(pool = %pool, jobs = ids.len(), "{why}");
    let confirmed = publish(&services.control, &services.queue, &services.clock, messages).await;
    if confirmed == ids.len() {
        jobs::mark_republished(&services.control, &ids, services.clock.now()).await?;
    }
    report.changed = report
        .changed
        .saturating_add(i64::try_from(confirmed).unwrap_or(i64::MAX));
    Ok(())
}
