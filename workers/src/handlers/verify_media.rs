//! `media.verify`: a picture's files are read again where they lie, and what is not what it was is written anew from another
//! copy, where there is one.

use super::{
    copies::{Written, write_from},
    files::delete,
};
use crate::context::JobContext;
use mediamill_shared::{
    BoxError,
    control::{
        audit::{self, Actor, Entry},
        storages::tasks::{self, Found},
    },
    jobs::{JobError, Reason, ResultExt, VerifyMedia},
    objects::ObjectError,
    placement::{Opened, Spot, checksum},
    tenancy::store::media::Variant,
};

pub(crate) async fn run(job: VerifyMedia, cx: &JobContext) -> Result<(), JobError> {
    let spot: Spot = job
        .storage
        .parse()
        .permanent(Reason::UNREADABLE_PAYLOAD, "the storage's id is none")?;
    let db = cx.tenant_db()?;
    let opened = cx.storages.spot(cx.tenant()?.id(), &spot).await.transient()?;
    let Some(opened) = opened else {
        return Err(JobError::permanent(
            Reason::STORAGE_CLOSED,
            format!("storage {spot} is off, or cannot be opened"),
        ));
    };
    let mut found = Found::default();
    for file in db.variants(&job.media).await.transient()? {
        if !file.places.held().contains(&spot) {
            continue;
        }
        let Some(problem) = problem(&opened, &file, cx).await.transient()? else {
            found.done += 1;
            continue;
        };
        // It may have been moved or deleted while it was read.
        let present = db.variant(&file.media, &file.name).await.transient()?;
        if present.is_none_or(|present| present.places != file.places) {
            continue;
        }
        let mended = mend(&opened, &file, cx).await?;
        if mended {
            found.mended += 1;
        } else {
            found.damaged += 1;
        }
        tracing::error!(tenant.id = %cx.tenant()?.id(), storage = %spot, object = %file.object, mended, "a file is damaged: {problem}");
        tell(&spot, &file, &problem, mended, cx).await?;
    }
    if let Some(task) = &job.task {
        let noted = tasks::note(&cx.control, &cx.job, (&spot, task), found, cx.clock.now());
        noted.await.transient()?;
    }
    Ok(())
}

/// Reads it. What is wrong with it, if anything.
async fn problem(opened: &Opened, file: &Variant, cx: &JobContext) -> Result<Option<String>, ObjectError> {
    let read = checksum(&opened.objects, &file.object).await;
    cx.storages.note(&opened.spot, &read);
    match read {
        Ok(sha256) if sha256 == file.sha256 => Ok(None),
        Ok(sha256) => Ok(Some(format!("its checksum is {sha256}, {} is recorded", file.sha256))),
        Err(ObjectError::Missing { .. }) => Ok(Some("it is missing".into())),
        Err(error) => Err(error),
    }
}

/// Writes it anew from another copy that is well. Returns whether that is so: what stands in the way holds up nobody who is to
/// hear that the file is damaged.
async fn mend(opened: &Opened, file: &Variant, cx: &JobContext) -> Result<bool, JobError> {
    let (tenant, spot) = (cx.tenant()?.id(), &opened.spot);
    for other in file.places.held().iter().filter(|other| *other != spot) {
        let Some(source) = cx.storages.spot(tenant, other).await.transient()? else {
            continue;
        };
        let mended = match write_anew(&source, opened, file, cx).await {
            Ok(mended) => mended,
            Err(error) => {
                let error: &dyn std::error::Error = error.as_ref();
                tracing::warn!(
                    tenant.id = %tenant, storage = %spot, from = %other, object = %file.object, error,
                    "a damaged file is not mended from this copy"
                );
                false
            }
        };
        // It may have been moved or deleted while it was written.
        let present = cx.tenant_db()?.variant(&file.media, &file.name).await.transient()?;
        if present.is_none_or(|present| !present.places.held().contains(spot)) {
            delete(spot, &file.object, cx).await.transient()?;
            return Ok(true);
        }
        if mended {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes it anew from another copy, if that is well: nothing is written over by what is no better. Returns whether it is what is
/// recorded then.
async fn write_anew(source: &Opened, to: &Opened, file: &Variant, cx: &JobContext) -> Result<bool, BoxError> {
    if problem(source, file, cx).await?.is_some() {
        return Ok(false);
    }
    match write_from(&source.spot, file, to, cx).await? {
        Written::Whole => Ok(true),
        Written::Damaged(_) => Ok(false),
        Written::Missing(error) => Err(error.into()),
        Written::Refused(error) => Err(error.into()),
    }
}

async fn tell(spot: &Spot, file: &Variant, problem: &str, mended: bool, cx: &JobContext) -> Result<(), JobError> {
    let tenant = cx.tenant()?.id();
    let entry = Entry::new(
        &cx.clock,
        &cx.entropy,
        &Actor::job(&cx.job),
        "storage.damaged",
        Some(tenant),
    );
    let entry = entry.with(serde_json::json!({
        "storage": spot.to_string(), "media": file.media, "file": file.name, "object": file.object.as_str(), "problem": problem,
        "mended": mended,
    }));
    audit::write(&cx.control, &entry).await.transient()
}
