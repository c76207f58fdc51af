//! Accepting: bytes staged, reservation made, rows committed, then published. The 2xx follows the commit.

use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
    stay::{self, Stay},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use mediamill_shared::{
    BoxError,
    control::{
        accept::{self, Accepted, Content, Idempotency, Request},
        expiries::Expiry,
        jobs::{self, NewJob},
    },
    ids::{JobId, MediaId, TraceId},
    jobs::{Job, ProcessMedia},
    objects::{Body, ObjectKey, Store, Stored},
    quota::{Claim, RateError, Taken},
    services::Services,
    telemetry::names,
    tenancy::{Duplicates, ImageFormat, Tenant, TenantDb},
    units::{ByteCount, Millis},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, pin::Pin};

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
pub(crate) fn plain_name(name: &str) -> Option<String> {
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
    /// Accepted now, or there already.
    Now(Uploaded),
    /// Accepted before: the same answer.
    Replayed(String),
}

/// What an upload is made of, or was.
pub(crate) struct Uploaded {
    /// Jobs that make pictures.
    pub(crate) jobs: Vec<JobId>,
    /// Pictures that are there, since their bytes were uploaded before.
    pub(crate) existing: Vec<MediaId>,
    /// What is answered while jobs run.
    pub(crate) body: String,
}

/// What a request says of its uploads beside their bytes.
#[derive(Default)]
pub(crate) struct Wishes {
    /// The request must have its effect once.
    pub(crate) once: Option<String>,
    /// How long the pictures are to stay.
    pub(crate) stay: Option<Stay>,
}

/// What a file turned out to be.
#[derive(Clone)]
enum Is {
    /// A picture to be made.
    New,
    /// One that is there.
    Existing(MediaId),
    /// One that a job is making.
    BeingMade(MediaId, JobId),
    /// The same as an earlier file of the request.
    Same(usize),
}

/// Accepts staged files: all or none.
pub(crate) async fn uploads(
    state: &State,
    caller: &Caller,
    mut files: Vec<Staged>,
    wishes: Wishes,
    trace: &TraceId,
) -> Result<Answer, Problem> {
    let services = &state.services;
    let mut tenant = caller.site.tenant.clone();
    let mut are = vec![Is::New; files.len()];
    // Jobs that have worked on the same bytes and left no picture.
    let mut seen: BTreeMap<String, JobId> = BTreeMap::new();
    // Each file may turn out to be another one's, and that one's to be over.
    for _ in 0..JUDGEMENTS.saturating_add(files.len().saturating_mul(2)) {
        // Under another version there are other limits: what fitted may not any more, and the other way round.
        judge(&tenant, &files)?;
        let db = tenant
            .db()
            .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
        services.storages.admit(&tenant).await?;
        let now = services.clock.now();
        let expires_at = stay::expiry(&tenant, wishes.stay, now)?;
        let unique = tenant.context().pictures.duplicates == Duplicates::ReturnExisting;
        if unique {
            find_same(&db, caller, &files, &mut are, now).await?;
        }
        let (body, jobs) = (body(&files, &are), new_jobs(&files, &are));
        if jobs.is_empty() {
            return Ok(Answer::Now(Uploaded {
                jobs,
                existing: existing(&are),
                body,
            }));
        }
        let new = || {
            files
                .iter()
                .zip(&are)
                .filter(|(_, is)| matches!(is, Is::New))
                .map(|(file, _)| file)
        };
        let rows = new()
            .map(|file| media_job(file, caller, expires_at, unique, trace))
            .collect::<Result<Vec<_>, _>>()?;
        let contents: Vec<Content> = new().filter(|_| unique).map(|file| file.content(&seen)).collect();
        let expiries: Vec<Expiry> = expires_at
            .into_iter()
            .flat_map(|at| new().map(move |file| file.expiry(caller, at)))
            .collect();
        let once = wishes.once.clone().map(|name| Idempotency {
            name,
            request_hash: request_hash(&files),
            answer: body.clone(),
        });
        let bytes = new().fold(ByteCount::ZERO, |sum, file| sum.plus(file.stored.bytes));
        let claim = Claim {
            media: i64::try_from(rows.len()).unwrap_or(i64::MAX),
            bytes,
        };
        let request = Request {
            jobs: &rows,
            once: once.as_ref(),
            contents: &contents,
            expiries: &expiries,
        };
        let taken = match take(services, caller, &tenant, claim).await {
            Ok(taken) => taken,
            // What was accepted before is answered again, whatever is left now.
            Err(refused) => return answered_before(services, &tenant, once.as_ref()).await?.ok_or(refused),
        };
        let committed = commit_reserved(services, &tenant, &db, claim, request).await;
        if !matches!(committed, Ok(Committed::New) | Err((_, false))) {
            give_back(services, caller, &tenant, taken).await;
        }
        match committed {
            Ok(Committed::New) => {
                keep(&mut files, &are);
                metrics::counter!(names::ACCEPTED_BYTES).increment(bytes.unsigned());
                return Ok(Answer::Now(Uploaded {
                    jobs,
                    existing: existing(&are),
                    body,
                }));
            }
            Ok(Committed::Replayed(replayed)) => return Ok(Answer::Replayed(replayed)),
            Ok(Committed::Outdated(present)) => tenant = present,
            Ok(Committed::Made(content)) => {
                seen.insert(content.sha256, content.job);
            }
            Ok(Committed::BeingMade(content)) => {
                let media = held(services, &db, caller, &content).await?;
                for (file, is) in files.iter().zip(&mut are) {
                    if file.stored.sha256 == content.sha256 && matches!(is, Is::New) {
                        *is = Is::BeingMade(media.clone(), content.job.clone());
                    }
                }
            }
            Err((problem, true)) => return answered_before(services, &tenant, once.as_ref()).await?.ok_or(problem),
            Err((problem, false)) => {
                // The commit's fate is unknown: the bytes stay, a job may want them; if none does, they are swept.
                keep(&mut files, &are);
                return Err(problem);
            }
        }
    }
    Err(being_changed())
}

