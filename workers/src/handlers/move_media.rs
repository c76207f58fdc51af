//! `media.move`: a picture's files leave a storage. They are copied, compared, recorded in their new places in one transaction, and
//! removed from the old one; until they are recorded they are served from the old, from then on from the new.
//!
//! A line of the ledger beside that transaction says that the switch is made: from then on the new places are this job's to keep
//! and the old one is its to empty and to count out, whatever becomes of the picture. Before it, whatever is elsewhere goes.

use super::{
    copies::{self, DROPPED},
    files::{delete, overtaken, placed_below, remove, settle_line},
};
use crate::context::JobContext;
use mediamill_shared::{
    BoxError,
    control::storages::{
        self, Share, Shares,
        tasks::{self, Found},
    },
    jobs::{JobError, MoveMedia, Reason, ResultExt},
    objects::ObjectKey,
    placement::Spot,
    tenancy::{
        Limits, TenantDb,
        store::{
            media::Variant,
            usage::{Settled, Usage},
        },
    },
};
use std::collections::BTreeSet;

/// Line of what has left.
const LEFT: &str = "left";

pub(crate) async fn run(job: MoveMedia, cx: &JobContext) -> Result<(), JobError> {
    const BAD: &str = "a storage's id is none";
    let from: Spot = job.from.parse().permanent(Reason::UNREADABLE_PAYLOAD, BAD)?;
    let to: Option<Spot> = job
        .to
        .as_deref()
        .map(str::parse)
        .transpose()
        .permanent(Reason::UNREADABLE_PAYLOAD, BAD)?;
    let db = cx.tenant_db()?;
    let settled = cx.attempt > 1 && db.is_settled(&cx.job).await.transient()?;
    if !settled && !switch(&job, &from, to.as_ref(), cx, &db).await? {
        return abandon(&job, cx, &db).await;
    }
    let moved = leave(&job, &from, cx, &db).await?;
    if let Some(task) = &job.task {
        let found = Found {
            done: moved,
            ..Found::default()
        };
        let noted = tasks::note(&cx.control, &cx.job, (&from, task), found, cx.clock.now());
        noted.await.transient()?;
    }
    Ok(())
}

/// After a permanent failure.
pub(crate) async fn failed(job: MoveMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    if db.is_settled(&cx.job).await.transient()? {
        return Ok(());
    }
    abandon(&job, cx, &db).await
}

/// Copies the files that lie in a storage and records all of them in their new places. Returns whether that is so; `false`: the
/// picture is gone, or others moved it meanwhile.
async fn switch(
    job: &MoveMedia,
    from: &Spot,
    to: Option<&Spot>,
    cx: &JobContext,
    db: &TenantDb,
) -> Result<bool, JobError> {
    if db.media(&job.media).await.transient()?.is_none() {
        return Ok(false);
    }
    let mut files = db.variants(&job.media).await.transient()?;
    files.retain(|file| file.places.held().contains(from));
    let copies = copies::make(&files, from, to, cx).await?;
    let mut tx = db.begin().await.transient()?;
    for (file, copy) in files.iter().zip(copies) {
        let places = match copy {
            Some(spot) => file.places.moved(from, &spot),
            None => file.places.without(from),
        };
        if !tx.set_places(file, &places).await.transient()? {
            return Ok(false);
        }
    }
    let marked = tx
        .settle(&cx.job, Usage::default(), &Limits::builtin(), cx.clock.now())
        .await;
    match marked.transient()? {
        Settled::Now => tx.commit().await.transient()?,
        // Another attempt has switched meanwhile.
        Settled::Before | Settled::Over(_) => return Err(overtaken()),
    }
    Ok(true)
}

/// The switch is not made and will not be: copies go, and so does what was claimed for them.
async fn abandon(job: &MoveMedia, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    let line = cx.claimant();
    let claimed = storages::shares(&cx.control, &line).await.transient()?;
    if claimed.is_empty() {
        return Ok(());
    }
    let files = db.variants(&job.media).await.transient()?;
    remove_copies(job, cx, claimed.into_keys(), &files, |_| true).await?;
    settle_line(&line, cx, &Shares::new()).await?;
    settle_line(&line.part(DROPPED), cx, &Shares::new()).await
}

