//! Rolls up what tenants used by the hour: those whose pictures changed since the last run, and those that never were.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::activity::{self, Noticed, Watcher},
    ids::TenantId,
    quota::roll_up::roll_up,
    services::Services,
    tenancy::TenantState,
};
use std::time::Duration;

/// Tenants of one run at most.
const MOST: i64 = 200;
/// Tenants that were never rolled up and are noticed in one run.
const NEW: i64 = 1_000;

pub(crate) struct RollUpUsage;

impl Timer for RollUpUsage {
    const NAME: &'static str = "roll-up-usage";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

/// Rolls up the next `most` tenants of the round.
pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let (control, now) = (&services.control, services.clock.now());
    let round = activity::notice(control, Watcher::RollUp, now, NEW).await?;
    let noticed = activity::noticed(control, Watcher::RollUp, round, most).await?;
    let mut report = Report::default();
    let later = || activity::behind(round, services.clock.now());
    let mut seen = Vec::new();
    for one in noticed {
        match rolled_up(services, &one).await {
            Ok(changed) => {
                report.changed = report.changed.saturating_add(changed);
                seen.push(one);
            }
            // One tenant's database that is away keeps nobody else's usage back.
            Err(error) => {
                activity::put_off(control, Watcher::RollUp, std::slice::from_ref(&one.tenant), later()).await?;
                tracing::warn!(
                    tenant.id = %one.tenant, error = &error as &dyn std::error::Error,
                    "a tenant's usage was not rolled up; it is tried again with the next round"
                );
            }
        }
    }
    // A limit may have been lowered while these figures were behind: then they said that all was well. First the marks: of a
    // run that ends before them nothing is lost, the next has the same tenants, though their figures are right already.
    let rolled_up: Vec<TenantId> = seen.iter().map(|one| one.tenant.clone()).collect();
    activity::mark_all(control, Watcher::Enforcement, &rolled_up, services.clock.now()).await?;
    activity::seen(control, Watcher::RollUp, &seen, later()).await?;
    report.unfinished = activity::is_left(control, Watcher::RollUp, round).await?;
    Ok(report)
}

async fn rolled_up(services: &Services, noticed: &Noticed) -> Result<i64, TimerError> {
    let Some(tenant) = services.resolver.refresh(&noticed.tenant).await? else {
        // Removed, and closed with that.
        return Ok(0);
    };
    match tenant.context().state {
        TenantState::Active | TenantState::Suspended | TenantState::Leaving => {}
        // Nothing there yet, or its removal rolls it up.
        TenantState::Provisioning | TenantState::Deleting => return Ok(0),
    }
    let db = tenant.tables()?;
    let changed = roll_up(&services.control, &noticed.tenant, &db).await?;
    Ok(i64::try_from(changed).unwrap_or(i64::MAX))
}
