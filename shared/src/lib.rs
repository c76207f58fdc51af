//! What api, workers and scheduler have in common: tenancy, jobs, queue, databases, objects, quota, config, telemetry.
//!
//! Rooms, from the ground up:
//!
//! - [`ids`], [`units`], [`interval`], [`clock`], [`retry`], [`shutdown`]: small types that everything speaks.
//! - [`secrets`]: what is sealed at rest, and the keys that seal it.
//! - [`db`]: the one name for a database, SQLite or PostgreSQL.
//! - [`control`]: SQL of the control database (plans, tenants, jobs, idempotency keys).
//! - [`tenancy`]: contexts, the resolver, and the only way to a tenant's tables.
//! - [`operators`]: who may use the Tenants API.
//! - [`queue`], [`cache`], [`objects`]: ports with two adapters each and one contract suite each.
//! - [`fetch`]: which URLs and addresses are fetched from.
//! - [`rows`]: tenants as they are sent in bulk.
//! - [`jobs`]: what a job is, its envelope, the outbox.
//! - [`placement`]: storages, and which of them a file goes to.
//! - [`quota`]: reserve, settle, release.
//! - [`dispatch`]: whose turn it is. [`dead`]: jobs that are given up, for people.
//! - [`config`], [`telemetry`]: how a process is set up and watched.
//!
//! To add a job kind: a payload type in [`jobs`], a line in [`jobs::JobKind`], a handler in the workers crate.
//! To add a back end: a variant in the port's enum, two arms a method, a line in its contract list.
//! To add a limit: a line in `tenancy/limits/table.rs`, and the place that enforces it.

pub mod cache;
pub mod clock;
pub mod config;
pub mod control;
pub mod db;
pub mod dead;
pub mod dispatch;
pub mod fetch;
pub mod ids;
pub mod interval;
pub mod jobs;
pub mod objects;
pub mod operators;
pub mod placement;
pub mod queue;
pub mod quota;
pub mod retry;
pub mod rows;
pub mod secrets;
pub mod services;
pub mod shutdown;
mod spelling;
pub mod telemetry;
pub mod tenancy;
#[cfg(feature = "testing")]
pub mod testing;
pub mod units;

/// Any error, for the `source` of errors whose cause the caller only reports.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error with everything that caused it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
