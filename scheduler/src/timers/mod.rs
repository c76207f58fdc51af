//! One file for each timer.

pub(crate) mod dispatch;
pub(crate) mod enforce;
pub(crate) mod expire;
pub(crate) mod feed;
pub(crate) mod observe;
pub(crate) mod observe_tenants;
pub(crate) mod probe;
pub(crate) mod prune;
pub(crate) mod purge;
pub(crate) mod reconcile;
pub(crate) mod reconcile_objects;
pub(crate) mod reconcile_storages;
pub(crate) mod recover;
pub(crate) mod refresh;
pub(crate) mod refresh_stats;
pub(crate) mod retired;
pub(crate) mod roll_up;
pub(crate) mod storage_tasks;
pub(crate) mod sweep;
pub(crate) mod sweep_resumable;
pub(crate) mod turns;
pub(crate) mod undo;
pub(crate) mod watch_limits;

#[cfg(test)]
mod rounds;
#[cfg(test)]
mod several_runs;
