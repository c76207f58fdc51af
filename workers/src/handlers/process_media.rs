//! `media.process`: staged bytes become a cleaned original and its variants, placed, recorded and counted.
//!
//! Every effect is keyed by ids: object keys by media and variant, the ledger by the job, so a repeated attempt meets
//! what it made before. The staged bytes go last, when nothing needs them any more.

use super::{
    files::{File, Placed, Source, overtaken, place as place_files, settle, settle_line, shares, tidy, undo},
    over_quota, picture_settings, reserve_beyond, same_bytes,
};
use crate::{admission::Permit, context::JobContext, decoder::refused, helpers::Everything};
use mediamill_media::{Facts, Processed};
use mediamill_shared::{
    clock::Stopwatch,
    ids::MediaId,
    jobs::{JobError, ProcessMedia, Reason, ResultExt},
    objects::{ObjectKey, Store},
    quota::Claim,
    telemetry::names,
    tenancy::{
        Limit, TenantDb,
        store::{
            media::{Media, ORIGINAL, Variant},
            usage::{Settled, Usage},
        },
    },
    units::{ByteCount, Millis},
};

/// How far attempts before this one got.
pub(super) enum Before {
    /// As far as the commit: there is nothing more to do.
    Made,
    /// Not so far.
    Open,
}

pub(crate) async fn run(job: ProcessMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    let staged = staged_key(&job)?;
    finished(&job.media, &staged, cx, &db, tried(&job, &staged, cx, &db).await).await
}

async fn tried(job: &ProcessMedia, staged: &ObjectKey, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    match before(&job.media, staged, cx, db).await? {
        Before::Made => Ok(()),
        // Brought back from the dead, it may find that the same was uploaded again meanwhile.
        Before::Open if cx.attempt > 1 && same_bytes::are_there(job, staged, cx, db).await? => Ok(()),
        Before::Open => make(job, cx, db).await,
    }
}

/// What an attempt came to: one that failed for good because another got as far as the commit meanwhile, and removed what this
/// one looked for, has come to that.
pub(super) async fn finished(
    media: &MediaId,
    staged: &ObjectKey,
    cx: &JobContext,
    db: &TenantDb,
    result: Result<(), JobError>,
) -> Result<(), JobError> {
    match result {
        Err(JobError::Permanent { .. }) if db.is_settled(&cx.job).await.transient()? => {
            again(media, staged, cx, db).await
        }
        other => other,
    }
}

/// After another attempt's commit: what this one has put elsewhere goes, and the staged bytes.
async fn again(media: &MediaId, staged: &ObjectKey, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    let files = db.variants(media).await.transient()?;
    undo(media, cx, &files, false, |key| !key.is_on_demand()).await?;
    cx.objects.delete(staged).await.transient()
}

/// Whether an attempt before this one got as far as the commit; the picture may have been deleted since. If so, what it left to
/// do is done.
pub(super) async fn before(
    media: &MediaId,
    staged: &ObjectKey,
    cx: &JobContext,
    db: &TenantDb,
) -> Result<Before, JobError> {
    let made = db.media(media).await.transient()?.is_some();
    if made || cx.attempt > 1 && db.is_settled(&cx.job).await.transient()? {
        again(media, staged, cx, db).await?;
        return Ok(Before::Made);
    }
    Ok(Before::Open)
}

