//! An upload begins.

use super::{BY_PARTS, Direct, UploadKind, joined};
use crate::{
    control::jobs::text,
    db::{Bounded, Db, DbError, During, sql},
    ids::{KeyId, TenantId, UploadId},
    units::{ByteCount, Millis},
};
use sqlx::Row;

sql! {
    HELD = "SELECT CAST(COUNT(id) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN kind = 'final' THEN 0 WHEN length IS NULL THEN $2 ELSE length END), 0) AS BIGINT) \
        FROM resumable_uploads WHERE tenant = $1 AND state = 'open'";
    CREATE = "INSERT INTO resumable_uploads (id, tenant, api_key, kind, state, length, received, pieces, metadata, parts, claimed_until, \
        created_at, expires_at, content_type, sha256, direct_job, token_hash) \
        VALUES ($1, $2, $3, $4, 'open', $5, $6, 0, $7, $8, 0, $9, $10, $11, $12, $13, $14) \
        ON CONFLICT (tenant, parts) WHERE kind = 'final' DO NOTHING RETURNING id";
}

/// An upload that begins.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Its id.
    pub id: UploadId,
    /// Whose.
    pub tenant: TenantId,
    /// Who began it.
    pub key: KeyId,
    /// What it is for.
    pub kind: UploadKind,
    /// Bytes of all of it; `None` when the client does not know yet. Of a final one: the sum of its parts, all of which
    /// have arrived.
    pub length: Option<ByteCount>,
    /// `Upload-Metadata` as it was sent.
    pub metadata: String,
    /// Of a final one: its parts in order.
    pub parts: Vec<UploadId>,
    /// Now.
    pub created_at: Millis,
    /// When it is given up.
    pub expires_at: Millis,
    /// Of one whose bytes the client puts into the store itself.
    pub direct: Option<Direct>,
}

/// What a tenant's open uploads may be together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many.
    pub uploads: i64,
    /// Bytes that they hold or will.
    pub bytes: ByteCount,
    /// What one of unknown length counts as.
    pub unknown: ByteCount,
}

/// What became of a beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    New,
    /// The same parts are this final upload's already.
    There(UploadId),
    /// The tenant has as many open ones as it may.
    Full {
        /// How many there are.
        uploads: i64,
        /// What they hold or will.
        bytes: ByteCount,
    },
}

/// Begins an upload. Of beginnings in the same instant each may find room for itself: the bounds are passed by as many at
/// most as come together.
///
/// # Errors
/// When the database is away.
pub async fn create(db: &Db, new: &NewUpload, bounds: Bounds) -> Result<Created, DbError> {
    const WHAT: &str = "begin an upload";
    let parts = (new.kind == UploadKind::Final).then(|| joined(&new.parts));
    let mut tx = db.begin_write().await?;
    let query = HELD
        .query()
        .bind(new.tenant.as_str().to_owned())
        .bind(bounds.unknown.get());
    let row = query.fetch_one(&mut *tx).bounded(WHAT).await?;
    let uploads: i64 = row.try_get(0).during(WHAT)?;
    let bytes = ByteCount::new(row.try_get(1).during(WHAT)?);
    let asked = match new.kind {
        UploadKind::Whole | UploadKind::Partial => new.length.unwrap_or(bounds.unknown),
        // Its bytes are its parts'.
        UploadKind::Final => ByteCount::ZERO,
    };
    if uploads >= bounds.uploads || bytes.plus(asked) > bounds.bytes {
        return Ok(Created::Full { uploads, bytes });
    }
    let received = match new.kind {
        UploadKind::Whole | UploadKind::Partial => ByteCount::ZERO,
        UploadKind::Final => new.length.unwrap_or(ByteCount::ZERO),
    };
    let query = CREATE
        .query()
        .bind(new.id.as_str().to_owned())
        .bind(new.tenant.as_str().to_owned())
        .bind(new.key.as_str().to_owned())
        .bind(new.kind.as_str())
        .bind(new.length.map(ByteCount::get))
        .bind(received.get())
        .bind(new.metadata.clone())
        .bind(parts.clone())
        .bind(new.created_at.get())
        .bind(new.expires_at.get())
        .bind(new.direct.as_ref().map(|direct| direct.content_type.clone()))
        .bind(new.direct.as_ref().and_then(|direct| direct.sha256.clone()))
        .bind(new.direct.as_ref().map(|direct| direct.job.to_string()))
        .bind(new.direct.as_ref().and_then(|direct| direct.token_hash.clone()));
    let made = query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_some();
    if let (false, Some(parts)) = (made, &parts) {
        // Somebody was first, in the same instant.
        let query = BY_PARTS
            .query()
            .bind(new.tenant.as_str().to_owned())
            .bind(parts.clone());
        let row = query.fetch_one(&mut *tx).bounded(WHAT).await?;
        return Ok(Created::There(text(&row, 0)?));
    }
    tx.commit().bounded(WHAT).await?;
    Ok(Created::New)
}
