//! `tenant.migrate`: a tenant's rows to another place; given up, it stays where it was.

use crate::context::JobContext;
use mediamill_shared::{
    chain,
    jobs::{Job, JobError, MoveTenant, Reason, ResultExt, WirePlace},
    tenancy::{MoveError, Place},
};

fn place(wire: &WirePlace) -> Result<Place, JobError> {
    Place::try_from(wire).map_err(|problem| JobError::permanent(Reason::UNREADABLE_PAYLOAD, problem))
}

fn classified(error: MoveError) -> JobError {
    match error {
        MoveError::Lifecycle(error) => super::provision_tenant::classified(error),
        error @ MoveError::Differs { .. } => JobError::permanent(Reason::COPY_DIFFERS, error.to_string()),
        error @ MoveError::There { .. } => JobError::permanent(Reason::REFUSED, error.to_string()),
    }
}

pub(crate) async fn run(job: &MoveTenant, cx: &JobContext) -> Result<(), JobError> {
    let (from, to) = (place(&job.from)?, place(&job.to)?);
    let moved = cx.lifecycle.relocate(cx.tenant_id()?, &cx.job, &from, &to, |_| {});
    match moved.await.map_err(classified) {
        // Nobody can write while it is tried, so it is not left for an operator to give up.
        Err(JobError::Transient { source, .. }) if cx.is_last_try(&MoveTenant::RETRY) => {
            Err(JobError::permanent(Reason::MOVE_GIVEN_UP, chain(source.as_ref())))
        }
        other => other,
    }
}

/// Opens the old place again.
pub(crate) async fn failed(job: &MoveTenant, cx: &JobContext) -> Result<(), JobError> {
    let Ok(from) = place(&job.from) else {
        // Nothing was begun.
        return Ok(());
    };
    cx.lifecycle.stay(cx.tenant_id()?, &cx.job, &from).await.transient()
}
