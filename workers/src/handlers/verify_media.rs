//! `media.verify`: a picture's files are read again where they lie, and what is not what it was is written anew from another
//! copy, where there is one.

use super::copies::mime;
use crate::context::JobContext;
use futures_util::TryStreamExt;
use mediamill_shared::{
    control::{
        audit::{self, Actor, Entry},
        storages::tasks::{self, Found},
    },
    jobs::{JobError, Reason, ResultExt, VerifyMedia},
    objects::{Body, ObjectError, Objects, Store, Stored},
    placement::{Places, Spot, checksum},
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
        let Some(problem) = problem(&opened.objects, &file).await? else {
            found.done += 1;
            continue;
        };
        // It may have been moved or deleted while it was read.
        let present = db.variant(&file.media, &file.name).await.transient()?;
        if present.is_none_or(|present| present.places != file.places) {
            continue;
        }
        let mended = mend(&opened.objects, &spot, &file, cx).await?;
        if mended {
            found.mended += 1;
        } else {
            found.damaged += 1;
        }
        tracing::error!(tenant.id = %cx.tenant()?.id(), storage = %spot, object = %file.object, mended, "a file is damaged: {problem}");
        tell(&spot, &file, &problem, mended, cx).await?;
    }
    if let Some(task) = &job.task {
        tasks::note(&cx.control, &spot, task, found, cx.clock.now())
            .await
            .transient()?;
    }
    Ok(())
}

/// Reads it. What is wrong with it, if anything.
async fn problem(objects: &Objects, file: &Variant) -> Result<Option<String>, JobError> {
    match checksum(objects, &file.object).await {
        Ok(sha256) if sha256 == file.sha256 => Ok(None),
        Ok(sha256) => Ok(Some(format!("its checksum is {sha256}, {} is recorded", file.sha256))),
        Err(ObjectError::Missing { .. }) => Ok(Some("it is missing".into())),
        Err(error) => Err(error).transient(),
    }
}

/// Writes it anew from another copy that is well.
async fn mend(objects: &Objects, spot: &Spot, file: &Variant, cx: &JobContext) -> Result<bool, JobError> {
    let tenant = cx.tenant()?.id();
    for other in file.places.held().iter().filter(|other| *other != spot) {
        let Some(opened) = cx.storages.spot(tenant, other).await.transient()? else {
            continue;
        };
        if problem(&opened.objects, file).await?.is_some() {
            continue;
        }
        let from = Places::of([other.clone()]);
        let fetched = cx.storages.get(tenant, &from, &file.object, None).await.transient()?;
        let body: Body = Box::pin(fetched.body.map_err(Into::into));
        let written = objects.put_stream_as(&file.object, body, file.bytes, mime(file)).await;
        let Stored { sha256, .. } = written.transient()?;
        // It may have been moved or deleted while it was written.
        let present = cx.tenant_db()?.variant(&file.media, &file.name).await.transient()?;
        if present.is_none_or(|present| !present.places.held().contains(spot)) {
            objects.delete(&file.object).await.transient()?;
            return Ok(true);
        }
        if sha256 == file.sha256 {
            return Ok(true);
        }
    }
    Ok(false)
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
