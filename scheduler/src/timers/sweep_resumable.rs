//! Ends uploads in pieces whose time is over, and removes their bytes; also bytes that no upload has.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::resumable,
    ids::{TenantId, UploadId},
    objects::{ObjectKey, Store},
    services::Services,
};
use std::time::Duration;

/// Uploads ended in a run.
const BATCH: i64 = 200;
/// Keys listed at a time.
const PAGE: u16 = 1_000;

pub(crate) struct SweepResumable;

impl Timer for SweepResumable {
    const NAME: &'static str = "sweep-resumable";
    const EVERY: Duration = Duration::from_secs(300);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let now = services.clock.now();
        let expired = resumable::expired(&services.control, now, BATCH).await?;
        let mut report = Report {
            changed: 0,
            unfinished: i64::try_from(expired.len()).unwrap_or(0) == BATCH,
        };
        for (tenant, upload) in expired {
            // First of all nobody goes on with it: a piece that is stored from now on is removed by whoever stored it.
            if !resumable::close(&services.control, &tenant, &upload, now).await? {
                continue;
            }
            services
                .objects
                .delete_below(&ObjectKey::pieces(&tenant, &upload))
                .await?;
            // Last, so that a run that is broken off is begun again.
            resumable::forget(&services.control, &upload).await?;
            report.changed = report.changed.saturating_add(1);
        }
        if !report.unfinished {
            report.changed = report.changed.saturating_add(orphans(services).await?);
        }
        Ok(report)
    }
}

/// Removes pieces whose upload has no row any more: their writer was killed between storing and recording them, while the
/// upload was removed. Returns of how many uploads.
async fn orphans(services: &Services) -> Result<i64, TimerError> {
    let lives = services
        .config
        .resumable_expiry
        .saturating_add(services.config.upload_timeout);
    let newest = services.clock.now().before(lives);
    let (mut seen, mut removed) = (None::<(TenantId, UploadId)>, 0_i64);
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = services.objects.list(ObjectKey::STAGED, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(removed) };
        after = Some(last.key.clone());
        let uploads = page.iter().filter_map(|listed| listed.key.upload());
        for (tenant, upload) in uploads.filter(|(_, id)| id.created_at() < newest) {
            // Its other pieces follow it.
            if seen.as_ref() == Some(&(tenant.clone(), upload.clone())) {
                continue;
            }
            seen = Some((tenant.clone(), upload.clone()));
            if resumable::get(&services.control, &tenant, &upload).await?.is_none() {
                services
                    .objects
                    .delete_below(&ObjectKey::pieces(&tenant, &upload))
                    .await?;
                removed = removed.saturating_add(1);
            }
        }
    }
}
