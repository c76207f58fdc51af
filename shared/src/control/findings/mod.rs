//! What does not fit, tenant by tenant. A change of it, what it means for the tenant's context and its lines in the audit log are
//! one transaction.

pub(crate) mod figures;

pub(crate) use figures::{Figures, JudgedBy};

use super::{
    audit::{self, Entry},
    expiries::{self, Expiry},
    jobs::text,
    tenants::bind,
};
use crate::{
    db::{Bounded, Db, DbError, During, halving, padded, sql},
    ids::{MediaId, TenantId},
    tenancy::{Finding, Frozen, Reason},
    units::Millis,
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::collections::{BTreeMap, HashMap};

sql! {
    OF (1) = "SELECT tenant, reason, state, used, allowed, since, freeze_at FROM findings WHERE tenant IN (VALUES {rows}) ORDER BY tenant, reason";
    PUT (7) = "INSERT INTO findings (tenant, reason, state, used, allowed, since, freeze_at) VALUES {rows} \
        ON CONFLICT (tenant, reason) DO UPDATE SET state = excluded.state, used = excluded.used, allowed = excluded.allowed, \
        since = excluded.since, freeze_at = excluded.freeze_at";
    END = "DELETE FROM findings WHERE tenant = $1 AND reason = $2";
    FREEZE = "UPDATE tenants SET frozen = $1, version = CASE WHEN version >= $2 THEN version + 1 ELSE $2 END, updated_at = $2 \
        WHERE id = $3 AND version = $4 AND COALESCE((SELECT p.version FROM plans p WHERE p.id = tenants.plan), 0) = $5 \
        AND state = 'active' RETURNING id";
    PRESENT = "SELECT t.id FROM tenants t LEFT JOIN plans p ON p.id = t.plan \
        WHERE t.id = $1 AND t.version = $2 AND COALESCE(p.version, 0) = $3 AND t.state = 'active'";
    COUNT_FROZEN = "SELECT reason, CAST(COUNT(*) AS BIGINT) FROM findings WHERE state = 'frozen' GROUP BY reason";
    FORGET = "DELETE FROM findings WHERE tenant = $1";
}

/// What is decided about a tenant.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) tenant: TenantId,
    /// If it or its plan has another version by now, nothing is decided.
    pub(crate) judged_by: JudgedBy,
    /// Findings that are new or changed.
    pub(crate) put: Vec<Finding>,
    /// Those that are over.
    pub(crate) end: Vec<Reason>,
    /// What freezes it from now on, where that changes.
    pub(crate) frozen: Option<Vec<Frozen>>,
    pub(crate) entries: Vec<Entry>,
}

/// The findings of tenants, in the order of their names. Reasons that this release does not know are passed over.
///
/// # Errors
/// When the database is away.
pub async fn of(db: &Db, tenants: &[TenantId]) -> Result<HashMap<TenantId, Vec<Finding>>, DbError> {
    const WHAT: &str = "read findings";
    let mut found: HashMap<TenantId, Vec<Finding>> = HashMap::new();
    if tenants.is_empty() {
        return Ok(found);
    }
    let size = padded(tenants.len());
    let query = bind(OF.rows(1, size, 1), tenants, size);
    for row in query.fetch_all(db.read()).bounded(WHAT).await? {
        let reason: String = row.try_get(1).during(WHAT)?;
        let Some(reason) = Reason::named(&reason) else { continue };
        found.entry(text(&row, 0)?).or_default().push(Finding {
            reason,
            state: text(&row, 2)?,
            used: row.try_get(3).during(WHAT)?,
            allowed: row.try_get(4).during(WHAT)?,
            since: Millis::new(row.try_get(5).during(WHAT)?),
            freeze_at: Millis::new(row.try_get(6).during(WHAT)?),
        });
    }
    Ok(found)
}

/// The findings of one tenant.
///
/// # Errors
/// When the database is away.
pub async fn of_one(db: &Db, tenant: &TenantId) -> Result<Vec<Finding>, DbError> {
    let mut found = of(db, std::slice::from_ref(tenant)).await?;
    Ok(found.remove(tenant).unwrap_or_default())
}

/// What a row says of what freezes a tenant.
pub(super) fn frozen(row: &AnyRow, column: usize) -> Result<Vec<Frozen>, DbError> {
    const WHAT: &str = "read what freezes a tenant";
    let text: Option<String> = row.try_get(column).during(WHAT)?;
    let frozen = text.map(|text| serde_json::from_str(&text)).transpose();
    frozen
        .map(Option::unwrap_or_default)
        .map_err(|error| DbError::unreadable(WHAT, error))
}

