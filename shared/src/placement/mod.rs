//! Where files lie beside the installation's own store: storages of the provider and of tenants, and which of them a file goes to.
//!
//! - A tenant that has active storages of its own uses these; else the provider's, where the limit `local_storage` allows it;
//!   else, while the provider has none, what `objects_url` names ([`Spot::Main`]).
//! - Room is claimed in the control database before anything is written ([`crate::control::storages::claim`]), and the same
//!   transaction sees that the storage still takes files: what a process remembers of storages may be old, what it writes by is
//!   not.
//! - A write that fails goes to the next storage; a read goes to the next copy, also in the middle of a file.
//! - Which places answer is known by what comes of every call (`health.rs`).
//!
//! Uploads are staged in the installation's own store, whatever storages there are.

mod add;
mod allowed;
mod check;
mod health;
mod place;
mod places;
mod policy;
mod read;
mod settings;
mod tasks;

pub use add::{ChangeError, NewStorage, StorageChange};
pub use allowed::{Editor, MOST_OF_A_TENANT};
pub use check::{CheckStep, Finding, Trouble};
pub use health::is_the_places;
pub use place::{NewFile, PlaceError, Placed, PlacedFile};
pub use places::{MOST_REPLICAS, Places, PlacesError, Spot};
pub use policy::{FilePlacement, Policy};
pub use read::{ReadError, checksum};
pub use settings::{Credentials, Delivery, DirectorySettings, S3Settings, StorageSettings, StorageSettingsError};
pub use tasks::{storage_view, task_view};

use crate::{
    cache::{Cache, CachePort, STORAGE_CHANNEL},
    clock::{Clock, Entropy},
    control::storages::{self, StorageRow, StorageState},
    db::{Db, DbError},
    fetch::Guard,
    ids::{StorageId, TenantId},
    objects::{ObjectError, Objects},
    secrets::{SealedFor, Secrets, SecretsError},
    shutdown::Shutdown,
    tenancy::{Limit, Tenant},
};
use health::Health;
use moka::future::Cache as Memory;
use std::{
    fmt,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::sync::broadcast::error::RecvError;

/// How long a process believes what it knows of an owner's storages, where it did not hear that they changed. Nothing is written
/// by it: a claim is made in the database.
const TTL: Duration = Duration::from_secs(30);
/// Begins what is told of a storage that did not answer the scheduler's probe, and of one that does again.
const SILENT: &str = "! ";
const ANSWERS: &str = "+ ";
/// Owners whose storages a process remembers.
const OWNERS: u64 = 10_000;
/// Clients of storages that a process keeps open.
const CLIENTS: u64 = 1_000;
/// How long a client that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(600);

/// Why a placement's settings are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Too many copies, or none.
    #[error("placement: {given} replicas are not between 1 and {MOST_REPLICAS}")]
    Replicas {
        /// As given.
        given: usize,
    },
    /// It does not say where.
    #[error("placement: the policy fixed needs a storage")]
    FixedWhere,
    /// One storage holds one copy.
    #[error("placement: the policy fixed has one replica")]
    FixedTwice,
    /// Only one policy names a storage.
    #[error("placement: the policy {policy} names no storage")]
    StorageWithout {
        /// The policy.
        policy: Policy,
    },
}

/// Why a storage cannot be reached by this process.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its credentials do not open.
    #[error("the credentials of storage {id} do not open")]
    Secrets {
        /// Which.
        id: StorageId,
        /// Why.
        #[source]
        source: SecretsError,
    },
    /// A tenant's bucket without credentials would be opened with the provider's.
    #[error("storage {id} is a tenant's and has no credentials")]
    NoCredentials {
        /// Which.
        id: StorageId,
    },
    /// Its settings make no address.
    #[error("the settings of storage {id} make no address")]
    Settings {
        /// Which.
        id: StorageId,
        /// Why.
        #[source]
        source: StorageSettingsError,
    },
    /// Nothing is at its address.
    #[error("storage {id} cannot be opened")]
    Objects {
        /// Which.
        id: StorageId,
        /// Why.
        #[source]
        source: ObjectError,
    },
}

/// A place that is open.
#[derive(Debug)]
pub struct Opened {
    /// Which.
    pub spot: Spot,
    /// What the database says of it; `None` for the installation's own.
    pub row: Option<StorageRow>,
    /// The objects.
    pub objects: Objects,
}

/// An owner's storages, as this process knows them.
#[derive(Debug, Default)]
struct Set {
    /// How many there are, open or not.
    count: usize,
    open: Vec<Arc<Opened>>,
}

