//! `media.delete`: out of sight and out of the count, then its objects, then its rows.
//!
//! The rows stay, out of sight, as the list of what is to be removed. The api takes the first step itself once the job is
//! accepted; here it is taken again, which changes nothing.

use super::files::{settle_line, shares};
use crate::context::JobContext;
use mediamill_shared::{
    BoxError,
    control::storages,
    jobs::{DeleteMedia, JobError, ResultExt},
    objects::Store,
    placement::Spot,
};

pub(crate) async fn run(job: DeleteMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    if let Some(change) = db.hide(&job.media, &cx.job, cx.clock.now()).await.transient()? {
        cx.quota.correct(cx.tenant()?, change).await;
    }
    let files = db.variants(&job.media).await.transient()?;
    if files.is_empty() {
        // An attempt before this one, or another job, got to the end.
        return Ok(());
    }
    let mut failed: Option<BoxError> = None;
    for file in &files {
        for spot in file.places.all() {
            let opened = cx.storages.spot(cx.tenant()?.id(), spot).await.transient()?;
            let deleted = match opened {
                Some(opened) => opened.objects.delete(&file.object).await.map_err(BoxError::from),
                None if is_there(spot, cx).await? => Err(format!("storage {spot} is off, or cannot be opened").into()),
                // Nobody can ask it any more.
                None => Ok(()),
            };
            // The others do not wait for it.
            failed = deleted.err().or(failed);
        }
    }
    if let Some(source) = failed {
        return Err(JobError::Transient {
            not_before: None,
            source,
        });
    }
    let gone = shares(&files);
    if !gone.is_empty() {
        let gone = gone
            .into_iter()
            .map(|(storage, share)| (storage, share.negated()))
            .collect();
        settle_line(&cx.claimant(), cx, &gone).await?;
    }
    let mut tx = db.begin().await.transient()?;
    tx.forget_media(&job.media).await.transient()?;
    tx.commit().await.transient()
}

async fn is_there(spot: &Spot, cx: &JobContext) -> Result<bool, JobError> {
    match spot {
        Spot::Main => Ok(true),
        Spot::Storage(id) => Ok(storages::get(&cx.control, id).await.transient()?.is_some()),
    }
}
