//! Sets the gauges that an autoscaler and an operator look at: messages and the age of the oldest due job, by pool.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::jobs,
    jobs::{JobState, Pool},
    queue::Broker,
    services::Services,
    telemetry::names,
};
use std::time::Duration;

pub(crate) struct ObserveQueues;

impl Timer for ObserveQueues {
    const NAME: &'static str = "observe-queues";
    const EVERY: Duration = Duration::from_secs(10);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let now = services.clock.now();
        let counts = jobs::counts(&services.control).await?;
        let held = jobs::held(&services.control).await?;
        for pool in Pool::ALL {
            let waiting = counts
                .iter()
                .filter(|count| count.pool == *pool && count.state == JobState::Queued);
            let oldest = waiting
                .map(|count| now.since(count.oldest_due))
                .max()
                .unwrap_or_default();
            metrics::gauge!(names::QUEUE_OLDEST_SECONDS, "pool" => pool.as_str()).set(oldest.as_secs_f64());
            let depth = services.queue.depth(*pool).await?;
            let held = held.iter().find(|(other, _)| other == pool);
            let held = held.map_or(0, |(_, count)| count.unsigned_abs());
            let dead = counts
                .iter()
                .find(|count| count.pool == *pool && count.state == JobState::Dead);
            let dead = dead.map_or(0, |count| count.jobs.unsigned_abs());
            let states = [
                ("ready", depth.ready),
                ("dead", dead),
                ("held", held),
                ("buried", depth.buried),
            ];
            for (state, messages) in states {
                metrics::gauge!(names::QUEUE_MESSAGES, "pool" => pool.as_str(), "state" => state).set(messages as f64);
            }
        }
        Ok(Report::default())
    }
}
