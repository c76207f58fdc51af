//! Figures of tenants as they were counted last.

use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    units::Millis,
};
use sqlx::Row;

sql! {
    PUT = "INSERT INTO tenant_stats (tenant, stats, refreshed_at) VALUES ($1, $2, $3) \
        ON CONFLICT (tenant) DO UPDATE SET stats = excluded.stats, refreshed_at = excluded.refreshed_at";
    GET = "SELECT stats, refreshed_at FROM tenant_stats WHERE tenant = $1";
    OF (1) = "SELECT tenant, stats FROM tenant_stats WHERE tenant IN (VALUES {rows})";
    STALE = "SELECT t.id, COALESCE(s.refreshed_at, 0) FROM tenants t LEFT JOIN tenant_stats s ON s.tenant = t.id \
        WHERE t.state IN ('active', 'suspended') AND COALESCE(s.refreshed_at, 0) < $1 AND (COALESCE(s.refreshed_at, 0), t.id) > ($2, $3) \
        ORDER BY COALESCE(s.refreshed_at, 0), t.id LIMIT $4";
}

/// A tenant whose figures are old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Whose.
    pub tenant: TenantId,
    /// When they were counted; 0: never.
    pub counted_at: Millis,
}

pub(crate) async fn put(db: &Db, id: &TenantId, stats: &str, now: Millis) -> Result<(), DbError> {
    let query = PUT
        .query()
        .bind(id.as_str().to_owned())
        .bind(stats.to_owned())
        .bind(now.get());
    query
        .execute(db.write())
        .bounded("keep a tenant's figures")
        .await
        .map(|_| ())
}

pub(crate) async fn get(db: &Db, id: &TenantId) -> Result<Option<(String, Millis)>, DbError> {
    const WHAT: &str = "read a tenant's figures";
    let query = GET.query().bind(id.as_str().to_owned());
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    row.map(|row| Ok((row.try_get(0).during(WHAT)?, Millis::new(row.try_get(1).during(WHAT)?))))
        .transpose()
}

/// The figures of several tenants, of those that have any.
pub(crate) async fn of(db: &Db, ids: &[TenantId]) -> Result<Vec<(TenantId, String)>, DbError> {
    const WHAT: &str = "read tenants' figures";
    let Some(last) = ids.last() else { return Ok(Vec::new()) };
    let size = crate::db::padded(ids.len());
    let mut query = OF.rows(1, size, 1);
    for place in 0..size {
        query = query.bind(ids.get(place).unwrap_or(last).as_str().to_owned());
    }
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| Ok((super::jobs::text(row, 0)?, row.try_get(1).during(WHAT)?)))
        .collect()
}

/// Tenants after `after` whose figures were not counted since `before`, those first that were counted longest ago, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn stale(db: &Db, after: Option<&Stale>, before: Millis, limit: i64) -> Result<Vec<Stale>, DbError> {
    const WHAT: &str = "look for old figures";
    let query = STALE
        .query()
        .bind(before.get())
        .bind(after.map_or(-1, |after| after.counted_at.get()))
        .bind(after.map_or_else(String::new, |after| after.tenant.to_string()))
        .bind(limit);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(Stale {
                tenant: super::jobs::text(row, 0)?,
                counted_at: Millis::new(row.try_get(1).during(WHAT)?),
            })
        })
        .collect()
}
