//! What the resolver reads: everything that a context is made of, by host or by id.

use super::{bind, millis, overrides, pictures, place};
use crate::{
    control::{findings, jobs::text},
    db::{Bounded, Db, DbError, During, padded, sql},
    ids::TenantId,
    tenancy::{Host, PlanPart, TenantPart},
    units::Millis,
};
use sqlx::{Row, any::AnyRow};

sql! {
    /// One row for each of the tenant's hosts: everything that a context is made of, in one look.
    BY_HOST (1) = "SELECT h.host, t.id, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.plan, t.limits, \
        t.trial_until, t.version, t.updated_at, p.limits, p.version, o.host, o.main, t.pictures, p.pictures, t.frozen FROM tenant_hosts h JOIN tenants t ON t.id = h.tenant \
        LEFT JOIN plans p ON p.id = t.plan LEFT JOIN tenant_hosts o ON o.tenant = t.id WHERE h.host IN (VALUES {rows})";
    /// Rows of one tenant stand together.
    BY_ID (1) = "SELECT '', t.id, t.state, t.server, t.isolation, t.table_prefix, t.schema_version, t.moving, t.plan, t.limits, \
        t.trial_until, t.version, t.updated_at, p.limits, p.version, o.host, o.main, t.pictures, p.pictures, t.frozen FROM tenants t \
        LEFT JOIN plans p ON p.id = t.plan LEFT JOIN tenant_hosts o ON o.tenant = t.id WHERE t.id IN (VALUES {rows}) ORDER BY t.id";
}

/// What the resolver reads: the tenant's part and its plan's.
pub(crate) type Parts = (TenantPart, Option<PlanPart>);

/// The tenant at the first of `hosts` that somebody has: the host itself, then wildcards from the nearest on.
pub(crate) async fn by_host(db: &Db, hosts: &[String]) -> Result<Option<Parts>, DbError> {
    let size = crate::db::padded(hosts.len());
    let mut query = BY_HOST.rows(1, size, 1);
    for place in 0..size {
        let host = hosts.get(place).or(hosts.last()).cloned().unwrap_or_default();
        query = query.bind(host);
    }
    let rows = query.fetch_all(db.read()).bounded("look up a host").await?;
    for host in hosts {
        let mut of_host = Vec::new();
        for row in &rows {
            if row.try_get::<String, _>(0).during("look up a host")? == *host {
                of_host.push(row);
            }
        }
        if !of_host.is_empty() {
            return parts(&of_host);
        }
    }
    Ok(None)
}

/// The tenant with this id.
pub(crate) async fn by_id(db: &Db, id: &TenantId) -> Result<Option<Parts>, DbError> {
    Ok(by_ids(db, std::slice::from_ref(id)).await?.pop())
}

/// Those of `ids` that there are.
pub(crate) async fn by_ids(db: &Db, ids: &[TenantId]) -> Result<Vec<Parts>, DbError> {
    const WHAT: &str = "look up tenants";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let size = padded(ids.len());
    let query = bind(BY_ID.rows(1, size, 1), ids, size);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    let (mut found, mut one) = (Vec::with_capacity(ids.len()), Vec::<&AnyRow>::new());
    for row in &rows {
        let same = match one.first() {
            Some(first) => first.try_get::<String, _>(1).during(WHAT)? == row.try_get::<String, _>(1).during(WHAT)?,
            None => true,
        };
        if !same {
            found.extend(parts(&std::mem::take(&mut one))?);
        }
        one.push(row);
    }
    found.extend(parts(&one)?);
    Ok(found)
}

fn parts(rows: &[&AnyRow]) -> Result<Option<Parts>, DbError> {
    const WHAT: &str = "read a tenant";
    let Some(row) = rows.first() else { return Ok(None) };
    let mut hosts = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(name) = row.try_get::<Option<String>, _>(15).during(WHAT)? {
            let main = row.try_get::<Option<i64>, _>(16).during(WHAT)? == Some(1);
            hosts.push(Host { name, main });
        }
    }
    let plan: Option<String> = row.try_get(8).during(WHAT)?;
    let plan_version: Option<i64> = row.try_get(14).during(WHAT)?;
    let plan_part = match (&plan, plan_version) {
        (Some(id), Some(version)) => Some(PlanPart {
            id: id.clone(),
            limits: overrides(row, 13)?,
            pictures: pictures(row, 18)?,
            version,
        }),
        _ => None,
    };
    let part = TenantPart {
        id: text(row, 1)?,
        state: text(row, 2)?,
        place: place(row, 3)?,
        schema_version: row.try_get(6).during(WHAT)?,
        moving: row.try_get::<Option<String>, _>(7).during(WHAT)?.is_some(),
        plan,
        limits: overrides(row, 9)?,
        pictures: pictures(row, 17)?,
        trial_until: millis(row, 10)?,
        hosts,
        frozen: findings::frozen(row, 19)?,
        version: row.try_get(11).during(WHAT)?,
        updated_at: Millis::new(row.try_get(12).during(WHAT)?),
    };
    Ok(Some((part, plan_part)))
}
