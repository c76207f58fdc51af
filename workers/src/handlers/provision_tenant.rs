//! `tenant.provision`: an accepted tenant becomes a served one, or nothing is left of it.

use crate::context::JobContext;
use mediamill_shared::{
    control::audit::Actor,
    jobs::{JobError, ProvisionTenant, Reason, ResultExt},
    tenancy::LifecycleError,
};

/// What the rows do not allow now they will not allow later; a database that is away comes back.
pub(super) fn classified(error: LifecycleError) -> JobError {
    match error {
        LifecycleError::Refused(refused) => JobError::permanent(Reason::REFUSED, refused.to_string()),
        error @ (LifecycleError::Db(_) | LifecycleError::Resolve(_) | LifecycleError::Payload(_)) => {
            JobError::transient(error)
        }
    }
}

pub(crate) async fn run(job: &ProvisionTenant, cx: &JobContext) -> Result<(), JobError> {
    cx.lifecycle.provision(cx.tenant_id()?, job).await.map_err(classified)
}

/// Undoes whatever there is of it.
pub(crate) async fn failed(job: &ProvisionTenant, cx: &JobContext) -> Result<(), JobError> {
    let (wanted, actor) = ((cx.tenant_id()?, job), Actor::job(&cx.job));
    let undone = cx
        .lifecycle
        .undo_wanted(wanted, "its provisioning failed", &actor, Some(&cx.job));
    undone.await.transient()
}
