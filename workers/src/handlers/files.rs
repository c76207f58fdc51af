//! A picture's files: read from where they are, placed where they should be, and what is left elsewhere removed.

use crate::{context::JobContext, decoder::refused};
use bytes::Bytes;
use futures_util::StreamExt;
use mediamill_media::{MediaError, Probe, ProbeError, probe};
use mediamill_shared::{
    BoxError,
    control::{
        jobs,
        storages::{self, Claimant, Shares},
    },
    ids::MediaId,
    jobs::{JobError, Reason, RemoveObjects, ResultExt},
    objects::{Fetched, ObjectError, ObjectKey, Store, Stored},
    placement::{NewFile, Opened, Places, ReadError, Spot},
    tenancy::store::media::{ORIGINAL, Variant},
    units::ByteCount,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, ops::Range};

/// First look at a file; photographs nearly always tell their size within it.
const HEAD: u64 = 256 * 1024;

/// A stored file, to be read from whichever of its places has what was written.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) key: ObjectKey,
    pub(super) bytes: ByteCount,
    /// Of all of it, lower-case hexadecimal.
    pub(super) sha256: String,
    /// `None`: it is staged.
    pub(super) places: Option<Places>,
    /// What it means that it is not there.
    pub(super) missing: (&'static str, &'static str),
}

impl Source {
    /// Reads headers until they tell the picture's size; a decoder never runs on what this refuses.
    pub(super) async fn probe(&self, cx: &JobContext) -> Result<Probe, JobError> {
        self.whichever(cx, |copy| async move { copy.probe_it(cx).await }).await
    }

    /// All of it, as it was written.
    pub(super) async fn fetch(&self, cx: &JobContext) -> Result<Bytes, JobError> {
        self.whichever(cx, |copy| async move { copy.fetch_it(cx).await }).await
    }

    /// What `read` makes of it; where that says that it is no good, what it makes of each copy alone.
    async fn whichever<T, F: Future<Output = Result<T, JobError>>>(
        &self,
        cx: &JobContext,
        read: impl Fn(Self) -> F,
    ) -> Result<T, JobError> {
        let mut failed = match read(self.clone()).await {
            Err(error @ JobError::Permanent { .. }) => error,
            other => return other,
        };
        let (Some(places), Some(tenant)) = (&self.places, &cx.tenant) else {
            return Err(failed);
        };
        let sources = cx.storages.sources(tenant.id(), places).await.transient()?;
        if sources.len() < 2 {
            return Err(failed);
        }
        for source in sources {
            let alone = Self {
                places: Some(Places::of([source.spot.clone()])),
                ..self.clone()
            };
            match read(alone).await {
                Ok(made) => return Ok(made),
                // It may be well there.
                Err(error @ JobError::Transient { .. }) => failed = error,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        tenant.id = %tenant.id(), storage = %source.spot, object = %self.key, error,
                        "a file is damaged or gone, verify the storage"
                    );
                }
            }
        }
        Err(failed)
    }

    async fn probe_it(&self, cx: &JobContext) -> Result<Probe, JobError> {
        let mut head = Vec::new();
        let mut wanted = HEAD;
        loop {
            let have = u64::try_from(head.len()).unwrap_or(u64::MAX);
            head.extend_from_slice(&self.read(cx, Some(have..wanted)).await?);
            match probe(&head) {
                Ok(probed) => return Ok(probed),
                Err(ProbeError::Media(error)) => return Err(refused(error)),
                Err(ProbeError::NeedMore) if wanted < self.bytes.unsigned() => wanted = wanted.saturating_mul(4),
                Err(ProbeError::NeedMore) => return Err(refused(MediaError::Truncated)),
            }
        }
    }

    async fn fetch_it(&self, cx: &JobContext) -> Result<Bytes, JobError> {
        let bytes = self.read(cx, None).await?;
        if bytes.len() as u64 != self.bytes.unsigned() {
            let problem = format!("{} of {} bytes of {} arrived", bytes.len(), self.bytes.get(), self.key);
            return Err(match &self.places {
                // An attempt that was thought to be dead may be writing it.
                None => JobError::transient(problem),
                Some(_) => JobError::permanent(Reason::FILE_DAMAGED, problem),
            });
        }
        let bytes = Bytes::from(bytes);
        let hashed = bytes.clone();
        let sha256 = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&hashed)));
        let sha256 = sha256.await.transient()?;
        if sha256 != self.sha256 {
            let text = format!(
                "{} is not what was written: its checksum is {sha256}, {} is recorded",
                self.key, self.sha256
            );
            return Err(JobError::permanent(Reason::FILE_DAMAGED, text));
        }
        Ok(bytes)
    }

    async fn read(&self, cx: &JobContext, range: Option<Range<u64>>) -> Result<Vec<u8>, JobError> {
        let whole = self.bytes.unsigned();
        let length = range.as_ref().map_or(whole, |range| range.end - range.start);
        let fetched = self.open(cx, range).await.map_err(|error| self.gone(error))?;
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(whole)).unwrap_or(0));
        let mut body = fetched.body;
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.gone(error.into()))?);
        }
        Ok(bytes)
    }

    async fn open(&self, cx: &JobContext, range: Option<Range<u64>>) -> Result<Fetched, ReadError> {
        match (&self.places, &cx.tenant) {
            (Some(places), Some(tenant)) => cx.storages.get(tenant.id(), places, &self.key, range).await,
            (None, _) | (_, None) => Ok(cx.objects.get(&self.key, range).await?),
        }
    }

    fn gone(&self, error: ReadError) -> JobError {
        let (code, text) = self.missing;
        match error {
            ReadError::Objects(ObjectError::Missing { .. } | ObjectError::Range { .. }) => JobError::Permanent {
                reason: Reason::new(code, text),
                source: Some(Box::new(error)),
            },
            other => JobError::transient(other),
        }
    }
}

