//! Reading the hours again: page by page, in order.

use super::Resource;
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::TenantId,
    units::Millis,
};
use sqlx::Row;

sql! {
    METERED = "SELECT tenant FROM metered_tenants WHERE tenant > $1 ORDER BY tenant LIMIT $2";
    IS_METERED = "SELECT tenant FROM metered_tenants WHERE tenant = $1";
    // Of served bytes the base is the month's; of what is stored, all that went before.
    BASE (1) = "SELECT tenant, resource, CAST(SUM(change + closed) AS BIGINT) FROM usage_hours \
        WHERE hour < $1 AND (resource <> 'bytes_out' OR hour >= $2) AND tenant IN (VALUES {rows}) GROUP BY tenant, resource";
    ROWS (1) = "SELECT tenant, resource, hour, change + closed FROM usage_hours \
        WHERE hour >= $1 AND hour < $2 AND (tenant, resource, hour) > ($3, $4, $5) AND tenant IN (VALUES {rows}) \
        ORDER BY tenant, resource, hour LIMIT $6";
}

/// An hour in which a tenant's usage changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourRow {
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub resource: Resource,
    /// Its beginning.
    pub hour: Millis,
    /// By how much.
    pub change: i64,
}

/// Where a page ends: the next one begins behind it.
pub type Cursor = (String, String, i64);

/// Tenants whose usage is known, after `after`, at most `limit`; those that are gone among them.
///
/// # Errors
/// When the database is away.
pub async fn metered(
    db: &Db,
    only: Option<&TenantId>,
    after: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<TenantId>, DbError> {
    let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
    let query = match only {
        // One page of one.
        Some(_) if !after.is_empty() => return Ok(Vec::new()),
        Some(only) => IS_METERED.query().bind(only.as_str().to_owned()),
        None => METERED.query().bind(after).bind(limit),
    };
    let rows = query.fetch_all(db.read()).bounded("list metered tenants").await?;
    rows.iter().map(|row| super::super::jobs::text(row, 0)).collect()
}

/// What `tenants` used just before `at`: pictures and bytes then stored, bytes served since `month`.
///
/// # Errors
/// When the database is away.
pub async fn base(
    db: &Db,
    tenants: &[TenantId],
    at: Millis,
    month: Millis,
) -> Result<Vec<(TenantId, Resource, i64)>, DbError> {
    const WHAT: &str = "add up usage";
    let Some(last) = tenants.last() else {
        return Ok(Vec::new());
    };
    let size = padded(tenants.len());
    let mut query = BASE.rows(3, size, 1).bind(at.get()).bind(month.get());
    for place in 0..size {
        query = query.bind(tenants.get(place).unwrap_or(last).as_str().to_owned());
    }
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok((
                super::super::jobs::text(row, 0)?,
                super::super::jobs::text(row, 1)?,
                row.try_get(2).during(WHAT)?,
            ))
        })
        .collect()
}

/// The hours of `tenants` from `from` to just before `to`, behind `after`, at most `limit`, with where they end.
///
/// # Errors
/// When the database is away.
pub async fn rows(
    db: &Db,
    tenants: &[TenantId],
    (from, to): (Millis, Millis),
    after: &Cursor,
    limit: i64,
) -> Result<Vec<HourRow>, DbError> {
    const WHAT: &str = "read usage by the hour";
    let Some(last) = tenants.last() else {
        return Ok(Vec::new());
    };
    let size = padded(tenants.len());
    let mut query = ROWS
        .rows(7, size, 1)
        .bind(from.get())
        .bind(to.get())
        .bind(after.0.clone())
        .bind(after.1.clone())
        .bind(after.2)
        .bind(limit);
    for place in 0..size {
        query = query.bind(tenants.get(place).unwrap_or(last).as_str().to_owned());
    }
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(HourRow {
                tenant: super::super::jobs::text(row, 0)?,
                resource: super::super::jobs::text(row, 1)?,
                hour: Millis::new(row.try_get(2).during(WHAT)?),
                change: row.try_get(3).during(WHAT)?,
            })
        })
        .collect()
}
