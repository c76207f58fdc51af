//! Plans: limits, environment and placement that tenants inherit.
//!
//! A plan has a version of its own, a moment that only grows: its change touches one row, whatever the number of its
//! tenants, and whoever judged by another version judges again.

use super::audit::{self, Entry};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    tenancy::{Isolation, LimitOverrides, PictureSettings, PlanPart, ServerName},
    units::Millis,
};
use sqlx::{AnyConnection, Row, any::AnyRow};

sql! {
    INSERT = "INSERT INTO plans (id, name, limits, env, isolation, server, version, created_at, updated_at, pictures) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7, $8) ON CONFLICT (id) DO NOTHING RETURNING id";
    // A rotation of the master key seals the environment anew and leaves the version: the old text must not come back.
    UPDATE = "UPDATE plans SET name = $1, limits = $2, env = $3, isolation = $4, server = $5, updated_at = $6, pictures = $9, \
        version = CASE WHEN version >= $6 THEN version + 1 ELSE $6 END WHERE id = $7 AND version = $8 AND COALESCE(env, '') = $10 RETURNING version";
    GET = "SELECT id, name, limits, env, isolation, server, version, created_at, updated_at, pictures FROM plans WHERE id = $1";
    LIST = "SELECT id, name, limits, env, isolation, server, version, created_at, updated_at, pictures FROM plans WHERE id > $1 ORDER BY id LIMIT $2";
    DELETE = "DELETE FROM plans WHERE id = $1 RETURNING id";
    TAKE_AWAY = "UPDATE tenants SET plan = NULL, version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 WHERE plan = $2";
    TENANTS = "SELECT CAST(COUNT(*) AS BIGINT) FROM tenants WHERE plan = $1";
}

/// Longest id of a plan.
pub const LONGEST_ID: usize = 64;

/// A plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its id, chosen by the provider: 1 to 64 characters of `0-9A-Za-z-_.`.
    pub id: String,
    /// For people.
    pub name: String,
    /// What its tenants inherit.
    pub limits: LimitOverrides,
    /// What they inherit for their pictures.
    pub pictures: PictureSettings,
    /// Their environment, sealed.
    pub env: Option<String>,
    /// How new tenants of it are kept apart.
    pub isolation: Option<Isolation>,
    /// Where new tenants of it are placed.
    pub server: Option<ServerName>,
    /// A moment that only grows.
    pub version: i64,
    /// Made.
    pub created_at: Millis,
    /// Changed last.
    pub updated_at: Millis,
}

