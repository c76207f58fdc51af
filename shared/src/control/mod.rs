//! SQL of the control database, one file per family of tables.
//!
//! Everything here takes a [`crate::db::Db`] or one of its transactions; nobody else writes SQL for these tables.

pub mod accept;
pub mod activity;
pub mod audit;
pub mod batches;
pub mod changes;
pub mod expiries;
pub mod findings;
pub mod jobs;
pub mod leadership;
pub(crate) mod leases;
pub mod limit_marks;
pub mod link_keys;
pub mod metering;
pub mod moves;
pub mod object_findings;
pub mod operator_keys;
pub mod passes;
pub mod plans;
pub mod resumable;
pub mod secrets;
pub mod stats;
pub mod storages;
pub mod tenants;
pub mod timers;

#[cfg(test)]
mod statements;
