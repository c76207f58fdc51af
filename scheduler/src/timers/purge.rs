//! Begins the removal of tenants whose time to come back is over, and goes on with removals that have lost their jobs.

use crate::{
    pages::{self, Lists, TenantLists},
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{
    control::{audit::Actor, changes::Refused, tenants},
    db::DbError,
    ids::TenantId,
    jobs::JobKind,
    services::Services,
    tenancy::{LifecycleError, TenantState},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Tenants that a run looks at.
const MOST: i64 = 1_000;
/// A dead removal is begun again after so long: what stopped it may be over.
const PAUSE: Duration = Duration::from_secs(600);

pub(crate) struct PurgeTenants;

impl Timer for PurgeTenants {
    const NAME: &'static str = "purge-tenants";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let mut purge = Lists::new(Purge { services });
    Ok(pages::go_on::<PurgeTenants, _>(services, &mut purge, most).await?.0)
}

struct Purge<'a> {
    services: &'a Services,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum List {
    /// Those whose time to come back is over.
    #[default]
    Leaving,
    /// Those whose removal has no job.
    Deleting,
}

impl TenantLists for Purge<'_> {
    type List = List;

    fn next(list: List) -> Option<List> {
        match list {
            List::Leaving => Some(List::Deleting),
            List::Deleting => None,
        }
    }

    async fn tenants(&self, list: List, after: Option<&TenantId>, limit: i64) -> Result<Vec<TenantId>, DbError> {
        let (control, now) = (&self.services.control, self.services.clock.now());
        match list {
            List::Leaving => tenants::in_state(control, TenantState::Leaving, after, now, limit).await,
            List::Deleting => {
                let left = (TenantState::Deleting, JobKind::TenantDeprovision, false);
                tenants::left_in(control, left, now.before(PAUSE), after, limit).await
            }
        }
    }

    async fn one(&self, list: List, id: &TenantId) -> Result<bool, TimerError> {
        let lifecycle = &self.services.lifecycle;
        match list {
            List::Leaving => match lifecycle.begin_due_purge(id, &Actor::scheduler()).await {
                Ok(begun) => Ok(begun.is_some()),
                // Removed by hand meanwhile, or moving still: the next pass looks again.
                Err(LifecycleError::Refused(Refused::Missing { .. } | Refused::NotNow { .. })) => Ok(false),
                Err(error) => Err(error.into()),
            },
            List::Deleting => {
                lifecycle.purge_again(id).await?;
                Ok(true)
            }
        }
    }
}