/// Removes what attempts have copied to places that do not hold it by what the rows say, of files that are this job's.
async fn remove_copies(
    job: &MoveMedia,
    cx: &JobContext,
    spots: impl IntoIterator<Item = Spot>,
    files: &[Variant],
    own: impl Fn(&Variant) -> bool,
) -> Result<(), JobError> {
    let mut copies = BTreeSet::new();
    for spot in spots {
        let listed = match lying(job, cx, &spot).await {
            Ok(listed) => listed,
            Err(error) if files.is_empty() => return Err(JobError::transient(error)),
            Err(error) => {
                let error: &dyn std::error::Error = error.as_ref();
                tracing::warn!(storage = %spot, error, "taking it that the same files were copied there");
                files.iter().map(|file| file.object.clone()).collect()
            }
        };
        copies.extend(listed.into_iter().map(|key| (spot.clone(), key)));
    }
    copies.retain(|(_, key)| match files.iter().find(|file| file.object == *key) {
        // Another job may be about to move the others there.
        Some(file) => own(file),
        // A link's variant that is on its way to its row has a claim of its own, and may lie there.
        None => !key.is_on_demand(),
    });
    remove(&job.media, cx, copies, files).await
}

/// The picture's files in a place; none where nobody can ask it any more.
async fn lying(job: &MoveMedia, cx: &JobContext, spot: &Spot) -> Result<Vec<ObjectKey>, BoxError> {
    match cx.storages.reach(cx.tenant()?.id(), spot).await? {
        Some(opened) => placed_below(&job.media, cx, &opened).await,
        None => Ok(Vec::new()),
    }
}

/// Removes what is on its way out of the storage, records that it has left, and counts it out once. Returns how many files.
async fn leave(job: &MoveMedia, from: &Spot, cx: &JobContext, db: &TenantDb) -> Result<i64, JobError> {
    let files = db.variants(&job.media).await.transient()?;
    for file in files.iter().filter(|file| file.places.leaving().contains(from)) {
        let is_made_again = copies::make_sure(file, from, cx).await?;
        if is_made_again && db.media(&job.media).await.transient()?.is_none() {
            // By the picture's deletion, which does not come to it again.
            for spot in file.places.held() {
                delete(spot, &file.object, cx).await.transient()?;
            }
        }
        delete(from, &file.object, cx).await.transient()?;
        let mut tx = db.begin().await.transient()?;
        // Where the picture was deleted meanwhile, its rows go by that job.
        if tx.set_places(file, &file.places.left(from)).await.transient()? {
            tx.commit().await.transient()?;
        }
    }
    let line = cx.claimant();
    let targets = storages::shares(&cx.control, &line).await.transient()?;
    let dropped = storages::shares(&cx.control, &line.part(DROPPED)).await.transient()?;
    let gone = targets.values().chain(dropped.values());
    let gone = gone.fold(Share::default(), |sum, share| sum.plus(*share));
    // Where nothing is claimed any more, a copy was begun in vain; attempts before this one may have copied other files to any.
    let tried = targets.iter().filter(|(_, share)| cx.attempt > 1 || share.objects == 0);
    let tried: Vec<Spot> = tried.map(|(spot, _)| spot.clone()).collect();
    if !tried.is_empty() {
        let files = db.variants(&job.media).await.transient()?;
        let takes = |spot: &Spot| targets.get(spot).is_some_and(|share| share.objects > 0);
        let own = |file: &Variant| file.places.held().iter().any(takes);
        remove_copies(job, cx, tried, &files, own).await?;
    }
    if *from != Spot::Main {
        settle_line(&line.part(LEFT), cx, &Shares::from([(from.clone(), gone.negated())])).await?;
    }
    Ok(gone.objects)
}
