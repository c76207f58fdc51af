//! Bytes served: by the month for the limit, by the hour for the bill, added in one step.

use super::Resource;
use crate::{
    db::{Bounded, Db, DbError, During, halving, sql},
    ids::{ProcessId, TenantId},
    quota::Period,
    units::{ByteCount, Millis},
};
use sqlx::Row;

sql! {
    NUMBER = "INSERT INTO bytes_out_counts (process, number, at) VALUES ($1, $2, $3) \
        ON CONFLICT (process) DO UPDATE SET number = excluded.number, at = excluded.at WHERE bytes_out_counts.number < excluded.number \
        RETURNING number";
    METER (2) = "INSERT INTO metered_tenants (tenant, roll_ups) VALUES {rows} ON CONFLICT (tenant) DO NOTHING";
    MONTH (4) = "INSERT INTO bytes_out_months (tenant, month, bytes, counted_at) VALUES {rows} \
        ON CONFLICT (tenant, month) DO UPDATE SET bytes = bytes_out_months.bytes + excluded.bytes, counted_at = excluded.counted_at";
    HOUR (5) = "INSERT INTO usage_hours (tenant, resource, hour, change, closed) VALUES {rows} \
        ON CONFLICT (tenant, resource, hour) DO UPDATE SET change = usage_hours.change + excluded.change";
    OF_MONTH = "SELECT bytes FROM bytes_out_months WHERE tenant = $1 AND month = $2";
    PRUNE = "DELETE FROM bytes_out_counts WHERE at < $1 AND process IN (SELECT process FROM bytes_out_counts WHERE at < $1 LIMIT $2)";
}

/// Bytes that a process served of one tenant since it counted last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Whose.
    pub tenant: TenantId,
    /// How many.
    pub bytes: i64,
}

/// Adds what `process` served to the hour and the month of `at`. `number` grows with every count of a process, and is the
/// same when one is sent again because its commit was in doubt: it is added once. Each tenant stands there once.
///
/// # Errors
/// When the database is away, or it is unknown whether it was added: send it again under the same number and moment.
pub async fn count_served(
    db: &Db,
    process: &ProcessId,
    number: i64,
    served: &[Served],
    at: Millis,
) -> Result<(), DbError> {
    const WHAT: &str = "count served bytes";
    // In one order, so that processes that count at the same time wait for each other in a row, not in a circle.
    let mut sorted: Vec<&Served> = served.iter().collect();
    sorted.sort_by(|a, b| a.tenant.as_str().cmp(b.tenant.as_str()));
    let (month, hour) = (Period::month_of(at).start, Period::hour_of(at).start);
    let mut tx = db.begin_write().await?;
    let query = NUMBER
        .query()
        .bind(process.as_str().to_owned())
        .bind(number)
        .bind(at.get());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(());
    }
    let mut rest = sorted.as_slice();
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut meter = METER.rows(1, these.len(), 2);
        let mut months = MONTH.rows(1, these.len(), 4);
        let mut hours = HOUR.rows(1, these.len(), 5);
        for one in these {
            let tenant = || one.tenant.as_str().to_owned();
            meter = meter.bind(tenant()).bind(0_i64);
            months = months.bind(tenant()).bind(month.get()).bind(one.bytes).bind(at.get());
            hours = hours.bind(tenant()).bind(Resource::BytesOut.as_str());
            hours = hours.bind(hour.get()).bind(one.bytes).bind(0_i64);
        }
        meter.execute(&mut *tx).bounded(WHAT).await?;
        months.execute(&mut *tx).bounded(WHAT).await?;
        hours.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await
}

/// Bytes of `tenant` that were served in the month, as far as processes have counted them.
///
/// # Errors
/// When the database is away.
pub async fn bytes_out(db: &Db, tenant: &TenantId, month: Period) -> Result<ByteCount, DbError> {
    const WHAT: &str = "read served bytes";
    let query = OF_MONTH
        .query()
        .bind(tenant.as_str().to_owned())
        .bind(month.start.get());
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    let bytes = row.map(|row| row.try_get(0).during(WHAT)).transpose()?;
    Ok(ByteCount::new(bytes.unwrap_or(0)))
}

/// Forgets processes that have not counted since `before`, at most `most`. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn prune_counts(db: &Db, before: Millis, most: i64) -> Result<u64, DbError> {
    let query = PRUNE.query().bind(before.get()).bind(most);
    let done = query.execute(db.write()).bounded("forget processes that counted");
    done.await.map(|done| done.rows_affected())
}
