//! `media.variant`: one variant more of a picture that is ready, since a link asked for it.
//!
//! Its object is named by the job, so that two jobs that make the same variant never touch each other's; the row decides
//! which one counts, and the other removes its own.

use super::{
    files::{File, Source, overtaken, place, settle, tidy, undo},
    over_quota, picture_settings, reserve_beyond,
};
use crate::{admission::Permit, context::JobContext, decoder::refused, helpers::VariantsAlone};
use mediamill_media::Rendered;
use mediamill_shared::{
    jobs::{Job, JobError, MakeVariant, Reason, ResultExt},
    objects::ObjectKey,
    quota::Claim,
    tenancy::{
        TenantDb, most_files,
        store::{
            media::{AddedFile, ORIGINAL, Variant},
            usage::{Settled, Usage},
        },
    },
    units::ByteCount,
};

pub(crate) async fn run(job: MakeVariant, cx: &JobContext) -> Result<(), JobError> {
    match tried(&job, cx).await {
        // It would keep what it has reserved until an operator looks at it; who wants the variant only asks again.
        Err(JobError::Transient { source, .. }) if cx.is_last_try(&MakeVariant::RETRY) => Err(JobError::Permanent {
            reason: Reason::new(
                Reason::VARIANT_GIVEN_UP,
                "a part that is needed did not answer for some time",
            ),
            source: Some(source),
        }),
        other => other,
    }
}

async fn tried(job: &MakeVariant, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    // Whether the tenant's tables are still here, before anything is made or said to be gone.
    drop(db.begin().await.transient()?);
    if let Some(made) = db.variant(&job.media, &job.name).await.transient()? {
        if cx.attempt > 1 {
            undo_own(job, cx, &db).await?;
        }
        if !is_own(&made, cx) {
            release(job.reserved, cx).await?;
        }
        return Ok(());
    }
    if cx.attempt > 1 && db.is_settled(&cx.job).await.transient()? {
        // An attempt before this one got as far as the commit, and the picture was deleted since.
        let files = db.variants(&job.media).await.transient()?;
        return undo(&job.media, cx, &files, false, own(job, cx)).await;
    }
    let original = db.variant(&job.media, ORIGINAL).await.transient()?.ok_or_else(gone)?;
    let read_from = original.places.clone();
    let (rendered, permit) = match render(job, cx, original).await {
        Err(JobError::Permanent { reason, source }) if reason.code() == Reason::FILE_MISSING => {
            let present = db.variant(&job.media, ORIGINAL).await.transient()?.ok_or_else(gone)?;
            if present.places == read_from {
                return Err(JobError::Permanent { reason, source });
            }
            return Err(JobError::transient("the original was moved while it was to be read"));
        }
        rendered => rendered?,
    };
    let beyond = reserve_beyond(job.reserved, ByteCount::of(rendered.bytes.len()), cx, &db).await?;
    let kept = keep(job, cx, &db, rendered, permit).await;
    match kept {
        Ok(Some(bytes)) => {
            let less = Usage {
                bytes: bytes.minus(job.reserved.plus(beyond)),
                ..Usage::default()
            };
            cx.quota.correct(cx.tenant()?, less).await;
            Ok(())
        }
        Ok(None) => release(job.reserved.plus(beyond), cx).await,
        Err(error) => {
            release(beyond, cx).await?;
            Err(error)
        }
    }
}

