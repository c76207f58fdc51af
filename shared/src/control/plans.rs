//! Plans: limits that tenants inherit.

use crate::{
    db::{Bounded, Db, DbError, During, sql},
    tenancy::LimitOverrides,
    units::Millis,
};
use sqlx::Row;

sql! {
    PUT = "INSERT INTO plans (id, name, limits, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) \
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, limits = excluded.limits, updated_at = excluded.updated_at";
    TOUCH_TENANTS = "UPDATE tenants SET version = version + 1, updated_at = $1 WHERE plan = $2";
    LIST = "SELECT id, name, limits FROM plans WHERE id > $1 ORDER BY id LIMIT $2";
}

/// A plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its id, chosen by the provider.
    pub id: String,
    /// For people.
    pub name: String,
    /// What its tenants inherit.
    pub limits: LimitOverrides,
}

/// Creates a plan or replaces it; its tenants' contexts get new versions with it.
///
/// # Errors
/// When the database is away.
pub async fn put(db: &Db, plan: &Plan, now: Millis) -> Result<(), DbError> {
    const WHAT: &str = "write a plan";
    let mut tx = db.begin_write().await?;
    let query = PUT
        .query()
        .bind(plan.id.clone())
        .bind(plan.name.clone())
        .bind(plan.limits.to_json())
        .bind(now.get());
    query.execute(&mut *tx).bounded(WHAT).await?;
    TOUCH_TENANTS
        .query()
        .bind(now.get())
        .bind(plan.id.clone())
        .execute(&mut *tx)
        .bounded(WHAT)
        .await?;
    tx.commit().bounded(WHAT).await
}

/// Plans after `after`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, after: &str, limit: i64) -> Result<Vec<Plan>, DbError> {
    const WHAT: &str = "list plans";
    let rows = LIST
        .query()
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(db.read())
        .bounded(WHAT)
        .await?;
    rows.iter()
        .map(|row| {
            let limits: String = row.try_get(2).during(WHAT)?;
            Ok(Plan {
                id: row.try_get(0).during(WHAT)?,
                name: row.try_get(1).during(WHAT)?,
                limits: LimitOverrides::from_json(&limits).map_err(|error| DbError::unreadable(WHAT, error))?,
            })
        })
        .collect()
}
