//! Accepting: bytes staged, reservation made, rows committed, then published. The 2xx follows the commit.

mod commit;
mod staged;

pub(crate) use commit::{
    Committed, JUDGEMENTS, being_changed, commit_counted, commit_reserved, commit_unjudged, room_for_one, tenant_job,
    writable,
};
pub(crate) use staged::{
    HEAD, Incoming, Staged, check_kind, fits, foresee, plain_name, remove, stage, store, takes, too_large,
};

use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
    stay::{self, Stay},
};
use mediamill_shared::{
    control::{
        accept::{Content, Idempotency, Request},
        expiries::Expiry,
        jobs::{self, NewJob},
    },
    ids::{JobId, MediaId, TraceId},
    jobs::{Lane, ProcessMedia},
    quota::Claim,
    services::Services,
    telemetry::names,
    tenancy::{Duplicates, Tenant, TenantDb},
    units::{ByteCount, Millis},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

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
    /// Whether somebody waits for them; without, somebody does.
    pub(crate) lane: Option<Lane>,
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
    // Jobs that have worked on the same bytes, and whose picture is not there.
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
            .map(|file| {
                let mut job = media_job(file, caller, expires_at, unique, trace)?;
                job.lane = wishes.lane.unwrap_or(job.lane);
                Ok(job)
            })
            .collect::<Result<Vec<_>, Problem>>()?;
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
        match commit_counted(services, caller, &tenant, &db, claim, request).await {
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
                let Some(media) = held(services, &db, caller, &content).await? else {
                    seen.insert(content.sha256, content.job);
                    continue;
                };
                for (file, is) in files.iter().zip(&mut are) {
                    if file.stored.sha256 == content.sha256 && matches!(is, Is::New) {
                        *is = Is::BeingMade(media.clone(), content.job.clone());
                    }
                }
            }
            Err((problem, true)) => return Err(problem),
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

/// The picture that a job makes of the same bytes, which the caller holds too from then on. `None`: it was deleted before the job was
/// over.
async fn held(
    services: &Services,
    db: &TenantDb,
    caller: &Caller,
    content: &Content,
) -> Result<Option<MediaId>, Problem> {
    let row = jobs::get(&services.control, &content.job).await?;
    let media = row.and_then(|row| row.subject?.parse::<MediaId>().ok());
    let media = media.ok_or_else(being_changed)?;
    let (making, now) = ((&media, &content.job), services.clock.now());
    let held = db.hold_making(&content.sha256, &caller.user, making, now).await?;
    Ok(held.then_some(media))
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

/// What the tenant's limits say of the files themselves.
fn judge(tenant: &Tenant, files: &[Staged]) -> Result<(), Problem> {
    for file in files {
        fits(tenant, file.stored.bytes)?;
        takes(tenant, file.format)?;
    }
    Ok(())
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
