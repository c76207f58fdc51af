//! Moving a tenant to another server or mode while its uploads wait and its pictures are served.
//!
//! The old place is closed for writers in its own database, which waits for those that write; rows are copied, both sides
//! are compared, and one transaction in the control database switches. What is killed before the switch begins anew;
//! what is given up before it leaves the tenant where it was, open again. The old place is dropped later, when no
//! process can believe in it any more. A place is never used twice, so nothing that comes late can harm.

use super::{Lifecycle, LifecycleError};
use crate::{
    control::{
        audit::Actor,
        changes::{self, Refused, Switch},
        jobs::NewJob,
        tenants,
    },
    db::DbError,
    ids::{JobId, TenantId, TraceId},
    jobs::MoveTenant,
    tenancy::{Isolation, Place, ServerName, TENANT_SCHEMA_VERSION, TenantState, copy, db::TenantTx, migrate, schemas},
};
use std::sync::atomic::Ordering;

/// Why a move is not at its end.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The rows or a database.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The two sides do not agree: nothing was switched.
    #[error("table {table}: {from} rows with checksum {from_sum} were copied as {to} rows with {to_sum}")]
    Differs {
        /// The table.
        table: &'static str,
        /// Rows that were there.
        from: i64,
        /// Their checksum.
        from_sum: String,
        /// Rows that are here.
        to: i64,
        /// Their checksum.
        to_sum: String,
    },
    /// It is where it shall go.
    #[error("tenant {id} is there already: {place}")]
    There {
        /// The tenant.
        id: TenantId,
        /// Its place.
        place: Place,
    },
}

impl From<DbError> for MoveError {
    fn from(error: DbError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl From<crate::tenancy::ResolveError> for MoveError {
    fn from(error: crate::tenancy::ResolveError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl Lifecycle {
    /// Begins to move a tenant. Its job does it.
    ///
    /// # Errors
    /// When it is there already, comes, goes or moves, the server is not configured, or the database is away.
    pub async fn begin_move(
        &self,
        id: &TenantId,
        isolation: Isolation,
        server: Option<ServerName>,
        actor: &Actor,
    ) -> Result<JobId, MoveError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Err(LifecycleError::from(Refused::Missing { id: id.clone() }).into());
        };
        let server = server.unwrap_or_else(|| row.place.server.clone());
        if (row.place.isolation, &row.place.server) == (isolation, &server) {
            return Err(MoveError::There {
                id: id.clone(),
                place: row.place,
            });
        }
        let mut placement = self.placement(&[]).await?;
        let to = self.place_at(&mut placement, Some(server), Some(isolation))?;
        let payload = MoveTenant {
            from: (&row.place).into(),
            to: (&to).into(),
        };
        let trace = TraceId::generate(&self.clock, &self.entropy);
        let job = NewJob::of(JobId::generate(&self.clock, &self.entropy), &payload, trace);
        let mut job = job.map_err(LifecycleError::from)?;
        job.tenant = Some(id.clone());
        job.subject = Some(format!("tenant:{id}"));
        let detail = serde_json::json!({ "from": row.place.to_string(), "to": to.to_string(), "job": job.id });
        let entry = self.entry(actor, "tenant.move", Some(id)).with(detail);
        let (now, published) = (self.clock.now(), self.queue.rows_are_messages());
        if !changes::begin_move(&self.control, id, &row.place, &job, &entry, now, published).await? {
            let refused = Refused::NotNow {
                id: id.clone(),
                state: row.state,
            };
            return Err(LifecycleError::from(refused).into());
        }
        self.outbox.offer(job.pool, job.envelope(now));
        self.resolver.refresh(id).await?;
        Ok(job.id)
    }

    /// Moves a tenant as `job` says. Called again after a crash at any line it ends in the same state as one call.
    /// `each` hears of every batch of rows.
    ///
    /// # Errors
    /// When a database is away, or the two sides differ.
    pub async fn relocate(
        &self,
        id: &TenantId,
        job: &JobId,
        from: &Place,
        to: &Place,
        each: impl Fn(u64) + Send + Sync,
    ) -> Result<(), MoveError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Err(LifecycleError::from(Refused::Missing { id: id.clone() }).into());
        };
        if row.place == *to {
            return self.open(id, to).await;
        }
        if row.moving.as_ref() != Some(job) || row.state == TenantState::Deleting {
            let refused = Refused::NotNow {
                id: id.clone(),
                state: row.state,
            };
            return Err(LifecycleError::from(refused).into());
        }
        let now = self.clock.now();
        // Every process is told that writes wait; one that does not hear it is stopped by the closed row.
        self.resolver.refresh(id).await?;
        migrate::migrate_tenant(&self.databases, from, now).await?;
        self.set_writable(from, false).await?;
        // Whatever an attempt before this one has left.
        migrate::drop_place(&self.databases, to).await?;
        self.databases.create(to).await?;
        migrate::prepare(&self.databases, to, &self.prepared).await?;
        let mut tx = TenantTx::within(self.databases.begin(to).await?, to.clone());
        migrate::make_tables(&mut tx, id, false, now).await?;
        tx.commit().await?;
        let count = |rows: u64| {
            self.copied.fetch_add(rows, Ordering::Relaxed);
            each(rows);
        };
        copy::copy(&self.databases, from, to, count).await?;
        copy::compare(&self.databases, from, to).await?;
        let entry = self.entry(&Actor::job(job), "tenant.moved", Some(id));
        let entry = entry.with(serde_json::json!({ "from": from.to_string(), "to": to.to_string() }));
        let switch = Switch {
            tenant: id,
            job,
            from,
            to,
            schema_version: TENANT_SCHEMA_VERSION,
            linger: self.settings.linger,
        };
        if !changes::switch(&self.control, &switch, &entry, self.clock.now()).await? {
            let refused = Refused::NotNow {
                id: id.clone(),
                state: row.state,
            };
            return Err(LifecycleError::from(refused).into());
        }
        self.open(id, to).await
    }

    /// Opens the new place for writers and tells every process.
    async fn open(&self, id: &TenantId, to: &Place) -> Result<(), MoveError> {
        self.set_writable(to, true).await?;
        self.resolver.refresh(id).await?;
        Ok(())
    }

    async fn set_writable(&self, place: &Place, writable: bool) -> Result<(), DbError> {
        let mut tx = self.databases.begin(place).await?;
        if !schemas::set_writable(&mut tx, &place.prefix, writable, self.clock.now()).await? {
            return Err(DbError::Gone {
                during: "open or close a tenant's tables",
            });
        }
        tx.commit("open or close a tenant's tables").await
    }

    /// Gives a move up: the tenant stays where it was. Called twice, or after the switch, it changes nothing.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn stay(&self, id: &TenantId, job: &JobId, from: &Place, to: &Place) -> Result<(), MoveError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Ok(());
        };
        if row.moving.as_ref() != Some(job) {
            return Ok(());
        }
        self.set_writable(from, true).await?;
        let entry = self.entry(&Actor::job(job), "tenant.stayed", Some(id));
        let entry = entry.with(serde_json::json!({ "at": from.to_string() }));
        changes::end_move(&self.control, id, job, to, &entry, self.clock.now()).await?;
        self.resolver.refresh(id).await?;
        Ok(())
    }
}
