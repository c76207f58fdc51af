//! From pieces to an accepted upload.
//!
//! Idempotent by the upload's id, under which the job is accepted: whoever finishes it again, after a crash at any line,
//! finds the same job. Every try stages one object under a job id of its own, so that two tries never share one.

use super::{Metadata, direct};
use crate::{
    accept::{self, Answer, Incoming, Uploaded, Wishes},
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use mediamill_shared::{
    control::{
        accept::recall,
        resumable::{self, Piece, Upload, UploadState},
    },
    ids::{JobId, MediaId, TenantId, TraceId},
    objects::{ObjectError, ObjectKey, Objects, Store},
    services::Services,
    units::{ByteCount, Millis},
};
use std::time::Duration;

/// Whoever finishes an upload says so often that it is still at it.
const RENEW: Duration = Duration::from_secs(10);
/// One that has not said so for this long is gone.
const CLAIM: Duration = Duration::from_secs(45);

/// What an upload became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) media: MediaId,
    /// `None`: the picture was there, made of the same bytes.
    pub(crate) job: Option<JobId>,
}

impl Finished {
    /// Of an upload that is done.
    pub(crate) fn of(upload: &Upload) -> Option<Self> {
        let (media, job) = (upload.media.clone()?, upload.job.clone());
        (upload.state == UploadState::Done).then_some(Self { media, job })
    }

    fn parse(answer: &str) -> Option<Self> {
        let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
        let id = |pointer| answer.pointer(pointer)?.as_str();
        Some(Self {
            media: id("/media/0/id")?.parse().ok()?,
            job: id("/media/0/job/id").map(str::parse).transpose().ok()?,
        })
    }
}

/// Judges and accepts an upload whose bytes are all there. What is turned down is removed, and stays turned down.
pub(crate) async fn complete(
    state: &State,
    mut caller: Caller,
    upload: &Upload,
    trace: &TraceId,
) -> Result<Finished, Problem> {
    let services = &state.services;
    let tenant = caller.site.tenant.id().clone();
    // Whoever sends the last of it, the picture is its who began it.
    if caller.key != upload.key
        && let Some(began) = caller.site.db.key(&upload.key).await?
    {
        (caller.key, caller.user) = (began.id, began.user);
    }
    // Before the claim: where it is waited for, another process may be first.
    let Ok(_permit) = state.finishing.acquire().await else {
        return Err(Problem::new(Cause::Unavailable, "the server is stopping"));
    };
    let mut until = services.clock.now().after(CLAIM);
    if !resumable::claim(&services.control, &upload.id, services.clock.now(), until).await? {
        let present = resumable::get(&services.control, &tenant, &upload.id).await?;
        let finished = present.as_ref().and_then(Finished::of);
        return finished
            .ok_or_else(|| Problem::new(Cause::UploadBusy, "the upload is being finished by another request"));
    }
    let ended = {
        let mut work = Box::pin(accepted(state, &caller, upload, trace));
        loop {
            tokio::select! {
                ended = &mut work => break ended,
                () = services.clock.sleep(RENEW) => {
                    let next = services.clock.now().after(CLAIM);
                    let held = resumable::hold(&services.control, &upload.id, until, next).await;
                    // Taken for gone, or unknown: what is staged here may be in vain, and does no harm.
                    if held.unwrap_or(false) {
                        until = next;
                    }
                }
            }
        }
    };
    match ended {
        Ok(finished) => {
            let now = services.clock.now();
            resumable::done(
                &services.control,
                &tenant,
                upload,
                &finished.media,
                finished.job.as_ref(),
                now,
            )
            .await?;
            // A direct upload's bytes are its job's now, unless the picture was there or another job makes it.
            let in_use = upload.direct.as_ref().map(|direct| &direct.job);
            if in_use.is_none() || in_use != finished.job.as_ref() {
                clear(services, &tenant, upload);
            }
            Ok(finished)
        }
        Err(problem) if is_final(problem.cause()) => {
            discard(services, &tenant, upload, &problem).await?;
            Err(problem)
        }
        Err(problem) => {
            // Another try may come at once. What this misses ends with the claim.
            if let Err(error) = resumable::hold(&services.control, &upload.id, until, Millis::new(0)).await {
                tracing::debug!(error = %error, "a claim on an upload stays until its time is up");
            }
            Err(problem)
        }
    }
}

/// Whether trying again would come to the same.
fn is_final(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::OverQuota
            | Cause::TooLarge
            | Cause::BadRequest
            | Cause::UnsupportedMediaType
            | Cause::EmptyUpload
            | Cause::UploadGone
            | Cause::UploadMismatch
    )
}

