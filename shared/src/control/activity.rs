//! Tenants that were active: what a timer has to look at, instead of at all of them.
//!
//! Each timer has a list of its own, which is a queue: whoever was active is put at its end, who waits keeps its place, and who was
//! looked at leaves it, or goes to its end when it was noticed again meanwhile. It is worked off in rounds: [`notice`] puts nobody on
//! it until all of the last round were looked at. So nobody waits for those that are active all the time, and nobody is looked at
//! twice in a round. A call too many puts somebody there who need not be.

use crate::{
    db::{Bounded, Db, DbError, During, Sql, halving, sql},
    ids::TenantId,
    units::Millis,
};
use sqlx::{AnyConnection, Row};
use std::time::Duration;

sql! {
    UNTIL = "SELECT at FROM active_until WHERE timer = $1";
    SET_UNTIL = "INSERT INTO active_until (timer, at) VALUES ($1, $2) ON CONFLICT (timer) DO UPDATE SET at = excluded.at";
    WORKED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM jobs \
        WHERE finished_at >= $3 AND tenant IS NOT NULL AND SUBSTR(kind, 1, 6) = 'media.' \
        ON CONFLICT (timer, tenant) DO NOTHING";
    SERVED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM bytes_out_months WHERE counted_at >= $3 \
        ON CONFLICT (timer, tenant) DO NOTHING";
    CHANGED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), t.id, CAST($2 AS BIGINT) FROM tenants t JOIN limit_marks m ON m.tenant = t.id \
        WHERE t.updated_at >= $3 ON CONFLICT (timer, tenant) DO NOTHING";
    // Others than those that wait already, which would fill the page with each run.
    UNMETERED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), t.id, CAST($2 AS BIGINT) FROM tenants t LEFT JOIN metered_tenants m ON m.tenant = t.id \
        LEFT JOIN active_tenants a ON a.timer = $1 AND a.tenant = t.id \
        WHERE COALESCE(m.roll_ups, 0) = 0 AND t.state IN ('active', 'suspended', 'leaving') AND a.tenant IS NULL LIMIT $3 \
        ON CONFLICT (timer, tenant) DO NOTHING";
    // What may have made a tenant fit, or not.
    TOUCHED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM tenants WHERE updated_at >= $3 AND state = 'active' \
        ON CONFLICT (timer, tenant) DO NOTHING";
    RESTORED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM storages WHERE updated_at >= $3 AND tenant IS NOT NULL \
        ON CONFLICT (timer, tenant) DO NOTHING";
    RELIEVED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), f.tenant, CAST($2 AS BIGINT) FROM findings f JOIN jobs j ON j.tenant = f.tenant \
        WHERE j.finished_at >= $3 AND SUBSTR(j.kind, 1, 6) = 'media.' \
        ON CONFLICT (timer, tenant) DO NOTHING";
    TRIED = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM tenants WHERE trial_until >= $3 AND trial_until <= $2 AND state = 'active' \
        ON CONFLICT (timer, tenant) DO NOTHING";
    DUE = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT DISTINCT CAST($1 AS TEXT), tenant, CAST($2 AS BIGINT) FROM findings WHERE state <> 'frozen' AND freeze_at <= $3 \
        ON CONFLICT (timer, tenant) DO NOTHING";
    PLANS = "SELECT id, version FROM plans WHERE enforced_version <> version ORDER BY id LIMIT $1";
    OF_PLAN = "INSERT INTO active_tenants (timer, tenant, noticed_at) \
        SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM tenants WHERE plan = $3 AND state = 'active' \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = active_tenants.noticed_at - 1";
    ENFORCED = "UPDATE plans SET enforced_version = $1 WHERE id = $2";
    // One earlier: who waits keeps its place, and whoever looks at it just now sees that it was noticed again.
    MARK_ALL (3) = "INSERT INTO active_tenants (timer, tenant, noticed_at) VALUES {rows} \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = active_tenants.noticed_at - 1";
    PUT_OFF_ALL (3) = "INSERT INTO active_tenants (timer, tenant, noticed_at) VALUES {rows} \
        ON CONFLICT (timer, tenant) DO UPDATE SET noticed_at = excluded.noticed_at";
    SEEN_ALL (1) = "DELETE FROM active_tenants WHERE timer = $1 AND noticed_at = $2 AND tenant IN (VALUES {rows})";
    LAST_ALL (1) = "UPDATE active_tenants SET noticed_at = $2 WHERE timer = $1 AND noticed_at < $2 AND tenant IN (VALUES {rows})";
    LIST = "SELECT tenant, noticed_at FROM active_tenants WHERE timer = $1 AND noticed_at <= $2 ORDER BY noticed_at, tenant LIMIT $3";
    LEFT = "SELECT tenant FROM active_tenants WHERE timer = $1 AND noticed_at <= $2 LIMIT 1";
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
    /// Its place in the list, which is another one when it is noticed again.
    pub at: Millis,
}