/// Another attempt at the job has it: what this one would do is done, or is being done.
pub(super) fn overtaken() -> JobError {
    JobError::transient("another attempt at the job has taken over")
}

/// A file on its way to its place.
pub(super) struct File {
    pub(super) name: String,
    /// What it is stored under: its name, or another one.
    pub(super) stored_as: String,
    pub(super) format: mediamill_media::Format,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: Bytes,
}

/// Files in their places, and what else may lie somewhere.
pub(super) struct Placed {
    pub(super) files: Vec<Variant>,
    pub(super) leftovers: Vec<(Spot, ObjectKey)>,
}

/// Places files of `media`. Whatever is in the way, time or an operator can mend it: the picture was accepted.
pub(super) async fn place(media: &MediaId, cx: &JobContext, files: Vec<File>) -> Result<Placed, JobError> {
    let tenant = cx.tenant()?;
    let new = files.iter().map(|file| {
        let key = ObjectKey::placed(tenant.id(), media, &file.stored_as, file.format.extension());
        Ok(NewFile {
            key: key.permanent(
                Reason::UNREADABLE_PAYLOAD,
                "the variant's name is no part of an object key",
            )?,
            bytes: file.bytes.clone(),
            content_type: file.format.mime(),
            original: file.name == ORIGINAL,
        })
    });
    let new = new.collect::<Result<Vec<_>, JobError>>()?;
    let placed = cx
        .storages
        .place(tenant, &cx.claimant(), media, &new)
        .await
        .map_err(JobError::transient)?;
    let rows = placed.files.into_iter().zip(new).zip(files);
    let files = rows.map(|((placed, NewFile { key, .. }), file)| {
        let Stored { bytes, sha256 } = placed.stored;
        Variant {
            media: media.clone(),
            name: file.name,
            format: file.format.name().to_owned(),
            object: key,
            width: file.width.into(),
            height: file.height.into(),
            bytes,
            sha256,
            places: placed.places,
        }
    });
    Ok(Placed {
        files: files.collect(),
        leftovers: placed.leftovers,
    })
}

