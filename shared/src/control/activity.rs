//! Tenants that were active: what a timer has to look at, instead of at all of them.
//!
//! Each timer has a list of its own. [`notice`] puts on it whoever was active since it was called last; a tenant leaves it
//! when it was looked at and was not noticed again meanwhile. A call too many puts somebody there who need not be.

use crate::{
    db::{Bounded, Db, DbError, During, halving, sql},
    ids::TenantId,
    units::Millis,
};
use sqlx::Row;
use std::time::Duration;

sql! {
    UNTIL = "SELECT at FROM active_until WHERE timer = $1";
    SET_UNTIL = "INSERT INTO active_until (timer, at) VALUES ($1, $2) ON CONFLICT (timer) DO UPDATE SET at = excluded.at";
    WORKED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM jobs \
        WHERE finished_at >= $3 AND tenant IS NOT NULL AND SUBSTR(kind, 1, 6) = 'media.' \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    SERVED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM bytes_out_months WHERE counted_at >= $3 \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    CHANGED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), t.id, CAST($2 AS BIGINT) FROM tenants t JOIN limit_marks m ON m.tenant = t.id \
        WHERE t.updated_at >= $3 ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    // Those that wait already keep their place.
    UNMETERED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), t.id, CAST($2 AS BIGINT) FROM tenants t LEFT JOIN metered_tenants m ON m.tenant = t.id \
        WHERE COALESCE(m.roll_ups, 0) = 0 AND t.state IN ('active', 'suspended', 'leaving') LIMIT $3 \
        ON CONFLICT (timer, tenant) DO NOTHING";
    // What may have made a tenant fit, or not.
    TOUCHED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM tenants WHERE updated_at >= $3 AND state = 'active' \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    RESTORED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM storages WHERE updated_at >= $3 AND tenant IS NOT NULL \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    RELIEVED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), f.tenant, CAST($2 AS BIGINT) FROM findings f JOIN jobs j ON j.tenant = f.tenant \
        WHERE j.finished_at >= $3 AND SUBSTR(j.kind, 1, 6) = 'media.' \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    TRIED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM tenants WHERE trial_until >= $3 AND trial_until <= $2 AND state = 'active' \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    DUE = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM findings WHERE state <> 'frozen' AND freeze_at <= $3 \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    PLANS = "SELECT id, version FROM plans WHERE enforced_version <> version ORDER BY id LIMIT $1";
    OF_PLAN = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM tenants WHERE plan = $3 AND state = 'active' \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    ENFORCED = "UPDATE plans SET enforced_version = $1 WHERE id = $2";
    MARK_ALL (3) = "INSERT INTO active_tenants (timer, tenant, noticed_at) VALUES {rows} \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    SEEN_ALL (1) = "DELETE FROM active_tenants WHERE timer = $1 AND noticed_at <= $2 AND tenant IN (VALUES {rows})";
    MARK = "INSERT INTO active_tenants (timer, tenant, noticed_at) VALUES ($1, $2, $3) \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    LIST = "SELECT tenant, noticed_at FROM active_tenants WHERE timer = $1 AND noticed_at <= $2 ORDER BY noticed_at, tenant LIMIT $3";
    SEEN = "DELETE FROM active_tenants WHERE timer = $1 AND tenant = $2 AND noticed_at = $3";
    FIRST = "SELECT MIN(tenant) FROM active_tenants WHERE timer = $1";
    ONE = "SELECT tenant FROM active_tenants WHERE timer = $1 AND tenant = $2";
}

/// Activity is looked for from so long before the last look: rows become visible after the moment that stands in them, and
/// clocks differ.
const OVERLAP: Duration = Duration::from_secs(120);

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    /// The roll-up of ledgers: tenants whose pictures changed, and those that were never rolled up.
    RollUp,
    /// Enforcement: tenants that were changed, with their storages and trials, and those that do not fit and whose pictures or time
    /// went on; see [`notice_plans`] too.
    Enforcement,
    /// The watch on limits: also tenants that were served, and those with a mark whose limits may have changed.
    Limits,
}

impl Watcher {
    const fn as_str(self) -> &'static str {
        match self {
            Self::RollUp => "roll-up-usage",
            Self::Enforcement => "enforce-limits",
            Self::Limits => "watch-limits",
        }
    }
}

/// A tenant to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// Who.
    pub tenant: TenantId,
    /// When it was noticed last.
    pub at: Millis,
}