/// Makes a picture of staged bytes, however they came.
pub(super) async fn make(job: &ProcessMedia, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    // Looked at before any work, and again when it is done.
    still_wanted(job.expires_at, cx)?;
    let context = cx.tenant()?.context();
    let settings = picture_settings::settings(&context.pictures, &context.limits).transient()?;
    let source = Source {
        key: staged_key(job)?,
        bytes: job.bytes,
        sha256: job.sha256.clone(),
        places: None,
        missing: (
            Reason::STAGED_BYTES_MISSING,
            "the uploaded bytes are not there any more",
        ),
    };
    let probed = source.probe(cx).await?;
    probed.check(&settings.limits).map_err(refused)?;
    let needed = probed.memory_bytes(job.bytes.unsigned(), &settings);
    let permit = cx
        .admission
        .admit(cx.decoder.memory(needed, job.bytes.unsigned()))
        .await
        .map_err(|too_large| JobError::permanent(Reason::TOO_LARGE_FOR_WORKER, too_large.to_string()))?;

    cx.stage("processing").await;
    let staged = source.fetch(cx).await?;
    let watch = Stopwatch::start();
    let (processed, permit) = cx
        .decoder
        .make::<Everything>(cx, staged, settings, needed, permit)
        .await?;
    metrics::histogram!(names::MEDIA_STAGE_SECONDS, "stage" => "pixels").record(watch.elapsed());

    let beyond = reserve_beyond(job.reserved, size(&processed), cx, db).await?;
    let kept = keep(job, cx, db, processed, permit).await;
    if let Err(error) = kept {
        cx.quota
            .release(
                cx.tenant()?,
                Claim {
                    media: 0,
                    bytes: beyond,
                },
            )
            .await;
        return Err(error);
    }
    cx.objects.delete(&source.key).await.transient()
}

