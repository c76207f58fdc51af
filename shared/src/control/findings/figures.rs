//! What tenants use and may, a page of them by one statement.
//!
//! Storages and hosts are exact. What is stored is the sum of the hours that were rolled up, users are as they were counted last:
//! enough to say who may not fit. Whoever decides reads the tenant's own row.

use crate::{
    control::{
        jobs::text,
        tenants::{bind, millis, overrides, place},
    },
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::TenantId,
    tenancy::{Frozen, LimitOverrides, Place, Stats, Used},
    units::Millis,
};
use sqlx::{Row, any::AnyRow};
use std::{collections::HashMap, sync::Arc};

sql! {
    PAGE = "SELECT t.id, t.version, t.server, t.isolation, t.table_prefix, t.schema_version, CASE WHEN t.moving IS NULL THEN 0 ELSE 1 END, \
        t.limits, t.trial_until, t.frozen, p.id, p.limits, COALESCE(m.media, 0), COALESCE(m.bytes, 0), s.stats, COALESCE(p.version, 0), \
        (SELECT CAST(COUNT(*) AS BIGINT) FROM storages o WHERE o.tenant = t.id), \
        (SELECT CAST(COUNT(*) AS BIGINT) FROM storages o WHERE o.tenant = t.id AND o.state = 'active'), \
        (SELECT CAST(COUNT(*) AS BIGINT) FROM tenant_hosts h WHERE h.tenant = t.id) \
        FROM tenants t LEFT JOIN plans p ON p.id = t.plan LEFT JOIN metered_tenants m ON m.tenant = t.id \
        LEFT JOIN tenant_stats s ON s.tenant = t.id WHERE t.id > $1 AND t.state = 'active' ORDER BY t.id LIMIT $2";
    MANY (1) = "SELECT t.id, t.version, t.server, t.isolation, t.table_prefix, t.schema_version, CASE WHEN t.moving IS NULL THEN 0 ELSE 1 END, \
        t.limits, t.trial_until, t.frozen, p.id, p.limits, COALESCE(m.media, 0), COALESCE(m.bytes, 0), s.stats, COALESCE(p.version, 0), \
        (SELECT CAST(COUNT(*) AS BIGINT) FROM storages o WHERE o.tenant = t.id), \
        (SELECT CAST(COUNT(*) AS BIGINT) FROM storages o WHERE o.tenant = t.id AND o.state = 'active'), \
        (SELECT CAST(COUNT(*) AS BIGINT) FROM tenant_hosts h WHERE h.tenant = t.id) \
        FROM tenants t LEFT JOIN plans p ON p.id = t.plan LEFT JOIN metered_tenants m ON m.tenant = t.id \
        LEFT JOIN tenant_stats s ON s.tenant = t.id WHERE t.id IN (VALUES {rows}) AND t.state = 'active' ORDER BY t.id";
}

/// The versions whose limits a tenant is judged by: whoever has others by now is judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JudgedBy {
    pub(crate) tenant: i64,
    /// 0 without a plan.
    pub(crate) plan: i64,
}

/// A tenant as it is judged.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) id: TenantId,
    pub(crate) judged_by: JudgedBy,
    pub(crate) place: Place,
    pub(crate) schema_version: i64,
    pub(crate) moving: bool,
    pub(crate) limits: LimitOverrides,
    /// Of its plan; shared by all of the page.
    pub(crate) plan: Option<Arc<LimitOverrides>>,
    pub(crate) trial_until: Option<Millis>,
    pub(crate) frozen: Vec<Frozen>,
    /// At least what is used of the two kinds of bytes, which nobody counts apart here.
    pub(crate) used: Used,
}

/// Tenants that are looked at together.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Those whose rows this release can read.
    pub(crate) figures: Vec<Figures>,
    /// The last one of all.
    pub(crate) last: Option<TenantId>,
    /// How many there were.
    pub(crate) rows: usize,
}

/// Active tenants after `after`, at most `limit`.
pub(crate) async fn page(db: &Db, after: Option<&TenantId>, limit: i64) -> Result<Page, DbError> {
    let query = PAGE.query().bind(after.map_or_else(String::new, TenantId::to_string));
    read(&query.bind(limit).fetch_all(db.read()).bounded(WHAT).await?)
}

/// Those of `tenants` that are active.
pub(crate) async fn many(db: &Db, tenants: &[TenantId]) -> Result<Page, DbError> {
    if tenants.is_empty() {
        return Ok(Page::default());
    }
    let size = padded(tenants.len());
    let query = bind(MANY.rows(1, size, 1), tenants, size);
    read(&query.fetch_all(db.read()).bounded(WHAT).await?)
}

const WHAT: &str = "compare tenants with their limits";

fn read(rows: &[AnyRow]) -> Result<Page, DbError> {
    let mut plans = Plans::new();
    let mut page = Page {
        rows: rows.len(),
        ..Page::default()
    };
    for row in rows {
        let id: TenantId = text(row, 0)?;
        match one(row, id.clone(), &mut plans) {
            Ok(figures) => page.figures.push(figures),
            // Limits of a newer release, say: they keep nobody else's from being held.
            Err(error) => tracing::warn!(
                tenant.id = %id, error = &error as &dyn std::error::Error,
                "a tenant is not compared with its limits, since its row cannot be read"
            ),
        }
        page.last = Some(id);
    }
    Ok(page)
}

/// Limits of plans that were read already.
type Plans = HashMap<String, Arc<LimitOverrides>>;

fn one(row: &AnyRow, id: TenantId, plans: &mut Plans) -> Result<Figures, DbError> {
    let plan = match row.try_get::<Option<String>, _>(10).during(WHAT)? {
        None => None,
        Some(plan) => Some(match plans.get(&plan) {
            Some(limits) => Arc::clone(limits),
            None => Arc::clone(plans.entry(plan).or_insert(Arc::new(overrides(row, 11)?))),
        }),
    };
    let stats: Option<String> = row.try_get(14).during(WHAT)?;
    let stats = stats.map(|stats| serde_json::from_str::<Stats>(&stats)).transpose();
    let stats = stats
        .map_err(|error| DbError::unreadable(WHAT, error))?
        .unwrap_or_default();
    let count = |column: usize| row.try_get::<i64, _>(column).during(WHAT);
    // Lines that take back may be seen before those that they take back.
    let (media, bytes) = (count(12)?.max(0), count(13)?.max(0));
    Ok(Figures {
        id,
        judged_by: JudgedBy {
            tenant: count(1)?,
            plan: count(15)?,
        },
        place: place(row, 2)?,
        schema_version: count(5)?,
        moving: count(6)? == 1,
        limits: overrides(row, 7)?,
        plan,
        trial_until: millis(row, 8)?,
        frozen: super::frozen(row, 9)?,
        used: Used {
            media,
            bytes,
            image_bytes: bytes,
            animation_bytes: bytes,
            users: stats.users,
            admins: stats.admins,
            managers: stats.managers,
            storages: count(16)?,
            active_storages: count(17)?,
            hosts: count(18)?,
        },
    })
}