/// Puts on the list whoever was active since the last call; of tenants that were never rolled up at most `most`.
///
/// # Errors
/// When the database is away.
pub async fn notice(db: &Db, watcher: Watcher, now: Millis, most: i64) -> Result<(), DbError> {
    const WHAT: &str = "notice active tenants";
    let mut tx = db.begin_write().await?;
    let until = UNTIL.query().bind(watcher.as_str());
    let since = match until.fetch_optional(&mut *tx).bounded(WHAT).await? {
        Some(row) => Millis::new(row.try_get(0).during(WHAT)?).before(OVERLAP),
        None => Millis::new(0),
    };
    let sources: &[_] = match watcher {
        Watcher::RollUp => &[(WORKED, since.get()), (UNMETERED, most)],
        Watcher::Enforcement => &[
            (TOUCHED, since.get()),
            (RESTORED, since.get()),
            (RELIEVED, since.get()),
            (TRIED, since.get()),
            (DUE, now.get()),
        ],
        Watcher::Limits => &[(WORKED, since.get()), (SERVED, since.get()), (CHANGED, since.get())],
    };
    for (sql, since) in sources {
        let query = sql.query().bind(watcher.as_str()).bind(now.get()).bind(*since);
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    let set = SET_UNTIL.query().bind(watcher.as_str()).bind(now.get());
    set.execute(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await
}

/// Activity before this was noticed by `watcher`, whatever clocks and commits took. `None`: it never looked.
///
/// # Errors
/// When the database is away.
pub async fn complete_until(db: &Db, watcher: Watcher) -> Result<Option<Millis>, DbError> {
    const WHAT: &str = "look until when activity was noticed";
    let query = UNTIL.query().bind(watcher.as_str());
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    row.map(|row| Ok(Millis::new(row.try_get(0).during(WHAT)?).before(OVERLAP)))
        .transpose()
}

/// Puts the tenants of plans that changed on the list of [`Watcher::Enforcement`], of at most `most` plans. Returns whether there
/// may be more: each change of a plan is noticed once.
///
/// # Errors
/// When the database is away.
pub async fn notice_plans(db: &Db, now: Millis, most: i64) -> Result<bool, DbError> {
    const WHAT: &str = "notice changed plans";
    let query = PLANS.query().bind(most);
    let plans = query.fetch_all(db.read()).bounded(WHAT).await?;
    for row in &plans {
        let (id, version): (String, i64) = (row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?);
        let mut tx = db.begin_write().await?;
        let query = OF_PLAN.query().bind(Watcher::Enforcement.as_str()).bind(now.get());
        query.bind(id.clone()).execute(&mut *tx).bounded(WHAT).await?;
        // The version that was read before: a change since is noticed by itself.
        let query = ENFORCED.query().bind(version).bind(id);
        query.execute(&mut *tx).bounded(WHAT).await?;
        tx.commit().bounded(WHAT).await?;
    }
    Ok(i64::try_from(plans.len()).unwrap_or(i64::MAX) >= most)
}

/// Puts tenants on the list, or to its end.
///
/// # Errors
/// When the database is away.
pub async fn mark_all(db: &Db, watcher: Watcher, tenants: &[TenantId], now: Millis) -> Result<(), DbError> {
    let mut rest = tenants;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = MARK_ALL.rows(1, these.len(), 3);
        for tenant in these {
            query = query.bind(watcher.as_str()).bind(tenant.to_string()).bind(now.get());
        }
        query.execute(db.write()).bounded("mark tenants").await?;
    }
    Ok(())
}

/// Takes tenants from the list that were noticed until `until` and looked at; one that was noticed again since stays.
///
/// # Errors
/// When the database is away.
pub async fn seen_all(db: &Db, watcher: Watcher, tenants: &[TenantId], until: Millis) -> Result<(), DbError> {
    let mut rest = tenants;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = SEEN_ALL
            .rows(3, these.len(), 1)
            .bind(watcher.as_str())
            .bind(until.get());
        for tenant in these {
            query = query.bind(tenant.to_string());
        }
        query.execute(db.write()).bounded("take tenants from a list").await?;
    }
    Ok(())
}

/// Puts a tenant on the list, or to its end.
///
/// # Errors
/// When the database is away.
pub async fn mark(db: &Db, watcher: Watcher, tenant: &TenantId, now: Millis) -> Result<(), DbError> {
    let query = MARK.query().bind(watcher.as_str()).bind(tenant.as_str().to_owned());
    let query = query.bind(now.get());
    query
        .execute(db.write())
        .bounded("mark an active tenant")
        .await
        .map(|_| ())
}

/// The first of the list that were noticed until `until`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn noticed(db: &Db, watcher: Watcher, until: Millis, limit: i64) -> Result<Vec<Noticed>, DbError> {
    const WHAT: &str = "list active tenants";
    let query = LIST.query().bind(watcher.as_str()).bind(until.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(Noticed {
                tenant: super::jobs::text(row, 0)?,
                at: Millis::new(row.try_get(1).during(WHAT)?),
            })
        })
        .collect()
}

/// Takes a tenant from the list that was looked at, unless it was noticed again.
///
/// # Errors
/// When the database is away.
pub async fn seen(db: &Db, watcher: Watcher, noticed: &Noticed) -> Result<(), DbError> {
    let query = SEEN
        .query()
        .bind(watcher.as_str())
        .bind(noticed.tenant.as_str().to_owned())
        .bind(noticed.at.get());
    query
        .execute(db.write())
        .bounded("take a tenant from a list")
        .await
        .map(|_| ())
}

/// A tenant that is on the list, of all or that one.
///
/// # Errors
/// When the database is away.
pub async fn waiting(db: &Db, watcher: Watcher, tenant: Option<&TenantId>) -> Result<Option<TenantId>, DbError> {
    const WHAT: &str = "look at a list";
    let query = match tenant {
        Some(tenant) => ONE.query().bind(watcher.as_str()).bind(tenant.as_str().to_owned()),
        None => FIRST.query().bind(watcher.as_str()),
    };
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    row.map(|row| super::jobs::optional(&row, 0))
        .transpose()
        .map(Option::flatten)
}
