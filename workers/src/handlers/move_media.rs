//! `media.move`: a picture's files leave a storage. They are copied, compared, recorded in their new places in one transaction, and
//! removed from the old one; until they are recorded they are served from the old, from then on from the new.
//!
//! A line of the ledger beside that transaction says that the switch is made: from then on the new places are this job's to keep
//! and the old one is its to empty and to count out, whatever becomes of the picture. Before it, whatever is elsewhere goes.

use super::files::{delete, overtaken, placed_below, remove, settle_line};
use crate::context::JobContext;
use futures_util::TryStreamExt;
use mediamill_shared::{
    control::storages::{
        self, Claimed, Share, Shares,
        tasks::{self, Found},
    },
    jobs::{JobError, MoveMedia, Reason, ResultExt},
    objects::{Body, Store, Stored},
    placement::{Opened, Spot},
    tenancy::{
        Limits, TenantDb,
        store::{
            media::{ORIGINAL, Variant},
            usage::{Settled, Usage},
        },
    },
};
use std::{collections::BTreeSet, sync::Arc};

/// Line of copies that are given up without another place.
const DROPPED: &str = "dropped";
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
        tasks::note(&cx.control, &from, task, found, cx.clock.now())
            .await
            .transient()?;
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
    let mut targets = Vec::with_capacity(files.len());
    for file in &files {
        targets.push(target(file, from, to, cx).await?);
    }
    claim(&files, &targets, cx).await?;
    let mut moved = Vec::with_capacity(files.len());
    for (file, target) in files.iter().zip(targets) {
        moved.push(match target {
            Some(target) => {
                copy(file, &target, cx).await?;
                file.places.moved(from, &target.spot)
            }
            // There is another copy, and nowhere else to go.
            None => file.places.without(from),
        });
    }
    let mut tx = db.begin().await.transient()?;
    for (file, places) in files.iter().zip(&moved) {
        if !tx.set_places(file, places).await.transient()? {
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

/// Where a file goes: what the job says, or what the tenant's placement says of the storages that do not hold it.
async fn target(
    file: &Variant,
    from: &Spot,
    to: Option<&Spot>,
    cx: &JobContext,
) -> Result<Option<Arc<Opened>>, JobError> {
    let tenant = cx.tenant()?;
    let original = file.name == ORIGINAL;
    let found = match to {
        Some(spot) if file.places.held().contains(spot) => return Ok(None),
        Some(spot) => cx.storages.spot(tenant.id(), spot).await.transient()?,
        None => {
            let others = cx.storages.targets(tenant, &file.media, original, &file.places).await;
            others.transient()?.into_iter().next()
        }
    };
    match found {
        Some(found) => Ok(Some(found)),
        None if to.is_none() && file.places.held().len() > 1 => Ok(None),
        None => {
            let what = if original { "originals" } else { "variants" };
            Err(format!(
                "no active storage but {from} takes {what}: add one, or activate one"
            ))
            .transient()
        }
    }
}

/// Claims room where files go, and notes which copies are given up.
async fn claim(files: &[Variant], targets: &[Option<Arc<Opened>>], cx: &JobContext) -> Result<(), JobError> {
    let (mut shares, mut dropped) = (Shares::new(), Share::default());
    for (file, target) in files.iter().zip(targets) {
        match target {
            Some(target) => {
                let share = shares.entry(target.spot.clone()).or_default();
                *share = share.with(file.bytes);
            }
            None => dropped = dropped.with(file.bytes),
        }
    }
    let line = cx.claimant();
    // What an attempt before this one has claimed elsewhere is given back when this is over.
    match storages::claim(&cx.control, &line, &shares, cx.clock.now())
        .await
        .transient()?
    {
        Claimed::Yes => {}
        Claimed::Overtaken => return Err(overtaken()),
        Claimed::NoRoom(_) => return Err("the storage that it goes to is full").transient(),
        Claimed::Closed(_) => return Err("the storage that it goes to takes nothing any more").transient(),
    }
    settle_line(&line, cx, &shares).await?;
    // Of the installation's own store nothing is counted: the line only remembers.
    settle_line(&line.part(DROPPED), cx, &Shares::from([(Spot::Main, dropped)])).await
}

async fn copy(file: &Variant, target: &Opened, cx: &JobContext) -> Result<(), JobError> {
    let tenant = cx.tenant()?.id();
    let fetched = cx
        .storages
        .get(tenant, &file.places, &file.object, None)
        .await
        .transient()?;
    let body: Body = Box::pin(fetched.body.map_err(Into::into));
    let kind = mime(file);
    let written = target.objects.put_stream_as(&file.object, body, file.bytes, kind).await;
    let Stored { bytes, sha256 } = written.transient()?;
    if bytes == file.bytes && sha256 == file.sha256 {
        return Ok(());
    }
    target.objects.delete(&file.object).await.transient()?;
    let problem = format!(
        "{} is damaged where it lies: its checksum is {sha256}, {} is recorded; verify the storage",
        file.object, file.sha256
    );
    Err(JobError::permanent(Reason::FILE_DAMAGED, problem))
}

/// The media type that a file was written with first.
pub(super) fn mime(file: &Variant) -> &'static str {
    mediamill_media::Format::named(&file.format).map_or("application/octet-stream", mediamill_media::Format::mime)
}

/// The switch is not made and will not be: copies go, and so does what was claimed for them.
async fn abandon(job: &MoveMedia, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    let line = cx.claimant();
    let claimed = storages::shares(&cx.control, &line).await.transient()?;
    if claimed.is_empty() {
        return Ok(());
    }
    let files = db.variants(&job.media).await.transient()?;
    remove_copies(job, cx, claimed.into_keys(), &files).await?;
    settle_line(&line, cx, &Shares::new()).await?;
    settle_line(&line.part(DROPPED), cx, &Shares::new()).await
}

/// Removes what attempts have copied to places that do not hold it by what the rows say.
async fn remove_copies(
    job: &MoveMedia,
    cx: &JobContext,
    spots: impl IntoIterator<Item = Spot>,
    files: &[Variant],
) -> Result<(), JobError> {
    let mut copies = BTreeSet::new();
    for spot in spots {
        let Some(opened) = cx.storages.reach(cx.tenant()?.id(), &spot).await.transient()? else {
            continue;
        };
        let listed = placed_below(&job.media, cx, &opened).await.transient()?;
        copies.extend(listed.into_iter().map(|key| (spot.clone(), key)));
    }
    // A link's variant that is on its way to its row has a claim of its own, and may lie there.
    copies.retain(|(_, key)| !key.is_on_demand() || files.iter().any(|file| file.object == *key));
    remove(&job.media, cx, copies, files).await
}

/// Removes what is on its way out of the storage, records that it has left, and counts it out once. Returns how many files.
async fn leave(job: &MoveMedia, from: &Spot, cx: &JobContext, db: &TenantDb) -> Result<i64, JobError> {
    let files = db.variants(&job.media).await.transient()?;
    for file in files.iter().filter(|file| file.places.leaving().contains(from)) {
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
    if cx.attempt > 1 {
        let others = targets.into_iter().filter(|(_, share)| share.objects == 0);
        let files = db.variants(&job.media).await.transient()?;
        remove_copies(job, cx, others.map(|(spot, _)| spot), &files).await?;
    }
    if *from != Spot::Main {
        settle_line(&line.part(LEFT), cx, &Shares::from([(from.clone(), gone.negated())])).await?;
    }
    Ok(gone.objects)
}
