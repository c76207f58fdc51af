//! Making a tenant.

use super::{form, row, show};
use crate::{cli::Create, output};
use anyhow::Context;
use mediamill_shared::{
    control::audit::Actor,
    secrets::SealedFor,
    services::Services,
    tenancy::{KeyText, NewAdmin, NewTenant, normal_hosts},
};

pub(super) async fn run(services: &Services, wanted: Create, json: bool) -> anyhow::Result<()> {
    let (id, chevereto) = form(&wanted.tenant)?;
    let mut new = NewTenant::plain(id.clone(), "");
    new.hosts = normal_hosts(&wanted.hosts)?;
    new.plan = wanted.plan.filter(|plan| !plan.is_empty());
    new.limits = wanted.limits;
    if let Some(pictures) = wanted.pictures {
        new.pictures = pictures.read()?;
    }
    if let Some(env) = wanted.env {
        let of = SealedFor::TenantEnv(id.clone());
        new.env = services.secrets.seal_env(&of, &env.read()?, &services.entropy)?;
    }
    new.enabled = wanted.is_enabled;
    new.isolation = wanted.isolation;
    new.server = wanted.server;
    new.trial_until = wanted.trial.map(|until| until.from(services.clock.now()));
    if chevereto {
        services.lifecycle.create(new, &Actor::cli()).await?;
        let row = row(services, &id).await?;
        return output::json(&show::chevereto(services, &row, false).await?);
    }
    let hosts = new.hosts.clone();
    let host = hosts.join(", ");
    let key = create(services, new, &wanted.admin).await?;
    if json {
        return output::json(&serde_json::json!({
            "id": id, "host": host, "hosts": hosts, "admin": wanted.admin, "key": key.reveal(),
        }));
    }
    output::line(key.reveal());
    output::remark(format!(
        "tenant {id} is served at {host}; above is the key of {}, which is not shown again",
        wanted.admin
    ));
    Ok(())
}

/// Makes a tenant with an administrator. Returns its first key.
pub(crate) async fn create(services: &Services, mut new: NewTenant, admin: &str) -> anyhow::Result<KeyText> {
    let admin = NewAdmin {
        name: admin.to_owned(),
        email: None,
        password_hash: None,
    };
    let (admin, key) = services.lifecycle.first_admin(admin, true);
    new.admin = Some(admin);
    services.lifecycle.create(new, &Actor::cli()).await?;
    key.context("a first administrator without a key")
}
