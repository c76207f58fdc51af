//! Takes tenants out of where nobody will: those that were accepted and have no job to make them are undone, those that
//! were to move and have no job to move them stay, rows of batches that missed their tenant's end are ended.

use crate::{
    pages::{self, Lists, TenantLists},
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{
    control::{audit::Actor, batches, tenants},
    db::DbError,
    ids::TenantId,
    jobs::JobKind,
    services::Services,
    tenancy::TenantState,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Younger ones are in the hands of whoever accepted them.
const AGE: Duration = Duration::from_secs(120);
/// Tenants that a run looks at.
const MOST: i64 = 1_000;

pub(crate) struct RecoverTenants;

impl Timer for RecoverTenants {
    const NAME: &'static str = "recover-tenants";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let strays = batches::end_strays(&services.control).await?;
    let mut undo = Lists::new(Undo { services });
    let (report, _) = pages::go_on::<RecoverTenants, _>(services, &mut undo, most).await?;
    let strays = i64::try_from(strays).unwrap_or(i64::MAX);
    Ok(Report {
        changed: report.changed.saturating_add(strays),
        ..report
    })
}

struct Undo<'a> {
    services: &'a Services,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum List {
    /// Those that nobody makes.
    #[default]
    Coming,
    /// Those that nobody moves.
    Moving,
}

impl TenantLists for Undo<'_> {
    type List = List;

    fn next(list: List) -> Option<List> {
        match list {
            List::Coming => Some(List::Moving),
            List::Moving => None,
        }
    }

    async fn tenants(&self, list: List, after: Option<&TenantId>, limit: i64) -> Result<Vec<TenantId>, DbError> {
        let control = &self.services.control;
        match list {
            List::Coming => {
                // A dead job is an operator's to retry: its tenant waits for that.
                let left = (TenantState::Provisioning, JobKind::TenantProvision, true);
                let before = self.services.clock.now().before(AGE);
                tenants::left_in(control, left, before, after, limit).await
            }
            List::Moving => tenants::moveless(control, after, limit).await,
        }
    }

    async fn one(&self, list: List, id: &TenantId) -> Result<bool, TimerError> {
        let lifecycle = &self.services.lifecycle;
        match list {
            List::Coming => {
                let by = Actor::scheduler();
                lifecycle.undo(id, "its job is gone", &by, None).await?;
                Ok(true)
            }
            List::Moving => Ok(lifecycle.give_up_move(id).await?),
        }
    }
}
