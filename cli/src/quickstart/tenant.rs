//! The demo's tenant: made, or given another key when an earlier demo left it.

use crate::{operator, tenants};
use anyhow::{Context, bail};
use mediamill_shared::{
    control,
    ids::{TenantId, UserId},
    services::Services,
    tenancy::{KeyText, LimitOverrides, NewTenant, ProvisionError, TenantDb, store::users::Role},
};

/// Its id.
const ID: &str = "demo";
/// Where it is served. Browsers and resolvers take every name under `localhost` for this machine.
pub(crate) const HOST: &str = "demo.localhost";
const ADMIN: &str = "admin";

/// The demo's tenant and a key to it.
pub(crate) struct Demo {
    pub(crate) db: TenantDb,
    pub(crate) key: String,
}

pub(crate) async fn provision(services: &Services) -> anyhow::Result<Demo> {
    let new = NewTenant {
        id: ID.parse()?,
        host: HOST.to_owned(),
        plan: None,
        limits: LimitOverrides::default(),
        admin: ADMIN.to_owned(),
    };
    match tenants::create(services, &new).await {
        Ok(made) => {
            let (_, db) = operator::tables(services, &new.id).await?;
            Ok(Demo {
                db,
                key: made.key.reveal(),
            })
        }
        Err(error) if matches!(error.downcast_ref(), Some(ProvisionError::Exists { .. })) => {
            again(services, &new.id).await
        }
        Err(error) => Err(error).context("the demo's tenant was not made"),
    }
}

async fn again(services: &Services, id: &TenantId) -> anyhow::Result<Demo> {
    let at = control::tenants::by_host(&services.control, HOST).await?;
    if at.is_none_or(|(owner, _)| owner != *id) {
        bail!("there is a tenant {id} that is not served at {HOST}: it is no demo's; remove or rename it to run one");
    }
    let (_, db) = operator::tables(services, id).await?;
    let now = services.clock.now();
    let key = KeyText::generate(&services.clock, &services.entropy);
    let known = db.user_named(ADMIN).await?;
    let mut tx = db.begin().await?;
    let user = if let Some(user) = known {
        user
    } else {
        let user = UserId::generate(&services.clock, &services.entropy);
        tx.add_user(&user, ADMIN, Role::Admin, now).await?;
        user
    };
    tx.add_key(&key, &user, "quickstart", None, now).await?;
    tx.commit().await?;
    tenants::announce_hosts(services, id, Some(id)).await?;
    Ok(Demo { db, key: key.reveal() })
}
