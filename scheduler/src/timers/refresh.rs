//! Puts the contexts of tenants that changed lately into the cache again where it holds older ones: the change itself may
//! have met a cache that was away and came back with what it knew before.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::tenants, services::Services};
use std::time::Duration;

/// Longer than the shared cache keeps anything.
const LATELY: Duration = Duration::from_secs(90);
const PAGE: i64 = 1_000;

pub(crate) struct RefreshContexts;

impl Timer for RefreshContexts {
    const NAME: &'static str = "refresh-contexts";
    const EVERY: Duration = Duration::from_secs(5);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mut report = Report::default();
        let (mut since, mut after) = (services.clock.now().before(LATELY), None);
        loop {
            let page = tenants::changed_since(&services.control, since, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(report) };
            since = last.updated_at;
            after = Some(last.id.clone());
            for changed in &page {
                if services.resolver.freshen(&changed.id, changed.version).await? {
                    report.changed = report.changed.saturating_add(1);
                }
            }
        }
    }
}
