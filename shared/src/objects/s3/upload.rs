//! Bodies of unknown length: multipart uploads that end complete or aborted.
//!
//! Parts, and the request that begins an upload, run as tasks of the bucket: a caller that is dropped cannot leave one
//! half known. The abort waits for them, since a part that lands after it would stay for ever.

use super::{
    Bucket, PART,
    fault::{fault, odd, wrong},
    hashed,
};
use crate::{
    objects::{ObjectError, ObjectKey, Stored, metered::Metered},
    units::ByteCount,
};
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{collections::VecDeque, sync::Arc};
use tokio::{runtime::Handle, task::JoinHandle};

/// Parts on their way at the same time; with the one being gathered they are what an upload holds in memory.
const IN_FLIGHT: usize = 2;

/// S3 takes 10,000 parts: of 8 MiB they are 84 GB. After every so many parts their size doubles, so that 10,000 hold
/// more than any object may have, and memory stays as it is up to 8 GB.
const DOUBLES_AFTER: usize = 1000;

type Part = JoinHandle<Result<CompletedPart, ObjectError>>;

/// Sends `first`, then the rest of `body`.
pub(super) async fn put(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    first: Vec<u8>,
    body: Metered,
    content_type: &str,
) -> Result<Stored, ObjectError> {
    let mut upload = Upload::begin(bucket, key, content_type).await?;
    match upload.send(first, body).await {
        Ok(stored) => Ok(stored),
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

/// Begins an upload and gives it up.
pub(super) async fn give_up(bucket: &Arc<Bucket>, key: &ObjectKey) -> Result<(), ObjectError> {
    let mut upload = Upload::begin(bucket, key, "application/octet-stream").await?;
    let Some(open) = &mut upload.open else { return Ok(()) };
    let aborted = open.try_abort().await;
    upload.open = None;
    aborted
}

/// An upload that began. Dropping it aborts it, unless it is complete.
struct Upload {
    open: Option<Open>,
}

struct Open {
    bucket: Arc<Bucket>,
    key: ObjectKey,
    id: String,
    sent: Vec<CompletedPart>,
    in_flight: VecDeque<Part>,
}

impl Upload {
    async fn begin(bucket: &Arc<Bucket>, key: &ObjectKey, content_type: &str) -> Result<Self, ObjectError> {
        let created = create(Arc::clone(bucket), key.clone(), content_type.to_owned());
        let begun = bucket.uploads.spawn(created);
        begun.await.map_err(|error| odd(key, "write", error))?
    }

    async fn send(&mut self, first: Vec<u8>, mut body: Metered) -> Result<Stored, ObjectError> {
        // Taken by `complete` and `abort` alone, which end it.
        let Some(open) = &mut self.open else {
            return Err(ObjectError::Unavailable {
                subject: super::Subject::Store,
                operation: "write",
                source: "the upload was ended".into(),
            });
        };
        let (mut hash, mut bytes) = (Sha256::new(), ByteCount::ZERO);
        let mut piece = Bytes::from(first);
        while !piece.is_empty() {
            bytes = bytes.plus(ByteCount::of(piece.len()));
            (hash, piece) = hashed(hash, piece)
                .await
                .map_err(|error| odd(&open.key, "write", error))?;
            open.send(piece).await?;
            piece = body.gather(open.next_size()).await?.into();
        }
        open.complete().await?;
        self.open = None;
        Ok(Stored {
            bytes,
            sha256: hex::encode(hash.finalize()),
        })
    }

    async fn abort(&mut self) {
        // Not taken before it ran: a caller dropped here still leaves the work to `Drop`.
        if let Some(open) = &mut self.open {
            open.abort().await;
        }
        self.open = None;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => {
                let uploads = open.bucket.uploads.clone();
                uploads.spawn_on(async move { open.abort().await }, &runtime);
            }
            Err(error) => tracing::warn!(object = %open.key, error = %error, "an upload was not aborted"),
        }
    }
}

async fn create(bucket: Arc<Bucket>, key: ObjectKey, content_type: String) -> Result<Upload, ObjectError> {
    let created = bucket
        .client
        .create_multipart_upload()
        .bucket(&bucket.name)
        .key(bucket.path(&key))
        .content_type(content_type)
        .send()
        .await
        .map_err(|error| fault((&key).into(), "write", error))?;
    let id = created
        .upload_id
        .ok_or_else(|| wrong((&key).into(), "write", "an upload without id in the answer"))?;
    Ok(Upload {
        open: Some(Open {
            bucket,
            key,
            id,
            sent: Vec::new(),
            in_flight: VecDeque::new(),
        }),
    })
}

impl Open {
    fn next_size(&self) -> usize {
        let parts = self.sent.len() + self.in_flight.len();
        PART << (parts / DOUBLES_AFTER).min(16)
    }

    /// Hands a part to a task, once fewer than [`IN_FLIGHT`] are on their way.
    async fn send(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        while self.in_flight.len() >= IN_FLIGHT {
            self.settle().await?;
        }
        let number = self.sent.len() + self.in_flight.len() + 1;
        let number = i32::try_from(number).map_err(|error| odd(&self.key, "write", error))?;
        let part = send_part(
            Arc::clone(&self.bucket),
            self.key.clone(),
            self.id.clone(),
            number,
            piece,
        );
        self.in_flight.push_back(self.bucket.uploads.spawn(part));
        Ok(())
    }

    /// Waits for the oldest part on its way, if there is one. Cancel-safe.
    async fn settle(&mut self) -> Result<(), ObjectError> {
        let Some(part) = self.in_flight.front_mut() else {
            return Ok(());
        };
        let part = part.await;
        self.in_flight.pop_front();
        self.sent.push(part.map_err(|error| odd(&self.key, "write", error))??);
        Ok(())
    }

    async fn complete(&mut self) -> Result<(), ObjectError> {
        while !self.in_flight.is_empty() {
            self.settle().await?;
        }
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(self.sent.clone()))
            .build();
        self.bucket
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.path(&self.key))
            .upload_id(&self.id)
            .multipart_upload(parts)
            .customize()
            // Servers may put the parts together before they answer.
            .config_override(self.bucket.deadlines.to_send(ByteCount::of(PART)))
            .send()
            .await
            .map_err(|error| fault((&self.key).into(), "write", error))?;
        Ok(())
    }

    async fn abort(&mut self) {
        if let Err(error) = self.try_abort().await {
            tracing::warn!(object = %self.key, upload = %self.id, error = %error, "an upload was not aborted");
        }
    }

    async fn try_abort(&mut self) -> Result<(), ObjectError> {
        while !self.in_flight.is_empty() {
            // How a part ends does not matter any more, that it ended does.
            let _ = self.settle().await;
        }
        self.bucket
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.path(&self.key))
            .upload_id(&self.id)
            .send()
            .await
            .map_err(|error| fault((&self.key).into(), "abort the upload of", error))?;
        Ok(())
    }
}

async fn send_part(
    bucket: Arc<Bucket>,
    key: ObjectKey,
    id: String,
    number: i32,
    piece: Bytes,
) -> Result<CompletedPart, ObjectError> {
    let deadlines = bucket.deadlines.to_send(ByteCount::of(piece.len()));
    let sent = bucket
        .client
        .upload_part()
        .bucket(&bucket.name)
        .key(bucket.path(&key))
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(piece))
        .customize()
        .config_override(deadlines)
        .send()
        .await
        .map_err(|error| fault((&key).into(), "write", error))?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_the_largest_object() {
        let sizes = (0..10_000_usize).map(|parts| PART << (parts / DOUBLES_AFTER).min(16));
        // 5 TiB: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
        assert!(sizes.sum::<usize>() >= 5 << 40);
    }
}
