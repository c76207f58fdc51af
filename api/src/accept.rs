//! Accepting: bytes staged, reservation made, rows committed, then published. The 2xx follows the commit.

use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use mediamill_shared::{
    BoxError,
    control::{
        accept::{self, Accepted, Idempotency},
        jobs::NewJob,
    },
    ids::{JobId, MediaId, TraceId},
    jobs::{Job, ProcessMedia},
    objects::{Body, ObjectKey, Store, Stored},
    quota::Claim,
    services::Services,
    telemetry::names,
    tenancy::{ImageFormat, Tenant},
    units::ByteCount,
};
use sha2::{Digest, Sha256};
use std::pin::Pin;

/// Bytes that tell a format.
pub(crate) const HEAD: usize = 64;
/// A tenant that changes under a request so often is judged by the next one.
pub(crate) const JUDGEMENTS: usize = 3;
/// Longest file name that is kept.
const LONGEST_NAME: usize = 255;

/// A file as it arrives.
pub(crate) type Incoming<'a> = Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send + 'a>>;

/// A staged file. Dropped before it is accepted, its bytes are removed.
pub(crate) struct Staged {
    services: Services,
    pub(crate) job: JobId,
    pub(crate) media: MediaId,
    pub(crate) file_name: Option<String>,
    format: ImageFormat,
    key: ObjectKey,
    stored: Stored,
    kept: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.services, self.key.clone());
        }
    }
}

/// Removes staged bytes in the background; what that misses, the scheduler sweeps.
pub(crate) fn remove(services: &Services, key: ObjectKey) {
    let objects = services.objects.clone();
    services.shutdown.spawn(async move {
        if let Err(error) = objects.delete(&key).await {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "staged bytes are left to the sweeper"
            );
        }
    });
}

/// What was uploaded under a name: no path, no control characters.
fn plain_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    (!name.is_empty()).then_some(name)
}

/// Streams one file to its staging place. Its first bytes must be a picture's.
pub(crate) async fn stage(
    state: &State,
    caller: &Caller,
    file_name: Option<&str>,
    mut incoming: Incoming<'_>,
) -> Result<Staged, Problem> {
    let services = &state.services;
    let mut head = BytesMut::new();
    while head.len() < HEAD {
        match incoming.next().await {
            Some(chunk) => head.extend_from_slice(&chunk?),
            None => break,
        }
    }
    let format = check_kind(&head)?;
    let job = JobId::generate(&services.clock, &services.entropy);
    let media = MediaId::generate(&services.clock, &services.entropy);
    let key = ObjectKey::staged(caller.site.tenant.id(), &job);
    let limit = match caller.site.tenant.context().limits.upload_bytes {
        0 => ByteCount::new(i64::MAX),
        limit => ByteCount::new(limit),
    };
    // The store wants a body that borrows nothing: chunks go through a small channel, at the store's pace.
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, BoxError>>(2);
    let forward = async move {
        let mut chunks = stream::iter([Ok(head.freeze())]).chain(incoming);
        while let Some(chunk) = chunks.next().await {
            let (item, refused) = match chunk {
                Ok(bytes) => (Ok(bytes), None),
                Err(problem) => (Err(BoxError::from("the request's body failed")), Some(problem)),
            };
            let gone = send.send(item).await.is_err();
            if refused.is_some() || gone {
                return refused;
            }
        }
        None
    };
    let body: Body = Box::pin(tokio_stream::wrappers::ReceiverStream::new(receive));
    let (stored, refused) = tokio::join!(services.objects.put_stream(&key, body, limit), forward);
    if let Some(problem) = refused {
        return Err(problem);
    }
    let stored = stored?;
    if job.created_at().after(services.config.upload_timeout) < services.clock.now() {
        // Removed in the background here, and by the sweeper at the latest.
        remove(services, key);
        let detail = format!(
            "the upload took longer than {} s",
            services.config.upload_timeout.as_secs()
        );
        return Err(Problem::new(Cause::BodyTimeout, detail));
    }
    let file_name = file_name.and_then(plain_name);
    Ok(Staged {
        services: services.clone(),
        job,
        media,
        file_name,
        format,
        key,
        stored,
        kept: false,
    })
}

