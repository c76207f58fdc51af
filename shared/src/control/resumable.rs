//! Uploads that come in pieces: what has arrived of each, and what became of it.
//!
//! An upload is *open* until its bytes became a job (*done*), were judged and turned down (*refused*), or somebody gave it
//! up or its time was over (*gone*). `received` only grows, and every writer names the value that it knows: of two that go
//! on at the same place, one finds it changed. An object without a row here is nobody's: whoever stored it removes it.

use super::jobs::{optional, text};
use crate::{
    db::{Bounded, Db, DbError, During, halving, sql},
    ids::{JobId, KeyId, MediaId, TenantId, UploadId},
    objects::ObjectKey,
    units::{ByteCount, Millis},
};
use sqlx::{AnyConnection, Row, any::AnyRow};

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
    HELD = "SELECT CAST(COUNT(id) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN kind = 'final' THEN 0 WHEN length IS NULL THEN $2 ELSE length END), 0) AS BIGINT) \
        FROM resumable_uploads WHERE tenant = $1 AND state = 'open'";
    CREATE = "INSERT INTO resumable_uploads (id, tenant, api_key, kind, state, length, received, pieces, metadata, parts, claimed_until, \
        created_at, expires_at) VALUES ($1, $2, $3, $4, 'open', $5, $6, 0, $7, $8, 0, $9, $10) \
        ON CONFLICT (tenant, parts) WHERE kind = 'final' DO NOTHING RETURNING id";
    BY_PARTS = "SELECT id FROM resumable_uploads WHERE tenant = $1 AND parts = $2 AND kind = 'final'";
    GET = "SELECT id, api_key, kind, state, length, received, pieces, metadata, parts, claimed_until, media, job, refusal, expires_at \
        FROM resumable_uploads WHERE tenant = $1 AND id = $2";
    SET_LENGTH = "UPDATE resumable_uploads SET length = $1 WHERE id = $2 AND state = 'open' AND length IS NULL AND received = $3 \
        AND expires_at > $4 RETURNING id";
    ADVANCE = "UPDATE resumable_uploads SET received = $1, pieces = pieces + $2 WHERE id = $3 AND state = 'open' AND received = $4 \
        AND (length IS NULL OR length >= $1) AND expires_at > $5 RETURNING id";
    ADD (4) = "INSERT INTO resumable_pieces (upload, start, bytes, object) VALUES {rows}";
    PIECES = "SELECT start, bytes, object FROM resumable_pieces WHERE upload = $1 ORDER BY start";
    CLAIM = "UPDATE resumable_uploads SET claimed_until = $1 WHERE id = $2 AND state = 'open' AND received = length AND claimed_until <= $3 \
        RETURNING id";
    HOLD = "UPDATE resumable_uploads SET claimed_until = $1 WHERE id = $2 AND state = 'open' AND claimed_until = $3 RETURNING id";
    DONE = "UPDATE resumable_uploads SET state = 'done', media = $1, job = $2, claimed_until = 0 WHERE id = $3";
    REFUSE = "UPDATE resumable_uploads SET state = 'refused', refusal = $1, claimed_until = 0 WHERE id = $2 AND state = 'open' RETURNING id";
    CLOSE = "UPDATE resumable_uploads SET state = 'gone', expires_at = $1 WHERE tenant = $2 AND id = $3 AND claimed_until <= $1 RETURNING id";
    DROP_PIECES = "DELETE FROM resumable_pieces WHERE upload = $1";
    EXPIRED = "SELECT tenant, id FROM resumable_uploads WHERE expires_at <= $1 AND claimed_until <= $1 ORDER BY expires_at LIMIT $2";
    FORGET = "DELETE FROM resumable_uploads WHERE id = $1";
    FORGET_PIECES_OF = "DELETE FROM resumable_pieces WHERE upload IN (SELECT id FROM resumable_uploads WHERE tenant = $1)";
    FORGET_OF = "DELETE FROM resumable_uploads WHERE tenant = $1";
}

/// Most rows in one inserted statement: four columns each, within both engines' limit of parameters.
const ADD_ROWS: usize = 256;

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
        .bind(new.expires_at.get());
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

fn joined(parts: &[UploadId]) -> String {
    parts.iter().map(UploadId::as_str).collect::<Vec<_>>().join(" ")
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
    })
}

/// Says how long an upload of unknown length is, of which `received` has arrived. Returns whether it was open and unknown.
///
/// # Errors
/// When the database is away.
pub async fn set_length(
    db: &Db,
    id: &UploadId,
    received: ByteCount,
    length: ByteCount,
    now: Millis,
) -> Result<bool, DbError> {
    let query = SET_LENGTH
        .query()
        .bind(length.get())
        .bind(id.as_str().to_owned())
        .bind(received.get())
        .bind(now.get());
    let row = query
        .fetch_optional(db.write())
        .bounded("say how long an upload is")
        .await?;
    Ok(row.is_some())
}

