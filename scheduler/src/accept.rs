//! Jobs that timers hand to workers.

use crate::timer::TimerError;
use mediamill_shared::{
    control::jobs::NewJob,
    ids::{JobId, TraceId},
    jobs::Job,
    services::Services,
    tenancy::Tenant,
};

/// A job for a tenant that is about `subject`, to be accepted.
pub(crate) fn job<J: Job>(
    services: &Services,
    tenant: &Tenant,
    payload: &J,
    subject: String,
) -> Result<NewJob, TimerError> {
    let id = JobId::generate(&services.clock, &services.entropy);
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let mut job = NewJob::of(id, payload, trace)?;
    job.tenant = Some(tenant.id().clone());
    job.subject = Some(subject);
    job.context_version = tenant.context().version;
    Ok(job)
}

/// Accepts a job for a tenant that is about `subject`, which nobody waits for.
pub(crate) async fn accept<J: Job>(
    services: &Services,
    tenant: &Tenant,
    payload: &J,
    subject: String,
) -> Result<(), TimerError> {
    let job = job(services, tenant, payload, subject)?;
    Ok(services.dispatch.accept(tenant, job).await?)
}
