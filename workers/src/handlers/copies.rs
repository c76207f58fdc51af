//! Copies of a picture's files in other places: where the job says, or where the tenant's placement says.
//!
//! Promises: every copy is claimed before it is written, and is what is recorded of its file. A place that refuses, since it is
//! full, closed or does not answer, is not asked again for the picture, and nothing stays claimed there; what may lie there is
//! its caller's to remove. Changes no row.

use super::files::{overtaken, settle_line};
use crate::context::JobContext;
use futures_util::TryStreamExt;
use mediamill_shared::{
    chain,
    control::storages::{self, Claimed, Share, Shares},
    jobs::{JobError, Reason, ResultExt},
    objects::{Body, ObjectError, Store, Stored},
    placement::{Opened, Places, ReadError, Spot, is_the_places},
    tenancy::store::media::{ORIGINAL, Variant},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Line of copies that are given up without another place.
pub(super) const DROPPED: &str = "dropped";

/// A file, and where it goes.
struct Copy<'a> {
    file: &'a Variant,
    /// `None`: there is another copy, and nowhere else to go.
    target: Option<Arc<Opened>>,
    is_made: bool,
}

/// What has come of asking places for this picture.
#[derive(Default)]
struct Asked {
    /// For all files: one that is asked again after a pause is not asked whether it may be for each.
    admitted: BTreeSet<Spot>,
    /// With what each of them said.
    refused: BTreeMap<Spot, String>,
}

impl Asked {
    fn admits(&mut self, spot: &Spot, cx: &JobContext) -> bool {
        if self.refused.contains_key(spot) {
            return false;
        }
        if self.admitted.contains(spot) || cx.storages.admits(spot) {
            self.admitted.insert(spot.clone());
            return true;
        }
        let said = "it did not answer, and is left alone for some time";
        self.refused.insert(spot.clone(), said.to_owned());
        false
    }
}

/// Copies files that lie in `from`. Returns where each one's copy is; `None`: it has another, and nowhere else to go.
pub(super) async fn make(
    files: &[Variant],
    from: &Spot,
    to: Option<&Spot>,
    cx: &JobContext,
) -> Result<Vec<Option<Spot>>, JobError> {
    let new = |file| Copy {
        file,
        target: None,
        is_made: false,
    };
    let mut copies: Vec<Copy<'_>> = files.iter().map(new).collect();
    let mut asked = Asked::default();
    // Every time but the last one more place has refused.
    loop {
        for copy in &mut copies {
            let stays = |target: &Arc<Opened>| !asked.refused.contains_key(&target.spot);
            if !(copy.is_made && copy.target.as_ref().is_some_and(stays)) {
                copy.is_made = false;
                copy.target = target(copy.file, from, to, &mut asked, cx).await?;
            }
        }
        if claim(&copies, &mut asked, cx).await? && write_all(&mut copies, &mut asked, cx).await? {
            let spot = |copy: Copy<'_>| copy.target.map(|target| target.spot.clone());
            return Ok(copies.into_iter().map(spot).collect());
        }
    }
}

/// Where a file goes: what the job says, or what the tenant's placement says of the storages that do not hold it.
async fn target(
    file: &Variant,
    from: &Spot,
    to: Option<&Spot>,
    asked: &mut Asked,
    cx: &JobContext,
) -> Result<Option<Arc<Opened>>, JobError> {
    let tenant = cx.tenant()?;
    let original = file.name == ORIGINAL;
    let what = if original { "originals" } else { "variants" };
    let nowhere = || format!("no active storage but {from} takes {what}: add one, or activate one");
    if let Some(spot) = to {
        if file.places.held().contains(spot) {
            return Ok(None);
        }
        if let Some(said) = asked.refused.get(spot) {
            return Err(format!("the storage that it goes to does not take it: {said}")).transient();
        }
        let found = cx.storages.spot(tenant.id(), spot).await.transient()?;
        return found.map(Some).ok_or_else(nowhere).transient();
    }
    let others = cx.storages.targets(tenant, &file.media, original, &file.places).await;
    let others = others.transient()?;
    if others.is_empty() {
        let has_another = file.places.held().len() > 1;
        return has_another.then_some(None).ok_or_else(nowhere).transient();
    }
    if let Some(found) = others.iter().find(|one| asked.admits(&one.spot, cx)) {
        return Ok(Some(Arc::clone(found)));
    }
    let said = others.iter().filter_map(|one| {
        let said = asked.refused.get(&one.spot)?;
        Some(format!("{}: {said}", one.spot))
    });
    let said = said.collect::<Vec<_>>().join("; ");
    Err(format!("no storage but {from} takes {what} for now: {said}")).transient()
}

