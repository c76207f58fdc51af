//! An upload ends: it became a job, was refused, given up, or its tenant is gone.

use super::Upload;
use crate::{
    control::jobs::text,
    db::{Bounded, Db, DbError, sql},
    ids::{JobId, MediaId, TenantId, UploadId},
    units::Millis,
};
use sqlx::AnyConnection;

sql! {
    DONE = "UPDATE resumable_uploads SET state = 'done', media = $1, job = $2, claimed_until = 0 WHERE id = $3";
    REFUSE = "UPDATE resumable_uploads SET state = 'refused', refusal = $1, claimed_until = 0 WHERE id = $2 AND state = 'open' RETURNING id";
    CLOSE = "UPDATE resumable_uploads SET state = 'gone', expires_at = $1 WHERE tenant = $2 AND id = $3 AND claimed_until <= $1 RETURNING id";
    DROP_PIECES = "DELETE FROM resumable_pieces WHERE upload = $1";
    EXPIRED = "SELECT tenant, id FROM resumable_uploads WHERE expires_at <= $1 AND claimed_until <= $1 ORDER BY expires_at LIMIT $2";
    FORGET = "DELETE FROM resumable_uploads WHERE id = $1";
    FORGET_PIECES_OF = "DELETE FROM resumable_pieces WHERE upload IN (SELECT id FROM resumable_uploads WHERE tenant = $1)";
    FORGET_OF = "DELETE FROM resumable_uploads WHERE tenant = $1";
}

/// Records what an upload became (without a job it was a picture that was there), and that nobody needs its pieces, nor those of its parts, any more. A job that was
/// accepted stands, whatever was said of its upload meanwhile.
///
/// # Errors
/// When the database is away.
pub async fn done(
    db: &Db,
    tenant: &TenantId,
    upload: &Upload,
    media: &MediaId,
    job: Option<&JobId>,
    now: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "finish an upload";
    let mut tx = db.begin_write().await?;
    let query = DONE
        .query()
        .bind(media.as_str().to_owned())
        .bind(job.map(ToString::to_string))
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
pub(in crate::control) async fn forget_tenant(
    connection: &mut AnyConnection,
    tenant: &TenantId,
) -> Result<(), DbError> {
    for sql in [FORGET_PIECES_OF, FORGET_OF] {
        let query = sql.query().bind(tenant.as_str().to_owned());
        query
            .execute(&mut *connection)
            .bounded("forget a tenant's uploads")
            .await?;
    }
    Ok(())
}
