//! Begins the removal of tenants whose time to come back is over, and goes on with removals that have lost their jobs.

use crate::{
    pages::{self, Failures, Page, Paged},
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{
    control::{audit::Actor, changes::Refused, tenants},
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
    let mut purge = Purge {
        services,
        begun: 0,
        failures: Failures::default(),
    };
    Ok(pages::go_on::<PurgeTenants, _>(services, &mut purge, most).await?.0)
}

struct Purge<'a> {
    services: &'a Services,
    begun: i64,
    failures: Failures,
}

/// Where a pass is: the last tenant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// Of those whose time to come back is over.
    Leaving(Option<TenantId>),
    /// Of those whose removal has no job.
    Deleting(Option<TenantId>),
}

impl Default for Place {
    fn default() -> Self {
        Self::Leaving(None)
    }
}

impl Paged for Purge<'_> {
    type Place = Place;
    const PAGE: i64 = 200;

    async fn page(&mut self, place: &mut Place, limit: i64) -> Result<Page, TimerError> {
        match place {
            Place::Leaving(after) => {
                let page = self.leaving(after, limit).await?;
                if page.is_last {
                    *place = Place::Deleting(None);
                }
                Ok(page.followed())
            }
            Place::Deleting(after) => self.deleting(after, limit).await,
        }
    }

    fn changed(&self) -> i64 {
        self.begun
    }
}

impl Purge<'_> {
    async fn leaving(&mut self, after: &mut Option<TenantId>, limit: i64) -> Result<Page, TimerError> {
        let Services {
            control,
            clock,
            lifecycle,
            ..
        } = self.services;
        let page = tenants::in_state(control, TenantState::Leaving, after.as_ref(), clock.now(), limit).await?;
        for id in &page {
            *after = Some(id.clone());
            match lifecycle.begin_purge(id, &Actor::scheduler()).await {
                Ok(begun) => self.begun = self.begun.saturating_add(i64::from(begun.is_some())),
                // Removed by hand meanwhile, or moving still: the next pass looks again.
                Err(LifecycleError::Refused(Refused::Missing { .. } | Refused::NotNow { .. })) => {}
                Err(error) => self.failures.pass_over(id, error.into())?,
            }
        }
        Ok(Page::of(page.len(), limit))
    }

    async fn deleting(&mut self, after: &mut Option<TenantId>, limit: i64) -> Result<Page, TimerError> {
        let Services {
            control,
            clock,
            lifecycle,
            ..
        } = self.services;
        let left = (TenantState::Deleting, JobKind::TenantDeprovision, false);
        let before = clock.now().before(PAUSE);
        let page = tenants::left_in(control, left, before, after.as_ref(), limit).await?;
        for id in &page {
            *after = Some(id.clone());
            match lifecycle.purge_again(id).await {
                Ok(_) => self.begun = self.begun.saturating_add(1),
                Err(error) => self.failures.pass_over(id, error.into())?,
            }
        }
        Ok(Page::of(page.len(), limit))
    }
}
