//! Who has uploaded the same bytes, where a site gives a picture that it has for one that is the same.

use super::super::{TenantDb, TenantTx, sql::tenant_sql};
use crate::{
    control::jobs::text,
    db::{Bounded, DbError, During},
    ids::{MediaId, UserId},
    units::Millis,
};
use sqlx::Row;

tenant_sql! {
    FIND = "SELECT h.media FROM {holders} h JOIN {media} m ON m.id = h.media WHERE h.sha256 = $1 AND m.state = 'ready' \
        AND (m.expires_at IS NULL OR m.expires_at > $2) ORDER BY h.media LIMIT 1";
    // Whoever deletes the picture waits, or has been first.
    KEEP = "UPDATE {media} SET state = state WHERE id = $1 AND state = 'ready' RETURNING sha256";
    HOLD = "INSERT INTO {holders} (sha256, holder, media, at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (sha256, holder) DO UPDATE SET media = excluded.media, at = excluded.at";
    LET_GO = "DELETE FROM {holders} WHERE sha256 = $1 AND holder = $2 AND media = $3 RETURNING holder";
    OTHERS = "SELECT CAST(COUNT(*) AS BIGINT) FROM {holders} WHERE sha256 = $1 AND media = $2";
    FORGET = "DELETE FROM {holders} WHERE sha256 = $1 AND media = $2";
}

/// What became of somebody's wish that a picture is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetGo {
    /// Others have uploaded the same: the picture stays, without this holder.
    Kept,
    /// Nobody else holds it: it is to be deleted.
    Last,
}

impl TenantTx {
    /// Notes that `holder` has uploaded the bytes that a picture was, or is being, made of.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn hold(&mut self, sha256: &str, holder: &UserId, media: &MediaId, now: Millis) -> Result<(), DbError> {
        let query = self
            .query(HOLD)
            .bind(sha256.to_owned())
            .bind(holder.to_string())
            .bind(media.to_string())
            .bind(now.get());
        let done = query.execute(&mut *self.tx).bounded("note who has uploaded a picture");
        done.await.map(drop)
    }

    /// Takes `holder` away from a picture, which goes with its last one. Who holds nothing of it, an administrator say, means
    /// the picture itself.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn let_go(&mut self, media: &MediaId, holder: &UserId) -> Result<LetGo, DbError> {
        const WHAT: &str = "let a picture go";
        let keep = self.query(KEEP).bind(media.to_string());
        let Some(row) = keep.fetch_optional(&mut *self.tx).bounded(WHAT).await? else {
            return Ok(LetGo::Last);
        };
        let Some(sha256) = row.try_get::<Option<String>, _>(0).during(WHAT)? else {
            return Ok(LetGo::Last);
        };
        let query = self
            .query(LET_GO)
            .bind(sha256.clone())
            .bind(holder.to_string())
            .bind(media.to_string());
        if query.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(LetGo::Last);
        }
        let others = self.query(OTHERS).bind(sha256).bind(media.to_string());
        let others: i64 = others
            .fetch_one(&mut *self.tx)
            .bounded(WHAT)
            .await?
            .try_get(0)
            .during(WHAT)?;
        Ok(if others > 0 { LetGo::Kept } else { LetGo::Last })
    }

    /// Forgets who held a picture that is deleted.
    pub(super) async fn forget_holders(&mut self, sha256: &str, media: &MediaId) -> Result<(), DbError> {
        let query = self.query(FORGET).bind(sha256.to_owned()).bind(media.to_string());
        let done = query.execute(&mut *self.tx).bounded("forget who held a picture");
        done.await.map(drop)
    }
}

impl TenantDb {
    /// The picture that was made of these bytes and is there at `now`, which `holder` holds too from then on.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn hold_existing(&self, sha256: &str, holder: &UserId, now: Millis) -> Result<Option<MediaId>, DbError> {
        const WHAT: &str = "look for the same upload";
        let query = self.query(FIND).bind(sha256.to_owned()).bind(now.get());
        let row = query.fetch_optional(&mut *self.reader().await?).bounded(WHAT).await?;
        let Some(row) = row else { return Ok(None) };
        let media: MediaId = text(&row, 0)?;
        let mut tx = self.begin().await?;
        let keep = tx.query(KEEP).bind(media.to_string());
        if keep.fetch_optional(&mut *tx.tx).bounded(WHAT).await?.is_none() {
            // It was deleted in between.
            return Ok(None);
        }
        tx.hold(sha256, holder, &media, now).await?;
        tx.commit().await?;
        Ok(Some(media))
    }
}
