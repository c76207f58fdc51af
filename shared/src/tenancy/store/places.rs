//! Where files lie.

use super::{
    super::{TenantDb, TenantTx, sql::tenant_sql},
    media::{Variant, read_variant},
};
use crate::{
    control::jobs::text,
    db::{Bounded, DbError, During},
    ids::MediaId,
    placement::{Places, Spot},
    units::ByteCount,
};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use std::collections::BTreeMap;

tenant_sql! {
    HOLD = "UPDATE {media} SET state = state WHERE id = $1 AND state = 'ready' RETURNING id";
    BY_PLACES = "SELECT storages, CAST(COALESCE(SUM(bytes), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT) FROM {variants} \
        WHERE media IN (SELECT id FROM {media} WHERE state = 'ready') GROUP BY storages";
    AT = "SELECT DISTINCT v.media FROM {variants} v JOIN {media} m ON m.id = v.media WHERE v.media > $1 AND m.state = 'ready' \
        AND (v.storages = $2 OR v.storages LIKE $3) ORDER BY v.media LIMIT $4";
    FILES = "SELECT media, name, format, object_key, width, height, bytes, sha256, storages FROM {variants} WHERE media >= $1 AND media <= $2";
    MISADDED = "SELECT m.id, m.stored_bytes, CAST(COALESCE(SUM(v.bytes), 0) AS BIGINT) FROM {media} m LEFT JOIN {variants} v ON v.media = m.id \
        WHERE m.state = 'ready' GROUP BY m.id, m.stored_bytes HAVING m.stored_bytes <> COALESCE(SUM(v.bytes), 0) ORDER BY m.id LIMIT $1";
    ADD_UP = "UPDATE {media} SET stored_bytes = $1 WHERE id = $2 AND stored_bytes = $3 AND state = 'ready' RETURNING id";
    SET_PLACES = "UPDATE {variants} SET storages = $1 WHERE media = $2 AND name = $3 AND storages = $4 RETURNING name";
}

/// What lies in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Bytes.
    pub bytes: ByteCount,
    /// Files.
    pub objects: i64,
}

impl TenantTx {
    /// Records that a file lies elsewhere, if it still lies where it was seen and its picture is in sight. Returns whether it did.
    /// Whoever deletes the picture waits, or has been first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn set_places(&mut self, variant: &Variant, to: &Places) -> Result<bool, DbError> {
        const WHAT: &str = "record where a file lies";
        let hold = self.query(HOLD).bind(variant.media.as_str().to_owned());
        if hold.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(false);
        }
        let query = self
            .query(SET_PLACES)
            .bind(to.to_string())
            .bind(variant.media.as_str().to_owned())
            .bind(variant.name.clone())
            .bind(variant.places.to_string());
        let row = query.fetch_optional(&mut *self.tx);
        row.bounded(WHAT).await.map(|row| row.is_some())
    }
}

/// A picture that counts other bytes than its files have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misadded {
    /// Which.
    pub media: MediaId,
    /// What it counts.
    pub counted: ByteCount,
    /// What its files have.
    pub held: ByteCount,
}

impl TenantTx {
    /// Makes a picture count what its files have, as long as it counts what it did. Returns whether it was mended.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn add_up(&mut self, found: &Misadded) -> Result<bool, DbError> {
        let query = self
            .query(ADD_UP)
            .bind(found.held.get())
            .bind(found.media.as_str().to_owned())
            .bind(found.counted.get());
        let row = query.fetch_optional(&mut *self.tx).bounded("add a picture's files up");
        row.await.map(|row| row.is_some())
    }
}

impl TenantDb {
    /// Pictures that count other bytes than their files have, at most `limit`, in the order of their ids.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn misadded(&self, limit: i64) -> Result<Vec<Misadded>, DbError> {
        const WHAT: &str = "add pictures' files up";
        let query = self.query(MISADDED).bind(limit);
        let rows = query.fetch_all(&mut *self.reader().await?).bounded(WHAT).await?;
        rows.iter()
            .map(|row| {
                Ok(Misadded {
                    media: text(row, 0)?,
                    counted: ByteCount::new(row.try_get(1).during(WHAT)?),
                    held: ByteCount::new(row.try_get(2).during(WHAT)?),
                })
            })
            .collect()
    }

    /// Files of the pictures from `first` to `last`, also of those that are being deleted, in no order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn files_between(&self, first: &MediaId, last: &MediaId) -> Result<Vec<Variant>, DbError> {
        let query = self
            .query(FILES)
            .bind(first.as_str().to_owned())
            .bind(last.as_str().to_owned());
        let mut reader = self.reader().await?;
        let rows = query.fetch_all(&mut *reader).bounded("list files").await?;
        rows.iter().map(read_variant).collect()
    }

    /// Pictures after `after` of which a file lies in `spot`, or is on its way out of it, in the order of their ids.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn media_at(&self, spot: &Spot, after: Option<&MediaId>, limit: i64) -> Result<Vec<MediaId>, DbError> {
        // Ids hold no `-`, and no id is part of another.
        let alone = match spot {
            Spot::Main => String::new(),
            Spot::Storage(id) => id.to_string(),
        };
        let query = self
            .query(AT)
            .bind(after.map_or_else(String::new, ToString::to_string))
            .bind(alone)
            .bind(format!("%{spot}%"))
            .bind(limit);
        let rows = query
            .fetch_all(&mut *self.reader().await?)
            .bounded("list pictures of a storage")
            .await?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

    /// How much of the pictures in sight lies where, by what the rows say; every copy counts, but none that is on its way out.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn places(&self) -> Result<BTreeMap<Spot, Held>, DbError> {
        const WHAT: &str = "add up what lies where";
        let rows = self
            .query(BY_PLACES)
            .fetch_all(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        let mut held: BTreeMap<Spot, Held> = BTreeMap::new();
        for row in &rows {
            let places: Places = text(row, 0)?;
            let (bytes, objects): (i64, i64) = (row.try_get(1).during(WHAT)?, row.try_get(2).during(WHAT)?);
            for spot in places.held() {
                let held = held.entry(spot.clone()).or_default();
                held.bytes = held.bytes.plus(ByteCount::new(bytes));
                held.objects = held.objects.saturating_add(objects);
            }
        }
        Ok(held)
    }
}
