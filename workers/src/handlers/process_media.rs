//! `media.process`: staged bytes become a cleaned original and its variants, placed, recorded and counted.
//!
//! Every effect is keyed by ids: object keys by media and variant, the ledger by the job, so a repeated attempt meets
//! what it made before. The staged bytes go last, when nothing needs them any more.

use super::{
    files::{File, Source, place as place_file, placed},
    picture_settings,
};
use crate::{context::JobContext, decoder::refused, helpers::Everything};
use futures_util::{StreamExt, TryStreamExt};
use mediamill_media::{Facts, Processed};
use mediamill_shared::{
    clock::Stopwatch,
    jobs::{JobError, ProcessMedia, Reason, ResultExt},
    objects::{ObjectKey, Store},
    quota::Claim,
    telemetry::names,
    tenancy::Limit,
    tenancy::store::{
        media::{Media, ORIGINAL, Variant},
        usage::Usage,
    },
    units::ByteCount,
};

/// Files of one picture that are written at a time.
const WRITES: usize = 4;

pub(crate) async fn run(job: ProcessMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    if db.media(&job.media).await.transient()?.is_some() {
        // An attempt before this one got as far as the commit.
        return remove_staged(&job, cx).await;
    }
    let context = cx.tenant()?.context();
    let settings = picture_settings::settings(&context.pictures, &context.limits).transient()?;
    let source = Source {
        key: staged_key(&job)?,
        bytes: job.bytes,
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

    cx.stage("placing").await;
    let watch = Stopwatch::start();
    let (media, variants) = place(&job, cx, processed).await?;
    drop(permit);
    metrics::histogram!(names::MEDIA_STAGE_SECONDS, "stage" => "place").record(watch.elapsed());

    let change = Usage {
        media: 1,
        bytes: media.stored_bytes,
    };
    let mut tx = db.begin().await.transient()?;
    let first = tx.settle(&cx.job, change, cx.clock.now()).await.transient()?;
    if first {
        tx.add_media(&media, &variants).await.transient()?;
    }
    tx.commit().await.transient()?;
    if first {
        let beyond = Usage {
            media: 0,
            bytes: media.stored_bytes.minus(job.reserved),
        };
        cx.quota.correct(cx.tenant()?, beyond).await;
        if cx.attempt > 1 {
            remove_former(&job, cx, &variants).await?;
        }
    }
    remove_staged(&job, cx).await
}

/// After a permanent failure: the staged bytes go, and so does what the counters hold.
pub(crate) async fn failed(job: ProcessMedia, cx: &JobContext) -> Result<(), JobError> {
    remove_staged(&job, cx).await?;
    if let Ok(tenant) = cx.tenant() {
        // Files that an earlier attempt may have placed.
        remove_former(&job, cx, &[]).await?;
        cx.quota
            .release(
                tenant,
                Claim {
                    media: 1,
                    bytes: job.reserved,
                },
            )
            .await;
    }
    Ok(())
}

/// Removes what earlier attempts placed and this one did not: they may have worked by other settings. Variants that links
/// asked for are others' work.
async fn remove_former(job: &ProcessMedia, cx: &JobContext, made: &[Variant]) -> Result<(), JobError> {
    for key in placed(&job.media, cx).await? {
        let on_demand = key
            .as_str()
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with('_'));
        if !on_demand && !made.iter().any(|variant| variant.object == key) {
            cx.objects.delete(&key).await.transient()?;
        }
    }
    Ok(())
}

fn staged_key(job: &ProcessMedia) -> Result<ObjectKey, JobError> {
    job.staged
        .parse()
        .permanent(Reason::UNREADABLE_PAYLOAD, "the staged object's key is none")
}

async fn place(job: &ProcessMedia, cx: &JobContext, processed: Processed) -> Result<(Media, Vec<Variant>), JobError> {
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
    };
    let first = File {
        name: ORIGINAL.to_owned(),
        format: original.format,
        width: original.width,
        height: original.height,
        bytes: original.bytes.into(),
    };
    let others = variants.into_iter().map(|variant| File {
        name: variant.name,
        format: variant.format,
        width: variant.width,
        height: variant.height,
        bytes: variant.bytes.into(),
    });
    let files = std::iter::once(first).chain(others);
    let placed: Vec<Variant> = futures_util::stream::iter(files)
        .map(|file| {
            let name = file.name.clone();
            async move { place_file(&job.media, cx, file, &name).await }
        })
        .buffered(WRITES)
        .try_collect()
        .await?;
    media.stored_bytes = placed
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

async fn remove_staged(job: &ProcessMedia, cx: &JobContext) -> Result<(), JobError> {
    cx.objects.delete(&staged_key(job)?).await.transient()
}
