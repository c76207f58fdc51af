//! Asks every storage that is read whether it is there. What each answers is noted in this process; where that changes for
//! the worse or the better, it is told.

use crate::timer::{Report, Timer, TimerError};
use futures_util::{StreamExt, stream};
use mediamill_shared::{control::storages, placement::ProbeError, services::Services, telemetry::names};
use std::time::Duration;

const PAGE: i64 = 200;
/// Storages that are asked at a time.
const AT_A_TIME: usize = 16;

pub(crate) struct ProbeStorages;

impl Timer for ProbeStorages {
    const NAME: &'static str = "probe-storages";
    const EVERY: Duration = Duration::from_secs(15);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let (mut well, mut unwell) = (0_u32, 0_u32);
        let mut after = None;
        loop {
            let page = storages::page(&services.control, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            let mut read = page;
            read.retain(|row| row.state.is_read());
            let asked = stream::iter(read)
                .map(|row| async move {
                    let answered = services.storages.probe(&row).await;
                    // That it is left alone was told when that began.
                    if let Err(error) = &answered
                        && !matches!(error, ProbeError::LeftAlone)
                    {
                        tracing::warn!(storage = %row.id, name = row.name, error = error as &dyn std::error::Error, "a storage does not answer");
                    }
                    answered.is_ok()
                })
                .buffer_unordered(AT_A_TIME);
            let answers: Vec<bool> = asked.collect().await;
            for answered in answers {
                if answered { well += 1 } else { unwell += 1 }
            }
        }
        metrics::gauge!(names::STORAGES, "state" => "well").set(f64::from(well));
        metrics::gauge!(names::STORAGES, "state" => "unwell").set(f64::from(unwell));
        Ok(Report::default())
    }
}
