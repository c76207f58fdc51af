//! `tenant.deprovision`: a tenant's objects, then its tables, then its rows.

use crate::context::JobContext;
use mediamill_shared::{
    control::audit::Actor,
    jobs::{JobError, ResultExt},
    tenancy::RemoveError,
};

pub(crate) async fn run(cx: &JobContext) -> Result<(), JobError> {
    let id = cx.tenant_id()?;
    match cx.lifecycle.purge(id, Some(&cx.job), &Actor::job(&cx.job)).await {
        Ok(objects) => {
            tracing::info!(tenant.id = %id, objects, "tenant removed for good");
            Ok(())
        }
        Err(RemoveError::Lifecycle(error)) => Err(super::provision_tenant::classified(error)),
        Err(error @ (RemoveError::Objects { .. } | RemoveError::AtWork { .. })) => Err(error).transient(),
    }
}
