//! How often and how many at a time tenants have their storages tried: each trial sends more than 8 MiB to wherever the tenant
//! says.

use crate::{
    problem::{Cause, Problem},
    recent::Recent,
};
use mediamill_shared::{cache::Cache, ids::TenantId};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Trials of a tenant in a minute.
const MOST: i64 = 20;
/// Trials that a process makes at a time: each holds up to three parts of 8 MiB.
const AT_A_TIME: usize = 4;

/// What is counted. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Trials {
    recent: Recent,
    busy: Arc<Mutex<HashSet<TenantId>>>,
    slots: Arc<Semaphore>,
}

/// A trial that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Trial {
    tenant: TenantId,
    busy: Arc<Mutex<HashSet<TenantId>>>,
    _slot: OwnedSemaphorePermit,
}

impl Trials {
    /// Nothing tried by this process yet.
    pub(crate) fn new(cache: Cache) -> Self {
        Self {
            recent: Recent::new(cache, MOST),
            busy: Arc::default(),
            slots: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Goes on when a tenant may have a storage tried now. Nobody waits for that: whoever hangs must not hold up others' requests.
    pub(crate) async fn begin(&self, tenant: &TenantId) -> Result<Trial, Problem> {
        let name = format!("storage-trials:{tenant}");
        if self.recent.too_many(&name).await {
            let detail = format!("a tenant's storages are tried {MOST} times a minute at most");
            return Err(Problem::new(Cause::TooManyTrials, detail).with("limit", MOST));
        }
        let trial = self.slot(tenant)?;
        self.recent.count(&name).await;
        Ok(trial)
    }

    fn slot(&self, tenant: &TenantId) -> Result<Trial, Problem> {
        let full = |_| {
            let detail = "as many storages as this process tries at a time are being tried; try again in a moment";
            Problem::new(Cause::Unavailable, detail)
        };
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(full)?;
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(tenant.clone()) {
            let detail = "one of the tenant's storages is being tried: wait for its answer";
            return Err(Problem::new(Cause::TooManyTrials, detail));
        }
        Ok(Trial {
            tenant: tenant.clone(),
            busy: Arc::clone(&self.busy),
            _slot: slot,
        })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::testing::World;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    #[tokio::test]
    async fn a_tenant_has_one_at_a_time_and_so_many_a_minute_and_nobody_takes_all_slots() {
        let world = World::embedded().await;
        let trials = Trials::new(world.services.cache.clone());
        let held = trials.begin(&tenant("one")).await.unwrap();
        let told = trials.begin(&tenant("one")).await.unwrap_err();
        assert_eq!(told.cause(), Cause::TooManyTrials);
        let others = [trials.begin(&tenant("two")).await, trials.begin(&tenant("three")).await];
        let last = trials.begin(&tenant("four")).await.unwrap();
        let full = trials.begin(&tenant("five")).await.unwrap_err();
        assert_eq!(full.cause(), Cause::Unavailable);
        assert!(others.iter().all(Result::is_ok));
        drop(held);
        for _ in 1..MOST {
            trials.begin(&tenant("one")).await.unwrap();
        }
        let late = trials.begin(&tenant("one")).await.unwrap_err();
        assert_eq!(late.cause(), Cause::TooManyTrials);
        drop(last);
        // Another process counts with it.
        let other = Trials::new(world.services.cache.clone());
        assert_eq!(
            other.begin(&tenant("one")).await.unwrap_err().cause(),
            Cause::TooManyTrials
        );
        other.begin(&tenant("five")).await.unwrap();
        world.services.shutdown.stop();
    }
}
