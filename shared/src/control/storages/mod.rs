//! Storages: the provider's and tenants' own. Every change and its line in the audit log are one transaction.

pub(super) mod space;
pub mod tasks;

pub use space::{
    Claimant, Claimed, Share, Shares, are_in_use, claim, claimed, correct, is_latest_attempt, is_untouched, prune,
    settle, shares,
};

use super::{
    audit::{self, Entry},
    jobs::{optional, text},
    secrets::{self, MasterKeyError},
};
use crate::{
    clock::Entropy,
    db::{Bounded, Db, DbError, During, sql},
    ids::{StorageId, TenantId},
    placement::{StorageSettings, StorageSettingsError},
    secrets::Keyring,
    units::{ByteCount, Millis},
};
use sqlx::{AnyConnection, Row, any::AnyRow};

crate::jobs::names!(
    /// Which files of a picture a storage takes.
    StorageRole, "storage role" {
        /// Originals alone.
        Originals = "originals",
        /// Variants alone.
        Variants = "variants",
        /// Both.
        Both = "both",
    }
);

crate::jobs::names!(
    /// What a storage is used for.
    StorageState, "storage state" {
        /// Written and read.
        Active = "active",
        /// Read.
        ReadOnly = "read-only",
        /// Read, and on its way to hold nothing.
        Draining = "draining",
        /// Neither: what lies there only, is not served.
        Off = "off",
    }
);

impl StorageState {
    /// Whether files are read from it.
    #[must_use]
    pub const fn is_read(self) -> bool {
        match self {
            Self::Active | Self::ReadOnly | Self::Draining => true,
            Self::Off => false,
        }
    }
}

impl StorageRole {
    /// Whether it takes originals, or variants.
    #[must_use]
    pub const fn takes(self, original: bool) -> bool {
        match self {
            Self::Originals => original,
            Self::Variants => !original,
            Self::Both => true,
        }
    }
}

sql! {
    INSERT = "INSERT INTO storages (id, tenant, name, settings, secret, role, state, capacity, weight, used, objects, version, created_at, \
        updated_at, guarded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 1, $10, $10, $11)";
    GET = "SELECT id, tenant, name, settings, secret, role, state, capacity, weight, used, objects, version, created_at, updated_at, guarded \
        FROM storages WHERE id = $1";
    PROVIDERS = "SELECT id, tenant, name, settings, secret, role, state, capacity, weight, used, objects, version, created_at, updated_at, guarded \
        FROM storages WHERE tenant IS NULL ORDER BY id";
    OF_TENANT = "SELECT id, tenant, name, settings, secret, role, state, capacity, weight, used, objects, version, created_at, updated_at, guarded \
        FROM storages WHERE tenant = $1 ORDER BY id";
    ALL = "SELECT id, tenant, name, settings, secret, role, state, capacity, weight, used, objects, version, created_at, updated_at, guarded \
        FROM storages WHERE id > $1 ORDER BY id LIMIT $2";
    // Holds the tenant's row, so that two that are added at once are counted one after the other.
    LOCK_TENANT = "UPDATE tenants SET updated_at = updated_at WHERE id = $1 RETURNING id";
    COUNT = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN state = 'active' THEN 1 ELSE 0 END), 0) AS BIGINT) FROM storages \
        WHERE tenant = $1";
    UPDATE = "UPDATE storages SET name = $1, settings = $2, secret = COALESCE($3, secret), role = $4, state = $5, capacity = $6, weight = $7, \
        version = version + 1, updated_at = $8, guarded = $9 WHERE id = $10 AND version = $11 RETURNING id";
    REMOVE = "DELETE FROM storages WHERE id = $1 AND state = 'off' AND objects = 0 RETURNING id";
    REMOVE_TASK = "DELETE FROM storage_tasks WHERE storage = $1";
    REMOVE_TASKS_OF_TENANT = "DELETE FROM storage_tasks WHERE storage IN (SELECT id FROM storages WHERE tenant = $1)";
    REMOVE_OF_TENANT = "DELETE FROM storages WHERE tenant = $1";
}

/// A storage, and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRow {
    /// Its id.
    pub id: StorageId,
    /// Whose; `None` is the provider's.
    pub tenant: Option<TenantId>,
    /// What people call it.
    pub name: String,
    /// What it is, without credentials.
    pub settings: StorageSettings,
    /// Whether a tenant's own key said so: it is connected to at addresses that [`crate::fetch::Guard`] lets through, and no
    /// others.
    pub guarded: bool,
    /// Its credentials, sealed; `None` where it needs none.
    pub secret: Option<String>,
    /// Which files it takes.
    pub role: StorageRole,
    /// What it is used for.
    pub state: StorageState,
    /// Bytes that it may hold; 0 is no bound.
    pub capacity: ByteCount,
    /// How often it is chosen against the others, 1 to 1,000.
    pub weight: i64,
    /// Bytes that lie in it, and that jobs have claimed.
    pub used: ByteCount,
    /// Objects that lie in it, and that jobs have claimed.
    pub objects: i64,
    /// Grows with every change of what it is.
    pub version: i64,
    /// When it was added.
    pub created_at: Millis,
    /// When it was changed.
    pub updated_at: Millis,
}