/// What a picture's files take of storages, every copy counted; one that is on its way out is counted by what moves it.
pub(super) fn shares<'a>(files: impl IntoIterator<Item = &'a Variant>) -> Shares {
    let mut shares = Shares::new();
    for file in files {
        for spot in file.places.held() {
            if *spot != Spot::Main {
                let share = shares.entry(spot.clone()).or_default();
                *share = share.with(file.bytes);
            }
        }
    }
    shares
}

/// Before files are recorded: what this job takes of storages is what it has placed now, wherever attempts before this one, or
/// writes that failed, have claimed room.
pub(super) async fn settle(cx: &JobContext, placed: &Placed) -> Result<(), JobError> {
    let shares = shares(&placed.files);
    if cx.attempt > 1 || !placed.leftovers.is_empty() {
        return settle_line(&cx.claimant(), cx, &shares).await;
    }
    // What was claimed is what was placed.
    if shares.is_empty() || cx.is_latest().await? {
        Ok(())
    } else {
        Err(overtaken())
    }
}

/// Sets a line of the storages' ledger, unless another attempt has the job.
pub(super) async fn settle_line(line: &Claimant, cx: &JobContext, shares: &Shares) -> Result<(), JobError> {
    let settled = storages::settle(&cx.control, line, shares, cx.clock.now()).await;
    if settled.transient()? { Ok(()) } else { Err(overtaken()) }
}

/// After files were recorded, by this attempt or one before it: what this job has put elsewhere is removed.
pub(super) async fn tidy(
    media: &MediaId,
    cx: &JobContext,
    files: &[Variant],
    leftovers: Vec<(Spot, ObjectKey)>,
    own: impl Fn(&ObjectKey) -> bool,
) -> Result<(), JobError> {
    // These storages have just failed: asking them again would hold up a picture that is ready.
    leave_to_job(media, cx, &leftovers).await?;
    if cx.attempt == 1 {
        return Ok(());
    }
    let tried = claimed(cx).await?;
    let objects = stray(media, cx, &tried, files, own).await?;
    remove(media, cx, objects, files).await
}

/// After a job failed for good, or where another attempt got further: what its attempts have put anywhere and `files` do not
/// speak of goes. Of a job that has `failed` so do its claims.
pub(super) async fn undo(
    media: &MediaId,
    cx: &JobContext,
    files: &[Variant],
    failed: bool,
    own: impl Fn(&ObjectKey) -> bool,
) -> Result<(), JobError> {
    let tried = claimed(cx).await?;
    let objects = stray(media, cx, &tried, files, own).await?;
    remove(media, cx, objects, files).await?;
    if failed && !tried.is_empty() {
        settle_line(&cx.claimant(), cx, &Shares::new()).await?;
    }
    Ok(())
}

/// Removes objects, except those of `files` where they are recorded. What a storage does not confirm now, or a move may be about to
/// record, is left to a job.
pub(super) async fn remove(
    media: &MediaId,
    cx: &JobContext,
    objects: BTreeSet<(Spot, ObjectKey)>,
    files: &[Variant],
) -> Result<(), JobError> {
    let mut objects: Vec<(Spot, ObjectKey)> = objects
        .into_iter()
        .filter(|(spot, key)| !is_recorded(files, spot, key))
        .collect();
    if objects.is_empty() {
        return Ok(());
    }
    if may_come_to_be_recorded(media, cx).await? {
        return leave_to_job(media, cx, &objects).await;
    }
    // A move may have ended since `files` were read.
    if let Ok(db) = cx.tenant_db() {
        let present = db.variants(media).await.transient()?;
        objects.retain(|(spot, key)| !is_recorded(&present, spot, key));
    }
    let mut left = Vec::new();
    for (spot, key) in objects {
        if let Err(error) = delete(&spot, &key, cx).await {
            let error: &dyn std::error::Error = error.as_ref();
            tracing::info!(storage = %spot, object = %key, error, "left to a job that removes it");
            left.push((spot, key));
        }
    }
    leave_to_job(media, cx, &left).await
}

