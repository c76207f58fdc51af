//! Host name or id → tenant.
//!
//! Looks in this process (bounded, one flight for all who ask at once, absences too), then in the cache, then in the
//! control database with one statement, and fills back. A host's entry in the cache is the tenant itself, so a cached
//! host costs one trip; a plan is looked up apart and remembered, so that its change is one entry and not one a tenant.
//!
//! Promises: a change is announced to every process, which forgets what it knew; where that is lost, nobody believes for
//! longer than [`ResolverSettings::ttl`] what the cache does not say any more. A cache of this process alone hears of
//! nobody's changes, and keeps nothing for longer than that. Without the cache: slower, never wrong. What is written
//! goes through the control database, which has the last word on state and versions.

use super::{
    LimitOverrides, Limits, PictureSettings, PlanPart, Tenant, TenantContext, TenantDatabases, TenantPart, normal_host,
};
use crate::{
    cache::{Cache, CachePort, TENANT_CHANNEL, Versioned},
    clock::Clock,
    control::{plans, tenants},
    db::{Db, DbError},
    ids::TenantId,
    shutdown::Shutdown,
    telemetry::names,
};
use futures_util::future::join_all;
use moka::future::Cache as Memory;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::broadcast::error::RecvError;

/// How long a cache that processes share keeps a context: the bound on what a lost replacement can do.
const SHARED_TTL: Duration = Duration::from_secs(60);
/// Begins a host's entry that names the tenant instead of holding it: a wildcard's host, which no change can list.
const POINTER: u8 = b'>';
/// Labels of a host that are tried as a wildcard at most.
const WILDCARDS: usize = 6;

/// How much is remembered, and for how long.
#[derive(Debug, Clone)]
pub struct ResolverSettings {
    /// How long a process believes what it has seen.
    pub ttl: Duration,
    /// Contexts that a process remembers at most.
    pub entries: u64,
    /// The installation's limits, for what neither tenant nor plan sets.
    pub defaults: Limits,
    /// What the provider enforces on every tenant, whatever it or its plan says. Never stored.
    pub enforced: LimitOverrides,
}

