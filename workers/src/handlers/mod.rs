//! One file for each kind's work.

pub mod delete_media;
pub mod process_media;
