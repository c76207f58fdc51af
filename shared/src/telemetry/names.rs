//! s
/// x
pub const RESOLVER_LOOKUPS: &str = "mediamill_resolver_lookups_total";
/// x
pub const OUTBOX_LEFT: &str = "mediamill_outbox_left_total";
/// x
pub const MEDIA_STAGE_SECONDS: &str = "mediamill_media_stage_seconds";
/// x
pub const WORKER_SLOTS: &str = "mediamill_worker_slots";
/// x
pub const WORKER_MEMORY_BYTES: &str = "mediamill_worker_memory_bytes";
/// x
pub const JOBS_FINISHED: &str = "mediamill_jobs_finished_total";
/// x
pub const JOB_SECONDS: &str = "mediamill_job_seconds";
/// x
pub const TIMER_RUNS: &str = "mediamill_timer_runs_total";
/// x
pub const QUEUE_MESSAGES: &str = "mediamill_queue_messages";
/// x
pub const QUEUE_OLDEST_SECONDS: &str = "mediamill_queue_oldest_seconds";
/// x
pub const RESERVATION_DRIFT_BYTES: &str = "mediamill_reservation_drift_bytes";