impl Plan {
    /// A plan that sets nothing.
    #[must_use]
    pub fn new(id: String, now: Millis) -> Self {
        Self {
            name: id.clone(),
            id,
            limits: LimitOverrides::default(),
            pictures: PictureSettings::default(),
            env: None,
            isolation: None,
            server: None,
            version: now.get(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// Whether a text may name a plan: queue names, cache keys and log lines hold it.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(plain)
}

/// Makes a plan. Returns whether the id was free.
///
/// # Errors
/// When the database is away.
pub async fn create(db: &Db, plan: &Plan, entry: &Entry, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "make a plan";
    let mut tx = db.begin_write().await?;
    let query = INSERT
        .query()
        .bind(plan.id.clone())
        .bind(plan.name.clone())
        .bind(plan.limits.to_json())
        .bind(plan.env.clone())
        .bind(plan.isolation.map(Isolation::as_str))
        .bind(plan.server.as_ref().map(|server| server.as_str().to_owned()))
        .bind(now.get())
        .bind(plan.pictures.to_column());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Changes a plan by `edit`, which sees it as it is. Returns it as it became; `None` when there is no such plan, or when
/// `edit` declines. Its tenants follow as soon as the resolver is told.
///
/// # Errors
/// When the database is away.
pub async fn edit(
    db: &Db,
    id: &str,
    edit: impl Fn(&mut Plan) -> bool + Send + Sync,
    entry: &Entry,
    now: Millis,
) -> Result<Option<Plan>, DbError> {
    const WHAT: &str = "change a plan";
    loop {
        let mut tx = db.begin_write().await?;
        let Some(mut plan) = get_in(&mut tx, id).await? else {
            return Ok(None);
        };
        let (seen, sealed) = (plan.version, plan.env.clone().unwrap_or_default());
        if !edit(&mut plan) {
            return Ok(None);
        }
        let query = UPDATE
            .query()
            .bind(plan.name.clone())
            .bind(plan.limits.to_json())
            .bind(plan.env.clone())
            .bind(plan.isolation.map(Isolation::as_str))
            .bind(plan.server.as_ref().map(|server| server.as_str().to_owned()))
            .bind(now.get())
            .bind(plan.id.clone())
            .bind(seen)
            .bind(plan.pictures.to_column())
            .bind(sealed);
        // Somebody changed it between our look and our write: look again.
        let Some(row) = query.fetch_optional(&mut *tx).bounded(WHAT).await? else {
            continue;
        };
        plan.version = row.try_get(0).during(WHAT)?;
        plan.updated_at = now;
        audit::append(&mut tx, entry).await?;
        tx.commit().bounded(WHAT).await?;
        return Ok(Some(plan));
    }
}

/// Removes a plan. Its tenants stay, without what they inherited. Returns whether it was there.
///
/// # Errors
/// When the database is away.
pub async fn delete(db: &Db, id: &str, entry: &Entry, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "remove a plan";
    let mut tx = db.begin_write().await?;
    let query = DELETE.query().bind(id.to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    let query = TAKE_AWAY.query().bind(now.get()).bind(id.to_owned());
    query.execute(&mut *tx).bounded(WHAT).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// One plan.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: &str) -> Result<Option<Plan>, DbError> {
    get_in(&mut *db.read().acquire().bounded("read a plan").await?, id).await
}

pub(crate) async fn get_in(connection: &mut AnyConnection, id: &str) -> Result<Option<Plan>, DbError> {
    let query = GET.query().bind(id.to_owned());
    let row = query.fetch_optional(connection).bounded("read a plan").await?;
    row.as_ref().map(read).transpose()
}

/// What the resolver needs of a plan.
pub(crate) async fn part(db: &Db, id: &str) -> Result<Option<PlanPart>, DbError> {
    Ok(get(db, id).await?.map(|plan| PlanPart {
        id: plan.id,
        limits: plan.limits,
        pictures: plan.pictures,
        version: plan.version,
    }))
}

/// Plans after `after`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, after: &str, limit: i64) -> Result<Vec<Plan>, DbError> {
    let query = LIST.query().bind(after.to_owned()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("list plans").await?;
    rows.iter().map(read).collect()
}

/// How many tenants a plan has.
///
/// # Errors
/// When the database is away.
pub async fn tenants(db: &Db, id: &str) -> Result<i64, DbError> {
    const WHAT: &str = "count a plan's tenants";
    let row = TENANTS
        .query()
        .bind(id.to_owned())
        .fetch_one(db.read())
        .bounded(WHAT)
        .await?;
    row.try_get(0).during(WHAT)
}

fn read(row: &AnyRow) -> Result<Plan, DbError> {
    const WHAT: &str = "read a plan";
    let limits: String = row.try_get(2).during(WHAT)?;
    Ok(Plan {
        id: row.try_get(0).during(WHAT)?,
        name: row.try_get(1).during(WHAT)?,
        limits: LimitOverrides::from_json(&limits).map_err(|error| DbError::unreadable(WHAT, error))?,
        env: row.try_get(3).during(WHAT)?,
        isolation: super::jobs::optional(row, 4)?,
        server: super::jobs::optional(row, 5)?,
        version: row.try_get(6).during(WHAT)?,
        created_at: Millis::new(row.try_get(7).during(WHAT)?),
        updated_at: Millis::new(row.try_get(8).during(WHAT)?),
        pictures: super::tenants::pictures(row, 9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn plans_are_named_by_plain_texts() {
        assert!(is_id("basic") && is_id("Pro_2.0-x"));
        for bad in ["", "a b", "a/b", "ä", "a\"", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
