//! What tenants used, hour by hour: of pictures and stored bytes what their ledgers say, of served bytes what the api
//! counted. It outlives the tenants, by [`KEPT`].
//!
//! A roll-up replaces the hours of one tenant by what its ledger says now: run twice, or again after late lines, it
//! changes nothing but what was wrong. Two at a time: the one that read its ledger first, and writes last, is refused.

pub(super) mod export;
pub(super) mod served;

pub use export::{Cursor, HourRow, base, metered, rows};
pub use served::{Served, bytes_out, count_served, prune_counts};

use crate::{
    db::{Bounded, Db, DbError, During, halving, sql},
    ids::TenantId,
    tenancy::store::usage::Usage,
    units::{ByteCount, Millis},
};
use sqlx::{AnyConnection, Row};
use std::{collections::BTreeMap, time::Duration};

/// How long the usage of a tenant that was removed is kept: thirteen months and some days.
pub const KEPT: Duration = Duration::from_secs(400 * 24 * 3_600);

sql! {
    METER = "INSERT INTO metered_tenants (tenant, roll_ups) VALUES ($1, 0) ON CONFLICT (tenant) DO NOTHING";
    ROLL_UPS = "SELECT roll_ups FROM metered_tenants WHERE tenant = $1";
    ROLLED = "UPDATE metered_tenants SET roll_ups = roll_ups + 1, closed_at = NULL, media = $3, bytes = $4 WHERE tenant = $1 AND roll_ups = $2 RETURNING roll_ups";
    HOURS = "SELECT resource, hour, change FROM usage_hours WHERE tenant = $1 AND resource IN ('media', 'bytes') AND change <> 0";
    SET (5) = "INSERT INTO usage_hours (tenant, resource, hour, change, closed) VALUES {rows} \
        ON CONFLICT (tenant, resource, hour) DO UPDATE SET change = excluded.change";
    TOTAL = "SELECT CAST(COALESCE(SUM(CASE WHEN resource = 'media' THEN change ELSE 0 END), 0) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN resource = 'bytes' THEN change ELSE 0 END), 0) AS BIGINT) FROM usage_hours \
        WHERE tenant = $1 AND resource IN ('media', 'bytes')";
    CLOSED_SERIAL = "SELECT closed_serial FROM metered_tenants WHERE tenant = $1";
    CLOSE_SERIAL = "UPDATE metered_tenants SET roll_ups = roll_ups + 1, closed_serial = $1, closed_at = $2, media = 0, bytes = 0 \
        WHERE tenant = $3 AND COALESCE(closed_serial, '') <> $1 RETURNING tenant";
    CLOSE_HOURS = "UPDATE usage_hours SET closed = closed + change, change = 0 WHERE tenant = $1 AND resource IN ('media', 'bytes')";
    CLOSE_AT = "INSERT INTO usage_hours (tenant, resource, hour, change, closed) VALUES ($1, $2, $3, 0, $4) \
        ON CONFLICT (tenant, resource, hour) DO UPDATE SET closed = usage_hours.closed + excluded.closed";
    EXPIRED = "SELECT tenant FROM metered_tenants WHERE closed_at < $1 LIMIT $2";
    FORGET_HOURS = "DELETE FROM usage_hours WHERE tenant = $1";
    FORGET_MONTHS = "DELETE FROM bytes_out_months WHERE tenant = $1";
    FORGET = "DELETE FROM metered_tenants WHERE tenant = $1 AND closed_at IS NOT NULL";
}

/// What is counted by the hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Pictures.
    Media,
    /// Bytes stored.
    Bytes,
    /// Bytes served.
    BytesOut,
}

impl Resource {
    /// Its name in rows and exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Bytes => "bytes",
            Self::BytesOut => "bytes_out",
        }
    }
}

impl std::str::FromStr for Resource {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Media, Self::Bytes, Self::BytesOut]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("{text:?} is counted by a newer release"))
    }
}

/// The ledger's changes in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    /// Its beginning.
    pub start: Millis,
    /// The sum of its lines.
    pub change: Usage,
}

/// How often `tenant` was rolled up, to be read before its ledger. From now on it is metered.
///
/// # Errors
/// When the database is away.
pub async fn roll_ups(db: &Db, tenant: &TenantId) -> Result<i64, DbError> {
    const WHAT: &str = "look at a roll-up";
    let query = METER.query().bind(tenant.as_str().to_owned());
    query.execute(db.write()).bounded(WHAT).await?;
    let query = ROLL_UPS.query().bind(tenant.as_str().to_owned());
    let row = query.fetch_one(db.read()).bounded(WHAT).await?;
    row.try_get(0).during(WHAT)
}

