//! A tenant leaves for good, and its rows with it.

use super::UNCOUNT_SERVER;
use crate::{
    control::{
        audit::{self, Entry},
        batches, expiries, findings,
        jobs::{self, NewJob},
        limit_marks, object_findings, resumable, storages,
    },
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, TenantId},
    units::Millis,
};
use sqlx::{AnyConnection, Row};

sql! {
    BEGIN_PURGE = "UPDATE tenants SET state = 'deleting', step = 'begun', version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 \
        WHERE id = $2 AND state <> 'deleting' AND moving IS NULL RETURNING id";
    // Whoever was restored, or given more time, since somebody saw that it is due stays.
    BEGIN_DUE_PURGE = "UPDATE tenants SET state = 'deleting', step = 'begun', version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 \
        WHERE id = $2 AND state = 'leaving' AND (purge_at IS NULL OR purge_at <= $1) AND moving IS NULL RETURNING id";
    BEGIN_UNDO = "UPDATE tenants SET state = 'deleting', step = 'undo', version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END, updated_at = $1 \
        WHERE id = $2 AND serial = $3 AND state = 'provisioning' RETURNING id";
    /// Locks the row. A tenant that was made anew by this id meanwhile is another.
    STILL_GOING = "UPDATE tenants SET step = step WHERE id = $1 AND serial = $2 AND state = 'deleting' RETURNING id";
    FORGET_HOSTS = "DELETE FROM tenant_hosts WHERE tenant = $1";
    FORGET_KEYS = "DELETE FROM idempotency_keys WHERE tenant = $1";
    FORGET_LINK_KEYS = "DELETE FROM link_keys WHERE tenant = $1";
    FORGET_STATS = "DELETE FROM tenant_stats WHERE tenant = $1";
    FORGET = "DELETE FROM tenants WHERE id = $1 RETURNING server";
}

/// Which tenants may be removed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Any.
    AtOnce,
    /// One that left, and whose time is over.
    WhenDue,
}

/// Begins the removal of a tenant for good, with the job that does it. Returns whether this call did.
///
/// # Errors
/// When the database is away.
pub async fn begin_purge(
    db: &Db,
    (id, purge): (&TenantId, Purge),
    job: Option<&NewJob>,
    entry: &Entry,
    now: Millis,
    published: bool,
) -> Result<bool, DbError> {
    let mut tx = db.begin_write().await?;
    let sql = match purge {
        Purge::AtOnce => BEGIN_PURGE,
        Purge::WhenDue => BEGIN_DUE_PURGE,
    };
    let query = sql.query().bind(now.get()).bind(id.as_str().to_owned());
    if query
        .fetch_optional(&mut *tx)
        .bounded("begin a removal")
        .await?
        .is_none()
    {
        return Ok(false);
    }
    if let Some(job) = job {
        jobs::insert(&mut tx, job, now, published).await?;
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded("begin a removal").await?;
    Ok(true)
}

/// Begins to take a tenant back that was never served: from now on nobody puts it into service, and its batch row says
/// why. Returns whether this call did.
pub(crate) async fn begin_undo(
    db: &Db,
    (id, serial): (&TenantId, &str),
    cause: &str,
    now: Millis,
) -> Result<bool, DbError> {
    const WHAT: &str = "begin to undo a tenant";
    let mut tx = db.begin_write().await?;
    let query = BEGIN_UNDO.query().bind(now.get()).bind(id.as_str().to_owned());
    let query = query.bind(serial.to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    batches::row_failed(&mut tx, id, cause).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Removes the rows of a tenant whose tables are gone, except its line in the audit log. Returns whether it was this call.
pub(crate) async fn forget(
    connection: &mut AnyConnection,
    (id, serial): (&TenantId, &str),
    keep_job: Option<&JobId>,
    entry: &Entry,
) -> Result<bool, DbError> {
    const WHAT: &str = "remove a tenant";
    let query = STILL_GOING.query().bind(id.as_str().to_owned()).bind(serial.to_owned());
    if query.fetch_optional(&mut *connection).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    jobs::forget_tenant(connection, id, keep_job).await?;
    let Some(server) = forget_rows(connection, id).await? else {
        return Ok(false);
    };
    let query = UNCOUNT_SERVER.query().bind(server);
    query.execute(&mut *connection).bounded(WHAT).await?;
    audit::append(connection, entry).await?;
    Ok(true)
}

pub(super) async fn forget_rows(connection: &mut AnyConnection, id: &TenantId) -> Result<Option<String>, DbError> {
    const WHAT: &str = "remove a tenant";
    storages::forget_tenant(connection, id).await?;
    expiries::forget_tenant(connection, id).await?;
    findings::forget_tenant(connection, id).await?;
    object_findings::forget_tenant(connection, id).await?;
    resumable::forget_tenant(connection, id).await?;
    for sql in [FORGET_KEYS, FORGET_HOSTS, FORGET_LINK_KEYS, FORGET_STATS] {
        let query = sql.query().bind(id.as_str().to_owned());
        query.execute(&mut *connection).bounded(WHAT).await?;
    }
    limit_marks::forget(&mut *connection, id).await?;
    let query = FORGET.query().bind(id.as_str().to_owned());
    let row = query.fetch_optional(connection).bounded(WHAT).await?;
    row.map(|row| row.try_get(0).during(WHAT)).transpose()
}