/// Whether another job moves the picture: what no row has where it lies may be a copy that one has just made. Asked before the rows are
/// read by which something is removed.
pub(super) async fn may_come_to_be_recorded(media: &MediaId, cx: &JobContext) -> Result<bool, JobError> {
    jobs::is_moved_by_another(&cx.control, cx.tenant_id()?, media, &cx.job)
        .await
        .transient()
}

/// Removes an object; absent is a success, and so is a storage that nobody can ask any more.
pub(super) async fn delete(spot: &Spot, key: &ObjectKey, cx: &JobContext) -> Result<(), BoxError> {
    if let Some(opened) = cx.storages.reach(cx.tenant()?.id(), spot).await? {
        let deleted = opened.objects.delete(key).await;
        cx.storages.note(spot, &deleted);
        deleted?;
    }
    Ok(())
}

async fn leave_to_job(media: &MediaId, cx: &JobContext, objects: &[(Spot, ObjectKey)]) -> Result<(), JobError> {
    if objects.is_empty() {
        return Ok(());
    }
    let payload = RemoveObjects {
        media: media.clone(),
        objects: objects
            .iter()
            .map(|(spot, key)| (spot.to_string(), key.to_string()))
            .collect(),
    };
    cx.follow_up(&payload, media.as_str()).await
}

pub(super) fn is_recorded(files: &[Variant], spot: &Spot, key: &ObjectKey) -> bool {
    files
        .iter()
        .any(|file| file.object == *key && file.places.all().any(|place| place == spot))
}

/// Objects that this job has put somewhere and `files` do not speak of: earlier attempts may have worked by other settings, or in
/// other storages.
async fn stray(
    media: &MediaId,
    cx: &JobContext,
    tried: &Shares,
    files: &[Variant],
    own: impl Fn(&ObjectKey) -> bool,
) -> Result<BTreeSet<(Spot, ObjectKey)>, JobError> {
    let tried = tried.keys().cloned();
    let recorded = files.iter().flat_map(|file| file.places.all().cloned());
    let spots: BTreeSet<Spot> = tried.chain(recorded).chain([Spot::Main]).collect();
    let mut found = BTreeSet::new();
    for spot in spots {
        let opened = cx.storages.spot(cx.tenant()?.id(), &spot).await.transient()?;
        let Some(opened) = opened else { continue };
        let listed = match placed_below(media, cx, &opened).await {
            Ok(listed) => listed,
            Err(error) if spot == Spot::Main => return Err(JobError::transient(error)),
            Err(error) => {
                let error: &dyn std::error::Error = error.as_ref();
                tracing::warn!(storage = %spot, error, "taking it that the same files were placed there");
                files.iter().map(|file| file.object.clone()).collect()
            }
        };
        let stray = listed
            .into_iter()
            .filter(|key| own(key) && !is_recorded(files, &spot, key));
        found.extend(stray.map(|key| (spot.clone(), key)));
    }
    Ok(found)
}

async fn claimed(cx: &JobContext) -> Result<Shares, JobError> {
    storages::shares(&cx.control, &cx.claimant()).await.transient()
}

/// Files of `media` that are in a place.
pub(super) async fn placed_below(
    media: &MediaId,
    cx: &JobContext,
    opened: &Opened,
) -> Result<Vec<ObjectKey>, BoxError> {
    /// More than the files that several attempts at one picture leave.
    const MOST: u16 = 500;
    let tenant = cx.tenant()?.id();
    let prefix = ObjectKey::files(tenant, media);
    let listed = opened.objects.list(&prefix, None, MOST).await?;
    Ok(listed.into_iter().map(|listed| listed.key).collect())
}
