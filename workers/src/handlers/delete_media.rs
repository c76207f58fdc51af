//! `media.delete`: out of sight and out of the count, then its objects, then its rows.
//!
//! The rows stay, out of sight, as the list of what is to be removed. The api takes the first step itself once the job is
//! accepted; here it is taken again, which changes nothing. Two such jobs for one picture remove and count the same things.

use super::files::{delete, shares};
use crate::context::JobContext;
use mediamill_shared::{
    BoxError,
    control::storages::{self, Claimant, Shares},
    jobs::{DeleteMedia, JobError, ResultExt},
    tenancy::store::holders::Deleted,
};

pub(crate) async fn run(job: DeleteMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    let deleted = db
        .delete(&job.media, job.holder.as_ref(), &cx.job, cx.clock.now())
        .await;
    match deleted.transient()? {
        Deleted::Now(change) => cx.quota.correct(cx.tenant()?, change).await,
        Deleted::Before => {}
        Deleted::Kept => return Ok(()),
    }
    let files = db.variants(&job.media).await.transient()?;
    if files.is_empty() {
        // An attempt before this one, or another job, got to the end.
        return Ok(());
    }
    let mut failed: Option<BoxError> = None;
    for file in &files {
        for spot in file.places.all() {
            // The others do not wait for it.
            failed = delete(spot, &file.object, cx).await.err().or(failed);
        }
    }
    if let Some(source) = failed {
        return Err(JobError::transient(source));
    }
    let gone: Shares = shares(&files)
        .into_iter()
        .map(|(spot, share)| (spot, share.negated()))
        .collect();
    if !gone.is_empty() {
        // By the picture, not the job: however many jobs delete it, it is counted out once.
        let line = Claimant::named(format!("gone:{}", job.media));
        storages::settle(&cx.control, &line, &gone, cx.clock.now())
            .await
            .transient()?;
    }
    let mut tx = db.begin().await.transient()?;
    tx.forget_media(&job.media).await.transient()?;
    tx.commit().await.transient()
}
