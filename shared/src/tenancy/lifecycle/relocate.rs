//! Moving a tenant to another server or mode while its uploads wait and its pictures are served.
//!
//! The old place is closed for writers in its own database, which waits for those that write; rows are copied, both sides
//! are compared, and one transaction in the control database switches. What is killed before the switch begins anew, in a
//! new place; what is given up before it leaves the tenant where it was, open again. The old place is dropped later, when
//! no process can believe in it any more, and so is what an attempt has left behind. A place is never used twice, so
//! nothing that comes late can harm.

use super::{Lifecycle, LifecycleError};
use crate::{
    control::{
        audit::Actor,
        changes::Refused,
        jobs::NewJob,
        moves::{self, Switch},
        tenants,
    },
    db::DbError,
    ids::{JobId, TenantId, TraceId},
    jobs::MoveTenant,
    tenancy::{
        Isolation, Place, ServerName, TENANT_SCHEMA_VERSION, TablePrefix, TenantState, copy, db::TenantTx, migrate,
        schemas,
    },
};
use std::{sync::atomic::Ordering, time::Duration};

/// No attempt is at work for longer: what it has made and not switched to may be dropped.
const ATTEMPT: Duration = Duration::from_secs(2 * 3_600);

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
        if !moves::begin_move(&self.control, id, &row.place, &job, &entry, now, published).await? {
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

    /// Moves a tenant as `job` says, to `to`'s server and mode. Called again after a crash at any line it ends in the same
    /// state as one call. `each` hears of every batch of rows.
    ///
    /// # Errors
    /// When a database is away, its tables are of a newer release, or the two sides differ.
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
        if row.moving.as_ref() != Some(job) || row.state == TenantState::Deleting {
            return self.moved(id, to).await;
        }
        // An attempt that is given up may still be at work: it fills another place, and can harm nobody's.
        let to = Place {
            prefix: TablePrefix::generate(&self.clock, &self.entropy),
            ..to.clone()
        };
        // Every process is told that writes wait; one that does not hear it is stopped by the closed row.
        self.resolver.refresh(id).await?;
        if !self.close(id, job, from).await? {
            return self.moved(id, &to).await;
        }
        moves::begin_place(&self.control, id, &to, self.clock.now().after(ATTEMPT)).await?;
        if let Err(error) = self.fill(id, from, &to, each).await {
            self.abandon(&to).await;
            return Err(error);
        }
        let entry = self.entry(&Actor::job(job), "tenant.moved", Some(id));
        let entry = entry.with(serde_json::json!({ "from": from.to_string(), "to": to.to_string() }));
        let switch = Switch {
            tenant: id,
            job,
            from,
            to: &to,
            schema_version: TENANT_SCHEMA_VERSION,
            linger: self.settings.linger,
        };
        moves::switch(&self.control, &switch, &entry, self.clock.now()).await?;
        self.moved(id, &to).await
    }

    /// Whether the tenant is where it shall be; tells every process so.
    async fn moved(&self, id: &TenantId, to: &Place) -> Result<(), MoveError> {
        let refused = match tenants::get(&self.control, id).await? {
            None => Refused::Missing { id: id.clone() },
            Some(row) if (&row.place.server, row.place.isolation) == (&to.server, to.isolation) => {
                self.resolver.refresh(id).await?;
                return Ok(());
            }
            Some(row) => Refused::NotNow {
                id: id.clone(),
                state: row.state,
            },
        };
        Err(LifecycleError::from(refused).into())
    }

    /// Closes the place that is left, at this release's version, and waits for those that write. Returns whether the tenant
    /// still leaves it by this job.
    pub(in crate::tenancy) async fn close(&self, id: &TenantId, job: &JobId, from: &Place) -> Result<bool, MoveError> {
        const WHAT: &str = "close a tenant's tables";
        let version = migrate::migrate_tenant(&self.databases, from, self.clock.now()).await?;
        if version > TENANT_SCHEMA_VERSION {
            // What a newer release has added would not be copied.
            return Err(DbError::NewerSchema {
                has: version,
                known: TENANT_SCHEMA_VERSION,
            }
            .into());
        }
        let mut tx = self.databases.begin(from).await?;
        if !schemas::close(&mut tx, &from.prefix, job, self.clock.now()).await? {
            return Err(DbError::Gone { during: WHAT }.into());
        }
        // The move may have been given up while this attempt stood still, and its place opened, or closed by the next: then it
        // stays as it is. Whoever gives it up after this look waits for the row, and opens it.
        let row = tenants::get(&self.control, id).await?;
        let leaves = row.is_some_and(|row| row.moving.as_ref() == Some(job) && row.place == *from);
        if leaves {
            tx.commit(WHAT).await?;
        }
        Ok(leaves)
    }

    /// Opens what this job has closed.
    async fn open(&self, job: &JobId, place: &Place) -> Result<(), DbError> {
        let mut tx = self.databases.begin(place).await?;
        schemas::open(&mut tx, &place.prefix, job, self.clock.now()).await?;
        tx.commit("open a tenant's tables").await
    }

    /// Makes a new place and fills it with what the old one holds, checked. Writers may come to it at once: nobody knows
    /// of it before the switch.
    async fn fill(
        &self,
        id: &TenantId,
        from: &Place,
        to: &Place,
        each: impl Fn(u64) + Send + Sync,
    ) -> Result<(), MoveError> {
        self.databases.create(to).await?;
        migrate::prepare(&self.databases, to, &self.prepared).await?;
        let mut tx = TenantTx::within(self.databases.begin(to).await?, to.clone());
        migrate::make_tables(&mut tx, id, self.clock.now()).await?;
        tx.commit().await?;
        let count = |rows: u64| {
            self.copied.fetch_add(rows, Ordering::Relaxed);
            each(rows);
        };
        copy::copy(&self.databases, from, to, count).await?;
        copy::compare(&self.databases, from, to).await
    }

    /// Drops what a failed attempt has made, if that is possible now.
    async fn abandon(&self, to: &Place) {
        let dropped = async {
            migrate::drop_place(&self.databases, to).await?;
            moves::forget_retired(&self.control, to).await
        };
        if let Err(error) = dropped.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                place = %to,
                "what a move had begun is dropped later"
            );
        }
    }

    /// Gives a move up: the tenant stays where it was. Called twice, or after the switch, it changes nothing.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn stay(&self, id: &TenantId, job: &JobId, from: &Place) -> Result<(), MoveError> {
        let entry = self.entry(&Actor::job(job), "tenant.stayed", Some(id));
        let entry = entry.with(serde_json::json!({ "at": from.to_string() }));
        // First the word that it is over, which no switch comes after, then the place.
        moves::end_move(&self.control, id, job, &entry, self.clock.now()).await?;
        let row = tenants::get(&self.control, id).await?;
        if row.is_some_and(|row| row.place == *from) {
            self.open(job, from).await?;
        }
        self.resolver.refresh(id).await?;
        Ok(())
    }

    /// Gives up a move whose job is gone or given up. Returns whether there was one.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn give_up_move(&self, id: &TenantId) -> Result<bool, MoveError> {
        let row = tenants::get(&self.control, id).await?;
        let Some((job, place)) = row.and_then(|row| row.moving.map(|job| (job, row.place))) else {
            return Ok(false);
        };
        self.stay(id, &job, &place).await?;
        Ok(true)
    }
}
