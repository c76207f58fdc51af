//! Every metric there is. Labels come from closed sets, never from tenants or requests.

use std::fmt::Write as _;

macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal: $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// Kind, name and help of every metric.
        pub(crate) const ALL: &[(Kind, &str, &str)] = &[$((Kind::$kind, $name, $help)),+];
    };
}

/// What a metric counts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

metrics! {
    Counter HTTP_REQUESTS = "mediamill_http_requests_total": "Requests answered, by route, method and status.";
    Histogram HTTP_SECONDS = "mediamill_http_request_seconds": "Time to the head of an answer, seconds, by route and method.";
    Counter ACCEPTED_BYTES = "mediamill_accepted_bytes_total": "Bytes of accepted uploads.";
    Counter JOBS_ACCEPTED = "mediamill_jobs_accepted_total": "Jobs accepted, by kind.";
    Counter JOBS_HELD = "mediamill_jobs_held_total": "Accepted jobs that waited for their tenant's turn, by pool.";
    Counter JOBS_RELEASED = "mediamill_jobs_released_total": "Held jobs whose turn has come, by pool.";
    Counter JOBS_FINISHED = "mediamill_jobs_finished_total": "Attempts ended, by kind and outcome: done, retried, failed, dead.";
    Histogram JOB_SECONDS = "mediamill_job_seconds": "Time of an attempt, seconds, by kind.";
    Histogram MEDIA_STAGE_SECONDS = "mediamill_media_stage_seconds": "Time of a picture's stage, seconds: fetch, pixels, place.";
    Gauge QUEUE_MESSAGES = "mediamill_queue_messages": "Jobs by pool and state: ready, in the queue; dead, given up, for an operator to retry or purge; held, those that wait for their tenant's turn; buried, messages that no worker reads: none of ours, or delivered too often.";
    Gauge QUEUE_OLDEST_SECONDS = "mediamill_queue_oldest_seconds": "How long the oldest due job has waited, seconds, by pool.";
    Gauge WORKER_SLOTS = "mediamill_worker_slots": "Slots of this worker, by pool and state: total, busy.";
    Gauge WORKER_MEMORY_BYTES = "mediamill_worker_memory_bytes": "Memory budget of this worker, bytes, by state: total, used.";
    Counter HELPERS_STARTED = "mediamill_helpers_started_total": "Helper processes started.";
    Counter HELPERS_ENDED = "mediamill_helpers_ended_total": "Helper processes ended, by reason: retired (all is well), cut (its attempt ended first), memory, time, signal, exit, answer (it was not what was asked), unbounded (its limits could not be set).";
    Counter RESOLVER_LOOKUPS = "mediamill_resolver_lookups_total": "Tenants looked up beyond this process, by layer: cache, database.";
    Gauge TENANTS = "mediamill_tenants": "Tenants, by state.";
    Gauge TENANT_CONNECTIONS = "mediamill_tenant_connections": "Connections of this process to databases of one tenant each, by state: open, ceiling.";
    Gauge STORAGES = "mediamill_storages": "Storages that are read, by what the scheduler's probe found: well, unwell.";
    Counter OUTBOX_LEFT = "mediamill_outbox_left_total": "Accepted jobs left to the dispatcher because the queue did not take them.";
    Counter TIMER_RUNS = "mediamill_timer_runs_total": "Runs of timers, by timer and outcome: ok, error.";
    Gauge RESERVATION_DRIFT_BYTES = "mediamill_reservation_drift_bytes": "Bytes by which usage or its ledger differed from the pictures, over all tenants, in the last pass.";
    Counter COUNTERS_RENEWED = "mediamill_counters_renewed_total": "Fast counters that were not what the rows say, by limit.";
    Gauge STORAGE_DRIFT_BYTES = "mediamill_storage_drift_bytes": "Bytes by which storages' figures differed from the rows of all tenants, in the last pass.";
    Gauge OBJECT_FINDINGS = "mediamill_object_findings": "Objects that are not what the rows say, by problem: missing, size, foreign.";
    Counter ORPHANS_REMOVED = "mediamill_orphans_removed_total": "Objects removed that no row had.";
    Counter LIMIT_CROSSINGS = "mediamill_limit_crossings_total": "Lines that tenants' usage has crossed upwards, by limit and level: 80, 100 percent.";
    Gauge TENANTS_FROZEN = "mediamill_tenants_frozen": "Tenants whose uploads are refused, by reason: a limit's name, or trial. One that is frozen for two counts for both.";
    Counter ENFORCEMENTS = "mediamill_enforcements_total": "Decisions about tenants that do not fit, by decision: over, fits, freeze, thaw; expire counts pictures.";
    Counter RATE_REFUSALS = "mediamill_rate_refusals_total": "Requests refused because a limit with a period was used up, by limit.";
    Counter BYTES_OUT = "mediamill_bytes_out_total": "Bytes of files that were sent, over all tenants.";
}

/// All metrics as a table in Markdown: `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\nServed at `/metrics` in Prometheus' text format.\n\n| name | kind | meaning |\n|---|---|---|\n",
    );
    for (kind, name, help) in ALL {
        let kind = format!("{kind:?}").to_ascii_lowercase();
        // Writing to a String has no way to fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {help} |");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_up_to_date() {
        crate::testing::generated("docs/metrics.md", &super::reference());
    }
}
