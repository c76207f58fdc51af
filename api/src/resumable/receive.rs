//! A body's way into pieces.

use super::{Checksum, MOST_SHORT, PIECE, discard};
use crate::{
    accept::{self, Incoming},
    problem::{Cause, Problem},
    state::State,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use mediamill_shared::{
    control::resumable::{self, Piece, Upload, UploadKind},
    objects::{ObjectKey, Store},
    tenancy::Tenant,
    units::ByteCount,
};

/// Streams are of no type; a piece is a part of one.
const CONTENT_TYPE: &str = "application/octet-stream";

/// Stores `body` from where `upload` is; nothing past `end` is taken. Returns where it is then.
///
/// A body that breaks off leaves what came of it, to the last byte; one with a `checksum` is kept whole or not at all.
pub(crate) async fn receive(
    state: &State,
    tenant: &Tenant,
    upload: &Upload,
    mut body: Incoming<'_>,
    end: ByteCount,
    checksum: Option<Checksum>,
) -> Result<ByteCount, Problem> {
    let full = i64::try_from(PIECE).unwrap_or(i64::MAX);
    if upload.pieces > upload.received.get() / full + MOST_SHORT {
        let detail = format!(
            "{} requests were too many for so few bytes: send larger ones",
            upload.pieces
        );
        return Err(Problem::new(Cause::BadRequest, detail));
    }
    let mut writer = Writer {
        state,
        tenant,
        upload,
        at: upload.received,
        checksum,
        unchecked: Vec::new(),
    };
    let mut buffer = BytesMut::new();
    let ended = loop {
        match body.next().await {
            Some(Ok(mut chunk)) => {
                let more = ByteCount::of(buffer.len()).plus(ByteCount::of(chunk.len()));
                if writer.at.plus(more) > end {
                    break Err(too_long(upload, end));
                }
                while !chunk.is_empty() {
                    if buffer.is_empty() {
                        buffer.reserve(PIECE);
                    }
                    let taken = chunk.split_to(chunk.len().min(PIECE - buffer.len()));
                    buffer.extend_from_slice(&taken);
                    if buffer.len() == PIECE {
                        writer.write(buffer.split().freeze()).await?;
                    }
                }
            }
            Some(Err(problem)) => break Err(problem),
            None => break Ok(()),
        }
    };
    match (ended, writer.checksum.is_some()) {
        (Err(problem), true) => {
            writer.drop_unchecked();
            Err(problem)
        }
        (ended, _) => {
            if !buffer.is_empty() {
                writer.write(buffer.freeze()).await?;
            }
            let at = writer.settle().await?;
            ended.map(|()| at)
        }
    }
}

fn too_long(upload: &Upload, end: ByteCount) -> Problem {
    let detail = match upload.length {
        Some(length) => format!("the upload has {} bytes, and the body goes on past them", length.get()),
        None => format!("an upload may have {end}"),
    };
    Problem::new(Cause::TooLarge, detail).with("limit", end.get())
}

/// Where the pieces of one body go.
struct Writer<'a> {
    state: &'a State,
    tenant: &'a Tenant,
    upload: &'a Upload,
    /// Where the next piece begins.
    at: ByteCount,
    checksum: Option<Checksum>,
    /// Stored, and not the upload's before their checksum is known.
    unchecked: Vec<Piece>,
}

impl Writer<'_> {
    /// Stores a piece. An error leaves nothing of this and of what was unchecked.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let written = self.try_write(bytes).await;
        if written.is_err() {
            self.drop_unchecked();
        }
        written
    }

    async fn try_write(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let services = &self.state.services;
        if let Some(mut checksum) = self.checksum.take() {
            // A piece takes milliseconds.
            let hashed = bytes.clone();
            let checksum = tokio::task::spawn_blocking(move || {
                checksum.update(&hashed);
                checksum
            });
            let checksum = checksum.await;
            self.checksum = Some(checksum.map_err(|_| Problem::new(Cause::Internal, "something went wrong here"))?);
        } else {
            self.foresee(&bytes).await?;
        }
        let mut chance = [0_u8; 8];
        services.entropy.fill(&mut chance);
        let object = ObjectKey::piece(self.tenant.id(), &self.upload.id, self.at, u64::from_le_bytes(chance));
        let piece = Piece {
            start: self.at,
            bytes: ByteCount::of(bytes.len()),
            object: object.clone(),
        };
        if let Err(error) = services.objects.put(&object, bytes, CONTENT_TYPE).await {
            // It may be there all the same.
            accept::remove(services, object);
            return Err(error.into());
        }
        let more = self.at.plus(piece.bytes);
        self.unchecked.push(piece);
        if self.checksum.is_none() {
            self.record().await?;
        }
        self.at = more;
        Ok(())
    }

    /// What is no picture is refused when its first bytes are there. Not before their checksum was right.
    async fn foresee(&self, bytes: &Bytes) -> Result<(), Problem> {
        let known = bytes.len() >= accept::HEAD || self.upload.length == Some(ByteCount::of(bytes.len()));
        if self.upload.kind != UploadKind::Whole || self.at != ByteCount::ZERO || !known {
            return Ok(());
        }
        if let Err(problem) = accept::foresee(self.tenant, bytes) {
            discard(&self.state.services, self.tenant.id(), self.upload, &problem).await?;
            return Err(problem);
        }
        Ok(())
    }

    /// Makes what is stored the upload's.
    async fn record(&mut self) -> Result<(), Problem> {
        let services = &self.state.services;
        let Some(first) = self.unchecked.first() else {
            return Ok(());
        };
        let (start, now) = (first.start, services.clock.now());
        let recorded = resumable::append(&services.control, &self.upload.id, start, &self.unchecked, now).await;
        match recorded {
            Ok(true) => {
                self.unchecked.clear();
                Ok(())
            }
            Ok(false) => {
                self.drop_unchecked();
                let detail = "somebody else has gone on with the upload, or ended it: ask where it is";
                Err(Problem::new(Cause::OffsetMismatch, detail))
            }
            Err(error) => {
                // They may be the upload's: whatever becomes of it, its pieces are removed with it.
                self.unchecked.clear();
                Err(error.into())
            }
        }
    }

    /// Where the upload is after all pieces.
    async fn settle(mut self) -> Result<ByteCount, Problem> {
        if let Some(checksum) = self.checksum.take() {
            if !checksum.fits() {
                self.drop_unchecked();
                return Err(Problem::new(
                    Cause::ChecksumMismatch,
                    "the bytes that arrived are not those that were sent: send them again",
                ));
            }
            self.record().await?;
        }
        Ok(self.at)
    }

    /// Removes what is not the upload's, in the background.
    fn drop_unchecked(&mut self) {
        let (objects, pieces) = (self.state.services.objects.clone(), std::mem::take(&mut self.unchecked));
        self.state.services.shutdown.spawn(async move {
            for piece in pieces {
                if let Err(error) = objects.delete(&piece.object).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::info!(error, "pieces are left until their upload is removed");
                    return;
                }
            }
        });
    }
}