/// Judges an upload by its first bytes, before the rest is there; [`uploads`] has the last word.
pub(crate) fn foresee(tenant: &Tenant, head: &[u8]) -> Result<(), Problem> {
    takes(tenant, check_kind(head.get(..HEAD).unwrap_or(head))?)
}

fn check_kind(head: &[u8]) -> Result<ImageFormat, Problem> {
    if head.is_empty() {
        return Err(Problem::new(Cause::EmptyUpload, "the upload has no bytes"));
    }
    if is_tiff(head) {
        return Ok(ImageFormat::Tiff);
    }
    let kind = infer::get(head).map(|kind| kind.mime_type());
    match kind {
        Some("image/jpeg") => Ok(ImageFormat::Jpeg),
        Some("image/png") => Ok(ImageFormat::Png),
        Some("image/gif") => Ok(ImageFormat::Gif),
        Some("image/webp") => Ok(ImageFormat::Webp),
        Some("image/avif") => Ok(ImageFormat::Avif),
        Some("image/bmp") if is_bmp(head) => Ok(ImageFormat::Bmp),
        other => {
            let seems = other.map_or_else(String::new, |kind| format!(", it seems to be {kind}"));
            let detail = format!("the upload is no JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP{seems}");
            Err(Problem::new(Cause::UnsupportedMediaType, detail))
        }
    }
}

/// TIFF 6.0 in either byte order. `infer` passes over files whose ninth or tenth byte, which may be of any picture, is as
/// in Canon's CR2; those say so in two bytes and a version.
fn is_tiff(head: &[u8]) -> bool {
    let begins = head.starts_with(b"II*\0") || head.starts_with(b"MM\0*");
    begins && head.len() > 8 && head.get(8..11) != Some(b"CR\x02")
}

/// A Windows bitmap with a header of a known size: a text may begin with its two letters too.
fn is_bmp(head: &[u8]) -> bool {
    let size = head.get(14..18).and_then(|size| size.try_into().ok());
    matches!(
        size.map(u32::from_le_bytes),
        Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124)
    )
}

/// What became of a request.
pub(crate) enum Answer {
    /// Accepted now.
    New(Vec<JobId>, String),
    /// Accepted before: the same answer.
    Replayed(String),
}

/// Accepts staged files: all or none.
pub(crate) async fn uploads(
    state: &State,
    caller: &Caller,
    mut files: Vec<Staged>,
    once: Option<String>,
    trace: &TraceId,
) -> Result<Answer, Problem> {
    let bytes = files
        .iter()
        .fold(ByteCount::ZERO, |sum, file| sum.plus(file.stored.bytes));
    let claim = Claim {
        media: i64::try_from(files.len()).unwrap_or(i64::MAX),
        bytes,
    };
    let services = &state.services;
    let answer = serde_json::json!({ "media": files.iter().map(|file| accepted_json(&file.media, file.file_name.as_deref(), &file.job)).collect::<Vec<_>>() });
    let jobs = files
        .iter()
        .map(|file| media_job(file, caller, trace))
        .collect::<Result<Vec<_>, _>>()?;
    let once = once.map(|name| Idempotency {
        name,
        request_hash: request_hash(&files),
        answer: answer.to_string(),
    });
    let mut tenant = caller.site.tenant.clone();
    for _ in 0..JUDGEMENTS {
        // Under another version there are other limits: what fitted may not any more, and the other way round.
        judge(&tenant, &files)?;
        let db = tenant
            .db()
            .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
        services.quota.reserve(&tenant, &db, claim).await?;
        match commit(services, &tenant, &jobs, once.as_ref()).await {
            Ok(Committed::New) => {
                keep(&mut files);
                metrics::counter!(names::ACCEPTED_BYTES).increment(bytes.unsigned());
                return Ok(Answer::New(
                    jobs.into_iter().map(|job| job.id).collect(),
                    answer.to_string(),
                ));
            }
            Ok(Committed::Replayed(replayed)) => {
                services.quota.release(&tenant, claim).await;
                return Ok(Answer::Replayed(replayed));
            }
            Ok(Committed::Outdated(present)) => {
                services.quota.release(&tenant, claim).await;
                tenant = present;
            }
            Err((problem, known)) => {
                if known {
                    services.quota.release(&tenant, claim).await;
                } else {
                    // The commit's fate is unknown: the bytes stay, a job may want them; if none does, they are swept.
                    keep(&mut files);
                }
                return Err(problem);
            }
        }
    }
    Err(being_changed())
}