/// Claims room where files go and nowhere else, and notes which copies are given up. Returns whether there was room.
async fn claim(copies: &[Copy<'_>], asked: &mut Asked, cx: &JobContext) -> Result<bool, JobError> {
    let (mut shares, mut dropped) = (Shares::new(), Share::default());
    for Copy { file, target, .. } in copies {
        match target {
            Some(target) => {
                let share = shares.entry(target.spot.clone()).or_default();
                *share = share.with(file.bytes);
            }
            None => dropped = dropped.with(file.bytes),
        }
    }
    let line = cx.claimant();
    let claimed = storages::claim(&cx.control, &line, &shares, cx.clock.now()).await;
    let (refused, said) = match claimed.transient()? {
        Claimed::Yes => {
            settle_line(&line, cx, &shares).await?;
            // Of the installation's own store nothing is counted: the line only remembers.
            settle_line(&line.part(DROPPED), cx, &Shares::from([(Spot::Main, dropped)])).await?;
            return Ok(true);
        }
        Claimed::Overtaken => return Err(overtaken()),
        Claimed::NoRoom(spots) => (spots, "it is full"),
        Claimed::Closed(spots) => {
            cx.storages.forget();
            (spots, "it takes nothing any more")
        }
    };
    let refused = refused.into_iter().map(|spot| (spot, said.to_owned()));
    asked.refused.extend(refused);
    Ok(false)
}

/// Writes copies that are not made yet. Returns whether all places took theirs.
async fn write_all(copies: &mut [Copy<'_>], asked: &mut Asked, cx: &JobContext) -> Result<bool, JobError> {
    for copy in copies.iter_mut().filter(|copy| !copy.is_made) {
        let Some(target) = &copy.target else { continue };
        if let Some(said) = write(copy.file, target, cx).await? {
            tracing::info!(storage = %target.spot, object = %copy.file.object, "a file goes elsewhere: {said}");
            asked.refused.insert(target.spot.clone(), said);
            return Ok(false);
        }
        copy.is_made = true;
    }
    Ok(true)
}

/// Before a file goes from its old place: whoever took a copy for one that no row has, just before there was one, has removed it. It is
/// made again. That one of its places has the file is enough; the others may be away. Returns whether one was made again.
pub(super) async fn make_sure(file: &Variant, from: &Spot, cx: &JobContext) -> Result<bool, JobError> {
    let (mut is_safe, mut is_made, mut failed) = (false, false, None);
    for spot in file.places.held() {
        let Some(target) = cx.storages.spot(cx.tenant()?.id(), spot).await.transient()? else {
            continue;
        };
        let stat = target.objects.stat(&file.object).await;
        cx.storages.note(spot, &stat);
        match stat {
            Ok(Some(stat)) if stat.bytes == file.bytes => is_safe = true,
            Err(error) => failed = Some(chain(&error)),
            Ok(_) => match write_from(from, file, &target, cx).await? {
                Written::Whole => {
                    tracing::warn!(storage = %spot, object = %file.object, "a copy that was gone is made again");
                    (is_safe, is_made) = (true, true);
                }
                // Nothing is lost with what is there.
                Written::Damaged(_) | Written::Missing(_) => is_safe = true,
                Written::Refused(error) => failed = Some(chain(&error)),
            },
        }
    }
    if is_safe {
        return Ok(is_made);
    }
    let why = failed.unwrap_or_else(|| "every storage that holds it is off, gone, or cannot be opened here".to_owned());
    Err(JobError::transient(format!(
        "{} stays in {from} too: {why}",
        file.object
    )))
}

/// What came of a copy from one place.
pub(super) enum Written {
    Whole,
    /// The place that is read from has something else.
    Damaged(String),
    /// The place that is read from has nothing.
    Missing(ReadError),
    /// The place that is written to failed.
    Refused(ObjectError),
}

/// Writes a file from the first of its places that has what is recorded. What the place that it goes to said, where it did not
/// take it.
async fn write(file: &Variant, target: &Opened, cx: &JobContext) -> Result<Option<String>, JobError> {
    let (mut silent, mut damaged, mut missing) = (None, None, None);
    let sources = cx.storages.sources(cx.tenant()?.id(), &file.places).await;
    for source in sources.transient()? {
        match write_from(&source.spot, file, target, cx).await {
            Ok(Written::Whole) => return Ok(None),
            Ok(Written::Refused(error)) => return Ok(Some(chain(&error))),
            Ok(Written::Damaged(problem)) => {
                tracing::error!(
                    tenant.id = %cx.tenant()?.id(), storage = %source.spot, object = %file.object,
                    "a file is damaged, verify the storage: {problem}"
                );
                damaged = Some(problem);
            }
            Ok(Written::Missing(error)) => missing = Some(error),
            Err(error) => silent = Some(error),
        }
    }
    match (silent, damaged, missing) {
        // It may be whole there.
        (Some(error), _, _) => Err(error),
        (None, Some(problem), _) => {
            let problem = format!(
                "{} is damaged where it lies: {problem}; verify the storage",
                file.object
            );
            Err(JobError::permanent(Reason::FILE_DAMAGED, problem))
        }
        (None, None, Some(error)) => Err(JobError::transient(error)),
        (None, None, None) => Err("every storage that holds it is off, gone, or cannot be opened here").transient(),
    }
}

/// Writes a file from one of its places.
pub(super) async fn write_from(
    source: &Spot,
    file: &Variant,
    target: &Opened,
    cx: &JobContext,
) -> Result<Written, JobError> {
    let (tenant, from) = (cx.tenant()?.id(), Places::of([source.clone()]));
    let fetched = match cx.storages.get(tenant, &from, &file.object, None).await {
        Ok(fetched) => fetched,
        Err(error @ ReadError::Objects(ObjectError::Missing { .. })) => return Ok(Written::Missing(error)),
        Err(error) => return Err(JobError::transient(error)),
    };
    let body: Body = Box::pin(fetched.body.map_err(Into::into));
    let kind = mime(file);
    let written = target.objects.put_stream_as(&file.object, body, file.bytes, kind).await;
    cx.storages.note(&target.spot, &written);
    match written {
        Ok(Stored { bytes, sha256 }) if bytes == file.bytes && sha256 == file.sha256 => Ok(Written::Whole),
        Ok(Stored { sha256, .. }) => Ok(Written::Damaged(format!(
            "its checksum is {sha256}, {} is recorded",
            file.sha256
        ))),
        Err(ObjectError::TooLong { limit, .. }) => Ok(Written::Damaged(format!("it is longer than its {limit}"))),
        Err(error) if is_the_places(&error) => Ok(Written::Refused(error)),
        Err(error) => Err(JobError::transient(error)),
    }
}

/// The media type that a file was written with first.
fn mime(file: &Variant) -> &'static str {
    mediamill_media::Format::named(&file.format).map_or("application/octet-stream", mediamill_media::Format::mime)
}
