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
        some(services, MOST).await
    }
}

/// Looks at the next `most` tenants of the round.
pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let (control, now) = (&services.control, services.clock.now());
    let round = activity::notice(control, Watcher::Limits, now, most).await?;
    let noticed = activity::noticed(control, Watcher::Limits, round, most).await?;
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
        let later = activity::behind(round, services.clock.now());
        activity::seen(control, Watcher::Limits, std::slice::from_ref(one), later).await?;
    }
    report.unfinished = activity::is_left(control, Watcher::Limits, round).await?;
    Ok(report)
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
