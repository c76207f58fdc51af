//! `media.move`: a picture's files leave a storage. Each is copied, compared, recorded in its new place, and removed from the old
//! one; until it is recorded it is served from the old, from then on from the new.
//!
//! A file that is recorded as leaving is never read there, so the object may go at any time after. Room is counted by a line for
//! each file: claimed in the new storage before the copy, given back in the old one after the object is gone.

use super::files::{overtaken, settle_line};
use crate::context::JobContext;
use futures_util::TryStreamExt;
use mediamill_shared::{
    control::storages::{
        self, Claimant, Claimed, Share, Shares,
        tasks::{self, Found},
    },
    jobs::{JobError, MoveMedia, Reason, ResultExt},
    objects::{Body, Store, Stored},
    placement::{Opened, Places, Spot},
    tenancy::{
        TenantDb,
        store::media::{ORIGINAL, Variant},
    },
    units::ByteCount,
};
use std::sync::Arc;

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
    if db.media(&job.media).await.transient()?.is_none() {
        // Deleted meanwhile: its files go by that job, wherever they are.
        return Ok(());
    }
    let mut moved = 0_i64;
    for file in db.variants(&job.media).await.transient()? {
        if has_left(&file, &from, cx).await? {
            // By an attempt before this one; others may have moved it back since.
            continue;
        }
        let file = if file.places.held().contains(&from) {
            match switch(&file, &from, to.as_ref(), cx, &db).await? {
                Some(file) => file,
                None => continue,
            }
        } else {
            file
        };
        if file.places.leaving().contains(&from) && !leave(&file, &from, cx, &db).await? {
            continue;
        }
        if count_left(&file, &from, cx).await? {
            moved = moved.saturating_add(1);
        }
    }
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

fn line(file: &Variant, cx: &JobContext) -> Claimant {
    Claimant::part(&cx.job, cx.attempt, &file.name)
}

/// Copies a file elsewhere and records it there. The file as it is then; `None`: the picture was deleted, or others moved it.
async fn switch(
    file: &Variant,
    from: &Spot,
    to: Option<&Spot>,
    cx: &JobContext,
    db: &TenantDb,
) -> Result<Option<Variant>, JobError> {
    let target = target(file, from, to, cx).await?;
    claim(file, from, target.as_deref(), cx).await?;
    let places = match target {
        Some(target) => {
            copy(file, &target, cx).await?;
            file.places.moved(from, target.spot.clone())
        }
        // There is another copy, and nowhere else to go.
        None => file.places.without(from),
    };
    let mut tx = db.begin().await.transient()?;
    if !tx.set_places(file, &places).await.transient()? {
        drop(tx);
        undo_copy(file, &places, cx, db).await?;
        return Ok(None);
    }
    tx.commit().await.transient()?;
    Ok(Some(Variant { places, ..file.clone() }))
}

/// Where a file goes: what the job says, or what the tenant's placement says of the storages that do not hold it.
async fn target(
    file: &Variant,
    from: &Spot,
    to: Option<&Spot>,
    cx: &JobContext,
) -> Result<Option<Arc<Opened>>, JobError> {
    let tenant = cx.tenant()?;
    // Where an attempt before this one was at it.
    let claimed = storages::shares(&cx.control, &line(file, cx)).await.transient()?;
    let claimed = claimed.into_iter().find(|(_, share)| share.objects > 0);
    let wanted = to.cloned().or(claimed.map(|(storage, _)| Spot::Storage(storage)));
    let original = file.name == ORIGINAL;
    let found = match wanted {
        Some(spot) if file.places.held().contains(&spot) => return Ok(None),
        Some(spot) => cx.storages.spot(tenant.id(), &spot).await.transient()?,
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
            Err(JobError::Transient {
                not_before: None,
                source: format!("no active storage but {from} takes {what}: add one, or activate one").into(),
            })
        }
    }
}

/// Claims room where the file goes, and notes that it is to be given back where it leaves.
async fn claim(file: &Variant, from: &Spot, target: Option<&Opened>, cx: &JobContext) -> Result<(), JobError> {
    let mut shares = Shares::new();
    if let Spot::Storage(id) = from {
        shares.insert(id.clone(), Share::default());
    }
    if let Some(Spot::Storage(id)) = target.map(|target| &target.spot) {
        shares.insert(id.clone(), Share::default().with(file.bytes));
    }
    let line = line(file, cx);
    let claimed = storages::claim(&cx.control, &line, &shares, cx.clock.now()).await;
    match claimed.transient()? {
        Claimed::Yes => Ok(()),
        Claimed::Overtaken => Err(overtaken()),
        Claimed::NoRoom(_) => Err("the storage that it goes to is full").transient(),
        Claimed::Closed(_) => Err("the storage that it goes to takes nothing any more").transient(),
    }
}

async fn copy(file: &Variant, target: &Opened, cx: &JobContext) -> Result<(), JobError> {
    let tenant = cx.tenant()?.id();
    let fetched = cx
        .storages
        .get(tenant, &file.places, &file.object, None)
        .await
        .transient()?;
    let body: Body = Box::pin(fetched.body.map_err(Into::into));
    let limit = ByteCount::new(file.bytes.get());
    let Stored { bytes, sha256 } = target.objects.put_stream(&file.object, body, limit).await.transient()?;
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

/// The picture was deleted, or another job moved the file: a copy that is not recorded goes.
async fn undo_copy(file: &Variant, meant: &Places, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    let files = db.variants(&file.media).await.transient()?;
    let copies = meant.held().iter().filter(|spot| !file.places.held().contains(spot));
    let objects = copies.map(|spot| (spot.clone(), file.object.clone())).collect();
    super::files::remove(&file.media, cx, objects, &files).await?;
    settle_line(&line(file, cx), cx, &Shares::new()).await
}

/// Removes the object of a file that leaves, and records that it has. Returns whether the picture is still there.
async fn leave(file: &Variant, from: &Spot, cx: &JobContext, db: &TenantDb) -> Result<bool, JobError> {
    if let Some(opened) = cx.storages.spot(cx.tenant()?.id(), from).await.transient()? {
        opened.objects.delete(&file.object).await.transient()?;
    }
    let mut tx = db.begin().await.transient()?;
    let still = tx.set_places(file, &file.places.left(from)).await.transient()?;
    tx.commit().await.transient()?;
    Ok(still)
}

/// Whether this job has moved the file out of a storage, and counted that.
async fn has_left(file: &Variant, from: &Spot, cx: &JobContext) -> Result<bool, JobError> {
    let Spot::Storage(from) = from else { return Ok(false) };
    if cx.attempt == 1 {
        return Ok(false);
    }
    let shares = storages::shares(&cx.control, &line(file, cx)).await.transient()?;
    Ok(shares.get(from).is_some_and(|share| share.objects < 0))
}

/// The old storage holds one object less, once for each file, however often this runs. Returns whether the file has left it by
/// this job.
async fn count_left(file: &Variant, from: &Spot, cx: &JobContext) -> Result<bool, JobError> {
    let Spot::Storage(from) = from else {
        return Ok(!file.places.is_main_alone());
    };
    let mut shares = storages::shares(&cx.control, &line(file, cx)).await.transient()?;
    match shares.get(from) {
        Some(share) if *share == Share::default() => {}
        Some(_) => return Ok(true),
        None => return Ok(false),
    }
    shares.insert(from.clone(), Share::default().with(file.bytes).negated());
    settle_line(&line(file, cx), cx, &shares).await?;
    Ok(true)
}