/// Finds out which files are there already, or twice in the request.
async fn find_same(
    db: &TenantDb,
    caller: &Caller,
    files: &[Staged],
    are: &mut [Is],
    now: Millis,
) -> Result<(), Problem> {
    for (place, file) in files.iter().enumerate() {
        let sha256 = &file.stored.sha256;
        let first = files.iter().position(|other| other.stored.sha256 == *sha256);
        let is = match first {
            Some(first) if first < place => Is::Same(first),
            _ => match db.hold_existing(sha256, &caller.user, now).await? {
                Some(media) => Is::Existing(media),
                None => continue,
            },
        };
        if let Some(known) = are.get_mut(place) {
            *known = is;
        }
    }
    Ok(())
}

/// The picture that a job makes of the same bytes, which the caller holds too from then on.
async fn held(services: &Services, db: &TenantDb, caller: &Caller, content: &Content) -> Result<MediaId, Problem> {
    let row = jobs::get(&services.control, &content.job).await?;
    let media = row.and_then(|row| row.subject?.parse::<MediaId>().ok());
    let media = media.ok_or_else(being_changed)?;
    let mut tx = db.begin().await?;
    tx.hold(&content.sha256, &caller.user, &media, services.clock.now())
        .await?;
    tx.commit().await?;
    Ok(media)
}

fn existing(are: &[Is]) -> Vec<MediaId> {
    let existing = are.iter().filter_map(|is| match is {
        Is::Existing(media) => Some(media.clone()),
        Is::New | Is::BeingMade(..) | Is::Same(_) => None,
    });
    existing.collect()
}

/// Jobs that make pictures of the request's files, whoever began them.
fn new_jobs(files: &[Staged], are: &[Is]) -> Vec<JobId> {
    let jobs = files.iter().zip(are).filter_map(|(file, is)| match is {
        Is::New => Some(file.job.clone()),
        Is::BeingMade(_, job) => Some(job.clone()),
        Is::Existing(_) | Is::Same(_) => None,
    });
    jobs.collect()
}

/// One entry for each file.
fn body(files: &[Staged], are: &[Is]) -> String {
    let entry = |file: &Staged, is: &Is| match is {
        Is::New => accepted_json(&file.media, file.file_name.as_deref(), Some(&file.job)),
        Is::BeingMade(media, job) => accepted_json(media, file.file_name.as_deref(), Some(job)),
        Is::Existing(media) => accepted_json(media, file.file_name.as_deref(), None),
        // The first of them says what it is.
        Is::Same(_) => serde_json::Value::Null,
    };
    let mut entries: Vec<serde_json::Value> = files.iter().zip(are).map(|(file, is)| entry(file, is)).collect();
    for (place, is) in are.iter().enumerate() {
        if let Is::Same(first) = is
            && let Some(same) = entries.get(*first).cloned()
            && let Some(entry) = entries.get_mut(place)
        {
            *entry = same;
        }
    }
    serde_json::json!({ "media": entries }).to_string()
}

/// Refuses an upload of a tenant that has none left in this hour before its bytes are read. It is counted when it is
/// accepted.
pub(crate) async fn room_for_one(state: &State, caller: &Caller) -> Result<(), Problem> {
    let (tenant, now) = (&caller.site.tenant, state.services.clock.now());
    if tenant.context().limits.uploads_hour == 0 {
        return Ok(());
    }
    let standing = state.services.quota.uploads_standing(tenant, now).await?;
    caller.rates.tell(standing);
    Ok(standing.room_for(1, now)?)
}

/// The answer that this very request got before, if it did.
pub(crate) async fn answered_before(
    services: &Services,
    tenant: &Tenant,
    once: Option<&Idempotency>,
) -> Result<Option<Answer>, Problem> {
    let Some(once) = once else { return Ok(None) };
    let before = accept::recall(&services.control, tenant.id(), &once.name).await?;
    Ok(before
        .filter(|(hash, _)| *hash == once.request_hash)
        .map(|(_, answer)| Answer::Replayed(answer)))
}

