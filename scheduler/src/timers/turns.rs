//! Puts turns back that held jobs have none of: theirs was forgotten in the instant in which they were accepted.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::jobs, services::Services};
use std::time::Duration;

pub(crate) struct MendTurns;

impl Timer for MendTurns {
    const NAME: &'static str = "mend-turns";
    const EVERY: Duration = Duration::from_secs(10);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mended = jobs::mend_turns(&services.control).await?;
        Ok(Report {
            changed: i64::try_from(mended).unwrap_or(i64::MAX),
            unfinished: false,
        })
    }
}
