//! Everything a role works with, opened once from the configuration.

use crate::{
    cache::{Cache, CacheContext, CacheError},
    clock::{Clock, Entropy},
    config::Config,
    db::{Db, OpenError},
    dead::{DeadJobs, DeadJobsParts},
    dispatch::{Dispatch, DispatchParts},
    fetch::Guard,
    jobs::Outbox,
    objects::{ObjectError, Objects},
    placement::{Storages, StoragesParts},
    queue::{Queue, QueueContext, QueueError},
    quota::Quota,
    secrets::{KeyFileError, Keyring, Secrets},
    shutdown::Shutdown,
    tenancy::{
        Batches, Lifecycle, LifecycleParts, LifecycleSettings, Limits, Resolver, ResolverSettings, TenantDatabases,
    },
};
use std::{sync::Arc, time::Duration};

/// How long a process may believe in a place that a tenant has left: the shared cache's life of an entry, and then some.
const LINGER: Duration = Duration::from_secs(90);

/// The back ends and what stands on them. Cloning shares all of it.
#[derive(Clone, Debug)]
pub struct Services {
    /// How this process is set up.
    pub config: Arc<Config>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
    /// Owner of every task.
    pub shutdown: Shutdown,
    /// The control database.
    pub control: Db,
    /// The queue.
    pub queue: Queue,
    /// Contexts, counters, leases, signals.
    pub cache: Cache,
    /// The installation's own object storage.
    pub objects: Objects,
    /// Where files lie.
    pub storages: Storages,
    /// Host or id → tenant.
    pub resolver: Resolver,
    /// Reservations.
    pub quota: Quota,
    /// From committed rows to the queue.
    pub outbox: Outbox,
    /// Whose jobs go to the queue when there are too many for all.
    pub dispatch: Dispatch,
    /// The servers that tenants are on.
    pub databases: TenantDatabases,
    /// How tenants come, change, move and go.
    pub lifecycle: Lifecycle,
    /// Tenants in bulk.
    pub batches: Batches,
    /// What may be done about dead jobs.
    pub dead: DeadJobs,
    /// What is sealed at rest.
    pub secrets: Secrets,
}

/// A back end could not be opened: its URL is wrong. A server that is away is no error.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The objects.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The master keys.
    #[error(transparent)]
    MasterKeys(#[from] KeyFileError),
    /// The data directory.
    #[error("the data directory {path} cannot be made")]
    DataDir {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The back ends.
struct Ports {
    control: Db,
    queue: Queue,
    cache: Cache,
    objects: Objects,
}

impl Ports {
    async fn open(
        config: &Config,
        clock: &Clock,
        entropy: &Entropy,
        shutdown: &Shutdown,
    ) -> Result<Self, ServicesError> {
        make_data_dir(config).await?;
        let control = Db::open(&config.database_url, config.database_connections)?;
        let queue = Queue::open(
            &config.queue_url,
            QueueContext {
                control: control.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
                shutdown: shutdown.clone(),
            },
        )?;
        let context = CacheContext {
            clock: clock.clone(),
            entropy: entropy.clone(),
            shutdown: shutdown.clone(),
        };
        let cache = Cache::open(&config.cache_url, context).await?;
        let objects = Objects::open(&config.objects_url, clock.clone(), entropy.clone()).await?;
        Ok(Self {
            control,
            queue,
            cache,
            objects,
        })
    }
}

impl Services {
    /// Opens the back ends that `config` names.
    ///
    /// # Errors
    /// When a URL is no back end's, or the data directory of an embedded one cannot be made.
    pub async fn open(
        config: Config,
        clock: Clock,
        entropy: Entropy,
        shutdown: Shutdown,
    ) -> Result<Self, ServicesError> {
        let Ports {
            control,
            queue,
            cache,
            objects,
        } = Ports::open(&config, &clock, &entropy, &shutdown).await?;
        let secrets = Secrets::new(Keyring::load(&config, &entropy)?);
        let databases = TenantDatabases::open(&control, &config, &clock, &shutdown)?;
        let resolver = Resolver::new(
            databases.clone(),
            control.clone(),
            cache.clone(),
            clock.clone(),
            resolver_settings(&config),
            &shutdown,
        );
        let storages = Storages::new(
            StoragesParts {
                control: control.clone(),
                cache: cache.clone(),
                secrets: secrets.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
                guard: Guard::from_config(&config),
                main: objects.clone(),
            },
            &shutdown,
        );
        let quota = Quota::new(control.clone(), cache.clone());
        let outbox = Outbox::start(control.clone(), queue.clone(), clock.clone(), &shutdown);
        let dispatch = Dispatch::new(
            DispatchParts {
                control: control.clone(),
                cache: cache.clone(),
                queue: queue.clone(),
                outbox: outbox.clone(),
                resolver: resolver.clone(),
                clock: clock.clone(),
            },
            config.fair_dispatch.then_some(config.dispatch_share.max(1).into()),
        );
        let lifecycle = Lifecycle::new(
            LifecycleParts {
                control: control.clone(),
                databases: databases.clone(),
                resolver: resolver.clone(),
                queue: queue.clone(),
                outbox: outbox.clone(),
                storages: storages.clone(),
                quota: quota.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
                shutdown: shutdown.clone(),
            },
            LifecycleSettings {
                isolation: config.tenant_isolation,
                placement: config.tenant_placement.clone(),
                grace: config.tenant_grace,
                linger: LINGER,
            },
        );
        let batches = Batches::new(lifecycle.clone(), secrets.clone());
        let dead = DeadJobs::new(DeadJobsParts {
            control: control.clone(),
            queue: queue.clone(),
            dispatch: dispatch.clone(),
            objects: objects.clone(),
            storages: storages.clone(),
            resolver: resolver.clone(),
            quota: quota.clone(),
            lifecycle: lifecycle.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let config = Arc::new(config);
        Ok(Self {
            config,
            clock,
            entropy,
            shutdown,
            control,
            queue,
            cache,
            objects,
            storages,
            resolver,
            quota,
            outbox,
            dispatch,
            databases,
            lifecycle,
            batches,
            dead,
            secrets,
        })
    }
}

/// Where an embedded back end has its files.
async fn make_data_dir(config: &Config) -> Result<(), ServicesError> {
    if config.database_url.scheme() != "sqlite" && config.objects_url.scheme() != "file" {
        return Ok(());
    }
    let made = tokio::fs::create_dir_all(&config.data_dir).await;
    made.map_err(|source| ServicesError::DataDir {
        path: config.data_dir.clone(),
        source,
    })
}

fn resolver_settings(config: &Config) -> ResolverSettings {
    ResolverSettings {
        ttl: config.tenant_cache_ttl,
        entries: config.tenant_cache_entries,
        defaults: Limits {
            upload_bytes: config.max_upload_size.get(),
            pixels: config.max_pixels,
            ..Limits::default()
        },
        enforced: config.tenant_enforced.clone(),
    }
}
