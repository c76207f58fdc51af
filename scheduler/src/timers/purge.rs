//! Begins the removal of tenants whose time to come back is over, and goes on with removals that have lost their jobs.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{audit::Actor, changes::Refused, tenants},
    jobs::JobKind,
    services::Services,
    tenancy::{LifecycleError, TenantState},
};
use std::time::Duration;

const PAGE: i64 = 200;
/// A dead removal is begun again after so long: what stopped it may be over.
const PAUSE: Duration = Duration::from_secs(600);

pub(crate) struct PurgeTenants;

impl Timer for PurgeTenants {
    const NAME: &'static str = "purge-tenants";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let (mut changed, now) = (0_i64, services.clock.now());
        let mut after = None;
        loop {
            let page = tenants::in_state(&services.control, TenantState::Leaving, after.as_ref(), now, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for id in &page {
                match services.lifecycle.begin_purge(id, &Actor::scheduler()).await {
                    Ok(begun) => changed = changed.saturating_add(i64::from(begun.is_some())),
                    // Removed by hand meanwhile, or moving still: the next run looks again.
                    Err(LifecycleError::Refused(Refused::Missing { .. } | Refused::NotNow { .. })) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let left = (TenantState::Deleting, JobKind::TenantDeprovision, false);
        let mut after = None;
        loop {
            let page = tenants::left_in(&services.control, left, now.before(PAUSE), after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for id in &page {
                services.lifecycle.purge_again(id).await?;
                changed = changed.saturating_add(1);
            }
        }
        Ok(Report {
            changed,
            unfinished: false,
        })
    }
}
