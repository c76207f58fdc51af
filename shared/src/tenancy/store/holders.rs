//! Who has uploaded the same bytes, where a site gives a picture that it has for one that is the same.

use super::{
    super::{Limits, TenantDb, TenantTx, sql::tenant_sql},
    usage::Usage,
};
use crate::{
    control::jobs::text,
    db::{Bounded, DbError, During},
    ids::{JobId, MediaId, UserId},
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
    LET_GO = "DELETE FROM {holders} WHERE sha256 = $1 AND holder = $2 AND media = $3";
    HOLDERS = "SELECT h.holder FROM {media} m JOIN {holders} h ON h.sha256 = m.sha256 AND h.media = m.id WHERE m.id = $1 ORDER BY h.holder";
    OTHERS = "SELECT CAST(COUNT(*) AS BIGINT) FROM {holders} WHERE sha256 = $1 AND media = $2";
    FORGET = "DELETE FROM {holders} WHERE sha256 = $1 AND media = $2";
}

/// What became of a picture that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is out of sight and out of the count: what is not in use any more.
    Now(Usage),
    /// It was already, or is not there.
    Before,
    /// Others have uploaded the same: it stays, for them.
    Kept,
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

    /// Takes `holder` away from a picture, once on behalf of `job`: the holder may have uploaded the same again since. Returns whether
    /// others hold it, or the job has been here. Until the transaction ends nobody else comes to hold it.
    async fn let_go(&mut self, media: &MediaId, holder: &UserId, job: &JobId) -> Result<bool, DbError> {
        const WHAT: &str = "let a picture go";
        let keep = self.query(KEEP).bind(media.to_string());
        let Some(row) = keep.fetch_optional(&mut *self.tx).bounded(WHAT).await? else {
            return Ok(false);
        };
        let Some(sha256) = row.try_get::<Option<String>, _>(0).during(WHAT)? else {
            return Ok(false);
        };
        if self.is_settled(job).await? {
            return Ok(true);
        }
        self.forget_hold(&sha256, holder, media).await?;
        let others = self.query(OTHERS).bind(sha256).bind(media.to_string());
        let row = others.fetch_one(&mut *self.tx).bounded(WHAT).await?;
        Ok(row.try_get::<i64, _>(0).during(WHAT)? > 0)
    }

    async fn forget_hold(&mut self, sha256: &str, holder: &UserId, media: &MediaId) -> Result<(), DbError> {
        let query = self
            .query(LET_GO)
            .bind(sha256.to_owned())
            .bind(holder.to_string())
            .bind(media.to_string());
        let done = query.execute(&mut *self.tx).bounded("let a picture go");
        done.await.map(drop)
    }

    /// Forgets who held a picture that is deleted.
    pub(super) async fn forget_holders(&mut self, sha256: &str, media: &MediaId) -> Result<(), DbError> {
        let query = self.query(FORGET).bind(sha256.to_owned()).bind(media.to_string());
        let done = query.execute(&mut *self.tx).bounded("forget who held a picture");
        done.await.map(drop)
    }
}

impl TenantDb {
    /// Takes a picture out of sight and out of the count, on behalf of `job`. For a `holder` only its hold goes, while others hold
    /// the picture too; without one the picture goes for all.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delete(
        &self,
        id: &MediaId,
        holder: Option<&UserId>,
        job: &JobId,
        now: Millis,
    ) -> Result<Deleted, DbError> {
        let mut tx = self.begin().await?;
        if let Some(holder) = holder
            && tx.let_go(id, holder, job).await?
        {
            tx.settle(job, Usage::default(), &Limits::builtin(), now).await?;
            tx.commit().await?;
            return Ok(Deleted::Kept);
        }
        let Some(change) = tx.hide_media(id).await? else {
            return Ok(Deleted::Before);
        };
        // What is given back fits whatever limits there are.
        tx.settle(job, change, &Limits::builtin(), now).await?;
        tx.commit().await?;
        Ok(Deleted::Now(change))
    }

    /// Notes that `holder` has uploaded the bytes that `job` makes a picture of. `false`: it was made, and deleted since.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn hold_making(
        &self,
        sha256: &str,
        holder: &UserId,
        (media, job): (&MediaId, &JobId),
        now: Millis,
    ) -> Result<bool, DbError> {
        const WHAT: &str = "hold a picture that is being made";
        let mut tx = self.begin().await?;
        tx.hold(sha256, holder, media, now).await?;
        tx.commit().await?;
        // In this order: a picture that is not there was deleted only if it had been made before it was looked for.
        if !self.is_settled(job).await? {
            return Ok(true);
        }
        let mut tx = self.begin().await?;
        // Whoever deletes it sees the hold from now on, or has its row already and is waited for.
        let keep = tx.query(KEEP).bind(media.to_string());
        let is_there = keep.fetch_optional(&mut *tx.tx).bounded(WHAT).await?.is_some();
        if !is_there {
            tx.forget_hold(sha256, holder, media).await?;
        }
        tx.commit().await?;
        Ok(is_there)
    }

    /// Who holds a picture; nobody, where it was not uploaded to be the same for all.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn holders(&self, id: &MediaId) -> Result<Vec<UserId>, DbError> {
        let query = self.query(HOLDERS).bind(id.to_string());
        let mut reader = self.reader().await?;
        let rows = query
            .fetch_all(&mut *reader)
            .bounded("list who holds a picture")
            .await?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

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
