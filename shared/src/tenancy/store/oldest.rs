//! The pictures of a tenant that have been there longest.

use super::super::{TenantDb, sql::tenant_sql};
use crate::{
    control::jobs::text,
    db::{Bounded, DbError, During},
    ids::MediaId,
    tenancy::store::usage::Usage,
    units::{ByteCount, Millis},
};
use sqlx::Row;

tenant_sql! {
    OVER = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN frames > 1 THEN stored_bytes ELSE 0 END), 0) AS BIGINT) FROM {media} WHERE state = 'ready' AND expires_at <= $1";
    // Ids sort by when their uploads were accepted.
    OLDEST = "SELECT id, stored_bytes, frames FROM {media} WHERE state = 'ready' AND (expires_at IS NULL OR expires_at > $1) \
        AND frames BETWEEN $2 AND $3 AND stored_bytes >= $4 ORDER BY id LIMIT $5";
}

/// Which pictures are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Those that do not move.
    pub(crate) stills: bool,
    /// Those that move.
    pub(crate) moving: bool,
    /// Also those that have no bytes.
    pub(crate) empty: bool,
}

impl TenantDb {
    /// What is still counted of pictures whose time is over.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn over(&self, now: Millis) -> Result<Usage, DbError> {
        const WHAT: &str = "count pictures whose time is over";
        let query = self.query(OVER).bind(now.get());
        let row = query.fetch_one(&mut *self.reader().await?).bounded(WHAT).await?;
        Ok(Usage {
            media: row.try_get(0).during(WHAT)?,
            bytes: ByteCount::new(row.try_get(1).during(WHAT)?),
            animation_bytes: ByteCount::new(row.try_get(2).during(WHAT)?),
        })
    }

    /// The oldest pictures in sight that are wanted, the oldest first, at most `limit`, each with what it counts.
    pub(crate) async fn oldest(
        &self,
        now: Millis,
        wanted: Wanted,
        limit: i64,
    ) -> Result<Vec<(MediaId, Usage)>, DbError> {
        const WHAT: &str = "look for the oldest pictures";
        let query = self
            .query(OLDEST)
            .bind(now.get())
            .bind(if wanted.stills { 1_i64 } else { 2 })
            .bind(if wanted.moving { i64::MAX } else { 1 })
            .bind(i64::from(!wanted.empty))
            .bind(limit);
        let rows = query.fetch_all(&mut *self.reader().await?).bounded(WHAT).await?;
        rows.iter()
            .map(|row| {
                let bytes = ByteCount::new(row.try_get(1).during(WHAT)?);
                Ok((text(row, 0)?, Usage::picture(bytes, row.try_get(2).during(WHAT)?)))
            })
            .collect()
    }
}
