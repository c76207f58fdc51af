//! Which lines of its limits a tenant has crossed: told of once, in the audit log, when it happens.

use super::audit::{self, Entry};
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::TenantId,
    tenancy::Limit,
    units::Millis,
};
use sqlx::{AnyConnection, Row};
use std::collections::HashMap;

sql! {
    OF = "SELECT limit_name, period, level FROM limit_marks WHERE tenant = $1";
    LEVELS (1) = "SELECT tenant, limit_name, level FROM limit_marks WHERE period = 0 AND tenant IN (VALUES {rows})";
    SET = "INSERT INTO limit_marks (tenant, limit_name, period, level, at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (tenant, limit_name) DO UPDATE SET period = excluded.period, level = excluded.level, at = excluded.at \
        WHERE limit_marks.period <> excluded.period OR limit_marks.level <> excluded.level RETURNING level";
    CLEAR = "DELETE FROM limit_marks WHERE tenant = $1 AND limit_name = $2";
    FORGET = "DELETE FROM limit_marks WHERE tenant = $1";
}

/// A line that was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Of which limit.
    pub limit: Limit,
    /// In which period, by its beginning; 0 where there are none.
    pub period: Millis,
    /// Percent: 80 or 100.
    pub level: i64,
}

/// The marks of a tenant. Those of limits that this release does not know are passed over.
///
/// # Errors
/// When the database is away.
pub async fn of(db: &Db, tenant: &TenantId) -> Result<Vec<Mark>, DbError> {
    const WHAT: &str = "read marks of limits";
    let query = OF.query().bind(tenant.as_str().to_owned());
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    let mut marks = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: String = row.try_get(0).during(WHAT)?;
        let Some(limit) = Limit::named(&name) else { continue };
        marks.push(Mark {
            limit,
            period: Millis::new(row.try_get(1).during(WHAT)?),
            level: row.try_get(2).during(WHAT)?,
        });
    }
    Ok(marks)
}

/// The levels that were told of tenants' limits without a period.
///
/// # Errors
/// When the database is away.
pub(crate) async fn levels(db: &Db, tenants: &[TenantId]) -> Result<HashMap<(TenantId, Limit), i64>, DbError> {
    const WHAT: &str = "read marks of limits";
    let mut levels = HashMap::new();
    if tenants.is_empty() {
        return Ok(levels);
    }
    let size = padded(tenants.len());
    let query = super::tenants::bind(LEVELS.rows(1, size, 1), tenants, size);
    for row in query.fetch_all(db.read()).bounded(WHAT).await? {
        let name: String = row.try_get(1).during(WHAT)?;
        let Some(limit) = Limit::named(&name) else { continue };
        levels.insert((super::jobs::text(&row, 0)?, limit), row.try_get(2).during(WHAT)?);
    }
    Ok(levels)
}

/// Sets a mark, with the line of the audit log that tells of it where there is one. Returns whether it was another before:
/// of two that set the same, one tells.
///
/// # Errors
/// When the database is away.
pub async fn set(db: &Db, tenant: &TenantId, mark: Mark, told: Option<&Entry>, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "mark a limit";
    let mut tx = db.begin_write().await?;
    let query = SET.query().bind(tenant.as_str().to_owned()).bind(mark.limit.as_str());
    let query = query.bind(mark.period.get()).bind(mark.level).bind(now.get());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    if let Some(entry) = told {
        audit::append(&mut tx, entry).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Takes a mark away: usage is under every line again.
///
/// # Errors
/// When the database is away.
pub async fn clear(db: &Db, tenant: &TenantId, limit: Limit) -> Result<(), DbError> {
    let query = CLEAR.query().bind(tenant.as_str().to_owned()).bind(limit.as_str());
    query
        .execute(db.write())
        .bounded("clear a mark of a limit")
        .await
        .map(|_| ())
}

/// Forgets a tenant's marks, within its removal.
pub(crate) async fn forget(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    let query = FORGET.query().bind(tenant.as_str().to_owned());
    query
        .execute(connection)
        .bounded("forget marks of limits")
        .await
        .map(|_| ())
}
