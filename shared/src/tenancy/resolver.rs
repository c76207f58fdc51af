//! Host name or id → tenant.
//!
//! Looks in this process (bounded, one flight for all who ask at once, absences too), then in the cache, then in the
//! control database, and fills back. What a process remembers it believes for [`ResolverSettings::ttl`]; the cache
//! holds versioned contexts, which a change replaces at once. So with the cache up nobody serves a stale context for
//! longer than `ttl`; a cache of this process alone hears of nobody's changes, and keeps nothing for longer than that.
//! Without the cache: slower, never wrong. What is written goes through the control database, which
//! has the last word on state and version.

use super::{Limits, Tenant, TenantContext, normal_host};
use crate::{
    cache::{Cache, CachePort, Versioned},
    control::tenants,
    db::{Db, DbError},
    ids::TenantId,
    telemetry::names,
};
use moka::future::Cache as Memory;
use std::{sync::Arc, time::Duration};

/// How long a cache that processes share keeps a context: the bound on what a lost replacement can do.
const SHARED_TTL: Duration = Duration::from_secs(60);

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct ResolverSettings {
    /// How long a process believes what it has seen.
    pub ttl: Duration,
    /// Contexts that a process remembers at most.
    pub entries: u64,
    /// The installation's limits, for what neither tenant nor plan sets.
    pub defaults: Limits,
}

/// A tenant could not be resolved, which says nothing about whether it exists.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the tenant could not be looked up")]
pub struct ResolveError(#[source] pub Arc<DbError>);

/// Host name or id → tenant. Cloning shares what is remembered.
#[derive(Clone, Debug)]
pub struct Resolver {
    db: Db,
    cache: Cache,
    settings: ResolverSettings,
    by_host: Memory<String, Option<TenantId>>,
    by_id: Memory<TenantId, Option<Arc<TenantContext>>>,
}

impl Resolver {
    /// A resolver over a control database and a cache.
    #[must_use]
    pub fn new(db: Db, cache: Cache, settings: ResolverSettings) -> Self {
        let remember = settings.entries.max(1);
        Self {
            db,
            cache,
            settings,
            by_host: Memory::builder()
                .max_capacity(remember)
                .time_to_live(settings.ttl)
                .build(),
            by_id: Memory::builder()
                .max_capacity(remember)
                .time_to_live(settings.ttl)
                .build(),
        }
    }

    /// The tenant served at `host` (a port is ignored). `None`: nobody is.
    ///
    /// # Errors
    /// When neither cache nor database answer.
    pub async fn by_host(&self, host: &str) -> Result<Option<Tenant>, ResolveError> {
        let Some(host) = normal_host(host) else { return Ok(None) };
        let found = self
            .by_host
            .try_get_with_by_ref(&host, self.look_up_host(&host))
            .await
            .map_err(ResolveError)?;
        match found {
            Some(id) => self.by_id(&id).await,
            None => Ok(None),
        }
    }

    /// The tenant with this id. `None`: there is none.
    ///
    /// # Errors
    /// When neither cache nor database answer.
    pub async fn by_id(&self, id: &TenantId) -> Result<Option<Tenant>, ResolveError> {
        let context = self
            .by_id
            .try_get_with_by_ref(id, self.look_up(id))
            .await
            .map_err(ResolveError)?;
        Ok(context.map(|context| Tenant::new(context, self.db.clone())))
    }

    /// Reads a tenant's context from the database and replaces what the caches hold: after a change, or when a write
    /// found that this process was behind.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refresh(&self, id: &TenantId) -> Result<Option<Tenant>, ResolveError> {
        let context = self
            .read_database(id)
            .await
            .map_err(|error| ResolveError(Arc::new(error)))?;
        match &context {
            Some(context) => self.share(context).await,
            None => {
                if let Err(error) = self.cache.remove(&context_key(id)).await {
                    tracing::debug!(tenant.id = %id, error = %error, "a removed tenant stays in the cache until its time is up");
                }
            }
        }
        self.by_id.insert(id.clone(), context.clone()).await;
        Ok(context.map(|context| Tenant::new(context, self.db.clone())))
    }

    /// Tells every process that `host` belongs to `id` since `version` (milliseconds), or to nobody.
    pub async fn announce_host(&self, host: &str, id: Option<&TenantId>, version: i64) {
        let value = id.map_or_else(Vec::new, |id| id.as_str().as_bytes().to_vec());
        if let Err(error) = self
            .cache
            .put(&host_key(host), &Versioned { version, value }, self.shared_ttl())
            .await
        {
            tracing::debug!(host, error = %error, "the cache was not told of a host");
        }
        self.by_host.invalidate(host).await;
    }

    async fn look_up_host(&self, host: &str) -> Result<Option<TenantId>, DbError> {
        if let Ok(Some(found)) = self.cache.get(&host_key(host)).await {
            let text = String::from_utf8(found.value).unwrap_or_default();
            if text.is_empty() {
                return Ok(None);
            }
            if let Ok(id) = text.parse() {
                return Ok(Some(id));
            }
        }
        let Some((id, since)) = tenants::by_host(&self.db, host).await? else {
            return Ok(None);
        };
        let value = Versioned {
            version: since.get(),
            value: id.as_str().as_bytes().to_vec(),
        };
        if let Err(error) = self.cache.put(&host_key(host), &value, self.shared_ttl()).await {
            tracing::debug!(host, error = %error, "the cache did not take a host");
        }
        Ok(Some(id))
    }

    async fn look_up(&self, id: &TenantId) -> Result<Option<Arc<TenantContext>>, DbError> {
        match self.cache.get(&context_key(id)).await {
            Ok(Some(found)) => {
                if let Some(context) = TenantContext::from_bytes(&found.value) {
                    metrics::counter!(names::RESOLVER_LOOKUPS, "layer" => "cache").increment(1);
                    return Ok(Some(Arc::new(context)));
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(tenant.id = %id, error = %error, "asking the database for a tenant: the cache did not answer");
            }
        }
        metrics::counter!(names::RESOLVER_LOOKUPS, "layer" => "database").increment(1);
        let context = self.read_database(id).await?;
        if let Some(context) = &context {
            self.share(context).await;
        }
        Ok(context)
    }

    fn shared_ttl(&self) -> Duration {
        if self.cache.is_shared() {
            SHARED_TTL
        } else {
            self.settings.ttl
        }
    }

    async fn read_database(&self, id: &TenantId) -> Result<Option<Arc<TenantContext>>, DbError> {
        Ok(tenants::context(&self.db, id, &self.settings.defaults)
            .await?
            .map(Arc::new))
    }

    async fn share(&self, context: &TenantContext) {
        let value = Versioned {
            version: context.version,
            value: context.to_bytes(),
        };
        if let Err(error) = self
            .cache
            .put(&context_key(&context.id), &value, self.shared_ttl())
            .await
        {
            tracing::debug!(tenant.id = %context.id, error = %error, "the cache did not take a tenant");
        }
    }
}

fn context_key(id: &TenantId) -> String {
    format!("tenant:{id}")
}

fn host_key(host: &str) -> String {
    format!("host:{host}")
}