/// A picture that expired before it was made would be seen by nobody.
pub(super) fn still_wanted(expires_at: Option<Millis>, cx: &JobContext) -> Result<(), JobError> {
    match expires_at {
        Some(at) if at <= cx.clock.now() => {
            let text = "the picture's time was over before it was made";
            Err(JobError::permanent(Reason::EXPIRED, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Bytes of all its files.
fn size(processed: &Processed) -> ByteCount {
    let variants = processed.variants.iter().map(|variant| variant.bytes.len());
    ByteCount::of(variants.fold(processed.original.bytes.len(), usize::saturating_add))
}

/// Places the files, records and counts them; the second time it changes nothing.
async fn keep(
    job: &ProcessMedia,
    cx: &JobContext,
    db: &TenantDb,
    processed: Processed,
    permit: Permit,
) -> Result<(), JobError> {
    cx.stage("placing").await;
    let watch = Stopwatch::start();
    let reserved = job.reserved.max(size(&processed));
    let (media, placed) = place(job, cx, processed).await?;
    drop(permit);
    metrics::histogram!(names::MEDIA_STAGE_SECONDS, "stage" => "place").record(watch.elapsed());
    settle(cx, &placed).await?;

    still_wanted(job.expires_at, cx)?;
    let change = Usage::picture(media.stored_bytes, media.frames);
    let limits = &cx.tenant()?.context().limits;
    let mut tx = db.begin().await.transient()?;
    match tx.settle(&cx.job, change, limits, cx.clock.now()).await.transient()? {
        Settled::Now => {
            tx.add_media(&media, &placed.files).await.transient()?;
            if let Some(holder) = &job.holder {
                tx.hold(&job.sha256, holder, &job.media, cx.clock.now())
                    .await
                    .transient()?;
            }
            tx.commit().await.transient()?;
            let less = Usage {
                bytes: media.stored_bytes.minus(reserved),
                ..Usage::default()
            };
            cx.quota.correct(cx.tenant()?, less).await;
            tidy(&job.media, cx, &placed.files, placed.leftovers, |key| {
                !key.is_on_demand()
            })
            .await
        }
        // Another attempt got here first, or the picture was deleted since: what is recorded counts.
        Settled::Before => {
            drop(tx);
            let files = db.variants(&job.media).await.transient()?;
            let made: Vec<Variant> = files
                .iter()
                .filter(|file| !file.object.is_on_demand())
                .cloned()
                .collect();
            if db.media(&job.media).await.transient()?.is_some() {
                // It has just been made: what it takes is what that attempt has placed, not this one.
                settle_line(&cx.claimant(), cx, &shares(&made)).await?;
            }
            undo(&job.media, cx, &files, false, |key| !key.is_on_demand()).await
        }
        Settled::Over(over) => Err(over_quota(&over)),
    }
}

/// After a permanent failure: the staged bytes go, and so does what the counters hold.
pub(crate) async fn failed(job: ProcessMedia, cx: &JobContext) -> Result<(), JobError> {
    give_up(&job.media, &staged_key(&job)?, job.reserved, cx).await
}

/// The same, however the bytes came.
pub(super) async fn give_up(
    media: &MediaId,
    staged: &ObjectKey,
    reserved: ByteCount,
    cx: &JobContext,
) -> Result<(), JobError> {
    if !cx.is_latest().await? {
        return Err(overtaken());
    }
    cx.objects.delete(staged).await.transient()?;
    if let Ok(tenant) = cx.tenant() {
        // Files that an attempt may have placed.
        undo(media, cx, &[], true, |key| !key.is_on_demand()).await?;
        let claim = Claim {
            media: 1,
            bytes: reserved,
        };
        cx.quota.release(tenant, claim).await;
    }
    Ok(())
}

fn staged_key(job: &ProcessMedia) -> Result<ObjectKey, JobError> {
    job.staged
        .parse()
        .permanent(Reason::UNREADABLE_PAYLOAD, "the staged object's key is none")
}

async fn place(job: &ProcessMedia, cx: &JobContext, processed: Processed) -> Result<(Media, Placed), JobError> {
    let Processed {
        original,
        variants,
        facts,
    } = processed;
    let removed: Vec<serde_json::Value> = original
        .removed
        .iter()
        .map(|part| serde_json::json!({ "what": part.what.to_string(), "detail": part.detail, "bytes": part.bytes }))
        .collect();
    let mut media = Media {
        id: job.media.clone(),
        job: cx.job.clone(),
        key: job.key.clone(),
        file_name: job.file_name.clone(),
        format: original.format.name().to_owned(),
        width: original.width.into(),
        height: original.height.into(),
        uploaded_bytes: job.bytes,
        stored_bytes: ByteCount::ZERO,
        removed: serde_json::Value::from(removed).to_string(),
        facts: facts_json(&facts, cx.tenant()?.context().limits.allows(Limit::ExifFacts)),
        created_at: cx.created_at,
        frames: facts.frames.map_or(1, i64::from).max(1),
        expires_at: job.expires_at,
        sha256: Some(job.sha256.clone()),
    };
    let first = File {
        name: ORIGINAL.to_owned(),
        stored_as: ORIGINAL.to_owned(),
        format: original.format,
        width: original.width,
        height: original.height,
        bytes: original.bytes.into(),
    };
    let others = variants.into_iter().map(|variant| File {
        stored_as: variant.name.clone(),
        name: variant.name,
        format: variant.format,
        width: variant.width,
        height: variant.height,
        bytes: variant.bytes.into(),
    });
    let placed = place_files(&job.media, cx, std::iter::once(first).chain(others).collect()).await?;
    media.stored_bytes = placed
        .files
        .iter()
        .fold(ByteCount::ZERO, |sum, variant| sum.plus(variant.bytes));
    Ok((media, placed))
}

/// What the picture looks like, and with `camera` what the camera noted.
fn facts_json(facts: &Facts, camera: bool) -> String {
    let mut kept = serde_json::json!({
        "dominant_colour": facts.dominant_colour,
        "placeholder": facts.placeholder,
        // As text: a JSON number holds 53 bits.
        "perceptual_hash": facts.perceptual_hash.map(|hash| format!("{hash:016x}")),
        "frames": facts.frames,
        "duration_ms": facts.duration_ms,
    });
    if camera && let Some(kept) = kept.as_object_mut() {
        kept.insert("camera_make".to_owned(), facts.camera_make.clone().into());
        kept.insert("camera_model".to_owned(), facts.camera_model.clone().into());
        kept.insert("lens".to_owned(), facts.lens.clone().into());
        kept.insert("taken_at".to_owned(), facts.taken_at.clone().into());
    }
    kept.to_string()
}
