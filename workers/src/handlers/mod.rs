//! One file for each kind's work.

pub mod delete_media;
pub mod deprovision_tenant;
mod files;
pub mod make_variant;
pub mod move_tenant;
mod picture_settings;
pub mod process_media;
pub mod provision_tenant;
