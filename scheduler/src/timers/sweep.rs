//! Removes staged bytes that no job will ask for: their upload was never accepted, or their job is over.

use crate::{
    pages::{self, Page, Paged},
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
use std::{collections::BTreeMap, time::Duration};

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
    let mut sweep = Sweep::new(services, &scope);
    let pass = pages::go_on::<SweepStaged, _>(services, &mut sweep, most).await?;
    Ok(Report {
        changed: sweep.removed,
        unfinished: pass.ended_at.is_none(),
    })
}

impl Scoped for SweepStaged {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let mut sweep = Sweep::new(services, scope);
        pages::all(&mut sweep).await?;
        Ok(Report {
            changed: sweep.removed,
            unfinished: false,
        })
    }
}

struct Sweep<'a> {
    services: &'a Services,
    scope: &'a Scope,
    removed: i64,
}

impl<'a> Sweep<'a> {
    const fn new(services: &'a Services, scope: &'a Scope) -> Self {
        Self {
            services,
            scope,
            removed: 0,
        }
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
        let Services {
            objects, clock, config, ..
        } = self.services;
        let below = self.scope.tenant();
        let below = below.map_or_else(|| ObjectKey::STAGED.to_owned(), ObjectKey::all_staged);
        // Every upload is over by half of that age: what is older and has no row was never accepted.
        let newest = clock.now().before(config.upload_timeout * 2);
        let page = objects.list(&below, place.as_ref(), pages::keys(limit)).await?;
        let named = |listed: &Listed| {
            Some((
                listed.key.as_str().rsplit('/').next()?.parse().ok()?,
                listed.key.clone(),
            ))
        };
        let named: BTreeMap<JobId, ObjectKey> = page.iter().filter_map(named).collect();
        for (id, key) in named.into_iter().filter(|(id, _)| id.created_at() < newest) {
            if self.is_wanted(&id).await? {
                continue;
            }
            let said = || format!("{key}: no job wants it");
            self.scope.tell(self.scope.tenant(), said).await;
            if !self.scope.is_dry() {
                objects.delete(&key).await?;
                self.removed = self.removed.saturating_add(1);
            }
        }
        if let Some(last) = page.last() {
            *place = Some(last.key.clone());
        }
        Ok(Page::of(page.len(), limit))
    }
}
