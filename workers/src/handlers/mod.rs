//! One file for each kind's work.

mod copies;
pub mod delete_media;
pub mod deprovision_tenant;
pub mod fetch_media;
mod files;
pub mod make_variant;
pub mod move_media;
pub mod move_tenant;
mod picture_settings;
pub mod process_media;
pub mod provision_tenant;
pub mod remove_objects;
mod same_bytes;
pub mod verify_media;

use crate::context::JobContext;
use mediamill_shared::{
    jobs::{JobError, Reason},
    quota::{Claim, OverQuota, ReserveError},
    tenancy::TenantDb,
    units::ByteCount,
};

/// A limit stands in the way: no other attempt would fare better.
fn over_quota(over: &OverQuota) -> JobError {
    JobError::permanent(Reason::OVER_QUOTA, over.to_string())
}

/// What was reserved when the job was accepted is a guess: files that take more have to fit too. Returns what is reserved now beyond
/// it.
async fn reserve_beyond(
    reserved: ByteCount,
    size: ByteCount,
    cx: &JobContext,
    db: &TenantDb,
) -> Result<ByteCount, JobError> {
    let bytes = size.minus(reserved).max(ByteCount::ZERO);
    match cx.quota.reserve(cx.tenant()?, db, Claim { media: 0, bytes }).await {
        Ok(()) => Ok(bytes),
        Err(ReserveError::Over(over)) => Err(over_quota(&over)),
        Err(ReserveError::Db(error)) => Err(JobError::transient(error)),
    }
}
