//! Making and removing a tenant. In prefix mode everything but its objects is one transaction.

use super::{
    Isolation, KeyText, LimitOverrides, TablePrefix, TenantState, db::TenantTx, migrate, normal_host,
    store::users::Role,
};
use crate::{
    clock::{Clock, Entropy},
    control::{jobs, tenants},
    db::{Db, DbError, Fault},
    ids::{TenantId, UserId},
};

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Chosen by the provider.
    pub id: TenantId,
    /// Where it is served.
    pub host: String,
    /// What it inherits from.
    pub plan: Option<String>,
    /// What it has of its own.
    pub limits: LimitOverrides,
    /// Name of its first administrator.
    pub admin: String,
}

/// What was made.
#[derive(Debug)]
pub struct Provisioned {
    /// The administrator's first key, shown once.
    pub key: KeyText,
    /// The administrator.
    pub admin: UserId,
}

/// A tenant was not made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The host is no host name.
    #[error("{host:?} is no host name")]
    Host {
        /// As given.
        host: String,
    },
    /// There is such a tenant.
    #[error("there is a tenant {id} already")]
    Exists {
        /// The id.
        id: TenantId,
    },
    /// Another tenant is served there.
    #[error("host {host} belongs to another tenant")]
    HostTaken {
        /// The host.
        host: String,
    },
    /// There is no such plan.
    #[error("there is no plan {plan:?}")]
    NoPlan {
        /// As given.
        plan: String,
    },
    /// The database failed.
    #[error("the tenant's rows could not be written")]
    Db(#[source] DbError),
}

/// Makes a tenant: rows, tables, first administrator and key, all or nothing.
///
/// # Errors
/// When id or host are taken, the plan is unknown, or the database is away.
pub async fn create(db: &Db, new: &NewTenant, clock: &Clock, entropy: &Entropy) -> Result<Provisioned, ProvisionError> {
    let host = normal_host(&new.host).ok_or_else(|| ProvisionError::Host { host: new.host.clone() })?;
    let prefix = TablePrefix::generate(clock, entropy);
    let now = clock.now();
    let (admin, key) = (UserId::generate(clock, entropy), KeyText::generate(clock, entropy));
    let tx = db.begin_write().await.map_err(ProvisionError::Db)?;
    let mut tx = TenantTx::within(tx, Isolation::Prefix(prefix.clone()));
    if let Some(plan) = &new.plan
        && !tenants::plan_exists(&mut tx.tx, plan)
            .await
            .map_err(ProvisionError::Db)?
    {
        return Err(ProvisionError::NoPlan { plan: plan.clone() });
    }
    if !tenants::insert(&mut tx.tx, new, &prefix, TenantState::Active, now)
        .await
        .map_err(ProvisionError::Db)?
    {
        return Err(ProvisionError::Exists { id: new.id.clone() });
    }
    if !tenants::insert_host(&mut tx.tx, &host, &new.id, now)
        .await
        .map_err(ProvisionError::Db)?
    {
        return Err(ProvisionError::HostTaken { host });
    }
    let rows = async {
        migrate::apply(&mut tx, 0, now).await?;
        tx.add_user(&admin, &new.admin, Role::Admin, now).await?;
        tx.add_key(&key, &admin, "first", None, now).await?;
        tx.commit().await
    };
    match rows.await {
        Ok(()) => Ok(Provisioned { key, admin }),
        Err(error) if error.fault() == Fault::Conflict => Err(ProvisionError::Exists { id: new.id.clone() }),
        Err(error) => Err(ProvisionError::Db(error)),
    }
}

/// Removes a tenant's tables and rows, once it is `deleting` and its objects are gone. Called twice it changes nothing.
///
/// # Errors
/// When the database is away.
pub async fn remove_rows(db: &Db, id: &TenantId) -> Result<(), DbError> {
    let mut tx = db.begin_write().await?;
    let Some(prefix) = tenants::prefix_of_deleting(&mut tx, id).await? else {
        return Ok(());
    };
    let mut tx = TenantTx::within(tx, Isolation::Prefix(prefix));
    migrate::drop_tables(&mut tx).await?;
    jobs::forget_tenant(&mut tx.tx, id).await?;
    tenants::forget(&mut tx.tx, id).await?;
    tx.commit().await
}