/// A tenant could not be resolved, which says nothing about whether it exists.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the tenant could not be looked up")]
pub struct ResolveError(#[source] pub Arc<DbError>);

type Known = Option<Arc<TenantContext>>;

/// Host name or id → tenant. Cloning shares what is remembered.
#[derive(Clone, Debug)]
pub struct Resolver {
    db: Db,
    databases: TenantDatabases,
    cache: Cache,
    clock: Clock,
    settings: Arc<ResolverSettings>,
    by_host: Memory<String, Known>,
    by_id: Memory<TenantId, Known>,
    plans: Memory<String, Option<Arc<PlanPart>>>,
}

/// What is told to every process.
enum Word<'a> {
    Tenant(&'a str),
    Host(&'a str),
    Plan(&'a str),
}

impl<'a> Word<'a> {
    fn write(&self) -> String {
        match self {
            Self::Tenant(id) => format!("t {id}"),
            Self::Host(host) => format!("h {host}"),
            Self::Plan(id) => format!("p {id}"),
        }
    }

    /// `None`: a newer release's word.
    fn read(text: &'a str) -> Option<Self> {
        match text.split_once(' ')? {
            ("t", id) => Some(Self::Tenant(id)),
            ("h", host) => Some(Self::Host(host)),
            ("p", id) => Some(Self::Plan(id)),
            _ => None,
        }
    }
}

impl Resolver {
    /// A resolver over a control database and a cache.
    #[must_use]
    pub fn new(
        databases: TenantDatabases,
        control: Db,
        cache: Cache,
        clock: Clock,
        settings: ResolverSettings,
        shutdown: &Shutdown,
    ) -> Self {
        let remember = settings.entries.max(1);
        // A context holds a plan that was remembered before it: the two together are not older than the bound.
        let half = settings.ttl / 2;
        let resolver = Self {
            db: control,
            databases,
            cache,
            clock,
            by_host: Memory::builder().max_capacity(remember).time_to_live(half).build(),
            by_id: Memory::builder().max_capacity(remember).time_to_live(half).build(),
            plans: Memory::builder().max_capacity(remember).time_to_live(half).build(),
            settings: Arc::new(settings),
        };
        resolver.hear(shutdown);
        resolver
    }

    /// The installation's defaults, and what it enforces.
    pub(super) fn installation(&self) -> (&Limits, &LimitOverrides) {
        (&self.settings.defaults, &self.settings.enforced)
    }

    /// How long a process may believe a context that has changed.
    pub(super) fn bound(&self) -> Duration {
        self.settings.ttl
    }

    /// Forgets what others say has changed.
    fn hear(&self, shutdown: &Shutdown) {
        let mut words = self.cache.listen();
        let (stop, by_host, by_id, plans) = (
            shutdown.clone(),
            self.by_host.clone(),
            self.by_id.clone(),
            self.plans.clone(),
        );
        shutdown.spawn(async move {
            loop {
                let word = tokio::select! { () = stop.soft() => return, word = words.recv() => word };
                match word {
                    Ok(signal) if signal.channel == TENANT_CHANNEL => match Word::read(&signal.message) {
                        Some(Word::Tenant(id)) => {
                            if let Ok(id) = id.parse::<TenantId>() {
                                by_id.invalidate(&id).await;
                            }
                        }
                        Some(Word::Host(host)) => by_host.invalidate(host).await,
                        // Contexts of the plan are rebuilt when their time is up: within the bound.
                        Some(Word::Plan(id)) => plans.invalidate(id).await,
                        None => {}
                    },
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        by_host.invalidate_all();
                        by_id.invalidate_all();
                        plans.invalidate_all();
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// The tenant served at `host` (a port is ignored). `None`: nobody is.
    ///
    /// # Errors
    /// When neither cache nor database answer.
    pub async fn by_host(&self, host: &str) -> Result<Option<Tenant>, ResolveError> {
        let Some(host) = normal_host(host) else { return Ok(None) };
        let known = if let Some(known) = self.by_host.get(&host).await {
            known
        } else {
            // Boxed: what is nearly always answered by the line above shall not carry the room for this.
            let looking = Box::pin(self.by_host.try_get_with_by_ref(&host, self.look_up_host(&host)));
            looking.await.map_err(ResolveError)?
        };
        Ok(self.tenant(known))
    }

    /// The tenant with this id. `None`: there is none.
    ///
    /// # Errors
    /// When neither cache nor database answer.
    pub async fn by_id(&self, id: &TenantId) -> Result<Option<Tenant>, ResolveError> {
        let known = if let Some(known) = self.by_id.get(id).await {
            known
        } else {
            let looking = Box::pin(self.by_id.try_get_with_by_ref(id, self.look_up(id)));
            looking.await.map_err(ResolveError)?
        };
        Ok(self.tenant(known))
    }

    fn tenant(&self, known: Known) -> Option<Tenant> {
        known.map(|context| Tenant::new(context, self.databases.clone()))
    }

    /// Reads a tenant's context from the database and replaces what the caches hold: after a change, or when a write
    /// found that this process was behind.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refresh(&self, id: &TenantId) -> Result<Option<Tenant>, ResolveError> {
        self.refresh_without(id, &[]).await
    }

    /// The same, when the tenant is not served at `lost` any more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refresh_without(&self, id: &TenantId, lost: &[String]) -> Result<Option<Tenant>, ResolveError> {
        let parts = tenants::by_id(&self.db, id)
            .await
            .map_err(|error| ResolveError(Arc::new(error)))?;
        for host in lost {
            quietly(self.cache.remove(&host_key(host)).await);
        }
        let Some(parts) = parts else {
            quietly(self.cache.remove(&tenant_key(id)).await);
            let words = self.forget(id, lost).await;
            self.tell(&words).await;
            self.by_id.insert(id.clone(), None).await;
            return Ok(None);
        };
        let context = self.replace(vec![parts], lost).await.pop();
        Ok(self.tenant(context))
    }

    /// The same for several tenants that are served since.
    pub(crate) async fn refresh_all(&self, ids: &[TenantId]) -> Result<(), DbError> {
        let parts = tenants::by_ids(&self.db, ids).await?;
        self.replace(parts, &[]).await;
        Ok(())
    }

    /// Replaces what the caches hold of these, and of the hosts that one of them lost, and tells every process.
    async fn replace(&self, parts: Vec<tenants::Parts>, lost: &[String]) -> Vec<Arc<TenantContext>> {
        let mut plans = BTreeMap::new();
        for plan in parts.iter().filter_map(|(_, plan)| plan.as_ref()) {
            plans.entry(plan.id.clone()).or_insert_with(|| Arc::new(plan.clone()));
        }
        for (id, plan) in plans {
            self.share_plan(&plan).await;
            self.plans.insert(id, Some(plan)).await;
        }
        let shared: Vec<_> = parts.iter().map(|(part, _)| self.share(part)).collect();
        join_all(shared).await;
        let mut words = Vec::new();
        for (part, _) in &parts {
            let hosts = part.hosts.iter().map(|host| host.name.clone());
            let hosts: Vec<String> = hosts.chain(lost.iter().cloned()).collect();
            words.extend(self.forget(&part.id, &hosts).await);
        }
        self.tell(&words).await;
        let mut contexts = Vec::with_capacity(parts.len());
        for (part, plan) in parts {
            let context = self.context(part, plan.as_ref());
            self.by_id.insert(context.id.clone(), Some(Arc::clone(&context))).await;
            contexts.push(context);
        }
        contexts
    }

    /// Reads a plan from the database and tells every process: after a change of it. Its tenants follow within the bound.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refresh_plan(&self, id: &str) -> Result<(), ResolveError> {
        let plan = plans::part(&self.db, id)
            .await
            .map_err(|error| ResolveError(Arc::new(error)))?;
        // Of a plan that is gone nothing is inherited from now on, also not by those whose own entry still names it.
        let part = plan.unwrap_or_else(|| PlanPart {
            id: id.to_owned(),
            limits: LimitOverrides::default(),
            pictures: PictureSettings::default(),
            version: self.clock.now().get(),
        });
        self.share_plan(&part).await;
        self.plans.invalidate(id).await;
        self.tell(&[Word::Plan(id).write()]).await;
        Ok(())
    }

    /// Replaces what the cache holds of a tenant if that is older than `version`: a change may have met a cache that was
    /// away and came back with what it knew before. Returns whether it was.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn freshen(&self, id: &TenantId, version: i64) -> Result<bool, ResolveError> {
        match self.cache.get(&tenant_key(id)).await {
            Ok(Some(found)) if found.version < version => self.refresh(id).await.map(|_| true),
            // Nothing is as good as the present; a cache that does not answer is asked again in the next pass.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// Fills the cache with every tenant there is, in pages. Returns how many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rebuild(&self, each: impl Fn()) -> Result<u64, DbError> {
        const PAGE: i64 = 500;
        let (mut done, mut after) = (0_u64, None::<String>);
        loop {
            let page = tenants::page(&self.db, &tenants::Filter::default(), after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(done) };
            after = Some(last.serial.clone());
            for row in &page {
                if let Some((part, plan)) = tenants::by_id(&self.db, &row.id).await? {
                    self.share(&part).await;
                    if let Some(plan) = &plan {
                        self.share_plan(plan).await;
                    }
                }
                done = done.saturating_add(1);
                each();
            }
        }
    }

    /// Forgets a tenant here. Returns what to tell the others.
    async fn forget(&self, id: &TenantId, hosts: &[String]) -> Vec<String> {
        self.by_id.invalidate(id).await;
        let mut words = vec![Word::Tenant(id.as_str()).write()];
        for host in hosts {
            self.by_host.invalidate(host).await;
            words.push(Word::Host(host).write());
        }
        words
    }

    async fn tell(&self, words: &[String]) {
        quietly(self.cache.signal(TENANT_CHANNEL, words).await);
    }

    fn context(&self, part: TenantPart, plan: Option<&PlanPart>) -> Arc<TenantContext> {
        let settings = &self.settings;
        Arc::new(TenantContext::new(
            part,
            plan,
            &settings.defaults,
            &settings.enforced,
            self.clock.now(),
        ))
    }

    /// With its plan from wherever that is known.
    async fn with_plan(&self, part: TenantPart) -> Result<Arc<TenantContext>, DbError> {
        let plan = match &part.plan {
            Some(id) => self.plan(id).await?,
            None => None,
        };
        Ok(self.context(part, plan.as_deref()))
    }

    async fn plan(&self, id: &str) -> Result<Option<Arc<PlanPart>>, DbError> {
        if let Some(known) = self.plans.get(id).await {
            return Ok(known);
        }
        let looking = Box::pin(self.plans.try_get_with_by_ref(id, async {
            if let Ok(Some(found)) = self.cache.get(&plan_key(id)).await
                && let Some(plan) = PlanPart::from_bytes(&found.value)
            {
                return Ok(Some(Arc::new(plan)));
            }
            let plan = plans::part(&self.db, id).await?;
            if let Some(plan) = &plan {
                self.share_plan(plan).await;
            }
            Ok(plan.map(Arc::new))
        }));
        looking.await.map_err(DbError::Batch)
    }

    async fn look_up_host(&self, host: &str) -> Result<Known, DbError> {
        match self.cache.get(&host_key(host)).await {
            Ok(Some(found)) => {
                if let Some(id) = pointer(&found.value) {
                    let known = Box::pin(self.by_id.try_get_with_by_ref(&id, self.look_up(&id)));
                    let known = known.await.map_err(DbError::Batch)?;
                    // A wildcard that was taken away since leaves its hosts' entries behind.
                    if known.as_ref().is_some_and(|context| serves(context, host)) {
                        return Ok(known);
                    }
                } else if let Some(part) = TenantPart::from_bytes(&found.value) {
                    metrics::counter!(names::RESOLVER_LOOKUPS, "layer" => "cache").increment(1);
                    return self.with_plan(part).await.map(Some);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(host, error = %error, "asking the database for a host: the cache did not answer");
            }
        }
        // Boxed: a hit in the cache should not carry around what a look into the database needs.
        Box::pin(self.host_from_database(host)).await
    }

    async fn host_from_database(&self, host: &str) -> Result<Known, DbError> {
        metrics::counter!(names::RESOLVER_LOOKUPS, "layer" => "database").increment(1);
        let Some((part, plan)) = tenants::by_host(&self.db, &candidates(host)).await? else {
            return Ok(None);
        };
        self.share(&part).await;
        if let Some(plan) = &plan {
            self.share_plan(plan).await;
        }
        if !part.hosts.iter().any(|own| own.name == *host) {
            let mut value = vec![POINTER];
            value.extend_from_slice(part.id.as_str().as_bytes());
            // A nearer wildcard of another tenant cannot list the hosts that it takes over: the bound alone ends this.
            let bound = self.settings.ttl / 2;
            self.put_for(host_key(host), part.version, value, bound).await;
        }
        Ok(Some(self.context(part, plan.as_ref())))
    }

    async fn look_up(&self, id: &TenantId) -> Result<Known, DbError> {
        match self.cache.get(&tenant_key(id)).await {
            Ok(Some(found)) => {
                if let Some(part) = TenantPart::from_bytes(&found.value) {
                    metrics::counter!(names::RESOLVER_LOOKUPS, "layer" => "cache").increment(1);
                    return self.with_plan(part).await.map(Some);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(tenant.id = %id, error = %error, "asking the database for a tenant: the cache did not answer");
            }
        }
        Box::pin(self.tenant_from_database(id)).await
    }

    async fn tenant_from_database(&self, id: &TenantId) -> Result<Known, DbError> {
        metrics::counter!(names::RESOLVER_LOOKUPS, "layer" => "database").increment(1);
        let Some((part, plan)) = tenants::by_id(&self.db, id).await? else {
            return Ok(None);
        };
        self.share(&part).await;
        if let Some(plan) = &plan {
            self.share_plan(plan).await;
        }
        Ok(Some(self.context(part, plan.as_ref())))
    }

    fn shared_ttl(&self) -> Duration {
        if self.cache.is_shared() {
            SHARED_TTL
        } else {
            self.settings.ttl / 2
        }
    }

    async fn put(&self, key: String, version: i64, value: Vec<u8>) {
        self.put_for(key, version, value, self.shared_ttl()).await;
    }

    async fn put_for(&self, key: String, version: i64, value: Vec<u8>, ttl: Duration) {
        let value = Versioned { version, value };
        quietly(self.cache.put(&key, &value, ttl).await);
    }

    /// Under its id and its hosts. Versions are moments that only grow, so they tell the later owner of a host too.
    async fn share(&self, part: &TenantPart) {
        let bytes = part.to_bytes();
        let names = part.hosts.iter().filter(|host| !host.name.starts_with("*."));
        let keys = names
            .map(|host| host_key(&host.name))
            .chain(std::iter::once(tenant_key(&part.id)));
        // All at once: on one connection they share its round trip.
        join_all(keys.map(|key| self.put(key, part.version, bytes.clone()))).await;
    }

    async fn share_plan(&self, plan: &PlanPart) {
        self.put(plan_key(&plan.id), plan.version, plan.to_bytes()).await;
    }
}

fn quietly<T>(result: Result<T, crate::cache::CacheError>) {
    if let Err(error) = result {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the cache was not told of a tenant: it believes what it knows until its time is up"
        );
    }
}

fn pointer(value: &[u8]) -> Option<TenantId> {
    let (first, id) = value.split_first()?;
    if *first != POINTER {
        return None;
    }
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// The host, then the wildcards that may stand for it, the nearest first.
fn candidates(host: &str) -> Vec<String> {
    let parents = host.match_indices('.').map(|(dot, _)| {
        let (_, parent) = host.split_at(dot);
        format!("*{parent}")
    });
    std::iter::once(host.to_owned())
        .chain(parents.take(WILDCARDS))
        .collect()
}

fn serves(context: &TenantContext, host: &str) -> bool {
    let candidates = candidates(host);
    context.hosts.iter().any(|own| candidates.contains(&own.name))
}

pub(super) fn tenant_key(id: &TenantId) -> String {
    format!("tenant:{id}")
}

pub(super) fn host_key(host: &str) -> String {
    format!("host:{host}")
}

pub(super) fn plan_key(id: &str) -> String {
    format!("plan:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_tried_itself_and_then_under_its_parents() {
        assert_eq!(candidates("a.b.example"), ["a.b.example", "*.b.example", "*.example"]);
        assert_eq!(candidates("localhost"), ["localhost"]);
        let deep = "1.2.3.4.5.6.7.8.9";
        assert_eq!(candidates(deep).len(), 1 + WILDCARDS);
    }

    #[test]
    fn a_pointer_names_a_tenant_and_nothing_else() {
        assert_eq!(pointer(b">demo").unwrap().as_str(), "demo");
        for bad in [b"".as_slice(), b"demo", b">", b">No", b"{}"] {
            assert!(pointer(bad).is_none());
        }
    }
}
