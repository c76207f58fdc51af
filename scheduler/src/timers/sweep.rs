//! Removes staged bytes that no job will ask for: their upload was never accepted, or their job is over.

use crate::{
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::jobs,
    ids::JobId,
    objects::{ObjectKey, Store},
    services::Services,
};
use std::{collections::BTreeMap, time::Duration};

const PAGE: u16 = 1_000;

pub(crate) struct SweepStaged;

impl Timer for SweepStaged {
    const NAME: &'static str = "sweep-staged";
    const EVERY: Duration = Duration::from_secs(600);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        Self::run_in(services, &Scope::all()).await
    }
}

impl Scoped for SweepStaged {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let below = scope
            .tenant()
            .map_or_else(|| ObjectKey::STAGED.to_owned(), ObjectKey::all_staged);
        // Every upload is over by half of that age: what is older and has no row was never accepted.
        let newest = services.clock.now().before(services.config.upload_timeout * 2);
        let mut report = Report::default();
        let mut after: Option<ObjectKey> = None;
        loop {
            let page = services.objects.list(&below, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(report) };
            after = Some(last.key.clone());
            let old: BTreeMap<JobId, ObjectKey> = page
                .into_iter()
                .filter_map(|listed| {
                    Some((
                        listed.key.as_str().rsplit('/').next()?.parse::<JobId>().ok()?,
                        listed.key,
                    ))
                })
                .filter(|(id, _)| id.created_at() < newest)
                .collect();
            for (id, key) in old {
                // A dead job keeps its bytes: an operator may retry it.
                let wanted = jobs::get(&services.control, &id)
                    .await?
                    .is_some_and(|job| match job.state {
                        mediamill_shared::jobs::JobState::Done | mediamill_shared::jobs::JobState::Failed => false,
                        mediamill_shared::jobs::JobState::Queued
                        | mediamill_shared::jobs::JobState::Running
                        | mediamill_shared::jobs::JobState::Dead => true,
                    });
                if wanted {
                    continue;
                }
                scope.tell(scope.tenant(), || format!("{key}: no job wants it")).await;
                if !scope.is_dry() {
                    services.objects.delete(&key).await?;
                    report.changed = report.changed.saturating_add(1);
                }
            }
        }
    }
}
