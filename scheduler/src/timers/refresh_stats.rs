//! Counts the figures that the Tenants API shows, for tenants whose were counted longest ago.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::stats, services::Services};
use std::time::Duration;

/// Figures older than this are counted anew.
const OLD: Duration = Duration::from_secs(900);
/// Tenants of one run at most.
const MOST: i64 = 500;

pub(crate) struct RefreshStats;

impl Timer for RefreshStats {
    const NAME: &'static str = "refresh-stats";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let before = services.clock.now().before(OLD);
        let stale = stats::stale(&services.control, None, before, MOST).await?;
        let mut report = Report::default();
        for id in &stale {
            match services.lifecycle.refresh_stats(id).await {
                Ok(_) => report.changed = report.changed.saturating_add(1),
                // One tenant's database that is away keeps nobody else's figures back.
                Err(error) => tracing::warn!(
                    tenant.id = %id, error = &error as &dyn std::error::Error,
                    "a tenant's figures were not counted"
                ),
            }
        }
        report.unfinished = report.changed > 0 && i64::try_from(stale.len()).unwrap_or(i64::MAX) == MOST;
        Ok(report)
    }
}
