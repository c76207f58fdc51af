//! Letting tenants go for good: objects, then tables, then rows; the line in the audit log stays.
//!
//! In this order, so that a removal that is broken off leaves a tenant that nobody is served and that is found again.

use super::{Lifecycle, LifecycleError};
use crate::{
    control::{
        audit::Actor,
        changes::{self, Purge, Refused},
        jobs::{self, NewJob, SILENCE},
        metering, moves,
        storages::{self, Claimant, Share, Shares},
        tenants::{self, TenantRow},
    },
    db::{Bounded, DbError},
    ids::{JobId, TenantId, TraceId},
    jobs::DeprovisionTenant,
    objects::{ObjectError, ObjectKey, Store},
    placement::Spot,
    quota::roll_up::roll_up,
    tenancy::{TENANT_SCHEMA_VERSION, TenantDb, TenantState, migrate, store::places::Held},
};

/// Objects listed at a time.
const PAGE: u16 = 1_000;
/// The step after which its tables may be gone.
const REMOVED_OBJECTS: &str = "objects";

/// Why a removal is not at its end.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The rows or a database.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// A worker is at one of its jobs, and may place something yet.
    #[error("job {job} of the tenant is still running: its removal goes on when that has ended")]
    AtWork {
        /// The job.
        job: JobId,
    },
    /// The objects.
    #[error("the tenant's objects could not be removed from {spot}; a storage that is off is passed over")]
    Objects {
        /// Where.
        spot: String,
        /// Why.
        #[source]
        source: ObjectError,
    },
}

