//! A picture's files: read from their store, and placed in it.

use crate::{context::JobContext, decoder::refused};
use bytes::Bytes;
use futures_util::StreamExt;
use mediamill_media::{MediaError, Probe, ProbeError, probe};
use mediamill_shared::{
    ids::MediaId,
    jobs::{JobError, Reason, ResultExt},
    objects::{ObjectError, ObjectKey, Store, Stored},
    tenancy::store::media::Variant,
    units::ByteCount,
};
use std::ops::Range;

/// First look at a file; photographs nearly always tell their size within it.
const HEAD: u64 = 256 * 1024;

/// A stored file, to be read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) key: ObjectKey,
    pub(super) bytes: ByteCount,
    /// What it means that it is not there.
    pub(super) missing: (&'static str, &'static str),
}

impl Source {
    /// Reads headers until they tell the picture's size; a decoder never runs on what this refuses.
    pub(super) async fn probe(&self, cx: &JobContext) -> Result<Probe, JobError> {
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

    /// All of it.
    pub(super) async fn fetch(&self, cx: &JobContext) -> Result<Bytes, JobError> {
        let bytes = self.read(cx, None).await?;
        if bytes.len() as u64 != self.bytes.unsigned() {
            let problem = format!("{} of {} bytes of {} arrived", bytes.len(), self.bytes.get(), self.key);
            return Err(JobError::Transient {
                not_before: None,
                source: problem.into(),
            });
        }
        Ok(bytes.into())
    }

    async fn read(&self, cx: &JobContext, range: Option<Range<u64>>) -> Result<Vec<u8>, JobError> {
        let whole = self.bytes.unsigned();
        let length = range.as_ref().map_or(whole, |range| range.end - range.start);
        let gone = |error| self.gone(error);
        let fetched = cx.objects.get(&self.key, range).await.map_err(gone)?;
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(whole)).unwrap_or(0));
        let mut body = fetched.body;
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(gone)?);
        }
        Ok(bytes)
    }

    fn gone(&self, error: ObjectError) -> JobError {
        let (code, text) = self.missing;
        match error {
            ObjectError::Missing { .. } | ObjectError::Range { .. } => JobError::Permanent {
                reason: Reason::new(code, text),
                source: Some(Box::new(error)),
            },
            other => JobError::Transient {
                not_before: None,
                source: Box::new(other),
            },
        }
    }
}

/// A file on its way to its place.
pub(super) struct File {
    pub(super) name: String,
    pub(super) format: mediamill_media::Format,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: Bytes,
}

/// Places a file under its name, or another one.
pub(super) async fn place(media: &MediaId, cx: &JobContext, file: File, stored_as: &str) -> Result<Variant, JobError> {
    let tenant = cx.tenant()?.id();
    let object = ObjectKey::placed(tenant, media, stored_as, file.format.extension()).permanent(
        Reason::UNREADABLE_PAYLOAD,
        "the variant's name is no part of an object key",
    )?;
    let Stored { bytes, sha256 } = cx
        .objects
        .put(&object, file.bytes, file.format.mime())
        .await
        .transient()?;
    Ok(Variant {
        media: media.clone(),
        name: file.name,
        format: file.format.name().to_owned(),
        object,
        width: file.width.into(),
        height: file.height.into(),
        bytes,
        sha256,
    })
}

/// Files of `media` that are in the store.
pub(super) async fn placed(media: &MediaId, cx: &JobContext) -> Result<Vec<ObjectKey>, JobError> {
    /// More than the files that several attempts at one picture leave.
    const MOST: u16 = 500;
    let prefix = format!("{}/{}/{media}", ObjectKey::MEDIA, cx.tenant()?.id());
    let listed = cx.objects.list(&prefix, None, MOST).await.transient()?;
    Ok(listed.into_iter().map(|listed| listed.key).collect())
}
