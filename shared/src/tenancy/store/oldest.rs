//! The pictures of a tenant that have been there longest.

use super::super::{TenantDb, sql::tenant_sql};
use crate::{
    control::jobs::text,
    db::{Bounded, DbError, During},
    ids::MediaId,
    tenancy::store::usage::Usage,
    units::{ByteCount, Millis},
};
use sqlx::{Row, any::AnyRow};

tenant_sql! {
    // One statement: a picture that is deleted meanwhile is in both, or in neither.
    OVER = "SELECT u.media, u.bytes, u.animation_bytes, m.media, m.bytes, m.animation_bytes FROM {usage} u \
        CROSS JOIN (SELECT CAST(COUNT(*) AS BIGINT) AS media, CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) AS bytes, \
            CAST(COALESCE(SUM(CASE WHEN frames > 1 THEN stored_bytes ELSE 0 END), 0) AS BIGINT) AS animation_bytes \
            FROM {media} WHERE state = 'ready' AND expires_at <= $1) m WHERE u.id = 1";
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

impl Wanted {
    /// Whether any would do.
    pub(crate) const fn is_any(self) -> bool {
        self.stills || self.moving
    }
}

impl TenantDb {
    /// What is counted, and how much of it of pictures whose time is over: of one moment.
    ///
    /// # Errors
    /// When the database is away.
    pub(crate) async fn usage_and_over(&self, now: Millis) -> Result<(Usage, Usage), DbError> {
        const WHAT: &str = "count pictures whose time is over";
        let usage = |row: &AnyRow, from: usize| {
            Ok(Usage {
                media: row.try_get(from).during(WHAT)?,
                bytes: ByteCount::new(row.try_get(from + 1).during(WHAT)?),
                animation_bytes: ByteCount::new(row.try_get(from + 2).during(WHAT)?),
            })
        };
        let query = self.query(OVER).bind(now.get());
        let row = query.fetch_one(&mut *self.reader().await?).bounded(WHAT).await?;
        Ok((usage(&row, 0)?, usage(&row, 3)?))
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