/// Counts the uploads against the tenant's hour, and has the answer tell so.
pub(crate) async fn take(
    services: &Services,
    caller: &Caller,
    tenant: &Tenant,
    claim: Claim,
) -> Result<Option<Taken>, Problem> {
    let taken = services
        .quota
        .take_uploads(tenant, claim.media, services.clock.now())
        .await;
    match &taken {
        Ok(Some(taken)) => caller.rates.tell(taken.standing()),
        Err(RateError::Over(over)) => caller.rates.tell(over.standing),
        Ok(None) | Err(RateError::Db(_)) => {}
    }
    Ok(taken?)
}

/// Gives back what [`take`] counted: nothing was accepted.
pub(crate) async fn give_back(services: &Services, caller: &Caller, tenant: &Tenant, taken: Option<Taken>) {
    if let Some(taken) = taken {
        caller.rates.tell(taken.standing_without());
        services.quota.give_back(tenant, taken).await;
    }
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

/// What a job is accepted for is not removed.
fn keep(files: &mut [Staged], are: &[Is]) {
    for (file, is) in files.iter_mut().zip(are) {
        file.kept = matches!(is, Is::New);
    }
}

/// One entry of a 202 answer; without a job the picture is there.
pub(crate) fn accepted_json(media: &MediaId, file_name: Option<&str>, job: Option<&JobId>) -> serde_json::Value {
    let state = if job.is_some() { "processing" } else { "ready" };
    let job = job.map(|job| serde_json::json!({ "id": job, "url": format!("/v1/jobs/{job}") }));
    serde_json::json!({
        "id": media, "state": state, "url": format!("/v1/media/{media}"), "file_name": file_name, "job": job,
    })
}

impl Staged {
    fn content(&self, seen: &BTreeMap<String, JobId>) -> Content {
        Content {
            sha256: self.stored.sha256.clone(),
            job: self.job.clone(),
            seen: seen.get(&self.stored.sha256).cloned(),
        }
    }

    fn expiry(&self, caller: &Caller, at: Millis) -> Expiry {
        Expiry {
            tenant: caller.site.tenant.id().clone(),
            media: self.media.clone(),
            at,
        }
    }
}

fn media_job(
    file: &Staged,
    caller: &Caller,
    expires_at: Option<Millis>,
    unique: bool,
    trace: &TraceId,
) -> Result<NewJob, Problem> {
    let payload = ProcessMedia {
        media: file.media.clone(),
        file_name: file.file_name.clone(),
        key: Some(caller.key.clone()),
        staged: file.key.as_str().to_owned(),
        bytes: file.stored.bytes,
        sha256: file.stored.sha256.clone(),
        reserved: file.stored.bytes,
        expires_at,
        holder: unique.then(|| caller.user.clone()),
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
    /// Nothing was: a job is making a picture of the same bytes.
    BeingMade(Content),
    /// Nothing was: a job has made, or could not make, a picture of the same bytes.
    Made(Content),
    /// Nothing was: the tenant is another by now, and has to be judged anew.
    Outdated(Tenant),
}

/// Reserves `claim` and commits `request`. Where nothing was accepted the claim is given back. With an error: whether it is known
/// that nothing was committed; if not, the claim stays, and ends with its counter.
pub(crate) async fn commit_reserved(
    services: &Services,
    tenant: &Tenant,
    db: &TenantDb,
    claim: Claim,
    request: Request<'_>,
) -> Result<Committed, (Problem, bool)> {
    let reserved = services.quota.reserve(tenant, db, claim).await;
    reserved.map_err(|error| (error.into(), true))?;
    let committed = commit(services, tenant, request).await;
    match &committed {
        Ok(Committed::New) | Err((_, false)) => {}
        Ok(Committed::Replayed(_) | Committed::Outdated(_) | Committed::BeingMade(_) | Committed::Made(_))
        | Err((_, true)) => {
            services.quota.release(tenant, claim).await;
        }
    }
    committed
}

/// Commits what is accepted of `tenant`. With an error: whether it is known that nothing was committed.
async fn commit(services: &Services, tenant: &Tenant, request: Request<'_>) -> Result<Committed, (Problem, bool)> {
    let now = services.clock.now();
    let (stamp, published) = (tenant.context().stamp(), services.queue.rows_are_messages());
    let accepted = accept::accept(&services.control, tenant.id(), stamp, request, now, published).await;
    match accepted.map_err(|error| (error.into(), false))? {
        Accepted::New => {
            for job in request.jobs {
                metrics::counter!(names::JOBS_ACCEPTED, "kind" => job.kind.as_str()).increment(1);
                services.outbox.offer(job.pool, job.envelope(now));
            }
            Ok(Committed::New)
        }
        Accepted::Replayed(answer) => Ok(Committed::Replayed(answer)),
        Accepted::BeingMade(content) => Ok(Committed::BeingMade(content)),
        Accepted::Made(content) => Ok(Committed::Made(content)),
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
        let request = Request {
            jobs: std::slice::from_ref(job),
            ..Request::default()
        };
        let committed = commit(services, &tenant, request).await;
        match committed.map_err(|(problem, _)| problem)? {
            Committed::New | Committed::Replayed(_) | Committed::BeingMade(_) | Committed::Made(_) => return Ok(()),
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