/// What the tenant's limits say of the files themselves.
fn judge(tenant: &Tenant, files: &[Staged]) -> Result<(), Problem> {
    let limits = &tenant.context().limits;
    for file in files {
        let bytes = file.stored.bytes.get();
        if limits.upload_bytes > 0 && bytes > limits.upload_bytes {
            let detail = format!("an upload may have {}", ByteCount::new(limits.upload_bytes));
            return Err(Problem::new(Cause::TooLarge, detail).with("limit", limits.upload_bytes));
        }
        takes(tenant, file.format)?;
    }
    Ok(())
}

fn takes(tenant: &Tenant, format: ImageFormat) -> Result<(), Problem> {
    if tenant.context().limits.image_formats().contains(format) {
        return Ok(());
    }
    let detail = format!("this site takes no {}", format.as_str());
    Err(Problem::new(Cause::UnsupportedMediaType, detail))
}

pub(crate) fn being_changed() -> Problem {
    Problem::new(Cause::Unavailable, "the tenant is being changed; try again in a moment")
}

/// What is accepted is not removed.
fn keep(files: &mut [Staged]) {
    for file in files {
        file.kept = true;
    }
}

/// One entry of a 202 answer.
fn accepted_json(media: &MediaId, file_name: Option<&str>, job: &JobId) -> serde_json::Value {
    serde_json::json!({
        "id": media, "state": "processing", "url": format!("/v1/media/{media}"), "file_name": file_name,
        "job": { "id": job, "url": format!("/v1/jobs/{job}") },
    })
}

fn media_job(file: &Staged, caller: &Caller, trace: &TraceId) -> Result<NewJob, Problem> {
    let payload = ProcessMedia {
        media: file.media.clone(),
        file_name: file.file_name.clone(),
        key: Some(caller.key.clone()),
        staged: file.key.as_str().to_owned(),
        bytes: file.stored.bytes,
        sha256: file.stored.sha256.clone(),
        reserved: file.stored.bytes,
    };
    let mut job = tenant_job(&file.job, &payload, &caller.site.tenant, &file.media, trace)?;
    job.reserved = file.stored.bytes;
    Ok(job)
}

/// A job of `tenant` about `media`.
pub(crate) fn tenant_job<J: Job>(
    id: &JobId,
    payload: &J,
    tenant: &Tenant,
    media: &MediaId,
    trace: &TraceId,
) -> Result<NewJob, Problem> {
    let mut job = NewJob::of(id.clone(), payload, trace.clone()).map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "answering 500: a payload cannot be written"
        );
        Problem::new(Cause::Internal, "something went wrong here")
    })?;
    job.tenant = Some(tenant.id().clone());
    job.subject = Some(media.to_string());
    job.context_version = tenant.context().version;
    Ok(job)
}

