//! Takes tenants out of where nobody will: those that were accepted and have no job to make them are undone, those that
//! were to move and have no job to move them stay, rows of batches that missed their tenant's end are ended.

use crate::{
    pages::{self, Failures, Page, Paged},
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{
    control::{audit::Actor, batches, tenants},
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
    let mut undo = Undo {
        services,
        undone: i64::try_from(strays).unwrap_or(i64::MAX),
        failures: Failures::default(),
    };
    Ok(pages::go_on::<RecoverTenants, _>(services, &mut undo, most).await?.0)
}

struct Undo<'a> {
    services: &'a Services,
    undone: i64,
    failures: Failures,
}

/// Where a pass is: the last tenant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// Of those that nobody makes.
    Coming(Option<TenantId>),
    /// Of those that nobody moves.
    Moving(Option<TenantId>),
}

impl Default for Place {
    fn default() -> Self {
        Self::Coming(None)
    }
}

impl Paged for Undo<'_> {
    type Place = Place;
    const PAGE: i64 = 200;

    async fn page(&mut self, place: &mut Place, limit: i64) -> Result<Page, TimerError> {
        match place {
            Place::Coming(after) => {
                let page = self.coming(after, limit).await?;
                if page.is_last {
                    *place = Place::Moving(None);
                }
                Ok(page.followed())
            }
            Place::Moving(after) => self.moving(after, limit).await,
        }
    }

    fn changed(&self) -> i64 {
        self.undone
    }
}

impl Undo<'_> {
    async fn coming(&mut self, after: &mut Option<TenantId>, limit: i64) -> Result<Page, TimerError> {
        let Services {
            control,
            clock,
            lifecycle,
            ..
        } = self.services;
        // A dead job is an operator's to retry: its tenant waits for that.
        let left = (TenantState::Provisioning, JobKind::TenantProvision, true);
        let before = clock.now().before(AGE);
        let page = tenants::left_in(control, left, before, after.as_ref(), limit).await?;
        for id in &page {
            *after = Some(id.clone());
            let by = Actor::scheduler();
            match lifecycle.undo(id, "its job is gone", &by, None).await {
                Ok(()) => self.undone = self.undone.saturating_add(1),
                Err(error) => self.failures.pass_over(id, error.into())?,
            }
        }
        Ok(Page::of(page.len(), limit))
    }

    async fn moving(&mut self, after: &mut Option<TenantId>, limit: i64) -> Result<Page, TimerError> {
        let page = tenants::moveless(&self.services.control, after.as_ref(), limit).await?;
        for id in &page {
            *after = Some(id.clone());
            match self.services.lifecycle.give_up_move(id).await {
                Ok(stayed) => self.undone = self.undone.saturating_add(i64::from(stayed)),
                Err(error) => self.failures.pass_over(id, error.into())?,
            }
        }
        Ok(Page::of(page.len(), limit))
    }
}
