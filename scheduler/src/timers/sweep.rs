//! Removes staged bytes that no job will ask for: their upload was never accepted, or their job is over.

use crate::{
    pages::{self, Failures, Page, Paged},
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::jobs,
    ids::JobId,
    jobs::JobState,
    objects::{Listed, ObjectKey, Store},
    services::Services,
};
use std::time::Duration;

/// Keys that a run looks at.
const MOST: i64 = 20_000;

pub(crate) struct SweepStaged;

impl Timer for SweepStaged {
    const NAME: &'static str = "sweep-staged";
    const EVERY: Duration = Duration::from_secs(600);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let scope = Scope::all();
    let mut sweep = Sweep::new(services, &scope, Failures::default());
    Ok(pages::go_on::<SweepStaged, _>(services, &mut sweep, most).await?.0)
}

impl Scoped for SweepStaged {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        pages::all(&mut Sweep::new(services, scope, Failures::of_all())).await
    }
}

struct Sweep<'a> {
    services: &'a Services,
    scope: &'a Scope,
    removed: i64,
    failures: Failures,
}

impl<'a> Sweep<'a> {
    const fn new(services: &'a Services, scope: &'a Scope, failures: Failures) -> Self {
        Self {
            services,
            scope,
            removed: 0,
            failures,
        }
    }

    /// Removes what is under a key, if no job will ask for it.
    async fn key(&mut self, key: &ObjectKey) -> Result<(), TimerError> {
        let Services {
            objects, clock, config, ..
        } = self.services;
        // Every upload is over by half of that age: what is older and has no row was never accepted.
        let newest = clock.now().before(config.upload_timeout * 2);
        let name = key.as_str().rsplit('/').next();
        let Some(id) = name.and_then(|name| name.parse::<JobId>().ok()) else {
            return Ok(());
        };
        if id.created_at() >= newest || self.is_wanted(&id).await? {
            return Ok(());
        }
        let said = || format!("{key}: no job wants it");
        self.scope.tell(self.scope.tenant(), said).await;
        if !self.scope.is_dry() {
            objects.delete(key).await?;
            self.removed = self.removed.saturating_add(1);
        }
        Ok(())
    }

    /// A dead job keeps its bytes: an operator may retry it.
    async fn is_wanted(&self, id: &JobId) -> Result<bool, TimerError> {
        let job = jobs::get(&self.services.control, id).await?;
        Ok(job.is_some_and(|job| match job.state {
            JobState::Done | JobState::Failed => false,
            JobState::Queued | JobState::Running | JobState::Dead => true,
        }))
    }
}

impl Paged for Sweep<'_> {
    /// The last key.
    type Place = Option<ObjectKey>;
    const PAGE: i64 = 1_000;

    async fn page(&mut self, place: &mut Self::Place, limit: i64) -> Result<Page, TimerError> {
        let tenant = self.scope.tenant();
        let below = tenant.map_or_else(|| ObjectKey::STAGED.to_owned(), ObjectKey::all_staged);
        let listed = self.services.objects.list(&below, place.as_ref(), pages::keys(limit));
        let page = listed.await?;
        for Listed { key, .. } in &page {
            *place = Some(key.clone());
            if let Err(error) = self.key(key).await {
                let said = || format!("{key} is passed over: {error}");
                self.scope.tell(self.scope.tenant(), said).await;
                self.failures.pass_over(key, error)?;
            }
        }
        Ok(Page::of(page.len(), limit))
    }

    fn changed(&self) -> i64 {
        self.removed
    }
}
