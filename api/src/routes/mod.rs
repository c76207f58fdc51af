//! One file for each family of routes.

pub(crate) mod batches;
pub(crate) mod direct;
pub(crate) mod files;
pub(crate) mod from_url;
pub(crate) mod health;
pub(crate) mod jobs;
mod json;
pub(crate) mod limits;
pub(crate) mod link_keys;
pub(crate) mod media;
mod on_demand;
pub(crate) mod operator;
pub(crate) mod storages;
pub(crate) mod tus;
pub(crate) mod upload;
pub(crate) mod usage;
pub(crate) mod views;