impl StorageRow {
    /// Bytes that it has room for. `None`: no bound.
    #[must_use]
    pub fn free(&self) -> Option<ByteCount> {
        (self.capacity > ByteCount::ZERO).then(|| self.capacity.minus(self.used).max(ByteCount::ZERO))
    }
}

/// Why a storage was not added, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is none.
    #[error("there is no storage {id}")]
    Missing {
        /// Its id.
        id: StorageId,
    },
    /// The tenant has as many as its limit `storages` allows.
    #[error("the tenant has {has} storages, its limit is {limit}")]
    TooMany {
        /// How many it has.
        has: i64,
        /// How many it may have.
        limit: i64,
    },
    /// The tenant may have none of its own.
    #[error("the tenant may have no storages of its own: its limit external_storage is off")]
    NotAllowed,
    /// Fewer would be active than the tenant's limit `min_active_storages` asks for.
    #[error("the tenant would have {left} active storages, its limit min_active_storages is {least}")]
    TooFewActive {
        /// How many would be left.
        left: i64,
        /// How many there must be.
        least: i64,
    },
    /// Others changed it meanwhile.
    #[error("storage {id} was changed meanwhile: look again")]
    Outdated {
        /// Its id.
        id: StorageId,
    },
    /// It holds files, or is still in use.
    #[error("storage {id} holds {objects} files and is {state}: drain it and switch it off before it is removed")]
    InUse {
        /// Its id.
        id: StorageId,
        /// Files in it.
        objects: i64,
        /// Its state.
        state: StorageState,
    },
    /// Its files cannot be read, since it is off.
    #[error("storage {id} is off, and nothing is read from it: make it read-only or active first")]
    NotRead {
        /// Its id.
        id: StorageId,
    },
    /// What it is said to be cannot be.
    #[error(transparent)]
    Settings(#[from] StorageSettingsError),
    /// The master keys are not this installation's.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database is away.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What sealed a storage's credentials: put on record with them.
#[derive(Debug, Clone, Copy)]
pub struct SealedBy<'a> {
    /// The keys.
    pub keyring: &'a Keyring,
    /// Chance.
    pub entropy: &'a Entropy,
}

/// Limits of the tenant whose storage is added or changed; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Most storages.
    pub most: i64,
    /// Least active ones.
    pub least_active: i64,
}

/// Adds one.
///
/// # Errors
/// When the tenant is gone or has as many as it may have, or the database is away.
pub async fn add(
    db: &Db,
    storage: &StorageRow,
    bounds: Bounds,
    sealed_by: Option<SealedBy<'_>>,
    entry: &Entry,
) -> Result<(), StorageError> {
    const WHAT: &str = "add a storage";
    let mut tx = db.begin_write().await?;
    if let Some(tenant) = &storage.tenant {
        let (has, _) = counted(&mut tx, tenant).await?;
        if bounds.most > 0 && has >= bounds.most {
            return Err(StorageError::TooMany {
                has,
                limit: bounds.most,
            });
        }
    }
    let query = INSERT
        .query()
        .bind(storage.id.to_string())
        .bind(storage.tenant.as_ref().map(ToString::to_string))
        .bind(storage.name.clone())
        .bind(storage.settings.to_json())
        .bind(storage.secret.clone())
        .bind(storage.role.as_str())
        .bind(storage.state.as_str())
        .bind(storage.capacity.get())
        .bind(storage.weight)
        .bind(entry.at.get())
        .bind(i64::from(storage.guarded));
    query.execute(&mut *tx).bounded(WHAT).await?;
    keep(&mut tx, sealed_by, entry.at).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(())
}

async fn keep(
    connection: &mut AnyConnection,
    sealed_by: Option<SealedBy<'_>>,
    now: Millis,
) -> Result<(), MasterKeyError> {
    match sealed_by {
        Some(SealedBy { keyring, entropy }) => secrets::keep(connection, keyring, now, entropy).await,
        None => Ok(()),
    }
}

