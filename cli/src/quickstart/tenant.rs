//! The demo's tenant: made, or given another key when an earlier demo left it.

use crate::{operator, tenants};
use anyhow::{Context, bail};
use mediamill_shared::{
    control::{self, changes::Refused},
    ids::{TenantId, UserId},
    services::Services,
    tenancy::{CreateError, KeyText, NewTenant, ProvisionError, TenantDb, store::users::Role},
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
    let new = NewTenant::plain(ID.parse()?, HOST);
    let id = new.id.clone();
    match tenants::create(services, new, ADMIN).await {
        Ok(key) => {
            let (_, db) = operator::tables(services, &id).await?;
            Ok(Demo { db, key: key.reveal() })
        }
        Err(error) if is_there(&error) => again(services, &id).await,
        Err(error) => Err(error).context("the demo's tenant was not made"),
    }
}

fn is_there(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(CreateError::Provision(ProvisionError::Refused(Refused::Exists { .. })))
    )
}

async fn again(services: &Services, id: &TenantId) -> anyhow::Result<Demo> {
    let hosts = control::tenants::hosts(&services.control, id).await?;
    if hosts.iter().all(|host| host.name != HOST) {
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
    Ok(Demo { db, key: key.reveal() })
}
