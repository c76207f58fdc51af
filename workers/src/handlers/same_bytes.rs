//! Uploads of bytes that the site may have already, where it gives what it has for them.

use super::process_media::give_up;
use crate::context::JobContext;
use mediamill_shared::{
    control::{
        accept::{self, Content},
        jobs,
    },
    ids::JobId,
    jobs::{JobError, ProcessMedia, ResultExt},
    objects::ObjectKey,
    tenancy::TenantDb,
};
use std::time::Duration;

/// Before the job that makes the same picture is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whether the site has a picture of the upload's bytes: the upload's holder holds it too then, and the job is about it from now on.
/// While another job makes it, this one waits.
pub(super) async fn are_there(
    job: &ProcessMedia,
    staged: &ObjectKey,
    cx: &JobContext,
    db: &TenantDb,
) -> Result<bool, JobError> {
    let Some(holder) = &job.holder else { return Ok(false) };
    let mut content = Content {
        sha256: job.sha256.clone(),
        job: cx.job.clone(),
        seen: None,
    };
    // First: from then on no other job begins, and one that is over has left what it made.
    let before = claim(&content, cx).await?;
    let now = cx.clock.now();
    let picture = match db.hold_existing(&job.sha256, holder, now).await.transient()? {
        Some(picture) => picture,
        None if before.is_none() => return Ok(false),
        None => {
            content.seen = before;
            // Another has come in between if it is not this one's now.
            return match claim(&content, cx).await? {
                None => Ok(false),
                Some(other) => Err(made_by(&other, cx).await?),
            };
        }
    };
    jobs::turn_to(&cx.control, &cx.job, cx.attempt, picture.as_str())
        .await
        .transient()?;
    give_up(&job.media, staged, job.reserved, cx).await?;
    Ok(true)
}

/// Notes that this job makes a picture of the bytes, or tells of the job that has, and is over.
async fn claim(content: &Content, cx: &JobContext) -> Result<Option<JobId>, JobError> {
    let tenant = cx.tenant_id()?;
    match accept::claim_content(&cx.control, tenant, content, cx.clock.now())
        .await
        .transient()?
    {
        Some((other, true)) => Err(made_by(&other, cx).await?),
        Some((other, false)) => Ok(Some(other)),
        None => Ok(None),
    }
}

/// What it means that `other` makes it: to wait, for one that has a time of its own until that has come.
async fn made_by(other: &JobId, cx: &JobContext) -> Result<JobError, JobError> {
    let row = jobs::get(&cx.control, other).await.transient()?;
    let due = row.map_or(Duration::ZERO, |row| row.due_at.since(cx.clock.now()));
    Ok(JobError::Transient {
        not_before: Some(due.saturating_add(LOOK_AGAIN)),
        source: format!("job {other} is making a picture of the same bytes").into(),
    })
}