impl From<DbError> for RemoveError {
    fn from(error: DbError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl From<crate::tenancy::ResolveError> for RemoveError {
    fn from(error: crate::tenancy::ResolveError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl Lifecycle {
    /// Begins the removal of a tenant for good. Returns its job; `None` when it had begun already.
    ///
    /// # Errors
    /// When there is no such tenant, it is being moved, or the database is away.
    pub async fn begin_purge(&self, id: &TenantId, actor: &Actor) -> Result<Option<JobId>, LifecycleError> {
        self.begin(id, Purge::AtOnce, actor).await
    }

    /// The same of a tenant that left and whose time is over. `None` also when it is not, or not any more.
    ///
    /// # Errors
    /// As [`Lifecycle::begin_purge`].
    pub async fn begin_due_purge(&self, id: &TenantId, actor: &Actor) -> Result<Option<JobId>, LifecycleError> {
        self.begin(id, Purge::WhenDue, actor).await
    }

    async fn begin(&self, id: &TenantId, purge: Purge, actor: &Actor) -> Result<Option<JobId>, LifecycleError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Err(Refused::Missing { id: id.clone() }.into());
        };
        if row.moving.is_some() {
            return Err(Refused::NotNow {
                id: id.clone(),
                state: row.state,
            }
            .into());
        }
        let job = self.purge_job(id)?;
        let entry = self.entry(actor, "tenant.purge", Some(id));
        let (now, published) = (self.clock.now(), self.queue.rows_are_messages());
        let begun = changes::begin_purge(&self.control, (id, purge), Some(&job), &entry, now, published).await?;
        if !begun {
            return Ok(None);
        }
        self.outbox.offer(job.pool, job.envelope(now));
        self.resolver.refresh(id).await?;
        Ok(Some(job.id))
    }

    fn purge_job(&self, id: &TenantId) -> Result<NewJob, LifecycleError> {
        let job = JobId::generate(&self.clock, &self.entropy);
        let trace = TraceId::generate(&self.clock, &self.entropy);
        let mut job = NewJob::of(job, &DeprovisionTenant {}, trace)?;
        job.tenant = Some(id.clone());
        job.subject = Some(format!("tenant:{id}"));
        Ok(job)
    }

    /// Another job for a tenant whose removal has begun and has none that is open.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn purge_again(&self, id: &TenantId) -> Result<JobId, LifecycleError> {
        let job = self.purge_job(id)?;
        let (now, published) = (self.clock.now(), self.queue.rows_are_messages());
        jobs::accept(&self.control, std::slice::from_ref(&job), now, published).await?;
        self.outbox.offer(job.pool, job.envelope(now));
        Ok(job.id)
    }

    /// Removes a tenant whose removal has begun. Called again after a crash at any line it goes on. Returns how many objects
    /// this call removed.
    ///
    /// # Errors
    /// When a database or the object store is away.
    pub async fn purge(&self, id: &TenantId, job: Option<&JobId>, actor: &Actor) -> Result<u64, RemoveError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            // A call before this one may have died before it told anybody.
            self.resolver.refresh(id).await?;
            return Ok(0);
        };
        if row.state != TenantState::Deleting {
            let refused = Refused::NotNow {
                id: id.clone(),
                state: row.state,
            };
            return Err(LifecycleError::from(refused).into());
        }
        self.resolver.refresh(id).await?;
        self.nobody_at_work(id, job).await?;
        let hosts = tenants::hosts(&self.control, id).await?;
        let removed = self.take_down(&row, job, actor).await?;
        // Also where another call ended it, which may have died before it told anybody.
        let lost: Vec<String> = hosts.into_iter().map(|host| host.name).collect();
        self.resolver.refresh_without(id, &lost).await?;
        self.quota.forget(id).await;
        Ok(removed)
    }

    async fn take_down(&self, row: &TenantRow, job: Option<&JobId>, actor: &Actor) -> Result<u64, RemoveError> {
        let id = &row.id;
        let removed = self.remove_objects(row).await?;
        if !self.is_still_going(row).await? {
            return Ok(removed);
        }
        let tables = self.tables_left(row).await?;
        self.close_usage(row, tables.as_ref()).await?;
        // Older tables say nothing of places: what they hold there is found by reconciliation.
        if row.step != REMOVED_OBJECTS
            && row.schema_version == TENANT_SCHEMA_VERSION
            && let Some(tables) = &tables
        {
            self.give_room_back(row, tables).await?;
        }
        // Who had not heard of the removal yet when it was asked first; what that one has claimed is given back by the next try.
        self.nobody_at_work(id, job).await?;
        changes::step(&self.control, id, REMOVED_OBJECTS).await?;
        migrate::drop_place(&self.databases, &row.place).await?;
        // A worker may have placed a picture just before it learned that the tenant is going.
        let late = self.remove_objects(row).await?;
        let removed = removed.saturating_add(late);
        let entry = self.entry(actor, "tenant.removed", Some(id));
        let entry = entry.with(serde_json::json!({ "objects": removed, "place": row.place.to_string() }));
        let mut tx = self.control.begin_write().await?;
        changes::forget(&mut tx, (id, &row.serial), job, &entry).await?;
        tx.commit().bounded("remove a tenant").await?;
        Ok(removed)
    }

    /// Whether no other call has ended it: then a tenant that is there by this id is another, with pictures of its own.
    async fn is_still_going(&self, row: &TenantRow) -> Result<bool, DbError> {
        let now = tenants::get(&self.control, &row.id).await?;
        Ok(now.is_some_and(|now| now.serial == row.serial))
    }

    /// Attempts that begin now are refused; of one that began before, files would stay that nobody looks for any more.
    async fn nobody_at_work(&self, id: &TenantId, job: Option<&JobId>) -> Result<(), RemoveError> {
        let since = self.clock.now().before(SILENCE);
        match jobs::in_hand(&self.control, id, since, job).await? {
            None => Ok(()),
            Some(job) => Err(RemoveError::AtWork { job }),
        }
    }

    /// Rolls up what the ledger still has to tell, and closes the tenant's account. Tables that were never made, or are gone
    /// already, have nothing to tell.
    async fn close_usage(&self, row: &TenantRow, tables: Option<&TenantDb>) -> Result<(), DbError> {
        if metering::is_closed(&self.control, &row.id, &row.serial).await? {
            return Ok(());
        }
        if let Some(tables) = tables {
            roll_up(&self.control, &row.id, tables).await?;
        }
        metering::close(&self.control, &row.id, &row.serial, self.clock.now()).await
    }

    pub(in crate::tenancy) async fn remove_objects(&self, row: &TenantRow) -> Result<u64, RemoveError> {
        let mut removed = 0_u64;
        for opened in self.storages.everywhere(&row.id).await? {
            let failed = |source| RemoveError::Objects {
                spot: opened.spot.to_string(),
                source,
            };
            let folders: &[&str] = match opened.spot {
                Spot::Main => &[ObjectKey::MEDIA, ObjectKey::STAGED],
                Spot::Storage(_) => &[ObjectKey::MEDIA],
            };
            for folder in folders {
                // With its slash: `a` must not take `ab`'s.
                let (prefix, mut after) = (format!("{folder}/{}/", row.id), None);
                loop {
                    let page = opened
                        .objects
                        .list(&prefix, after.as_ref(), PAGE)
                        .await
                        .map_err(failed)?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.key.clone());
                    // For each page: a process that stood still must not go on among a new tenant's pictures.
                    if !self.is_still_going(row).await? {
                        return Ok(removed);
                    }
                    for listed in &page {
                        opened.objects.delete(&listed.key).await.map_err(failed)?;
                        removed = removed.saturating_add(1);
                    }
                }
            }
        }
        Ok(removed)
    }

    /// What lay in the provider's storages does not any more. By the place's name, which no other tenant ever has: again, it
    /// changes nothing.
    async fn give_room_back(&self, row: &TenantRow, tables: &TenantDb) -> Result<(), LifecycleError> {
        let share = |held: &Held| Share {
            bytes: held.bytes,
            objects: held.objects,
        };
        let now = self.clock.now();
        let held = tables.places().await?;
        let gone: Shares = held
            .iter()
            .map(|(spot, held)| (spot.clone(), share(held).negated()))
            .collect();
        let by = Claimant::named(format!("gone:{}", row.place.prefix));
        storages::settle(&self.control, &by, &gone, now).await?;
        // Deleted, and still on their way out: each counted out by its own name, as its job would.
        for media in tables.hidden().await? {
            let mut gone = Shares::new();
            for file in tables.variants(&media).await? {
                for spot in file.places.held() {
                    let share = gone.entry(spot.clone()).or_default();
                    *share = share.with(file.bytes);
                }
            }
            let gone = gone.into_iter().map(|(spot, share)| (spot, share.negated())).collect();
            storages::settle(&self.control, &Claimant::named(format!("gone:{media}")), &gone, now).await?;
        }
        // Claimed by jobs that recorded nothing, and never will.
        for job in storages::claimed(&self.control, &row.id).await? {
            if !tables.is_settled(&job).await? {
                storages::settle(&self.control, &Claimant::named(job.to_string()), &Shares::new(), now).await?;
            }
        }
        Ok(())
    }

    /// Drops the places that tenants have left and nobody can believe in any more. Returns how many of at most `limit`.
    ///
    /// # Errors
    /// When a database is away; the others are dropped all the same in a later call.
    pub async fn drop_retired(&self, limit: i64) -> Result<i64, LifecycleError> {
        let now = self.clock.now();
        let mut dropped = 0_i64;
        for (place, _) in moves::retired(&self.control, now, "", limit).await? {
            migrate::drop_place(&self.databases, &place).await?;
            moves::forget_retired(&self.control, &place).await?;
            dropped = dropped.saturating_add(1);
        }
        Ok(dropped)
    }
}
