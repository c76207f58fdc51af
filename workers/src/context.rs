//! What a handler may use: its own tenant, and nothing that names another.

use crate::{
    admission::Admission,
    decoder::Decoder,
    fetch::Fetcher,
    processors::{Processor, Processors},
};
use mediamill_shared::{
    cache::{Cache, CachePort, JOB_CHANNEL},
    clock::{Clock, Entropy},
    control::{
        jobs::NewJob,
        storages::{self, Claimant},
    },
    db::Db,
    dispatch::Dispatch,
    ids::{JobId, TenantId, TraceId},
    jobs::{Job, JobError, Reason, ResultExt},
    objects::Objects,
    placement::Storages,
    quota::Quota,
    retry::RetryPolicy,
    tenancy::{Lifecycle, Tenant, TenantDb},
    units::{ByteCount, Millis},
};
use tokio_util::sync::CancellationToken;

/// One attempt's surroundings.
#[derive(Debug)]
pub struct JobContext {
    /// The job: what every effect is keyed by.
    pub job: JobId,
    /// Number of this attempt, from 1: after the first there may be something that one before it has left.
    pub attempt: i64,
    /// The same, counted from when the job was last brought back from the dead: how often it may be tried goes by it.
    pub tries: i64,
    /// The trace.
    pub trace: TraceId,
    /// When the job was accepted.
    pub created_at: Millis,
    /// What the counters hold for it.
    pub reserved: ByteCount,
    /// The installation's own objects: what is staged.
    pub objects: Objects,
    /// Where files lie.
    pub storages: Storages,
    /// The counters.
    pub quota: Quota,
    /// Time.
    pub clock: Clock,
    /// The memory budget.
    pub admission: Admission,
    /// Processors for pixels and hashes.
    pub processors: Processors,
    /// Ends with the attempt: its timeout, or the worker's end. Work off the async threads looks at it.
    pub cancel: CancellationToken,
    /// Stable code of the attempt before this one, where that failed.
    pub last_cause: Option<String>,
    pub(crate) decoder: Decoder,
    pub(crate) fetcher: Fetcher,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) cache: Cache,
    pub(crate) control: Db,
    pub(crate) entropy: Entropy,
    pub(crate) dispatch: Dispatch,
}

/// The job's tenant is not there.
#[derive(Debug, thiserror::Error)]
#[error("the job's tenant is not there any more")]
pub struct TenantGone;

impl JobContext {
    /// The job's tenant.
    ///
    /// # Errors
    /// Permanent, when it is gone.
    pub fn tenant(&self) -> Result<&Tenant, JobError> {
        self.tenant
            .as_ref()
            .ok_or(TenantGone)
            .permanent(Reason::TENANT_NOT_ACTIVE, "the tenant is not there any more")
    }

    /// Whose job it is, whether that tenant is there or not: for what makes and removes tenants.
    ///
    /// # Errors
    /// Permanent, when it is nobody's.
    pub(crate) fn tenant_id(&self) -> Result<&TenantId, JobError> {
        self.tenant_id
            .as_ref()
            .ok_or_else(|| JobError::permanent(Reason::UNREADABLE_PAYLOAD, "the job names no tenant"))
    }

    /// The tables of the job's tenant.
    ///
    /// # Errors
    /// Transient when the tenant is not served for now: its work waits. Permanent when it is being removed.
    pub fn tenant_db(&self) -> Result<TenantDb, JobError> {
        use mediamill_shared::tenancy::TenantState;
        let tenant = self.tenant()?;
        match tenant.context().state {
            TenantState::Active | TenantState::Suspended | TenantState::Leaving | TenantState::Provisioning => {
                tenant.db().transient()
            }
            TenantState::Deleting => tenant
                .db()
                .permanent(Reason::TENANT_NOT_ACTIVE, "the tenant is being removed"),
        }
    }

    /// A processor, when it is the tenant's turn.
    pub(crate) async fn processor(&self) -> Processor {
        let tenant = self.tenant.as_ref();
        let weight = tenant.map_or(1, |tenant| tenant.context().limits.dispatch_weight);
        self.processors.take(tenant.map(Tenant::id), weight).await
    }

    /// Runs `work` on a thread for pixels and hashes, at most one for each processor. `work` is told to stop by the
    /// context's `cancel` token; its permits go with it, so that a cut attempt frees nothing too early.
    ///
    /// # Errors
    /// Transient when the worker is shutting down or the work panicked outside of what it catches itself.
    pub async fn compute<T, W>(&self, work: W) -> Result<T, JobError>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let permit = self.processor().await;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        task.await.transient()
    }

    /// Whether `policy` has no attempt after this one.
    pub(crate) fn is_last_try(&self, policy: &RetryPolicy) -> bool {
        let tries = u32::try_from(self.tries).unwrap_or(u32::MAX);
        policy.delay_after(tries, 0.0).is_none()
    }

    /// Whom this attempt claims room in storages for.
    pub(crate) fn claimant(&self) -> Claimant {
        Claimant::job(&self.job, self.attempt)
    }

    /// Whether nobody else has taken the job over.
    pub(crate) async fn is_latest(&self) -> Result<bool, JobError> {
        storages::is_latest_attempt(&self.control, &self.job, self.attempt)
            .await
            .transient()
    }

    /// Accepts a job of this one's tenant about `subject`: what has to be done, and must not hold this one up.
    pub(crate) async fn follow_up<J: Job>(&self, payload: &J, subject: &str) -> Result<(), JobError> {
        let id = JobId::generate(&self.clock, &self.entropy);
        let mut job = NewJob::of(id, payload, self.trace.clone()).transient()?;
        job.tenant = Some(self.tenant()?.id().clone());
        job.subject = Some(subject.to_owned());
        job.context_version = self.tenant()?.context().version;
        self.dispatch.accept(self.tenant()?, job).await.transient()
    }

    /// Tells whoever follows this job how far it is.
    pub async fn stage(&self, stage: &'static str) {
        // Followers look at the row too: a lost word only makes them wait a moment longer.
        let _ = self.cache.signal(JOB_CHANNEL, &[format!("{} {stage}", self.job)]).await;
    }
}