async fn accepted(state: &State, caller: &Caller, upload: &Upload, trace: &TraceId) -> Result<Finished, Problem> {
    let services = &state.services;
    // No client's key holds a space.
    let once = format!("resumable upload {}", upload.id);
    let before = recall(&services.control, caller.site.tenant.id(), &once).await?;
    if let Some(finished) = before.and_then(|(_, answer)| Finished::parse(&answer)) {
        return Ok(finished);
    }
    let metadata = Metadata::parse(&upload.metadata)?;
    let name = metadata.file_name();
    let wishes = Wishes {
        once: Some(once),
        stay: metadata.stay()?,
        lane: metadata.lane()?,
    };
    let staged = if let Some(announced) = &upload.direct {
        direct::staged(services, &caller.site.tenant, upload, announced, name.as_deref()).await?
    } else {
        let pieces = pieces(services, upload).await?;
        let body = bytes_of(services.objects.clone(), pieces);
        accept::stage(state, caller, name.as_deref(), body).await?
    };
    let answer = accept::uploads(state, caller, vec![staged], wishes, trace).await?;
    let (Answer::Now(Uploaded { body: text, .. }) | Answer::Replayed(text)) = answer;
    Finished::parse(&text).ok_or_else(|| {
        tracing::error!(upload.id = %upload.id, "answering 500: an accepted upload has no job in its answer");
        Problem::new(Cause::Internal, "something went wrong here")
    })
}

/// The pieces of an upload, or of its parts, from its first byte to its last.
async fn pieces(services: &Services, upload: &Upload) -> Result<Vec<Piece>, Problem> {
    let mut all = Vec::new();
    if upload.parts.is_empty() {
        all = resumable::pieces(&services.control, &upload.id).await?;
    }
    for part in &upload.parts {
        all.extend(resumable::pieces(&services.control, part).await?);
    }
    let bytes = all.iter().fold(ByteCount::ZERO, |sum, piece| sum.plus(piece.bytes));
    if bytes == upload.received {
        Ok(all)
    } else {
        // Parts that were ended, or whose time was over, meanwhile.
        Err(gone())
    }
}

fn gone() -> Problem {
    Problem::new(Cause::UploadGone, "bytes of the upload are not here any more")
}

/// The bytes of pieces, one after another.
fn bytes_of(objects: Objects, pieces: Vec<Piece>) -> Incoming<'static> {
    let bodies = stream::iter(pieces).map(Ok).and_then(move |piece| {
        let objects = objects.clone();
        async move {
            let fetched = objects.get(&piece.object, None).await.map_err(unreadable)?;
            if fetched.total == piece.bytes {
                Ok(fetched.body.map_err(unreadable))
            } else {
                Err(gone())
            }
        }
    });
    Box::pin(bodies.try_flatten())
}

fn unreadable(error: ObjectError) -> Problem {
    match error {
        ObjectError::Missing { .. } => gone(),
        other => other.into(),
    }
}

/// Turns an upload down for good and removes what is staged of it.
pub(crate) async fn discard(
    services: &Services,
    tenant: &TenantId,
    upload: &Upload,
    problem: &Problem,
) -> Result<(), Problem> {
    let why = format!("{}: {}", problem.cause().code(), problem.detail());
    let now = services.clock.now();
    if resumable::refuse(&services.control, tenant, upload, &why, now).await? {
        clear(services, tenant, upload);
    }
    Ok(())
}

/// Removes what is stored of an upload and of its parts in the background; what that misses, the scheduler sweeps.
fn clear(services: &Services, tenant: &TenantId, upload: &Upload) {
    let parts = upload.parts.iter().map(|part| ObjectKey::pieces(tenant, part));
    clear_all(services, parts.collect());
    clear_own(services, tenant, upload);
}

/// The same of an upload alone: the parts of a final one are uploads of their own.
pub(crate) fn clear_own(services: &Services, tenant: &TenantId, upload: &Upload) {
    match &upload.direct {
        Some(direct) => accept::remove(services, ObjectKey::staged(tenant, &direct.job)),
        None => clear_all(services, vec![ObjectKey::pieces(tenant, &upload.id)]),
    }
}

fn clear_all(services: &Services, folders: Vec<String>) {
    let objects = services.objects.clone();
    services.shutdown.spawn(async move {
        for folder in folders {
            if let Err(error) = objects.delete_below(&folder).await {
                let error = &error as &dyn std::error::Error;
                tracing::info!(error, "pieces of an upload are left to the sweeper");
                return;
            }
        }
    });
}