/// How many storages a tenant has, and how many of them are active. Nobody adds or changes one of them until the end of the
/// transaction.
async fn counted(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(i64, i64), DbError> {
    const WHAT: &str = "count storages";
    let lock = LOCK_TENANT.query().bind(tenant.to_string());
    if lock.fetch_optional(&mut *connection).bounded(WHAT).await?.is_none() {
        return Err(DbError::Gone { during: WHAT });
    }
    let query = COUNT.query().bind(tenant.to_string());
    let row = query.fetch_one(connection).bounded(WHAT).await?;
    Ok((row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?))
}

/// Changes what `present` was to what `storage` is; its credentials where they are `sealed_by` somebody now. What lies in it is
/// not touched.
///
/// # Errors
/// When somebody changed it since, too few would be active, or the database is away.
pub async fn update(
    db: &Db,
    present: &StorageRow,
    storage: &StorageRow,
    bounds: Bounds,
    sealed_by: Option<SealedBy<'_>>,
    entry: &Entry,
) -> Result<(), StorageError> {
    const WHAT: &str = "change a storage";
    let mut tx = db.begin_write().await?;
    let active = |row: &StorageRow| row.state == StorageState::Active;
    if let Some(tenant) = &present.tenant
        && active(present)
        && !active(storage)
    {
        let (_, now) = counted(&mut tx, tenant).await?;
        if now.saturating_sub(1) < bounds.least_active {
            return Err(StorageError::TooFewActive {
                left: now.saturating_sub(1),
                least: bounds.least_active,
            });
        }
    }
    let query = UPDATE
        .query()
        .bind(storage.name.clone())
        .bind(storage.settings.to_json())
        .bind(storage.secret.clone().filter(|_| sealed_by.is_some()))
        .bind(storage.role.as_str())
        .bind(storage.state.as_str())
        .bind(storage.capacity.get())
        .bind(storage.weight)
        .bind(entry.at.get())
        .bind(i64::from(storage.guarded))
        .bind(present.id.to_string())
        .bind(present.version);
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Err(StorageError::Outdated { id: present.id.clone() });
    }
    keep(&mut tx, sealed_by, entry.at).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(())
}

/// Removes one that is off and holds nothing.
///
/// # Errors
/// When it is in use, is not there, or the database is away.
pub async fn remove(db: &Db, id: &StorageId, entry: &Entry) -> Result<(), StorageError> {
    const WHAT: &str = "remove a storage";
    let mut tx = db.begin_write().await?;
    let task = REMOVE_TASK.query().bind(id.to_string());
    task.execute(&mut *tx).bounded(WHAT).await?;
    let query = REMOVE.query().bind(id.to_string());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        drop(tx);
        let row = get(db, id).await?;
        let row = row.ok_or_else(|| StorageError::Missing { id: id.clone() })?;
        return Err(StorageError::InUse {
            id: row.id,
            objects: row.objects,
            state: row.state,
        });
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(())
}

/// Forgets a tenant's own, within the transaction that forgets the tenant.
pub(crate) async fn forget_tenant(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    for sql in [REMOVE_TASKS_OF_TENANT, REMOVE_OF_TENANT] {
        let query = sql.query().bind(tenant.to_string());
        query
            .execute(&mut *connection)
            .bounded("forget a tenant's storages")
            .await?;
    }
    Ok(())
}

/// One of them.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: &StorageId) -> Result<Option<StorageRow>, DbError> {
    let query = GET.query().bind(id.to_string());
    let row = query.fetch_optional(db.read()).bounded("read a storage").await?;
    row.as_ref().map(read).transpose()
}

/// A tenant's own, or the provider's, the oldest first.
///
/// # Errors
/// When the database is away.
pub async fn of(db: &Db, owner: Option<&TenantId>) -> Result<Vec<StorageRow>, DbError> {
    let query = match owner {
        Some(tenant) => OF_TENANT.query().bind(tenant.to_string()),
        None => PROVIDERS.query(),
    };
    let rows = query.fetch_all(db.read()).bounded("list storages").await?;
    rows.iter().map(read).collect()
}

/// Everybody's after `after`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, after: Option<&StorageId>, limit: i64) -> Result<Vec<StorageRow>, DbError> {
    let query = ALL
        .query()
        .bind(after.map_or_else(String::new, ToString::to_string))
        .bind(limit);
    let rows = query.fetch_all(db.read()).bounded("list storages").await?;
    rows.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<StorageRow, DbError> {
    const WHAT: &str = "read a storage";
    let number = |column: usize| row.try_get::<i64, _>(column).during(WHAT);
    Ok(StorageRow {
        id: text(row, 0)?,
        tenant: optional(row, 1)?,
        name: row.try_get(2).during(WHAT)?,
        settings: text(row, 3)?,
        secret: row.try_get(4).during(WHAT)?,
        role: text(row, 5)?,
        state: text(row, 6)?,
        capacity: ByteCount::new(number(7)?),
        weight: number(8)?,
        used: ByteCount::new(number(9)?),
        objects: number(10)?,
        version: number(11)?,
        created_at: Millis::new(number(12)?),
        updated_at: Millis::new(number(13)?),
        guarded: number(14)? != 0,
    })
}
