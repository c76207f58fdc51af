//! Tells, in the audit log, when tenants come near their limits and when they reach them. Looks at those that were active
//! since the last run.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::activity::{self, Noticed, Watcher},
    services::Services,
};
use std::time::Duration;

/// Tenants of one run at most.
const MOST: i64 = 500;

pub(crate) struct WatchLimits;

impl Timer for WatchLimits {
    const NAME: &'static str = "watch-limits";
    const EVERY: Duration = Duration::from_secs(30);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let now = services.clock.now();
        activity::notice(&services.control, Watcher::Limits, now, MOST).await?;
        let noticed = activity::noticed(&services.control, Watcher::Limits, now, MOST).await?;
        let mut report = Report::default();
        for one in &noticed {
            match watched(services, one).await {
                Ok(told) => report.changed = report.changed.saturating_add(told),
                // Looked at again when it is active again: its limits hold meanwhile, only the telling is late.
                Err(error) => tracing::warn!(
                    tenant.id = %one.tenant, error = &error as &dyn std::error::Error,
                    "a tenant's usage was not compared with its limits"
                ),
            }
            activity::seen(&services.control, Watcher::Limits, one).await?;
        }
        report.unfinished = i64::try_from(noticed.len()).unwrap_or(i64::MAX) == MOST;
        Ok(report)
    }
}

async fn watched(services: &Services, noticed: &Noticed) -> Result<i64, TimerError> {
    let Some(tenant) = services.resolver.by_id(&noticed.tenant).await? else {
        return Ok(0);
    };
    // Whoever is not served comes near nothing.
    let Ok(db) = tenant.db() else { return Ok(0) };
    let told = services.quota.watch(&tenant, &db, &services.clock, &services.entropy);
    Ok(told.await?)
}
