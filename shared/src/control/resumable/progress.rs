//! An upload goes on: bytes arrive, and somebody makes one object of them.

use super::Piece;
use crate::{
    db::{Bounded, Db, DbError, halving, sql},
    ids::UploadId,
    units::{ByteCount, Millis},
};

sql! {
    SET_LENGTH = "UPDATE resumable_uploads SET length = $1 WHERE id = $2 AND state = 'open' AND length IS NULL AND received = $3 \
        AND expires_at > $4 RETURNING id";
    ADVANCE = "UPDATE resumable_uploads SET received = $1, pieces = pieces + $2 WHERE id = $3 AND state = 'open' AND received = $4 \
        AND (length IS NULL OR length >= $1) AND expires_at > $5 RETURNING id";
    ADD (4) = "INSERT INTO resumable_pieces (upload, start, bytes, object) VALUES {rows}";
    CLAIM = "UPDATE resumable_uploads SET claimed_until = $1 WHERE id = $2 AND state = 'open' \
        AND (received = length OR direct_job IS NOT NULL) AND claimed_until <= $3 RETURNING id";
    HOLD = "UPDATE resumable_uploads SET claimed_until = $1 WHERE id = $2 AND state = 'open' AND claimed_until = $3 RETURNING id";
}

/// Most rows in one inserted statement: four columns each, within both engines' limit of parameters.
const ADD_ROWS: usize = 256;

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

/// Claims an upload whose bytes are all there, or of which only the store knows, until `until`. Returns whether nobody else has it.
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
