//! `media.fetch`: an upload that is fetched from a URL. Once its bytes are staged it is an upload like any other.
//!
//! They are staged under the job's id, so an attempt finds what one before it has fetched, and asks nobody twice.

use super::{
    process_media::{self, Before},
    same_bytes,
};
use crate::{context::JobContext, decoder::refused, fetch::FetchError};
use futures_util::{StreamExt, TryStreamExt, stream};
use mediamill_media::{Format, ProbeError, probe};
use mediamill_shared::{
    BoxError,
    clock::Stopwatch,
    jobs::{FetchMedia, JobError, ProcessMedia, Reason, ResultExt},
    objects::{Body, ObjectError, ObjectKey, Store, Stored},
    placement::checksum,
    telemetry::names,
    tenancy::{ImageFormat, TenantDb},
    units::ByteCount,
};

/// Bytes that tell a format, and that it is none of its relatives.
const HEAD: usize = 512;

pub(crate) async fn run(job: FetchMedia, cx: &JobContext) -> Result<(), JobError> {
    let db = cx.tenant_db()?;
    let (staged, media) = (staged_key(cx)?, job.media.clone());
    let result = tried(job, &staged, cx, &db).await;
    process_media::finished(&media, &staged, cx, &db, result).await
}

async fn tried(job: FetchMedia, staged: &ObjectKey, cx: &JobContext, db: &TenantDb) -> Result<(), JobError> {
    match process_media::before(&job.media, staged, cx, db).await? {
        Before::Made => return Ok(()),
        Before::Open => {}
    }
    process_media::still_wanted(job.expires_at, cx)?;
    let stored = match staged_before(staged, cx).await? {
        Some(stored) => stored,
        None => fetch(&job, staged, cx).await?,
    };
    let upload = ProcessMedia {
        media: job.media,
        file_name: job.file_name,
        key: job.key,
        staged: staged.as_str().to_owned(),
        bytes: stored.bytes,
        sha256: stored.sha256,
        reserved: job.reserved,
        expires_at: job.expires_at,
        holder: job.holder,
    };
    if same_bytes::are_there(&upload, staged, cx, db).await? {
        return Ok(());
    }
    process_media::make(&upload, cx, db).await
}

/// After a permanent failure: as after an upload's.
pub(crate) async fn failed(job: FetchMedia, cx: &JobContext) -> Result<(), JobError> {
    process_media::give_up(&job.media, &staged_key(cx)?, job.reserved, cx).await
}

fn staged_key(cx: &JobContext) -> Result<ObjectKey, JobError> {
    Ok(ObjectKey::staged(cx.tenant_id()?, &cx.job))
}

/// What an attempt before this one has fetched.
async fn staged_before(staged: &ObjectKey, cx: &JobContext) -> Result<Option<Stored>, JobError> {
    if cx.attempt == 1 {
        return Ok(None);
    }
    let Some(stat) = cx.objects.stat(staged).await.transient()? else {
        return Ok(None);
    };
    Ok(Some(Stored {
        bytes: stat.bytes,
        sha256: checksum(&cx.objects, staged).await.transient()?,
    }))
}

/// Stages what the URL gives, if that may be a picture.
async fn fetch(job: &FetchMedia, staged: &ObjectKey, cx: &JobContext) -> Result<Stored, JobError> {
    cx.stage("fetching").await;
    let watch = Stopwatch::start();
    let deadline = cx.fetcher.deadline;
    // Cut off in the middle of a write, it leaves nothing.
    let stored = tokio::time::timeout(deadline, stage(job, staged, cx)).await;
    metrics::histogram!(names::MEDIA_STAGE_SECONDS, "stage" => "fetch").record(watch.elapsed());
    stored.unwrap_or_else(|_| Err(FetchError::Late(deadline).of_try(cx.tries)))
}

async fn stage(job: &FetchMedia, staged: &ObjectKey, cx: &JobContext) -> Result<Stored, JobError> {
    let failed = |error: FetchError| error.of_try(cx.tries);
    let limit = cx.tenant()?.context().limits.largest_upload().unwrap_or(ByteCount::MAX);
    let mut answer = cx.fetcher.get(&job.url, limit).await.map_err(failed)?;
    let head = answer.head(HEAD).await.map_err(failed)?;
    check(&head, cx)?;
    let body = stream::iter([Ok(head)]).chain(answer.rest().map_err(BoxError::from));
    let body: Body = Box::pin(body);
    match cx.objects.put_stream(staged, body, limit).await {
        Ok(stored) => Ok(stored),
        Err(ObjectError::TooLong { .. }) => Err(failed(FetchError::TooLarge(limit))),
        Err(ObjectError::Body { source, key }) => match source.downcast::<FetchError>() {
            Ok(error) => Err(failed(*error)),
            Err(source) => Err(ObjectError::Body { key, source }).transient(),
        },
        Err(error) => Err(error).transient(),
    }
}

/// Whether what begins so may be a picture that the tenant takes. One that is cut off so early is told when it is processed.
fn check(head: &[u8], cx: &JobContext) -> Result<(), JobError> {
    if let Some(format) = Format::sniff(head).map(taken_as)
        && !cx.tenant()?.context().limits.image_formats().contains(format)
    {
        let text = format!("this site takes no {}", format.as_str());
        return Err(JobError::permanent(Reason::FORMAT_NOT_TAKEN, text));
    }
    match probe(head) {
        Err(ProbeError::Media(error)) => Err(refused(error)),
        Ok(_) | Err(ProbeError::NeedMore) => Ok(()),
    }
}

const fn taken_as(format: Format) -> ImageFormat {
    match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::Webp,
        Format::Gif => ImageFormat::Gif,
        Format::Avif => ImageFormat::Avif,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
    }
}
