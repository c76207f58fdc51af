//! Changing what a tenant is: host, plan, limits, pictures, env, whether it is served.

use super::{form, row, show};
use crate::{cli::Edit, output};
use mediamill_shared::{
    control::{
        audit::Actor,
        changes::{Change, Refused},
        tenants::{self, TenantRow},
    },
    ids::TenantId,
    secrets::SealedFor,
    services::Services,
    tenancy::{LifecycleError, TenantState, normal_hosts},
};

/// How often a change that somebody else overtakes is made anew.
const ATTEMPTS: u32 = 5;

pub(super) async fn run(services: &Services, edit: Edit, json: bool) -> anyhow::Result<()> {
    let (id, chevereto) = form(&edit.tenant)?;
    let mut change = Change {
        state: edit.is_enabled.map(enabled),
        plan: edit.plan.map(|plan| Some(plan).filter(|plan| !plan.is_empty())),
        limits: edit.limits,
        pictures: edit.pictures.map(|pictures| pictures.read()).transpose()?,
        if_version: edit.if_version,
        ..Change::default()
    };
    if let Some(env) = edit.env {
        let of = SealedFor::TenantEnv(id.clone());
        change.env = Some(services.secrets.seal_env(&of, &env.read()?, &services.entropy)?);
    }
    if let Some(hostname) = edit.hostname {
        main_host(services, &id, &hostname, &mut change).await?;
    }
    services.lifecycle.change(&id, &change, &Actor::cli()).await?;
    let row = row(services, &id).await?;
    if chevereto {
        return output::json(&show::chevereto(services, &row, false).await?);
    }
    show::one(services, &row, false, json).await
}

const fn enabled(is_enabled: bool) -> TenantState {
    if is_enabled {
        TenantState::Active
    } else {
        TenantState::Suspended
    }
}

/// One host stands for another; the rest of them stay.
async fn main_host(services: &Services, id: &TenantId, hostname: &str, change: &mut Change) -> anyhow::Result<()> {
    let wanted = normal_hosts(&[hostname])?;
    let hosts = tenants::hosts(&services.control, id).await?;
    let present = hosts.into_iter().filter(|host| host.main).map(|host| host.name);
    change.remove_hosts = present.filter(|host| !wanted.contains(host)).collect();
    change.main_host = wanted.first().cloned();
    change.add_hosts = wanted;
    Ok(())
}

/// Changes a tenant by what it is: looked at again when somebody changes it meanwhile.
pub(super) async fn by(
    services: &Services,
    id: &TenantId,
    what: impl Fn(&TenantRow) -> anyhow::Result<Change>,
) -> anyhow::Result<i64> {
    let mut attempt = 1;
    loop {
        let row = row(services, id).await?;
        let mut change = what(&row)?;
        change.if_version = Some(row.version);
        match services.lifecycle.change(id, &change, &Actor::cli()).await {
            Err(LifecycleError::Refused(Refused::Outdated { .. })) if attempt < ATTEMPTS => attempt += 1,
            done => return Ok(done?),
        }
    }
}