/// The storages of this installation. Cloning shares what is remembered.
#[derive(Clone)]
pub struct Storages(Arc<Inner>);

struct Inner {
    control: Db,
    cache: Cache,
    secrets: Secrets,
    clock: Clock,
    entropy: Entropy,
    guard: Guard,
    main: Arc<Opened>,
    sets: Memory<Option<TenantId>, Arc<Set>>,
    /// By version: a change is another client.
    clients: Memory<(StorageId, i64), Objects>,
    health: Health,
    /// Of [`Policy::RoundRobin`].
    turn: AtomicUsize,
}

impl fmt::Debug for Storages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storages")
            .field("main", &self.0.main)
            .finish_non_exhaustive()
    }
}

/// What storages stand on.
#[derive(Debug)]
pub struct StoragesParts {
    /// The control database.
    pub control: Db,
    /// Where changes are announced.
    pub cache: Cache,
    /// What opens credentials.
    pub secrets: Secrets,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
    /// What storages are connected to whose place a tenant chose.
    pub guard: Guard,
    /// The installation's own store.
    pub main: Objects,
}

impl Storages {
    /// Over the installation's own store.
    #[must_use]
    pub fn new(parts: StoragesParts, shutdown: &Shutdown) -> Self {
        let storages = Self(Arc::new(Inner {
            control: parts.control,
            cache: parts.cache,
            secrets: parts.secrets,
            clock: parts.clock,
            entropy: parts.entropy,
            guard: parts.guard,
            main: Arc::new(Opened {
                spot: Spot::Main,
                row: None,
                objects: parts.main,
            }),
            sets: Memory::builder().max_capacity(OWNERS).time_to_live(TTL).build(),
            clients: Memory::builder().max_capacity(CLIENTS).time_to_idle(IDLE).build(),
            health: Health::default(),
            turn: AtomicUsize::new(0),
        }));
        storages.hear(shutdown);
        storages
    }