/// Goes on with the round, or begins one with whoever was active since the last began; of tenants that were never rolled up at most
/// `most` come to it with each call. Returns the round, as [`noticed`] and [`is_left`] take it.
///
/// # Errors
/// When the database is away.
pub async fn notice(db: &Db, watcher: Watcher, now: Millis, most: i64) -> Result<Millis, DbError> {
    const WHAT: &str = "notice active tenants";
    let mut tx = db.begin_write().await?;
    let until = UNTIL.query().bind(watcher.as_str());
    let until = match until.fetch_optional(&mut *tx).bounded(WHAT).await? {
        Some(row) => Some(Millis::new(row.try_get(0).during(WHAT)?)),
        None => None,
    };
    let round = match until {
        Some(until) if left(&mut tx, watcher, until).await? => until,
        Some(_) | None => {
            let since = until.map_or(Millis::new(0), |until| until.before(OVERLAP));
            begin(&mut tx, watcher, since, now).await?;
            now
        }
    };
    if watcher == Watcher::RollUp {
        let query = UNMETERED.query().bind(watcher.as_str()).bind(round.get()).bind(most);
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(round)
}

/// Puts whoever was active since `since` at the end.
async fn begin(tx: &mut AnyConnection, watcher: Watcher, since: Millis, now: Millis) -> Result<(), DbError> {
    const WHAT: &str = "notice active tenants";
    let sources: &[_] = match watcher {
        Watcher::RollUp => &[(WORKED, since)],
        Watcher::Enforcement => &[
            (TOUCHED, since),
            (RESTORED, since),
            (RELIEVED, since),
            (TRIED, since),
            (DUE, now),
        ],
        Watcher::Limits => &[(WORKED, since), (SERVED, since), (CHANGED, since)],
    };
    for (sql, since) in sources {
        let query = sql.query().bind(watcher.as_str()).bind(now.get()).bind(since.get());
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    let set = SET_UNTIL.query().bind(watcher.as_str()).bind(now.get());
    set.execute(&mut *tx).bounded(WHAT).await.map(drop)
}

async fn left(connection: &mut AnyConnection, watcher: Watcher, round: Millis) -> Result<bool, DbError> {
    let query = LEFT.query().bind(watcher.as_str()).bind(round.get());
    let row = query.fetch_optional(connection).bounded("look at a list").await?;
    Ok(row.is_some())
}

/// Behind a round, which looks at everybody once: where [`seen`] and [`put_off`] put whoever is to be looked at by the next.
#[must_use]
pub fn behind(round: Millis, now: Millis) -> Millis {
    now.max(round).after(Duration::from_millis(1))
}

/// Whether somebody of the round was not looked at yet.
///
/// # Errors
/// When the database is away.
pub async fn is_left(db: &Db, watcher: Watcher, round: Millis) -> Result<bool, DbError> {
    left(&mut *db.writer().await?, watcher, round).await
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

/// Puts tenants on the list; those that wait keep their place.
///
/// # Errors
/// When the database is away.
pub async fn mark_all(db: &Db, watcher: Watcher, tenants: &[TenantId], now: Millis) -> Result<(), DbError> {
    put(db, MARK_ALL, watcher, tenants, now).await
}

/// Puts a tenant on the list; one that waits keeps its place.
///
/// # Errors
/// When the database is away.
pub async fn mark(db: &Db, watcher: Watcher, tenant: &TenantId, now: Millis) -> Result<(), DbError> {
    mark_all(db, watcher, std::slice::from_ref(tenant), now).await
}

/// Has tenants looked at no earlier than `at`, whether they wait already or not.
///
/// # Errors
/// When the database is away.
pub async fn put_off(db: &Db, watcher: Watcher, tenants: &[TenantId], at: Millis) -> Result<(), DbError> {
    put(db, PUT_OFF_ALL, watcher, tenants, at).await
}

async fn put(db: &Db, sql: Sql, watcher: Watcher, tenants: &[TenantId], at: Millis) -> Result<(), DbError> {
    let mut rest = tenants;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = sql.rows(1, these.len(), 3);
        for tenant in these {
            query = query.bind(watcher.as_str()).bind(tenant.to_string()).bind(at.get());
        }
        query.execute(db.write()).bounded("mark tenants").await?;
    }
    Ok(())
}

/// The first of the round that were not looked at yet, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn noticed(db: &Db, watcher: Watcher, round: Millis, limit: i64) -> Result<Vec<Noticed>, DbError> {
    const WHAT: &str = "list active tenants";
    let query = LIST.query().bind(watcher.as_str()).bind(round.get()).bind(limit);
    // By the writer: a reader may be behind what was noticed just now.
    let rows = query.fetch_all(db.write()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(Noticed {
                tenant: super::jobs::text(row, 0)?,
                at: Millis::new(row.try_get(1).during(WHAT)?),
            })
        })
        .collect()
}

/// Takes tenants from the list that were looked at. One that was noticed again meanwhile goes to its end, at `end`.
///
/// # Errors
/// When the database is away.
pub async fn seen(db: &Db, watcher: Watcher, noticed: &[Noticed], end: Millis) -> Result<(), DbError> {
    const WHAT: &str = "take tenants from a list";
    for same in noticed.chunk_by(|one, next| one.at == next.at) {
        let mut rest = same;
        while let Some(first) = rest.first() {
            let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
            rest = others;
            let named = |sql: Sql, at: Millis| {
                let query = sql.rows(3, these.len(), 1).bind(watcher.as_str()).bind(at.get());
                these
                    .iter()
                    .fold(query, |query, one| query.bind(one.tenant.to_string()))
            };
            let taken = named(SEEN_ALL, first.at).execute(db.write()).bounded(WHAT).await?;
            if usize::try_from(taken.rows_affected()).is_ok_and(|taken| taken < these.len()) {
                named(LAST_ALL, end).execute(db.write()).bounded(WHAT).await?;
            }
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests;
