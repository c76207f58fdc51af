//! Moves of tenants between places, and the places that are left: retired until no process can believe in them any more.
//!
//! Each is a transaction of the control database; a tenant is at its old place or at its new one, never between.

use super::{
    audit::{self, Entry},
    changes,
    jobs::{self, NewJob},
};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, TenantId},
    tenancy::Place,
    units::Millis,
};
use sqlx::{AnyConnection, Row};
use std::time::Duration;

sql! {
    BEGIN_MOVE = "UPDATE tenants SET moving = $1, version = CASE WHEN version >= $2 THEN version + 1 ELSE $2 END, updated_at = $2 \
        WHERE id = $3 AND moving IS NULL AND state IN ('active', 'suspended') AND table_prefix = $4 RETURNING version";
    SWITCH = "UPDATE tenants SET server = $1, isolation = $2, table_prefix = $3, schema_version = $4, moving = NULL, version = CASE WHEN version >= $5 THEN version + 1 ELSE $5 END, \
        updated_at = $5 WHERE id = $6 AND moving = $7 RETURNING version";
    END_MOVE = "UPDATE tenants SET moving = NULL, version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 WHERE id = $2 AND moving = $3 RETURNING version";
    RETIRE = "INSERT INTO retired_places (table_prefix, tenant, server, isolation, drop_after) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (table_prefix) DO NOTHING";
    RETIRED = "SELECT server, isolation, table_prefix, tenant FROM retired_places WHERE drop_after <= $1 AND table_prefix > $2 ORDER BY table_prefix LIMIT $3";
    COUNT_RETIRED = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN drop_after <= $1 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM retired_places";
    FORGET_RETIRED = "DELETE FROM retired_places WHERE table_prefix = $1";
    /// A place that a move has begun to fill: dropped if it never becomes the tenant's.
    BECOME = "DELETE FROM retired_places WHERE table_prefix = $1 AND drop_after > $2 RETURNING table_prefix";
}

/// How far clocks of machines may be apart: a place whose time is over in less may be dropped by another already.
const DROPPED_SOON: Duration = Duration::from_secs(60);

/// Begins a move from `from`, with the job that does it. Returns whether this call did.
///
/// # Errors
/// When the database is away.
pub async fn begin_move(
    db: &Db,
    id: &TenantId,
    from: &Place,
    job: &NewJob,
    entry: &Entry,
    now: Millis,
    published: bool,
) -> Result<bool, DbError> {
    let mut tx = db.begin_write().await?;
    let query = BEGIN_MOVE
        .query()
        .bind(job.id.as_str().to_owned())
        .bind(now.get())
        .bind(id.as_str().to_owned())
        .bind(from.prefix.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded("begin a move").await?.is_none() {
        return Ok(false);
    }
    jobs::insert(&mut tx, job, now, published).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded("begin a move").await?;
    Ok(true)
}

/// A move's end: where the tenant is from now on, and the place that is left.
#[derive(Debug)]
pub(crate) struct Switch<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) job: &'a JobId,
    pub(crate) from: &'a Place,
    pub(crate) to: &'a Place,
    pub(crate) schema_version: i64,
    /// How long readers may still come to the old place.
    pub(crate) linger: Duration,
}

/// Switches a tenant to its new place and retires the old one. Returns whether this call did.
pub(crate) async fn switch(db: &Db, switch: &Switch<'_>, entry: &Entry, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "switch a tenant to its new place";
    let mut tx = db.begin_write().await?;
    let query = SWITCH
        .query()
        .bind(switch.to.server.as_str().to_owned())
        .bind(switch.to.isolation.as_str())
        .bind(switch.to.prefix.as_str().to_owned())
        .bind(switch.schema_version)
        .bind(now.get())
        .bind(switch.tenant.as_str().to_owned())
        .bind(switch.job.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    let query = BECOME
        .query()
        .bind(switch.to.prefix.as_str().to_owned())
        .bind(now.after(DROPPED_SOON).get());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        // This attempt stood still for so long that its place was dropped, or may be in this moment.
        return Ok(false);
    }
    retire(&mut tx, switch.tenant, switch.from, now.after(switch.linger)).await?;
    changes::recount(&mut tx, &switch.from.server, &switch.to.server).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Ends a move that came to nothing. What its attempts have begun is retired already. Returns whether this call did.
pub(crate) async fn end_move(db: &Db, id: &TenantId, job: &JobId, entry: &Entry, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "end a move";
    let mut tx = db.begin_write().await?;
    let query = END_MOVE
        .query()
        .bind(now.get())
        .bind(id.as_str().to_owned())
        .bind(job.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Enters a place that is about to be made for a move: whatever becomes of the attempt, it is dropped after `drop_after`
/// unless it has become the tenant's by then.
pub(crate) async fn begin_place(db: &Db, id: &TenantId, place: &Place, drop_after: Millis) -> Result<(), DbError> {
    let mut tx = db.begin_write().await?;
    retire(&mut tx, id, place, drop_after).await?;
    tx.commit().bounded("enter a place").await
}

pub(crate) async fn retire(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    place: &Place,
    drop_after: Millis,
) -> Result<(), DbError> {
    let query = RETIRE
        .query()
        .bind(place.prefix.as_str().to_owned())
        .bind(tenant.as_str().to_owned())
        .bind(place.server.as_str().to_owned())
        .bind(place.isolation.as_str())
        .bind(drop_after.get());
    query.execute(connection).bounded("retire a place").await.map(|_| ())
}

/// Places after `after` (a prefix) that may be dropped by now, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn retired(db: &Db, now: Millis, after: &str, limit: i64) -> Result<Vec<(Place, TenantId)>, DbError> {
    let query = RETIRED.query().bind(now.get()).bind(after.to_owned()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for retired places").await?;
    rows.iter()
        .map(|row| {
            let place = Place {
                server: jobs::text(row, 0)?,
                isolation: jobs::text(row, 1)?,
                prefix: jobs::text(row, 2)?,
            };
            Ok((place, jobs::text(row, 3)?))
        })
        .collect()
}

/// How many places tenants have left that are still there, and how many of them were to be dropped by `due`.
///
/// # Errors
/// When the database is away.
pub async fn count_retired(db: &Db, due: Millis) -> Result<(i64, i64), DbError> {
    const WHAT: &str = "count retired places";
    let row = COUNT_RETIRED
        .query()
        .bind(due.get())
        .fetch_one(db.read())
        .bounded(WHAT)
        .await?;
    Ok((row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?))
}

/// Forgets a retired place: it has been dropped.
pub(crate) async fn forget_retired(db: &Db, place: &Place) -> Result<(), DbError> {
    let query = FORGET_RETIRED.query().bind(place.prefix.as_str().to_owned());
    query
        .execute(db.write())
        .bounded("forget a retired place")
        .await
        .map(|_| ())
}
