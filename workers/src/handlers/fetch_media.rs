//! `media.fetch`: an upload that is fetched from a URL. Once its bytes are staged it is an upload like any other.
//!
//! They are staged under the job's id, so an attempt finds what one before it has fetched, and asks nobody twice.

use super::process_media::{self, Before};
use crate::{context::JobContext, decoder::refused, fetch::FetchError};
use futures_util::{StreamExt, TryStreamExt, stream};
use mediamill_media::{Format, ProbeError, probe};
use mediamill_shared::{
    BoxError,
    clock::Stopwatch,
    control::{
        accept::{self, Content},
        jobs,
    },
    ids::{JobId, UserId},
    jobs::{FetchMedia, JobError, ProcessMedia, Reason, ResultExt},
    objects::{Body, ObjectError, ObjectKey, Store, Stored},
    placement::checksum,
    quota::Claim,
    telemetry::names,
    tenancy::{ImageFormat, TenantDb},
    units::ByteCount,
};
use std::time::Duration;

/// Bytes that tell a format, and that it is none of its relatives.
const HEAD: usize = 512;
/// Before the job that makes the same picture is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    if let Some(holder) = &job.holder
        && is_there(&job, holder, &stored, staged, cx, db).await?
    {
        return Ok(());
    }
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
    stored.unwrap_or_else(|_| Err(FetchError::Late(deadline).of_attempt(cx.attempt)))
}

async fn stage(job: &FetchMedia, staged: &ObjectKey, cx: &JobContext) -> Result<Stored, JobError> {
    let failed = |error: FetchError| error.of_attempt(cx.attempt);
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

/// Where the site gives the picture that it has for the same bytes: whether there is one, which `holder` holds too then, and
/// which the job is about from now on. While another job makes it, this one waits.
async fn is_there(
    job: &FetchMedia,
    holder: &UserId,
    stored: &Stored,
    staged: &ObjectKey,
    cx: &JobContext,
    db: &TenantDb,
) -> Result<bool, JobError> {
    let (tenant, now) = (cx.tenant()?, cx.clock.now());
    let mut content = Content {
        sha256: stored.sha256.clone(),
        job: cx.job.clone(),
        seen: None,
    };
    // First: from then on no other job begins, and one that is over has left what it made.
    let before = claim(&content, cx).await?;
    let picture = match db.hold_existing(&stored.sha256, holder, now).await.transient()? {
        Some(picture) => picture,
        None if before.is_none() => return Ok(false),
        None => {
            content.seen = before;
            // Another has come in between if it is not this one's now.
            return match claim(&content, cx).await? {
                None => Ok(false),
                Some(other) => Err(made_by(&other)),
            };
        }
    };
    jobs::turn_to(&cx.control, &cx.job, cx.attempt, picture.as_str())
        .await
        .transient()?;
    cx.objects.delete(staged).await.transient()?;
    let claim = Claim {
        media: 1,
        bytes: job.reserved,
    };
    cx.quota.release(tenant, claim).await;
    Ok(true)
}

/// Notes that this job makes a picture of the bytes, or tells of the job that has, and is over.
async fn claim(content: &Content, cx: &JobContext) -> Result<Option<JobId>, JobError> {
    let tenant = cx.tenant_id()?;
    match accept::claim_content(&cx.control, tenant, content, cx.clock.now())
        .await
        .transient()?
    {
        Some((other, true)) => Err(made_by(&other)),
        Some((other, false)) => Ok(Some(other)),
        None => Ok(None),
    }
}

fn made_by(other: &JobId) -> JobError {
    JobError::Transient {
        not_before: Some(LOOK_AGAIN),
        source: format!("job {other} is making a picture of the same bytes").into(),
    }
}
