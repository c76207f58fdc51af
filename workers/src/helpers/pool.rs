//! A worker's helpers: who is idle, who may be asked, when another is started.

use super::{
    Confinement, Died, NotStarted, Refusal,
    process::{Ask, Helper},
    starter::Starter,
    task::Task,
};
use bytes::Bytes;
use mediamill_media::Settings;
use mediamill_shared::{clock::Stopwatch, ids::TenantId};
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A picture for a helper.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The file.
    pub bytes: Bytes,
    /// What is wanted of it.
    pub settings: &'a Settings,
    /// Upper bound of the memory that the engine needs for it, bytes: `Probe::memory_bytes`.
    pub memory: u64,
}

/// Why a helper made nothing of a picture.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The bytes are no picture that may be kept.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The helper did not survive it.
    #[error(transparent)]
    Died(#[from] Died),
    /// There was no helper.
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
}

/// Helper processes. How many work at a time is up to the callers; as many as may be are kept. Dropped, all are killed.
#[derive(Debug)]
pub struct HelperPool {
    program: PathBuf,
    starter: Starter,
    most: usize,
    time: Duration,
    helpers: Mutex<Helpers>,
}

#[derive(Debug, Default)]
struct Helpers {
    /// Oldest first.
    idle: Vec<Helper>,
    busy: usize,
}

/// A helper at work counts; it stops when this is dropped.
struct Busy<'a>(&'a HelperPool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut helpers = self.0.helpers();
        helpers.busy = helpers.busy.saturating_sub(1);
    }
}

impl HelperPool {
    /// A pool that keeps at most `most` processes of `program`, each of which may work on one picture for `time`.
    #[must_use]
    pub fn new(program: PathBuf, most: usize, time: Duration) -> Self {
        Self {
            program,
            starter: Starter::default(),
            most: most.max(1),
            time,
            helpers: Mutex::default(),
        }
    }

    fn helpers(&self) -> MutexGuard<'_, Helpers> {
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the first helper, and tells what it has given up.
    ///
    /// # Errors
    /// When none can be started.
    pub async fn open(&self) -> Result<Confinement, NotStarted> {
        let (helper, confinement) = Helper::start(&self.program, &self.starter).await?;
        self.helpers().idle.push(helper);
        Ok(confinement)
    }

    /// Makes of a picture what `T` says. Dropped before its end, its helper is killed.
    ///
    /// # Errors
    /// When the bytes are no picture, the helper does not survive it, or there is none.
    pub async fn make<T: Task>(&self, picture: Picture<'_>) -> Result<T::Made, NotMade> {
        self.helpers().busy += 1;
        let busy = Busy(self);
        let mut helper = self.helper_for(picture.tenant).await?;
        helper.tenant = Some(picture.tenant.clone());
        let ask = Ask {
            bytes: picture.bytes,
            settings: picture.settings,
            memory: picture.memory,
            time: self.time,
        };
        let answer = helper.make::<T>(ask).await?;
        let remarks = helper.remarks();
        if !remarks.is_empty() {
            tracing::warn!(tenant.id = %picture.tenant, "a helper says: {remarks}");
        }
        drop(busy);
        if helper.fit() {
            helper.idle = Stopwatch::start();
            self.helpers().idle.push(helper);
        } else {
            helper.end().await;
        }
        Ok(answer?)
    }

    /// An idle helper that has seen no other tenant's pictures, or a new one.
    async fn helper_for(&self, tenant: &TenantId) -> Result<Helper, NotStarted> {
        loop {
            let idle = {
                let mut helpers = self.helpers();
                let own = |helper: &Helper| helper.tenant.as_ref() == Some(tenant);
                let place = helpers
                    .idle
                    .iter()
                    .rposition(own)
                    .or_else(|| helpers.idle.iter().rposition(|helper| helper.tenant.is_none()));
                place.map(|place| helpers.idle.remove(place))
            };
            let Some(mut helper) = idle else { break };
            if helper.lives() {
                return Ok(helper);
            }
            helper.end().await;
        }
        // Another tenant's idle one makes room.
        while let Some(helper) = self.too_many() {
            helper.end().await;
        }
        let (helper, _) = Helper::start(&self.program, &self.starter).await?;
        Ok(helper)
    }

    fn too_many(&self) -> Option<Helper> {
        let mut helpers = self.helpers();
        let all = helpers.idle.len().saturating_add(helpers.busy);
        (all > self.most && !helpers.idle.is_empty()).then(|| helpers.idle.remove(0))
    }

    /// Ends helpers that have seen a picture and were idle for longer than `time`: what one that was taken over may still
    /// compute ends with it.
    pub async fn end_idle(&self, time: Duration) {
        loop {
            let stale = {
                let mut helpers = self.helpers();
                let stale = |helper: &Helper| helper.tenant.is_some() && helper.idle.elapsed() > time;
                let place = helpers.idle.iter().position(stale);
                place.map(|place| helpers.idle.remove(place))
            };
            let Some(helper) = stale else { return };
            helper.end().await;
        }
    }

    /// Ends the idle helpers and waits until they are gone.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut self.helpers().idle);
        for helper in idle {
            helper.end().await;
        }
    }
}
