//! Drops the places that tenants have moved away from, once no process can believe in them any more.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::services::Services;
use std::time::Duration;

const BATCH: i64 = 100;

pub(crate) struct DropRetired;

impl Timer for DropRetired {
    const NAME: &'static str = "drop-retired";
    const EVERY: Duration = Duration::from_secs(30);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let changed = services.lifecycle.drop_retired(BATCH).await?;
        Ok(Report {
            changed,
            unfinished: changed == BATCH,
        })
    }
}