    /// Forgets what others say has changed.
    fn hear(&self, shutdown: &Shutdown) {
        let mut words = self.0.cache.listen();
        let (stop, known) = (shutdown.clone(), self.clone());
        shutdown.spawn(async move {
            loop {
                let word = tokio::select! { () = stop.soft() => return, word = words.recv() => word };
                match word {
                    Ok(signal) if signal.channel == STORAGE_CHANNEL => {
                        let spot = |word: &str| word.parse::<Spot>().ok();
                        let message = signal.message.as_str();
                        if let Some(spot) = message.strip_prefix(SILENT).and_then(spot) {
                            known.0.health.failed(&spot, known.0.clock.now());
                        } else if let Some(spot) = message.strip_prefix(ANSWERS).and_then(spot) {
                            known.0.health.answered(&spot);
                        } else {
                            // What is no id says the provider's.
                            known.0.sets.invalidate(&message.parse::<TenantId>().ok()).await;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => known.0.sets.invalidate_all(),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Looks all storages up again: what is remembered here has turned out to be old.
    pub fn forget(&self) {
        self.0.sets.invalidate_all();
    }

    /// Forgets an owner's storages here, and tells every process.
    async fn changed(&self, owner: Option<&TenantId>) {
        self.0.sets.invalidate(&owner.cloned()).await;
        let word = owner.map_or_else(|| "-".to_owned(), ToString::to_string);
        if let Err(error) = self.0.cache.signal(STORAGE_CHANNEL, &[word]).await {
            tracing::debug!(error = %error, "other processes hear of a storage's change when what they know is old");
        }
    }

    async fn set(&self, owner: Option<&TenantId>) -> Result<Arc<Set>, DbError> {
        let owner = owner.cloned();
        let load = async {
            let rows = storages::of(&self.0.control, owner.as_ref()).await?;
            let mut set = Set {
                count: rows.len(),
                open: Vec::with_capacity(rows.len()),
            };
            for row in rows {
                if !row.state.is_read() {
                    continue;
                }
                set.open.extend(self.opened(row).await);
            }
            Ok(Arc::new(set))
        };
        let set = self.0.sets.try_get_with_by_ref(&owner, load).await;
        set.map_err(DbError::Batch)
    }

    /// A storage as a place. `None`: this process cannot open it, and says so.
    async fn opened(&self, row: StorageRow) -> Option<Arc<Opened>> {
        let objects = self.open(&row).await.inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "a storage is passed over");
        });
        Some(Arc::new(Opened {
            spot: Spot::Storage(row.id.clone()),
            objects: objects.ok()?,
            row: Some(row),
        }))
    }

    /// Opens a storage, or takes the client that is open.
    ///
    /// # Errors
    /// When its credentials or its settings are not what this process can use.
    pub async fn open(&self, row: &StorageRow) -> Result<Objects, OpenError> {
        let key = (row.id.clone(), row.version);
        if let Some(objects) = self.0.clients.get(&key).await {
            return Ok(objects);
        }
        let credentials = self.credentials(row)?;
        let objects = self.connect(row, credentials.as_ref()).await?;
        self.0.clients.insert(key, objects.clone()).await;
        Ok(objects)
    }

    async fn connect(&self, row: &StorageRow, credentials: Option<&Credentials>) -> Result<Objects, OpenError> {
        let id = || row.id.clone();
        if credentials.is_none() && row.tenant.is_some() {
            return Err(OpenError::NoCredentials { id: id() });
        }
        let url = row.settings.to_url(credentials);
        let url = url.map_err(|source| OpenError::Settings { id: id(), source })?;
        let clock = self.0.clock.clone();
        let opened = if row.guarded {
            Objects::open_guarded(&url, &self.0.guard, clock)
        } else {
            Objects::open(&url, clock, self.0.entropy.clone()).await
        };
        opened.map_err(|source| OpenError::Objects { id: id(), source })
    }

    fn credentials(&self, row: &StorageRow) -> Result<Option<Credentials>, OpenError> {
        let Some(sealed) = &row.secret else { return Ok(None) };
        let of = SealedFor::Storage(row.id.clone());
        let opened = self.0.secrets.open(&of, sealed);
        let failed = |source| OpenError::Secrets {
            id: row.id.clone(),
            source,
        };
        let credentials = Credentials::from_bytes(&opened.map_err(failed)?);
        credentials
            .map(Some)
            .ok_or_else(|| failed(SecretsError::Content { of }))
    }

    /// Whether there is somewhere to put a tenant's files, and as many active storages as its limits ask for.
    ///
    /// # Errors
    /// What is missing, or the database is away.
    pub async fn admit(&self, tenant: &Tenant) -> Result<(), AdmitError> {
        let limits = &tenant.context().limits;
        let least = limits.min_active_storages;
        if least == 0 && limits.allows(Limit::LocalStorage) {
            return Ok(());
        }
        let own = self.set(Some(tenant.id())).await?;
        let active = own.open.iter().filter(|one| is_active(one)).count();
        let active = i64::try_from(active).unwrap_or(i64::MAX);
        if active < least {
            return Err(AdmitError::TooFewActive { active, least });
        }
        if active == 0 && !limits.allows(Limit::LocalStorage) {
            return Err(AdmitError::Nowhere);
        }
        Ok(())
    }

    /// Places that take a tenant's originals, or its variants.
    async fn candidates(&self, tenant: &Tenant, original: bool) -> Result<Vec<Arc<Opened>>, DbError> {
        let takes = |one: &Arc<Opened>| {
            let row = one.row.as_ref();
            is_active(one) && row.is_some_and(|row| row.role.takes(original))
        };
        let own = self.set(Some(tenant.id())).await?;
        let found: Vec<_> = own.open.iter().filter(|one| takes(one)).cloned().collect();
        if !found.is_empty() || !tenant.context().limits.allows(Limit::LocalStorage) {
            return Ok(found);
        }
        let providers = self.set(None).await?;
        if providers.count == 0 {
            return Ok(vec![Arc::clone(&self.0.main)]);
        }
        Ok(providers.open.iter().filter(|one| takes(one)).cloned().collect())
    }

    /// Everywhere that a tenant's files may lie: what this process can open of it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn everywhere(&self, tenant: &TenantId) -> Result<Vec<Arc<Opened>>, DbError> {
        let (own, providers) = (self.set(Some(tenant)).await?, self.set(None).await?);
        let main = std::iter::once(&self.0.main);
        Ok(main.chain(&own.open).chain(&providers.open).cloned().collect())
    }

    /// One place of a tenant's files. `None`: it is off, gone, or this process cannot open it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn spot(&self, tenant: &TenantId, spot: &Spot) -> Result<Option<Arc<Opened>>, DbError> {
        if *spot == Spot::Main {
            return Ok(Some(Arc::clone(&self.0.main)));
        }
        for owner in [Some(tenant), None] {
            let set = self.set(owner).await?;
            if let Some(found) = set.open.iter().find(|one| one.spot == *spot) {
                return Ok(Some(Arc::clone(found)));
            }
        }
        // Added since, and this process did not hear of it.
        let Spot::Storage(id) = spot else { return Ok(None) };
        let row = storages::get(&self.0.control, id).await?;
        let Some(row) =
            row.filter(|row| row.state.is_read() && row.tenant.as_ref().is_none_or(|owner| owner == tenant))
        else {
            return Ok(None);
        };
        Ok(self.opened(row).await)
    }

    /// One place of a tenant's files, to remove something there. `None`: nobody can ask it any more, since it was removed.
    ///
    /// # Errors
    /// When it is there, and off or not to be opened here, or the database is away.
    pub async fn reach(&self, tenant: &TenantId, spot: &Spot) -> Result<Option<Arc<Opened>>, ReachError> {
        if let Some(opened) = self.spot(tenant, spot).await? {
            return Ok(Some(opened));
        }
        let Spot::Storage(id) = spot else { return Ok(None) };
        let row = storages::get(&self.0.control, id).await?;
        let Some(row) = row.filter(|row| row.tenant.as_ref().is_none_or(|owner| owner == tenant)) else {
            return Ok(None);
        };
        Err(ReachError::Closed {
            id: row.id,
            state: row.state,
        })
    }

    /// Whether a place may be asked now, as far as is known here of what came of calls: one that has failed is left alone for some
    /// time, then the first who asks is let through, whose call decides.
    #[must_use]
    pub fn admits(&self, spot: &Spot) -> bool {
        self.0.health.admits(spot, self.0.clock.now())
    }

    /// Notes what came of a call that was made to a place directly; errors that are not the place's say nothing of it.
    pub fn note<T>(&self, spot: &Spot, result: &Result<T, ObjectError>) {
        match result {
            Ok(_) => self.0.health.answered(spot),
            Err(error) if health::is_the_places(error) => {
                if self.0.health.failed(spot, self.0.clock.now()) {
                    tracing::warn!(
                        storage = %spot, error = error as &dyn std::error::Error,
                        "a storage is left alone for some time: it does not answer"
                    );
                }
            }
            Err(_) => {}
        }
    }

    /// Asks a storage whether it is there, and notes the answer. One whose place a tenant chose is left alone like by everybody
    /// else while it does not answer: many that never will hold up nobody's.
    ///
    /// # Errors
    /// When it does not answer, is left alone, or this process cannot open it.
    pub async fn probe(&self, row: &StorageRow) -> Result<(), ProbeError> {
        use crate::objects::Store as _;
        let spot = Spot::Storage(row.id.clone());
        if row.guarded && !self.0.health.admits(&spot, self.0.clock.now()) {
            return Err(ProbeError::LeftAlone);
        }
        let objects = self.open(row).await?;
        let answered = objects.ping().await;
        let was_well = self.0.health.is_well(&spot);
        self.note(&spot, &answered);
        // Others hear what is wrong each time, and once that it is well again.
        let word = match &answered {
            Ok(()) if was_well => return Ok(()),
            Ok(()) => format!("{ANSWERS}{}", row.id),
            Err(_) => format!("{SILENT}{}", row.id),
        };
        if let Err(error) = self.0.cache.signal(STORAGE_CHANNEL, &[word]).await {
            tracing::debug!(error = %error, "other processes find out by themselves which storages answer");
        }
        Ok(answered?)
    }
}

fn is_active(opened: &Opened) -> bool {
    opened.row.as_ref().is_some_and(|row| row.state == StorageState::Active)
}

/// A place cannot be asked to remove something.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// It is off, or this process cannot open it.
    #[error("storage {id} is {state} and cannot be opened here: nothing is removed from it")]
    Closed {
        /// Which.
        id: StorageId,
        /// Its state.
        state: StorageState,
    },
    /// The database is away.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A storage did not answer a probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not answer as it should.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// It did not, a moment ago.
    #[error("it did not answer, and is left alone for some time")]
    LeftAlone,
}

/// Why a tenant's uploads are not taken.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// It has to have more.
    #[error("{active} storages are active, there must be {least}: add some")]
    TooFewActive {
        /// How many are.
        active: i64,
        /// How many there must be.
        least: i64,
    },
    /// It may not use the installation's, and has none.
    #[error("there is no active storage: add one")]
    Nowhere,
    /// The database is away.
    #[error(transparent)]
    Db(#[from] DbError),
}

#[cfg(test)]
mod tests;
