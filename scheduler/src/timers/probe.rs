//! Asks every storage that is read whether it is there. What each answers is noted in this process; where that changes for
//! the worse or the better, it is told.

use crate::{
    pages::{self, Page, Paged},
    timer::{Report, Timer, TimerError},
};
use futures_util::{StreamExt, stream};
use mediamill_shared::{
    control::storages::{self, StorageRow},
    ids::StorageId,
    placement::ProbeError,
    services::Services,
    telemetry::names,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Storages that a run looks at.
const MOST: i64 = 1_000;
/// Storages that are asked at a time.
const AT_A_TIME: usize = 16;

pub(crate) struct ProbeStorages;

impl Timer for ProbeStorages {
    const NAME: &'static str = "probe-storages";
    const EVERY: Duration = Duration::from_secs(15);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let (report, whole) = some(services, MOST).await?;
        if let Some(whole) = whole {
            metrics::gauge!(names::STORAGES, "state" => "well").set(f64::from(whole.well));
            metrics::gauge!(names::STORAGES, "state" => "unwell").set(f64::from(whole.unwell));
        }
        Ok(report)
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<(Report, Option<Place>), TimerError> {
    pages::go_on::<ProbeStorages, _>(services, &mut Probe { services }, most).await
}

struct Probe<'a> {
    services: &'a Services,
}

/// Where a pass is.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The last storage.
    after: Option<StorageId>,
    /// Those that answered.
    pub(super) well: u32,
    /// Those that did not.
    pub(super) unwell: u32,
}

impl Paged for Probe<'_> {
    type Place = Place;
    const PAGE: i64 = 200;

    async fn page(&mut self, place: &mut Place, limit: i64) -> Result<Page, TimerError> {
        let page = storages::page(&self.services.control, place.after.as_ref(), limit).await?;
        let done = Page::of(page.len(), limit);
        if let Some(last) = page.last() {
            place.after = Some(last.id.clone());
        }
        let read = page.into_iter().filter(|row| row.state.is_read());
        let asked = stream::iter(read.map(|row| answers(self.services, row))).buffer_unordered(AT_A_TIME);
        for is_well in asked.collect::<Vec<_>>().await {
            let count = if is_well { &mut place.well } else { &mut place.unwell };
            *count = count.saturating_add(1);
        }
        Ok(done)
    }

    fn changed(&self) -> i64 {
        0
    }
}

async fn answers(services: &Services, row: StorageRow) -> bool {
    let answered = services.storages.probe(&row).await;
    // That it is left alone was told when that began.
    if let Err(error) = &answered
        && !matches!(error, ProbeError::LeftAlone)
    {
        tracing::warn!(storage = %row.id, name = row.name, error = error as &dyn std::error::Error, "a storage does not answer");
    }
    answered.is_ok()
}
