//! One file for each kind's work.

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
pub mod verify_media;

use mediamill_shared::{
    jobs::{JobError, Reason},
    quota::OverQuota,
};

/// A limit stands in the way: no other attempt would fare better.
fn over_quota(over: &OverQuota) -> JobError {
    JobError::permanent(Reason::OVER_QUOTA, over.to_string())
}
