//! `media.delete`: out of sight, then its objects, then its rows and its count.
//!
//! In this order a crash never leaves a visible picture without files; the repeated job ends what was begun.

use crate::context::JobContext;
use mediamill_shared::{
    jobs::{DeleteMedia, JobError, ResultExt},
    objects::Store,
    tenancy::store::usage::Usage,
};

pub(crate) async fn run(job: DeleteMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    let mut tx = db.begin().await.transient()?;
    let hidden = tx.hide_media(&job.media).await.transient()?;
    tx.commit().await.transient()?;
    if hidden.is_none() {
        return Ok(());
    }
    for variant in db.variants(&job.media).await.transient()? {
        cx.objects.delete(&variant.object).await.transient()?;
    }
    let mut tx = db.begin().await.transient()?;
    let removed = tx.remove_media(&job.media).await.transient()?;
    let Some(bytes) = removed else { return Ok(()) };
    let change = Usage {
        media: -1,
        bytes: mediamill_shared::units::ByteCount::new(-bytes.get()),
    };
    let first = tx.settle(&cx.job, change, cx.clock.now()).await.transient()?;
    tx.commit().await.transient()?;
    if first {
        cx.quota.correct(cx.tenant()?, change).await;
    }
    Ok(())
}