/// The same files in the same order are the same request.
fn request_hash(files: &[Staged]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.stored.sha256.as_bytes());
        hash.update(file.file_name.as_deref().unwrap_or_default().as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

/// What became of a commit.
pub(crate) enum Committed {
    /// The jobs are committed and offered to the queue.
    New,
    /// The same request was accepted before: its answer.
    Replayed(String),
    /// Nothing was: the tenant is another by now, and has to be judged anew.
    Outdated(Tenant),
}

/// Commits jobs of `tenant`. With an error: whether it is known that nothing was committed.
pub(crate) async fn commit(
    services: &Services,
    tenant: &Tenant,
    jobs: &[NewJob],
    once: Option<&Idempotency>,
) -> Result<Committed, (Problem, bool)> {
    let now = services.clock.now();
    let (stamp, published) = (tenant.context().stamp(), services.queue.rows_are_messages());
    let accepted = accept::accept(&services.control, tenant.id(), stamp, jobs, once, now, published).await;
    match accepted.map_err(|error| (error.into(), false))? {
        Accepted::New => {
            for job in jobs {
                metrics::counter!(names::JOBS_ACCEPTED, "kind" => job.kind.as_str()).increment(1);
                services.outbox.offer(job.pool, job.envelope(now));
            }
            Ok(Committed::New)
        }
        Accepted::Replayed(answer) => Ok(Committed::Replayed(answer)),
        Accepted::KeyReused => {
            let detail = "the idempotency key was used for other files before";
            Err((Problem::new(Cause::IdempotencyKeyReused, detail), true))
        }
        Accepted::NotActive(state) => {
            let detail = state.map_or_else(
                || "the tenant is gone".to_owned(),
                |state| format!("the tenant is {state}"),
            );
            Err((Problem::new(Cause::TenantSuspended, detail), true))
        }
        Accepted::Outdated => {
            let present = services.resolver.refresh(tenant.id()).await;
            match present.map_err(|error| (error.into(), true))? {
                Some(present) => Ok(Committed::Outdated(present)),
                None => Err((Problem::new(Cause::UnknownHost, "the tenant is gone"), true)),
            }
        }
    }
}

/// Commits a job that no limit is asked about.
pub(crate) async fn commit_unjudged(services: &Services, tenant: &Tenant, job: &NewJob) -> Result<(), Problem> {
    let mut tenant = tenant.clone();
    for _ in 0..JUDGEMENTS {
        let committed = commit(services, &tenant, std::slice::from_ref(job), None).await;
        match committed.map_err(|(problem, _)| problem)? {
            Committed::New | Committed::Replayed(_) => return Ok(()),
            Committed::Outdated(present) => tenant = present,
        }
    }
    Err(being_changed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_paths_and_controls() {
        for (given, kept) in [
            ("a.jpg", Some("a.jpg")),
            ("/etc/passwd", Some("passwd")),
            ("C:\\photos\\b.jpg", Some("b.jpg")),
            ("a\n\0b.png", Some("ab.png")),
            ("", None),
            ("dir/", None),
        ] {
            assert_eq!(plain_name(given).as_deref(), kept, "{given:?}");
        }
    }

    #[test]
    fn only_pictures_pass() {
        for (head, format) in [
            (&b"\xff\xd8\xff\xe0 and so on"[..], ImageFormat::Jpeg),
            (b"\x89PNG\r\n\x1a\n and so on", ImageFormat::Png),
            (b"GIF89a and so on", ImageFormat::Gif),
            (b"RIFF\x10\0\0\0WEBPVP8L", ImageFormat::Webp),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", ImageFormat::Avif),
            (b"\0\0\0\x20ftypavis\0\0\0\0avisavifmsf1miaf", ImageFormat::Avif),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", ImageFormat::Avif),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0 and so on", ImageFormat::Bmp),
            (b"II*\0\x08\0\0\0\x0a\0 and so on", ImageFormat::Tiff),
            (b"MM\0*\0\x01\0\0CR and so on", ImageFormat::Tiff),
        ] {
            assert_eq!(check_kind(head).unwrap(), format);
        }
        assert_eq!(check_kind(b"").unwrap_err().cause(), Cause::EmptyUpload);
        for other in [
            &b"BMW is a maker of cars, and this is a text"[..],
            b"II*\0\x10\0\0\0CR\x02\0 and so on",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        ] {
            assert_eq!(check_kind(other).unwrap_err().cause(), Cause::UnsupportedMediaType);
        }
        assert_eq!(
            check_kind(b"%PDF-1.7").unwrap_err().cause(),
            Cause::UnsupportedMediaType
        );
        assert_eq!(
            check_kind(b"plain text").unwrap_err().cause(),
            Cause::UnsupportedMediaType
        );
    }
}
