//! Ends uploads in pieces whose time is over, and removes their bytes; also bytes that no upload has.

use crate::{
    pages::{self, Failures, Page, Paged},
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{
    control::resumable,
    ids::{TenantId, UploadId},
    objects::{ObjectKey, Store},
    services::Services,
};
use std::time::Duration;

/// Uploads ended in a run.
const BATCH: i64 = 200;
/// Keys that a run looks at for orphans.
const MOST: i64 = 20_000;

pub(crate) struct SweepResumable;

impl Timer for SweepResumable {
    const NAME: &'static str = "sweep-resumable";
    const EVERY: Duration = Duration::from_secs(300);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let ended = end_expired(services).await;
        if matches!(ended, Ok(Report { unfinished: true, .. })) {
            return ended;
        }
        // Also where uploads could not be ended: they keep orphans from nothing.
        let orphans = orphans(services, MOST).await?;
        let ended = ended?;
        Ok(Report {
            changed: ended.changed.saturating_add(orphans.changed),
            unfinished: orphans.unfinished,
        })
    }
}

/// Ends uploads whose time is over.
async fn end_expired(services: &Services) -> Result<Report, TimerError> {
    let expired = resumable::expired(&services.control, services.clock.now(), BATCH).await?;
    let is_full = i64::try_from(expired.len()).unwrap_or(0) == BATCH;
    let (mut changed, mut failures) = (0_i64, Failures::default());
    for (tenant, upload) in expired {
        match end(services, &tenant, &upload).await {
            Ok(ended) => changed = changed.saturating_add(i64::from(ended)),
            Err(error) => failures.pass_over(upload, error)?,
        }
    }
    Ok(Report {
        changed,
        // Those that stay are listed again, but not at once.
        unfinished: is_full && changed > 0,
    })
}

/// Ends an upload. Returns whether it is ended.
async fn end(services: &Services, tenant: &TenantId, upload: &UploadId) -> Result<bool, TimerError> {
    let Services {
        control,
        objects,
        clock,
        ..
    } = services;
    // First of all nobody goes on with it: a piece that is stored from now on is removed by whoever stored it.
    if !resumable::close(control, tenant, upload, clock.now()).await? {
        return Ok(false);
    }
    objects.delete_below(&ObjectKey::pieces(tenant, upload)).await?;
    // Last, so that a run that is broken off is begun again.
    resumable::forget(control, upload).await?;
    Ok(true)
}

/// Removes pieces whose upload has no row any more: their writer was killed between storing and recording them, while the
/// upload was removed. Tells of how many uploads.
pub(super) async fn orphans(services: &Services, most: i64) -> Result<Report, TimerError> {
    let mut orphans = Orphans {
        services,
        seen: None,
        removed: 0,
        failures: Failures::default(),
    };
    Ok(pages::go_on::<SweepResumable, _>(services, &mut orphans, most).await?.0)
}

struct Orphans<'a> {
    services: &'a Services,
    /// The last upload that was looked for: its other pieces follow.
    seen: Option<(TenantId, UploadId)>,
    removed: i64,
    failures: Failures,
}

impl Orphans<'_> {
    async fn upload(&mut self, tenant: &TenantId, id: &UploadId) -> Result<(), TimerError> {
        let Services { control, objects, .. } = self.services;
        if resumable::get(control, tenant, id).await?.is_none() {
            objects.delete_below(&ObjectKey::pieces(tenant, id)).await?;
            self.removed = self.removed.saturating_add(1);
        }
        Ok(())
    }
}

impl Paged for Orphans<'_> {
    /// The last key.
    type Place = Option<ObjectKey>;
    const PAGE: i64 = 1_000;

    async fn page(&mut self, place: &mut Self::Place, limit: i64) -> Result<Page, TimerError> {
        let Services {
            objects, clock, config, ..
        } = self.services;
        let lives = config.resumable_expiry.saturating_add(config.upload_timeout);
        let newest = clock.now().before(lives);
        let keys = pages::keys(limit);
        let page = objects.list(ObjectKey::STAGED, place.as_ref(), keys).await?;
        for listed in &page {
            *place = Some(listed.key.clone());
            let Some(upload) = listed.key.upload() else { continue };
            if upload.1.created_at() >= newest || self.seen.as_ref() == Some(&upload) {
                continue;
            }
            let (tenant, id) = &upload;
            if let Err(error) = self.upload(tenant, id).await {
                self.failures.pass_over(id, error)?;
            }
            self.seen = Some(upload);
        }
        Ok(Page::of(page.len(), limit))
    }

    fn changed(&self) -> i64 {
        self.removed
    }
}
