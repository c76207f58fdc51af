//! Puts the contexts of tenants that changed lately into the cache again where it holds older ones: the change itself may
//! have met a cache that was away and came back with what it knew before.

use crate::{
    pages::{self, Page, Paged},
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{control::tenants, ids::TenantId, services::Services, units::Millis};
use std::time::Duration;

/// Longer than the shared cache keeps anything.
const LATELY: Duration = Duration::from_secs(90);
/// Tenants that a run looks at.
const MOST: i64 = 10_000;

pub(crate) struct RefreshContexts;

impl Timer for RefreshContexts {
    const NAME: &'static str = "refresh-contexts";
    const EVERY: Duration = Duration::from_secs(5);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let mut look = Look { services, changed: 0 };
    Ok(pages::go_on::<RefreshContexts, _>(services, &mut look, most).await?.0)
}

struct Look<'a> {
    services: &'a Services,
    changed: i64,
}

impl Paged for Look<'_> {
    /// The last one, and when it changed.
    type Place = Option<(Millis, TenantId)>;
    const PAGE: i64 = 1_000;

    async fn page(&mut self, place: &mut Self::Place, limit: i64) -> Result<Page, TimerError> {
        let Services {
            control,
            clock,
            resolver,
            ..
        } = self.services;
        let lately = clock.now().before(LATELY);
        // A pass that nobody has gone on with for long: no cache knows any more what was before.
        if place.as_ref().is_some_and(|(since, _)| *since < lately) {
            *place = None;
        }
        let since = place.as_ref().map_or(lately, |(since, _)| *since);
        let after = place.as_ref().map(|(_, after)| after);
        let page = tenants::changed_since(control, since, after, limit).await?;
        for changed in &page {
            *place = Some((changed.updated_at, changed.id.clone()));
            if resolver.freshen(&changed.id, changed.version).await? {
                self.changed = self.changed.saturating_add(1);
            }
        }
        Ok(Page::of(page.len(), limit))
    }

    fn changed(&self) -> i64 {
        self.changed
    }
}
