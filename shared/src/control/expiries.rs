//! When pictures expire: what the scheduler goes by, so that it need not look into every tenant. The picture's own row has the say.

use super::jobs::text;
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::{MediaId, TenantId},
    units::Millis,
};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};

sql! {
    NOTE = "INSERT INTO media_expiries (tenant, media, at) VALUES ($1, $2, $3) ON CONFLICT (tenant, media) DO UPDATE SET at = excluded.at";
    DUE = "SELECT tenant, media, at FROM media_expiries WHERE at <= $1 AND (at, tenant, media) > ($2, $3, $4) ORDER BY at, tenant, media LIMIT $5";
    FORGET = "DELETE FROM media_expiries WHERE tenant = $1 AND media = $2 AND at = $3";
    FORGET_TENANT = "DELETE FROM media_expiries WHERE tenant = $1";
}

/// A picture whose time may be over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub media: MediaId,
    /// When.
    pub at: Millis,
}

/// Notes one, in the place of what was noted of the picture before.
///
/// # Errors
/// When the database is away.
pub async fn note(db: &Db, expiry: &Expiry) -> Result<(), DbError> {
    note_in(&mut *db.writer().await?, expiry).await
}

/// The same within a transaction.
pub(crate) async fn note_in(connection: &mut AnyConnection, expiry: &Expiry) -> Result<(), DbError> {
    let query = NOTE
        .query()
        .bind(expiry.tenant.to_string())
        .bind(expiry.media.to_string())
        .bind(expiry.at.get());
    let done = query.execute(connection).bounded("note when a picture expires");
    done.await.map(drop)
}

/// Those that are due at `now` and come after `after`, the first due first, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn due(db: &Db, now: Millis, after: Option<&Expiry>, limit: i64) -> Result<Vec<Expiry>, DbError> {
    const WHAT: &str = "look for pictures whose time is over";
    let query = DUE
        .query()
        .bind(now.get())
        .bind(after.map_or(i64::MIN, |after| after.at.get()))
        .bind(after.map_or_else(String::new, |after| after.tenant.to_string()))
        .bind(after.map_or_else(String::new, |after| after.media.to_string()))
        .bind(limit);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(Expiry {
                tenant: text(row, 0)?,
                media: text(row, 1)?,
                at: Millis::new(row.try_get(2).during(WHAT)?),
            })
        })
        .collect()
}

/// Forgets one that has not been changed since it was read.
///
/// # Errors
/// When the database is away.
pub async fn forget(db: &Db, expiry: &Expiry) -> Result<(), DbError> {
    let query = FORGET
        .query()
        .bind(expiry.tenant.to_string())
        .bind(expiry.media.to_string())
        .bind(expiry.at.get());
    let done = query.execute(db.write()).bounded("forget when a picture expires");
    done.await.map(drop)
}

/// Forgets a tenant's, within the transaction that forgets the tenant.
pub(crate) async fn forget_tenant(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    let query = FORGET_TENANT.query().bind(tenant.to_string());
    let done = query.execute(connection).bounded("forget when pictures expire");
    done.await.map(drop)
}
