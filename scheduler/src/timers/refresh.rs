//! Puts the contexts of tenants that changed lately into the cache again: the change itself may have met a cache that
//! was away and came back with what it knew before.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::tenants, services::Services};
use std::time::Duration;

/// Longer than the shared cache keeps anything.
const LATELY: Duration = Duration::from_secs(90);
const BATCH: i64 = 1_000;

pub(crate) struct RefreshContexts;

impl Timer for RefreshContexts {
    const NAME: &'static str = "refresh-contexts";
    const EVERY: Duration = Duration::from_secs(5);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let since = services.clock.now().before(LATELY);
        for id in tenants::changed_since(&services.control, since, BATCH).await? {
            services.resolver.refresh(&id).await?;
        }
        // Repeats what is nearly always so already: nothing worth a record.
        Ok(Report::default())
    }
}