/// Writes decisions in one transaction, each unless its tenant or the plan has changed since it was judged. Returns which were written.
///
/// # Errors
/// When the database is away: none is written then, or it is unknown, which the next look finds out.
pub(crate) async fn decide(db: &Db, decisions: &[Decision], now: Millis) -> Result<Vec<bool>, DbError> {
    let mut tx = db.begin_write().await?;
    let mut written = Vec::with_capacity(decisions.len());
    let (mut put, mut entries) = (Vec::new(), Vec::new());
    for decision in decisions {
        let present = hold(&mut tx, decision, now).await?;
        written.push(present);
        if !present {
            continue;
        }
        for reason in &decision.end {
            let query = END.query().bind(decision.tenant.to_string()).bind(reason.as_str());
            query.execute(&mut *tx).bounded("end a finding").await?;
        }
        put.extend(decision.put.iter().map(|finding| (&decision.tenant, finding)));
        entries.extend(&decision.entries);
    }
    put_all(&mut tx, &put).await?;
    audit::append_all(&mut tx, &entries).await?;
    tx.commit().bounded("write findings").await?;
    Ok(written)
}

/// Whether the tenant is what it was when it was judged; if so it is frozen, or not any more, as decided.
async fn hold(connection: &mut AnyConnection, decision: &Decision, now: Millis) -> Result<bool, DbError> {
    let Some(frozen) = &decision.frozen else {
        return is_present(connection, &decision.tenant, decision.judged_by).await;
    };
    // Texts and numbers: serialising them has no way to fail.
    let text = (!frozen.is_empty()).then(|| serde_json::to_string(frozen).unwrap_or_default());
    let query = FREEZE.query().bind(text).bind(now.get());
    let query = query.bind(decision.tenant.to_string()).bind(decision.judged_by.tenant);
    let row = query
        .bind(decision.judged_by.plan)
        .fetch_optional(connection)
        .bounded("freeze or thaw a tenant")
        .await?;
    Ok(row.is_some())
}

async fn is_present(connection: &mut AnyConnection, tenant: &TenantId, by: JudgedBy) -> Result<bool, DbError> {
    let query = PRESENT.query().bind(tenant.to_string()).bind(by.tenant).bind(by.plan);
    let row = query.fetch_optional(connection);
    Ok(row.bounded("look whether a tenant has changed").await?.is_some())
}

async fn put_all(connection: &mut AnyConnection, findings: &[(&TenantId, &Finding)]) -> Result<(), DbError> {
    let mut rest = findings;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = PUT.rows(1, these.len(), 7);
        for (tenant, finding) in these {
            query = query
                .bind(tenant.to_string())
                .bind(finding.reason.as_str())
                .bind(finding.state.as_str())
                .bind(finding.used)
                .bind(finding.allowed)
                .bind(finding.since.get())
                .bind(finding.freeze_at.get());
        }
        query.execute(&mut *connection).bounded("write findings").await?;
    }
    Ok(())
}

/// Notes that pictures of a tenant expire at `at`, with the line that tells why, unless it or its plan has changed since it was
/// judged. Returns whether it did. Their own rows follow.
pub(crate) async fn expire(
    db: &Db,
    (tenant, judged_by): (&TenantId, JudgedBy),
    media: &[MediaId],
    at: Millis,
    entry: &Entry,
) -> Result<bool, DbError> {
    let mut tx = db.begin_write().await?;
    if !is_present(&mut tx, tenant, judged_by).await? {
        return Ok(false);
    }
    for media in media {
        let expiry = Expiry {
            tenant: tenant.clone(),
            media: media.clone(),
            at,
        };
        expiries::note_in(&mut tx, &expiry).await?;
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded("let pictures expire").await?;
    Ok(true)
}

/// How many tenants are frozen, by reason: one that is frozen for two counts for both.
///
/// # Errors
/// When the database is away.
pub async fn count_frozen(db: &Db) -> Result<BTreeMap<Reason, i64>, DbError> {
    const WHAT: &str = "count frozen tenants";
    let rows = COUNT_FROZEN.query().fetch_all(db.read()).bounded(WHAT).await?;
    let mut counts = BTreeMap::new();
    for row in &rows {
        let reason: String = row.try_get(0).during(WHAT)?;
        if let Some(reason) = Reason::named(&reason) {
            counts.insert(reason, row.try_get(1).during(WHAT)?);
        }
    }
    Ok(counts)
}

/// Forgets a tenant's findings, within its removal.
pub(crate) async fn forget_tenant(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    let query = FORGET.query().bind(tenant.to_string());
    let done = query.execute(connection).bounded("forget findings");
    done.await.map(drop)
}
