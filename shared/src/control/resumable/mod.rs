//! Uploads that come in pieces, or by the client's own hand into the store: what has arrived of each, and what became of it.
//!
//! An upload is *open* until its bytes became a job (*done*), were judged and turned down (*refused*), or somebody gave it
//! up or its time was over (*gone*). `received` only grows, and every writer names the value that it knows: of two that go
//! on at the same place, one finds it changed. An object without a row here is nobody's: whoever stored it removes it.

pub(super) mod begin;
pub(super) mod end;
pub(super) mod progress;

pub use begin::{Bounds, Created, NewUpload, create};
pub(super) use end::forget_tenant;
pub use end::{close, done, expired, forget, refuse};
pub use progress::{append, claim, hold, set_length};

use super::jobs::{optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, KeyId, MediaId, TenantId, UploadId},
    objects::ObjectKey,
    units::{ByteCount, Millis},
};
use sqlx::{Row, any::AnyRow};

crate::jobs::names!(
    /// What an upload is for.
    UploadKind, "upload kind" {
        /// It becomes a picture by itself.
        Whole = "whole",
        /// It is a part of a final one.
        Partial = "partial",
        /// It is made of partial ones.
        Final = "final",
    }
);

crate::jobs::names!(
    /// Where an upload stands.
    UploadState, "upload state" {
        /// Bytes are missing, or are there and not judged yet.
        Open = "open",
        /// It became a job.
        Done = "done",
        /// It was judged and turned down.
        Refused = "refused",
        /// It was given up, its time is over, or a final one has taken it in.
        Gone = "gone",
    }
);

sql! {
    BY_PARTS = "SELECT id FROM resumable_uploads WHERE tenant = $1 AND parts = $2 AND kind = 'final'";
    GET = "SELECT id, api_key, kind, state, length, received, pieces, metadata, parts, claimed_until, media, job, refusal, expires_at, \
        content_type, sha256, direct_job, token_hash FROM resumable_uploads WHERE tenant = $1 AND id = $2";
    PIECES = "SELECT start, bytes, object FROM resumable_pieces WHERE upload = $1 ORDER BY start";
}

/// What is known of an upload whose bytes the client puts into the store itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// The job that it will be: the bytes lie at [`ObjectKey::staged`] of it.
    pub job: JobId,
    /// The media type that was announced.
    pub content_type: String,
    /// SHA-256 that was announced, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// SHA-256 of the token that the api takes the bytes for, lower-case hexadecimal; `None` where the store takes them by a signed
    /// URL.
    pub token_hash: Option<String>,
}

/// An upload as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Who began it.
    pub key: KeyId,
    /// What it is for.
    pub kind: UploadKind,
    /// Where it stands.
    pub state: UploadState,
    /// Bytes of all of it, once the client has said so.
    pub length: Option<ByteCount>,
    /// Bytes that have arrived.
    pub received: ByteCount,
    /// Objects that they are in.
    pub pieces: i64,
    /// `Upload-Metadata` as it was sent.
    pub metadata: String,
    /// Of a final one: its parts in order.
    pub parts: Vec<UploadId>,
    /// Somebody makes one object of it until then.
    pub claimed_until: Millis,
    /// The picture that it became.
    pub media: Option<MediaId>,
    /// The job that makes it.
    pub job: Option<JobId>,
    /// Why it was refused.
    pub refusal: Option<String>,
    /// When it is given up.
    pub expires_at: Millis,
    /// Of one whose bytes do not come in pieces; `received` says nothing of it.
    pub direct: Option<Direct>,
}

impl Upload {
    /// Whether all of it has arrived.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.length == Some(self.received)
    }
}

/// A part of an upload, as one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where in the upload it begins.
    pub start: ByteCount,
    /// Its size, at least 1.
    pub bytes: ByteCount,
    /// Where it lies.
    pub object: ObjectKey,
}

/// The final upload of `tenant` that is made of these parts in this order.
///
/// # Errors
/// When the database is away.
pub async fn made_of(db: &Db, tenant: &TenantId, parts: &[UploadId]) -> Result<Option<UploadId>, DbError> {
    const WHAT: &str = "find an upload";
    let query = BY_PARTS.query().bind(tenant.as_str().to_owned()).bind(joined(parts));
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    row.map(|row| text(&row, 0)).transpose()
}

/// An upload of `tenant`, in any state.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, tenant: &TenantId, id: &UploadId) -> Result<Option<Upload>, DbError> {
    let query = GET
        .query()
        .bind(tenant.as_str().to_owned())
        .bind(id.as_str().to_owned());
    let row = query.fetch_optional(db.read()).bounded("read an upload").await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<Upload, DbError> {
    const WHAT: &str = "read an upload";
    let parts: Option<String> = row.try_get(8).during(WHAT)?;
    let parts = parts.unwrap_or_default();
    let parts = parts.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    Ok(Upload {
        id: text(row, 0)?,
        key: text(row, 1)?,
        kind: text(row, 2)?,
        state: text(row, 3)?,
        length: row.try_get::<Option<i64>, _>(4).during(WHAT)?.map(ByteCount::new),
        received: ByteCount::new(row.try_get(5).during(WHAT)?),
        pieces: row.try_get(6).during(WHAT)?,
        metadata: row.try_get(7).during(WHAT)?,
        parts: parts.map_err(|error| DbError::unreadable(WHAT, error))?,
        claimed_until: Millis::new(row.try_get(9).during(WHAT)?),
        media: optional(row, 10)?,
        job: optional(row, 11)?,
        refusal: row.try_get(12).during(WHAT)?,
        expires_at: Millis::new(row.try_get(13).during(WHAT)?),
        direct: direct(row)?,
    })
}

fn direct(row: &AnyRow) -> Result<Option<Direct>, DbError> {
    const WHAT: &str = "read an upload";
    let content_type: Option<String> = row.try_get(14).during(WHAT)?;
    let Some(content_type) = content_type else {
        return Ok(None);
    };
    Ok(Some(Direct {
        job: text(row, 16)?,
        content_type,
        sha256: row.try_get(15).during(WHAT)?,
        token_hash: row.try_get(17).during(WHAT)?,
    }))
}

/// The pieces of an upload, in order.
///
/// # Errors
/// When the database is away.
pub async fn pieces(db: &Db, id: &UploadId) -> Result<Vec<Piece>, DbError> {
    const WHAT: &str = "read an upload's pieces";
    let query = PIECES.query().bind(id.as_str().to_owned());
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(Piece {
                start: ByteCount::new(row.try_get(0).during(WHAT)?),
                bytes: ByteCount::new(row.try_get(1).during(WHAT)?),
                object: text(row, 2)?,
            })
        })
        .collect()
}

fn joined(parts: &[UploadId]) -> String {
    parts.iter().map(UploadId::as_str).collect::<Vec<_>>().join(" ")
}
