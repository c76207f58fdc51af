//! What every handler has.

use crate::{extract::WrongKeys, follow::Followers, served::Served, storages::Trials};
use axum::extract::FromRef;
use mediamill_shared::{
    control::{jobs::JobRow, link_keys::LinkSecrets, operator_keys::OperatorKey},
    ids::{JobId, KeyId, MediaId, TenantId},
    services::Services,
    tenancy::ApiKey,
};
use moka::future::Cache;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Operators' keys that a process remembers; there are few, and numbers that are none are remembered too.
const OPERATORS: u64 = 1_000;

/// Tenants whose link keys a process remembers.
const LINKERS: u64 = 1_000;
/// Variants that are being made, as far as a process remembers.
const MAKING: u64 = 10_000;
/// How long it does: the rows know longer.
const MADE: Duration = Duration::from_secs(10);

/// Requests that wait for variants at a time; the next one is told to come back.
const WAITING: usize = 1_000;

/// Uploads in pieces that are made one object at a time: each holds what a store keeps of a stream, up to three parts of
/// 8 MiB.
const FINISHING: usize = 4;

/// Renders the metrics page.
pub type MetricsPage = Arc<dyn Fn() -> String + Send + Sync>;

/// What whoever runs it may ask of any role.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) services: Services,
    pub(crate) metrics: Option<MetricsPage>,
}

impl FromRef<State> for Operations {
    fn from_ref(state: &State) -> Self {
        Self {
            services: state.services.clone(),
            metrics: state.metrics.clone(),
        }
    }
}

/// Shared by all requests. Cloning shares it.
#[derive(Clone)]
pub struct State {
    /// The back ends.
    pub services: Services,
    pub(crate) followers: Followers,
    /// Keys as they are stored, believed as long as a tenant's context.
    pub(crate) keys: Cache<(TenantId, KeyId), Option<ApiKey>>,
    /// Keys of the Tenants API, likewise.
    pub(crate) operators: Cache<i64, Option<OperatorKey>>,
    pub(crate) wrong_keys: WrongKeys,
    /// Secrets of tenants' link keys, likewise.
    pub(crate) link_secrets: Cache<TenantId, LinkSecrets>,
    /// Jobs that make what links asked for a moment ago: who asks for the same waits for the same.
    pub(crate) making: Cache<(TenantId, MediaId, String), JobId>,
    /// How such jobs ended, a moment ago: all who wait for one wait together.
    pub(crate) made: Cache<JobId, JobRow>,
    /// Requests that may wait for such a job.
    pub(crate) waiting: Arc<Semaphore>,
    /// Bytes of files that are sent.
    pub(crate) served: Served,
    /// Uploads in pieces that may be finished.
    pub(crate) finishing: Arc<Semaphore>,
    /// Storages that tenants have tried.
    pub(crate) trials: Trials,
    pub(crate) metrics: Option<MetricsPage>,
}

impl State {
    /// Starts the tasks that hear of jobs and count served bytes.
    #[must_use]
    pub fn new(services: Services, metrics: Option<MetricsPage>) -> Self {
        let keys = Cache::builder()
            .max_capacity(services.config.tenant_cache_entries.max(1))
            .time_to_live(services.config.tenant_cache_ttl)
            .build();
        let operators = Cache::builder()
            .max_capacity(OPERATORS)
            .time_to_live(services.config.tenant_cache_ttl)
            .build();
        let link_secrets = Cache::builder()
            .max_capacity(LINKERS)
            .time_to_live(services.config.tenant_cache_ttl)
            .build();
        let making = Cache::builder().max_capacity(MAKING).time_to_live(MADE).build();
        let made = Cache::builder().max_capacity(MAKING).time_to_live(MADE).build();
        let wrong_keys = WrongKeys::new(services.cache.clone());
        let trials = Trials::new(services.cache.clone());
        let followers = Followers::start(&services);
        let served = Served::start(&services);
        Self {
            services,
            followers,
            keys,
            operators,
            wrong_keys,
            link_secrets,
            making,
            made,
            waiting: Arc::new(Semaphore::new(WAITING)),
            served,
            finishing: Arc::new(Semaphore::new(FINISHING)),
            trials,
            metrics,
        }
    }
}
