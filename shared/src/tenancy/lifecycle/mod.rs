//! How tenants come, change, move and go.
//!
//! What the provider asks for is *accepted* in one transaction of the control database, with the job that does the work
//! and a line in the audit log; the job's steps are idempotent and recorded, and a worker that finds one half done ends
//! it or undoes it. Nothing here knows who asks: the Tenants API, the command line and batches all come through here.

mod batch;
mod enforce;
mod feed;
mod make;
mod people;
mod placement;
mod plans;
mod provision;
mod relocate;
mod remove;
mod stats;
mod undo;

pub use batch::{BatchError, Batches, FirstKeys, Received, Receiving, RowResult};
pub use enforce::Enforced;
pub use feed::{Feeding, WINDOW};
pub use people::PeopleError;
pub use placement::Placement;
pub use plans::Over;
pub use provision::{
    AcceptedOnce, CreateError, FirstAdmin, FirstKey, MadeBefore, NewAdmin, NewTenant, ProvisionError, normal_hosts,
};
pub use relocate::MoveError;
pub use remove::RemoveError;
pub use stats::Stats;

use super::{Isolation, Place, Resolver, ServerName, TablePrefix, TenantDatabases, schemas::Prepared};
use crate::{
    clock::{Clock, Entropy},
    config::PlacementPolicy,
    control::{
        audit::{Actor, Entry},
        changes::{self, Change, Refused},
        tenants,
    },
    db::{Db, DbError},
    ids::TenantId,
    jobs::Outbox,
    placement::Storages,
    queue::Queue,
    quota::Quota,
    shutdown::Shutdown,
    tenancy::TenantState,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the installation decides where nobody else does.
#[derive(Debug, Clone)]
pub struct LifecycleSettings {
    /// How new tenants are kept apart; `None` is by the engine.
    pub isolation: Option<Isolation>,
    /// Where new tenants go.
    pub placement: PlacementPolicy,
    /// How long a tenant that leaves can come back.
    pub grace: Duration,
    /// How long a process may believe in a place that a tenant has left.
    pub linger: Duration,
}

/// The parts that a tenant's life needs. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    control: Db,
    databases: TenantDatabases,
    resolver: Resolver,
    queue: Queue,
    outbox: Outbox,
    storages: Storages,
    quota: Quota,
    clock: Clock,
    entropy: Entropy,
    settings: Arc<LifecycleSettings>,
    maker: make::Maker,
    prepared: Arc<Prepared>,
    copied: Arc<AtomicU64>,
}

/// What a [`Lifecycle`] is made of.
#[derive(Debug)]
pub struct LifecycleParts {
    /// The control database.
    pub control: Db,
    /// The servers.
    pub databases: TenantDatabases,
    /// Who must hear of changes.
    pub resolver: Resolver,
    /// Whether rows are messages.
    pub queue: Queue,
    /// Where accepted jobs go.
    pub outbox: Outbox,
    /// Where files lie.
    pub storages: Storages,
    /// The counters.
    pub quota: Quota,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
    /// When what makes tenants ends.
    pub shutdown: Shutdown,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The rows say no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Its job could not be written.
    #[error("the job could not be written")]
    Payload(#[from] serde_json::Error),
    /// The change is made, but the caches were not told: they follow within their bound.
    #[error(transparent)]
    Resolve(#[from] super::ResolveError),
}

impl Lifecycle {
    /// Over an installation's parts.
    #[must_use]
    pub fn new(parts: LifecycleParts, settings: LifecycleSettings) -> Self {
        let LifecycleParts {
            control,
            databases,
            resolver,
            queue,
            outbox,
            storages,
            quota,
            clock,
            entropy,
            shutdown,
        } = parts;
        let maker = make::Maker::start(databases.clone(), resolver.clone(), clock.clone(), &shutdown);
        Self {
            control,
            databases,
            resolver,
            queue,
            outbox,
            storages,
            quota,
            clock,
            entropy,
            settings: Arc::new(settings),
            maker,
            prepared: Arc::default(),
            copied: Arc::default(),
        }
    }

    /// How long a tenant that leaves can come back, unless its provider says otherwise.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.settings.grace
    }

    /// Rows that moves have copied in this process so far: what somebody who waits for one is shown.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// A line for the audit log.
    fn entry(&self, actor: &Actor, action: &str, tenant: Option<&TenantId>) -> Entry {
        Entry::new(&self.clock, &self.entropy, actor, action, tenant)
    }

    /// Changes a tenant and tells every process. Returns its new version.
    ///
    /// # Errors
    /// When the change is refused, or the database is away.
    pub async fn change(&self, id: &TenantId, change: &Change, actor: &Actor) -> Result<i64, LifecycleError> {
        let detail = serde_json::json!({
            "state": change.state, "plan": change.plan, "add_hosts": change.add_hosts, "remove_hosts": change.remove_hosts,
            "limits": change.limits.as_ref().map(crate::tenancy::LimitOverrides::to_json), "env": change.env.is_some(),
            "pictures": change.pictures.as_ref().map(crate::tenancy::PictureSettings::to_json),
            "trial_until": change.trial_until, "purge_at": change.purge_at,
        });
        let entry = self.entry(actor, "tenant.change", Some(id)).with(detail);
        self.check_change(id, change).await?;
        let mut change = change.clone();
        if !change.add_hosts.is_empty() {
            change.most_hosts = self.in_force(id).await?.hosts;
        }
        let version = changes::change(&self.control, id, &change, &entry, self.clock.now()).await??;
        self.resolver.refresh_without(id, &change.remove_hosts).await?;
        Ok(version)
    }

    /// Lets a tenant leave: it is not served any more, and removed for good after `grace`. Until then [`Self::restore`]
    /// brings it back.
    ///
    /// # Errors
    /// When there is no such tenant, it comes or goes already, or the database is away.
    pub async fn leave(&self, id: &TenantId, grace: Duration, actor: &Actor) -> Result<i64, LifecycleError> {
        let change = Change {
            state: Some(TenantState::Leaving),
            purge_at: Some(self.clock.now().after(grace)),
            ..Change::default()
        };
        self.change(id, &change, actor).await
    }

    /// Takes a tenant that leaves, or is suspended, back into service.
    ///
    /// # Errors
    /// When there is no such tenant, it comes or goes for good, or the database is away.
    pub async fn restore(&self, id: &TenantId, actor: &Actor) -> Result<i64, LifecycleError> {
        let change = Change {
            state: Some(TenantState::Active),
            ..Change::default()
        };
        self.change(id, &change, actor).await
    }

    /// Makes sure that a server's shared database can take tenants. Called twice it changes nothing.
    ///
    /// # Errors
    /// When the server is away, or not configured here.
    pub async fn prepare_server(&self, name: &ServerName) -> Result<(), DbError> {
        let place = Place {
            server: name.clone(),
            isolation: Isolation::Prefix,
            prefix: TablePrefix::generate(&self.clock, &self.entropy),
        };
        super::migrate::prepare(&self.databases, &place, &self.prepared).await
    }

    /// Brings one tenant's tables to this release's version and records it. Called twice it changes nothing.
    ///
    /// # Errors
    /// When its database is away.
    pub async fn migrate(&self, behind: &tenants::Behind) -> Result<(), DbError> {
        let now = self.clock.now();
        super::migrate::prepare(&self.databases, &behind.place, &self.prepared).await?;
        let version = super::migrate_tenant(&self.databases, &behind.place, now).await?;
        tenants::set_schema(&self.control, &behind.id, &behind.place, version, now).await
    }
}
