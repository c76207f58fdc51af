//! Takes tenants out of where nobody will: those that were accepted and have no job to make them are undone, those that
//! were to move and have no job to move them stay, rows of batches that missed their tenant's end are ended.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{audit::Actor, batches, tenants},
    jobs::JobKind,
    services::Services,
    tenancy::TenantState,
};
use std::time::Duration;

/// Younger ones are in the hands of whoever accepted them.
const AGE: Duration = Duration::from_secs(120);
const PAGE: i64 = 200;

pub(crate) struct RecoverTenants;

impl Timer for RecoverTenants {
    const NAME: &'static str = "recover-tenants";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let actor = Actor::scheduler();
        let (mut changed, before) = (0_i64, services.clock.now().before(AGE));
        // A dead job is an operator's to retry: its tenant waits for that.
        let left = (TenantState::Provisioning, JobKind::TenantProvision, true);
        let mut after = None;
        loop {
            let page = tenants::left_in(&services.control, left, before, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for id in &page {
                services.lifecycle.undo(id, "its job is gone", &actor, None).await?;
                changed = changed.saturating_add(1);
            }
        }
        let mut after = None;
        loop {
            let page = tenants::moveless(&services.control, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for id in &page {
                let stayed = services.lifecycle.give_up_move(id).await?;
                changed = changed.saturating_add(i64::from(stayed));
            }
        }
        let strays = batches::end_strays(&services.control).await?;
        Ok(Report {
            changed: changed.saturating_add(i64::try_from(strays).unwrap_or(i64::MAX)),
            unfinished: false,
        })
    }
}
