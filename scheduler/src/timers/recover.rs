//! Publishes again what the queue has lost, and what nobody runs any more.
//!
//! - Open jobs, due and untouched for a while, of a pool whose queue is empty. A queue that still holds messages may hold theirs, and a
//!   long queue is no loss: only those that have waited for very long are published again then, a few at a time, since a second
//!   message does no harm.
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
/// Batches of a run.
const BATCHES: usize = 10;
/// Longer than most messages wait in a queue that is not empty.
const LONG: Duration = Duration::from_secs(15 * 60);
/// Of these in a run.
const FEW: i64 = 100;

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
            let (age, most) = match services.queue.depth(*pool).await?.ready {
                0 => (AGE, BATCH),
                _ => (LONG, FEW),
            };
            for _ in 0..BATCHES {
                let now = services.clock.now();
                let lost = jobs::stranded(&services.control, *pool, now.before(age), now, most).await?;
                let found = i64::try_from(lost.len()).unwrap_or(i64::MAX);
                let why = "publishing again what the queue has lost";
                let all = again(services, *pool, lost, why, &mut report).await?;
                if !all || found < BATCH {
                    break;
                }
            }
        }
        Ok(report)
    }
}

/// Returns whether the queue has all of them now.
async fn again(
    services: &Services,
    pool: Pool,
    messages: Vec<(Pool, Envelope)>,
    why: &'static str,
    report: &mut Report,
) -> Result<bool, TimerError> {
    if messages.is_empty() {
        return Ok(true);
    }
    let ids: Vec<_> = messages.iter().map(|(_, envelope)| envelope.job().clone()).collect();
    tracing::warn!(pool = %pool, jobs = ids.len(), "{why}");
    let confirmed = publish(&services.control, &services.queue, &services.clock, messages).await;
    let all = confirmed == ids.len();
    if all {
        jobs::mark_republished(&services.control, &ids, services.clock.now()).await?;
    }
    report.changed = report
        .changed
        .saturating_add(i64::try_from(confirmed).unwrap_or(i64::MAX));
    Ok(all)
}