/// Adds pieces that lie end to end, the first where `received` bytes have arrived: all or none. Returns whether they were:
/// if not, somebody else has gone on, or the upload is not open any more.
///
/// # Errors
/// When the database is away; whether they were added is unknown then.
pub async fn append(
    db: &Db,
    id: &UploadId,
    received: ByteCount,
    pieces: &[Piece],
    now: Millis,
) -> Result<bool, DbError> {
    const WHAT: &str = "go on with an upload";
    let more = pieces.iter().fold(received, |sum, piece| sum.plus(piece.bytes));
    let count = i64::try_from(pieces.len()).unwrap_or(i64::MAX);
    let mut tx = db.begin_write().await?;
    let query = ADVANCE
        .query()
        .bind(more.get())
        .bind(count)
        .bind(id.as_str().to_owned())
        .bind(received.get())
        .bind(now.get());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    let mut rest = pieces;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len()).min(ADD_ROWS));
        rest = others;
        let mut query = ADD.rows(1, these.len(), 4);
        for piece in these {
            query = query
                .bind(id.as_str().to_owned())
                .bind(piece.start.get())
                .bind(piece.bytes.get())
                .bind(piece.object.as_str().to_owned());
        }
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(true)
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

/// Claims an upload whose bytes are all there, until `until`. Returns whether nobody else has it.
///
/// # Errors
/// When the database is away.
pub async fn claim(db: &Db, id: &UploadId, now: Millis, until: Millis) -> Result<bool, DbError> {
    let query = CLAIM
        .query()
        .bind(until.get())
        .bind(id.as_str().to_owned())
        .bind(now.get());
    let row = query.fetch_optional(db.write()).bounded("claim an upload").await?;
    Ok(row.is_some())
}

/// Makes a claim that ends at `before` end at `until`; in the past, it is given back. Returns whether it was still held.
///
/// # Errors
/// When the database is away.
pub async fn hold(db: &Db, id: &UploadId, before: Millis, until: Millis) -> Result<bool, DbError> {
    let query = HOLD
        .query()
        .bind(until.get())
        .bind(id.as_str().to_owned())
        .bind(before.get());
    let row = query.fetch_optional(db.write()).bounded("hold an upload").await?;
    Ok(row.is_some())
}

/// Records what an upload became, and that nobody needs its pieces, nor those of its parts, any more. A job that was
/// accepted stands, whatever was said of its upload meanwhile.
///
/// # Errors
/// When the database is away.
pub async fn done(
    db: &Db,
    tenant: &TenantId,
    upload: &Upload,
    media: &MediaId,
    job: &JobId,
    now: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "finish an upload";
    let mut tx = db.begin_write().await?;
    let query = DONE
        .query()
        .bind(media.as_str().to_owned())
        .bind(job.as_str().to_owned())
        .bind(upload.id.as_str().to_owned());
    query.execute(&mut *tx).bounded(WHAT).await?;
    drop_pieces(&mut tx, tenant, upload, now).await?;
    tx.commit().bounded(WHAT).await
}

/// Records why an upload was turned down, and that nobody needs its pieces, nor those of its parts, any more. Returns
/// whether it was still open.
///
/// # Errors
/// When the database is away.
pub async fn refuse(db: &Db, tenant: &TenantId, upload: &Upload, refusal: &str, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "refuse an upload";
    let mut tx = db.begin_write().await?;
    let query = REFUSE
        .query()
        .bind(refusal.to_owned())
        .bind(upload.id.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    drop_pieces(&mut tx, tenant, upload, now).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

async fn drop_pieces(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    upload: &Upload,
    now: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "drop an upload's pieces";
    for id in std::iter::once(&upload.id).chain(&upload.parts) {
        let query = DROP_PIECES.query().bind(id.as_str().to_owned());
        query.execute(&mut *connection).bounded(WHAT).await?;
    }
    for part in &upload.parts {
        let query = CLOSE
            .query()
            .bind(now.get())
            .bind(tenant.as_str().to_owned())
            .bind(part.as_str().to_owned());
        query.execute(&mut *connection).bounded(WHAT).await?;
    }
    Ok(())
}

/// Gives an upload up, unless somebody makes one object of it. Returns whether nothing goes on with it from now on.
///
/// # Errors
/// When the database is away.
pub async fn close(db: &Db, tenant: &TenantId, id: &UploadId, now: Millis) -> Result<bool, DbError> {
    let query = CLOSE
        .query()
        .bind(now.get())
        .bind(tenant.as_str().to_owned())
        .bind(id.as_str().to_owned());
    let row = query.fetch_optional(db.write()).bounded("give an upload up").await?;
    Ok(row.is_some())
}

/// At most `limit` uploads whose time is over, the oldest first.
///
/// # Errors
/// When the database is away.
pub async fn expired(db: &Db, now: Millis, limit: i64) -> Result<Vec<(TenantId, UploadId)>, DbError> {
    let query = EXPIRED.query().bind(now.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for expired uploads").await?;
    rows.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect()
}

/// Removes the row of an upload whose objects are gone.
///
/// # Errors
/// When the database is away.
pub async fn forget(db: &Db, id: &UploadId) -> Result<(), DbError> {
    const WHAT: &str = "forget an upload";
    let mut tx = db.begin_write().await?;
    for sql in [DROP_PIECES, FORGET] {
        let query = sql.query().bind(id.as_str().to_owned());
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await
}

/// Removes every upload of a tenant, within its removal.
pub(super) async fn forget_tenant(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    for sql in [FORGET_PIECES_OF, FORGET_OF] {
        let query = sql.query().bind(tenant.as_str().to_owned());
        query
            .execute(&mut *connection)
            .bounded("forget a tenant's uploads")
            .await?;
    }
    Ok(())
}