/// Makes the hours of `tenant` what its ledger said after [`roll_ups`] had answered `before`. Returns how many rows that
/// changed; `None` when another roll-up came in between: read anew.
///
/// # Errors
/// When the database is away.
pub async fn set_hours(db: &Db, tenant: &TenantId, before: i64, hours: &[Hour]) -> Result<Option<usize>, DbError> {
    const WHAT: &str = "roll up usage";
    let mut tx = db.begin_write().await?;
    let sum = |of: fn(&Hour) -> i64| hours.iter().map(of).fold(0_i64, i64::saturating_add);
    let query = ROLLED
        .query()
        .bind(tenant.as_str().to_owned())
        .bind(before)
        .bind(sum(|hour| hour.change.media))
        .bind(sum(|hour| hour.change.bytes.get()));
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(None);
    }
    let mut wrong = known(&mut tx, tenant).await?;
    let mut set = Vec::new();
    for hour in hours {
        for (resource, change) in [
            (Resource::Media, hour.change.media),
            (Resource::Bytes, hour.change.bytes.get()),
        ] {
            if wrong.remove(&(resource, hour.start)).unwrap_or(0) != change {
                set.push((resource, hour.start, change));
            }
        }
    }
    // The ledger has nothing in these hours any more: it was brought back from a copy.
    set.extend(wrong.into_keys().map(|(resource, start)| (resource, start, 0)));
    let mut rest = set.as_slice();
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = SET.rows(1, these.len(), 5);
        for (resource, start, change) in these {
            query = query
                .bind(tenant.as_str().to_owned())
                .bind(resource.as_str())
                .bind(start.get())
                .bind(*change)
                .bind(0_i64);
        }
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(Some(set.len()))
}

async fn known(
    connection: &mut AnyConnection,
    tenant: &TenantId,
) -> Result<BTreeMap<(Resource, Millis), i64>, DbError> {
    const WHAT: &str = "read rolled up usage";
    let query = HOURS.query().bind(tenant.as_str().to_owned());
    let rows = query.fetch_all(connection).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            let key = (super::jobs::text(row, 0)?, Millis::new(row.try_get(1).during(WHAT)?));
            Ok((key, row.try_get(2).during(WHAT)?))
        })
        .collect()
}

/// What the hours of the present tenant of this id add up to: what its ledger must.
///
/// # Errors
/// When the database is away.
pub async fn total(db: &Db, tenant: &TenantId) -> Result<Usage, DbError> {
    let query = TOTAL.query().bind(tenant.as_str().to_owned());
    read_total(&query.fetch_one(db.read()).bounded("add up usage").await?)
}

fn read_total(row: &sqlx::any::AnyRow) -> Result<Usage, DbError> {
    const WHAT: &str = "add up usage";
    Ok(Usage {
        media: row.try_get(0).during(WHAT)?,
        bytes: ByteCount::new(row.try_get(1).during(WHAT)?),
        ..Usage::default()
    })
}

/// Whether the tenant of this serial was closed.
///
/// # Errors
/// When the database is away.
pub async fn is_closed(db: &Db, tenant: &TenantId, serial: &str) -> Result<bool, DbError> {
    const WHAT: &str = "look at a closed tenant";
    let query = CLOSED_SERIAL.query().bind(tenant.as_str().to_owned());
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    let closed: Option<String> = row.map(|row| row.try_get(0).during(WHAT)).transpose()?.flatten();
    Ok(closed.as_deref() == Some(serial))
}

/// Closes the account of a tenant that is being removed: at `now` it uses nothing any more, and what it used stays told.
/// A tenant of the same id that is made later begins with nothing. Called again it changes nothing.
///
/// # Errors
/// When the database is away.
pub async fn close(db: &Db, tenant: &TenantId, serial: &str, now: Millis) -> Result<(), DbError> {
    const WHAT: &str = "close a tenant's usage";
    let id = || tenant.as_str().to_owned();
    let hour = crate::quota::Period::hour_of(now).start;
    let mut tx = db.begin_write().await?;
    METER.query().bind(id()).execute(&mut *tx).bounded(WHAT).await?;
    // Of two at once the second waits here for the first, and finds it closed.
    let query = CLOSE_SERIAL.query().bind(serial.to_owned()).bind(now.get()).bind(id());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(());
    }
    let total = TOTAL.query().bind(id()).fetch_one(&mut *tx).bounded(WHAT).await?;
    let total = read_total(&total)?;
    CLOSE_HOURS.query().bind(id()).execute(&mut *tx).bounded(WHAT).await?;
    for (resource, used) in [(Resource::Media, total.media), (Resource::Bytes, total.bytes.get())] {
        let query = CLOSE_AT.query().bind(id()).bind(resource.as_str());
        let query = query.bind(hour.get()).bind(used.saturating_neg());
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await
}

/// Forgets what at most `limit` tenants used that were closed before `before`. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn forget_closed(db: &Db, before: Millis, limit: i64) -> Result<usize, DbError> {
    const WHAT: &str = "forget closed usage";
    let query = EXPIRED.query().bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    for row in &rows {
        let tenant: String = row.try_get(0).during(WHAT)?;
        let mut tx = db.begin_write().await?;
        // First: a tenant of this id may have come back meanwhile.
        let gone = FORGET
            .query()
            .bind(tenant.clone())
            .execute(&mut *tx)
            .bounded(WHAT)
            .await?;
        if gone.rows_affected() == 0 {
            continue;
        }
        for sql in [FORGET_HOURS, FORGET_MONTHS] {
            sql.query().bind(tenant.clone()).execute(&mut *tx).bounded(WHAT).await?;
        }
        tx.commit().bounded(WHAT).await?;
    }
    Ok(rows.len())
}