/// Places and records it. How many bytes are counted for it now; `None` where another job's counts, or an attempt before this
/// one got as far as this.
async fn keep(
    job: &MakeVariant,
    cx: &JobContext,
    db: &TenantDb,
    rendered: Rendered,
    permit: Permit,
) -> Result<Option<ByteCount>, JobError> {
    cx.stage("placing").await;
    let file = File {
        name: rendered.name,
        stored_as: stored_as(&job.name, cx),
        format: rendered.format,
        width: rendered.width,
        height: rendered.height,
        bytes: rendered.bytes.into(),
    };
    let placed = place(&job.media, cx, vec![file]).await?;
    drop(permit);
    settle(cx, &placed).await?;
    let Some(variant) = placed.files.first() else {
        return Ok(None);
    };
    let limits = &cx.tenant()?.context().limits;
    let most = most_files(limits.variants);
    let mut tx = db.begin().await.transient()?;
    let added = tx.add_variant(variant, most).await.transient()?;
    let frames = match added {
        AddedFile::Yes { frames } => frames,
        // Another job's, or an attempt before this one got as far as the commit.
        AddedFile::Already => {
            drop(tx);
            undo_own(job, cx, db).await?;
            return Ok(None);
        }
        AddedFile::TooMany => {
            let text = format!("the picture has the {most} files that it may have");
            return Err(JobError::permanent(Reason::OVER_QUOTA, text));
        }
        AddedFile::NoPicture => return Err(gone()),
    };
    let change = Usage::files(variant.bytes, frames);
    match tx.settle(&cx.job, change, limits, cx.clock.now()).await.transient()? {
        Settled::Now => tx.commit().await.transient()?,
        // An attempt before this one got as far as the commit, and the variant is gone since: it stays so.
        Settled::Before => {
            drop(tx);
            undo_own(job, cx, db).await?;
            return Ok(None);
        }
        Settled::Over(over) => return Err(over_quota(&over)),
    }
    let own = own(job, cx);
    tidy(&job.media, cx, &placed.files, placed.leftovers, own).await?;
    Ok(Some(variant.bytes))
}

/// Removes what this job has placed, unless that is what is recorded.
async fn undo_own(job: &MakeVariant, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    let recorded = db.variant(&job.media, &job.name).await.transient()?;
    let mine = recorded.as_ref().is_some_and(|variant| is_own(variant, cx));
    let files: Vec<Variant> = recorded.into_iter().collect();
    undo(&job.media, cx, &files, !mine, own(job, cx)).await
}

/// Which objects are this job's.
fn own(job: &MakeVariant, cx: &JobContext) -> impl Fn(&ObjectKey) -> bool + use<> {
    let own = format!("/{}.", stored_as(&job.name, cx));
    move |key: &ObjectKey| key.as_str().contains(&own)
}

/// Decodes the original, and makes what is wanted of it.
async fn render(job: &MakeVariant, cx: &JobContext, original: Variant) -> Result<(Rendered, Permit), JobError> {
    let context = cx.tenant()?.context();
    let settings = picture_settings::one(&job.variant, &job.name, &context.limits).transient()?;
    let source = Source {
        key: original.object,
        bytes: original.bytes,
        sha256: original.sha256,
        places: Some(original.places),
        missing: (Reason::FILE_MISSING, "the picture's original is not in its store"),
    };
    let probed = source.probe(cx).await?;
    probed.check(&settings.limits).map_err(refused)?;
    let needed = probed.memory_bytes(source.bytes.unsigned(), &settings);
    let permit = cx
        .admission
        .admit(cx.decoder.memory(needed, source.bytes.unsigned()))
        .await
        .map_err(|too_large| JobError::permanent(Reason::TOO_LARGE_FOR_WORKER, too_large.to_string()))?;
    cx.stage("processing").await;
    let bytes = source.fetch(cx).await?;
    let (made, permit) = cx
        .decoder
        .make::<VariantsAlone>(cx, bytes, settings, needed, permit)
        .await?;
    let rendered = made
        .into_iter()
        .next()
        .ok_or("the decoder made no variant")
        .transient()?;
    Ok((rendered, permit))
}

/// After a permanent failure: what this job placed goes, and so does what the counters hold.
pub(crate) async fn failed(job: MakeVariant, cx: &JobContext) -> Result<(), JobError> {
    if cx.tenant.is_none() {
        return Ok(());
    }
    if !cx.is_latest().await? {
        return Err(overtaken());
    }
    // Another attempt of this job, thought to be dead, may have got further.
    undo_own(&job, cx, &cx.tenant_db()?).await?;
    release(job.reserved, cx).await
}

fn stored_as(name: &str, cx: &JobContext) -> String {
    format!("{name}-{}", cx.job)
}

fn is_own(variant: &Variant, cx: &JobContext) -> bool {
    variant.object.as_str().contains(cx.job.as_str())
}

fn gone() -> JobError {
    JobError::permanent(Reason::PICTURE_GONE, "the picture is not there any more")
}

async fn release(bytes: ByteCount, cx: &JobContext) -> Result<(), JobError> {
    let claim = Claim { media: 0, bytes };
    cx.quota.release(cx.tenant()?, claim).await;
    Ok(())
}
