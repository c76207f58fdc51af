//! `media.variant`: one variant more of a picture that is ready, since a link asked for it.
//!
//! Its object is named by the job, so that two jobs that make the same variant never touch each other's; the row decides
//! which one counts, and the other removes its own.

use super::{
    files::{File, Source, place, placed},
    picture_settings,
};
use crate::{context::JobContext, decoder::refused, helpers::VariantsAlone};
use mediamill_shared::{
    jobs::{JobError, MakeVariant, Reason, ResultExt},
    objects::Store,
    quota::Claim,
    tenancy::{
        most_files,
        store::{
            media::{AddedFile, ORIGINAL, Variant},
            usage::Usage,
        },
    },
};

pub(crate) async fn run(job: MakeVariant, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    if let Some(made) = db.variant(&job.media, &job.name).await.transient()? {
        if !is_own(&made, cx) {
            release(&job, cx).await?;
        }
        return Ok(());
    }
    let original = db.variant(&job.media, ORIGINAL).await.transient()?.ok_or_else(gone)?;
    let variant = make(&job, cx, original).await?;
    let change = Usage {
        media: 0,
        bytes: variant.bytes,
    };
    let mut tx = db.begin().await.transient()?;
    if !tx.settle(&cx.job, change, cx.clock.now()).await.transient()? {
        drop(tx);
        // An attempt before this one got as far as the commit, and the picture was deleted since.
        if db.variant(&job.media, &job.name).await.transient()?.is_none() {
            cx.objects.delete(&variant.object).await.transient()?;
        }
        return Ok(());
    }
    let most = most_files(cx.tenant()?.context().limits.variants);
    let added = tx.add_variant(&variant, most).await.transient()?;
    if added == AddedFile::Yes {
        tx.commit().await.transient()?;
        let beyond = Usage {
            media: 0,
            bytes: variant.bytes.minus(job.reserved),
        };
        cx.quota.correct(cx.tenant()?, beyond).await;
        return Ok(());
    }
    drop(tx);
    match added {
        AddedFile::Yes | AddedFile::Already => {
            cx.objects.delete(&variant.object).await.transient()?;
            release(&job, cx).await
        }
        AddedFile::TooMany => {
            let text = format!("the picture has the {most} files that it may have");
            Err(JobError::permanent(Reason::OVER_QUOTA, text))
        }
        AddedFile::NoPicture => Err(gone()),
    }
}

/// Decodes the original, and places what is wanted of it.
async fn make(job: &MakeVariant, cx: &JobContext, original: Variant) -> Result<Variant, JobError> {
    let context = cx.tenant()?.context();
    let settings = picture_settings::one(&job.variant, &job.name, &context.limits).transient()?;
    let source = Source {
        key: original.object,
        bytes: original.bytes,
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
    let made = cx
        .decoder
        .make::<VariantsAlone>(cx, bytes, settings, needed, permit)
        .await?;
    let rendered = made
        .into_iter()
        .next()
        .ok_or("the decoder made no variant")
        .transient()?;
    cx.stage("placing").await;
    let file = File {
        name: rendered.name,
        format: rendered.format,
        width: rendered.width,
        height: rendered.height,
        bytes: rendered.bytes.into(),
    };
    place(&job.media, cx, file, &stored_as(&job.name, cx)).await
}

/// After a permanent failure: what this job placed goes, and so does what the counters hold.
pub(crate) async fn failed(job: MakeVariant, cx: &JobContext) -> Result<(), JobError> {
    if cx.tenant.is_none() {
        return Ok(());
    }
    let own = format!("/{}.", stored_as(&job.name, cx));
    for key in placed(&job.media, cx).await? {
        if key.as_str().contains(&own) {
            cx.objects.delete(&key).await.transient()?;
        }
    }
    release(&job, cx).await
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

async fn release(job: &MakeVariant, cx: &JobContext) -> Result<(), JobError> {
    let claim = Claim {
        media: 0,
        bytes: job.reserved,
    };
    cx.quota.release(cx.tenant()?, claim).await;
    Ok(())
}
