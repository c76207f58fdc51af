//! What every handler has.

use crate::follow::Followers;
use axum::extract::FromRef;
use mediamill_shared::{
    ids::{KeyId, TenantId},
    services::Services,
    tenancy::ApiKey,
};
use moka::future::Cache;
use std::sync::Arc;

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
    pub(crate) metrics: Option<MetricsPage>,
}

impl State {
    /// Starts the task that hears of jobs.
    #[must_use]
    pub fn new(services: Services, metrics: Option<MetricsPage>) -> Self {
        let keys = Cache::builder()
            .max_capacity(services.config.tenant_cache_entries.max(1))
            .time_to_live(services.config.tenant_cache_ttl)
            .build();
        let followers = Followers::start(&services);
        Self {
            services,
            followers,
            keys,
            metrics,
        }
    }
}
