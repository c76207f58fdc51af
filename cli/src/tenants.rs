//! `mediamill tenants`: from the first key to the last object.

use crate::{cli::Tenants, output};
use anyhow::{Context, bail};
use mediamill_shared::{
    control::tenants::{self, TenantRow},
    ids::TenantId,
    objects::{ObjectKey, Store},
    services::Services,
    tenancy::{self, NewTenant, Provisioned, TenantState},
};
use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

/// Tenants read at a time.
const PAGE: i64 = 500;
/// Objects listed at a time.
const OBJECTS: u16 = 1_000;

pub(crate) async fn run(services: &Services, command: Tenants, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Tenants::Create {
            id,
            host,
            plan,
            limits,
            admin,
        } => {
            let new = NewTenant {
                id,
                host,
                plan,
                limits,
                admin,
            };
            let made = create(services, &new).await?;
            if json {
                output::json(&serde_json::json!({
                    "id": new.id, "host": new.host, "admin": new.admin, "key": made.key.reveal(),
                }))?;
            } else {
                output::line(made.key.reveal());
                output::remark(format!(
                    "tenant {} is served at {}; above is the key of {}, which is not shown again",
                    new.id, new.host, new.admin
                ));
            }
        }
        Tenants::List(listing) => list(services, listing.wanted(), json).await?,
        Tenants::Get { id } => {
            let row = tenants::get(&services.control, &id).await?;
            let row = row.with_context(|| format!("there is no tenant {id}"))?;
            show(services, &row, json).await?;
        }
        Tenants::Delete { id, yes } => {
            if !yes && !confirmed(&id)? {
                bail!("tenant {id} was not removed");
            }
            delete(services, &id).await?;
            output::remark(format!("tenant {id} is removed"));
        }
        Tenants::Suspend { id } => set_state(services, &id, TenantState::Suspended).await?,
        Tenants::Resume { id } => set_state(services, &id, TenantState::Active).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a tenant and tells the caches.
pub(crate) async fn create(services: &Services, new: &NewTenant) -> anyhow::Result<Provisioned> {
    let made = tenancy::create(&services.control, new, &services.clock, &services.entropy).await?;
    services.resolver.refresh(&new.id).await?;
    // Somebody may have asked for the host before it had a tenant, and been told so.
    announce_hosts(services, &new.id, Some(&new.id)).await?;
    Ok(made)
}

/// Tells every process whom the tenant's hosts belong to now.
pub(crate) async fn announce_hosts(services: &Services, id: &TenantId, to: Option<&TenantId>) -> anyhow::Result<()> {
    let now = services.clock.now().get();
    for (host, since) in tenants::hosts(&services.control, id).await? {
        let version = if to.is_some() { since.get() } else { now };
        services.resolver.announce_host(&host, to, version).await;
    }
    Ok(())
}

async fn list(services: &Services, wanted: usize, json: bool) -> anyhow::Result<()> {
    let (mut left, mut after) = (wanted, None);
    while left > 0 {
        let page = tenants::page(&services.control, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.prefix.clone());
        for row in page.iter().take(left) {
            if json {
                output::json(&as_json(row)?)?;
            } else {
                output::line(format!(
                    "{:<16}  {:<9}  {:<12}  {}",
                    row.id,
                    row.state,
                    output::plain(row.plan.as_deref().unwrap_or("-")),
                    output::moment(row.created_at)
                ));
            }
        }
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

async fn show(services: &Services, row: &TenantRow, json: bool) -> anyhow::Result<()> {
    let hosts: Vec<String> = tenants::hosts(&services.control, &row.id)
        .await?
        .into_iter()
        .map(|(host, _)| host)
        .collect();
    if json {
        let mut value = as_json(row)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("hosts".into(), hosts.into());
        }
        return output::json(&value);
    }
    let rows = [
        ("id", row.id.to_string()),
        ("state", row.state.to_string()),
        ("hosts", hosts.join(", ")),
        ("plan", output::plain(row.plan.as_deref().unwrap_or("-"))),
        ("limits", row.limits.to_json()),
        ("tables", format!("{}_…", row.prefix.as_str())),
        ("version", row.version.to_string()),
        ("made", output::moment(row.created_at)),
        ("changed", output::moment(row.updated_at)),
    ];
    output::line(rows.map(|(name, value)| format!("{name:<8} {value}")).join("\n"));
    Ok(())
}

fn as_json(row: &TenantRow) -> anyhow::Result<serde_json::Value> {
    let limits: serde_json::Value = serde_json::from_str(&row.limits.to_json())?;
    Ok(serde_json::json!({
        "id": row.id, "state": row.state, "plan": row.plan, "limits": limits, "version": row.version,
        "created_at": row.created_at, "updated_at": row.updated_at,
    }))
}

async fn set_state(services: &Services, id: &TenantId, state: TenantState) -> anyhow::Result<()> {
    if !tenants::set_state(&services.control, id, state, services.clock.now()).await? {
        bail!("there is no tenant {id} that is not being removed");
    }
    services.resolver.refresh(id).await?;
    output::remark(format!("tenant {id} is {state}"));
    Ok(())
}

/// Takes a tenant out of service, then removes its objects, then its rows. Broken off at any line, it is begun again
/// by the same command.
pub(crate) async fn delete(services: &Services, id: &TenantId) -> anyhow::Result<()> {
    let row = tenants::get(&services.control, id).await?;
    let row = row.with_context(|| format!("there is no tenant {id}"))?;
    if row.state != TenantState::Deleting {
        tenants::set_state(&services.control, id, TenantState::Deleting, services.clock.now()).await?;
    }
    services.resolver.refresh(id).await?;
    announce_hosts(services, id, None).await?;
    let removed = remove_objects(services, id).await?;
    tenancy::remove_rows(&services.control, id).await?;
    // A worker may have placed a picture just before it learned that the tenant is going.
    let late = remove_objects(services, id).await?;
    services.resolver.refresh(id).await?;
    services.quota.forget(id).await;
    output::remark(format!("{} objects removed", removed.saturating_add(late)));
    Ok(())
}

async fn remove_objects(services: &Services, id: &TenantId) -> anyhow::Result<u64> {
    let mut removed = 0_u64;
    for folder in [ObjectKey::MEDIA, ObjectKey::STAGED] {
        let prefix = format!("{folder}/{id}");
        let mut after = None;
        loop {
            let page = services.objects.list(&prefix, after.as_ref(), OBJECTS).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for listed in &page {
                services.objects.delete(&listed.key).await?;
                removed = removed.saturating_add(1);
            }
        }
    }
    Ok(removed)
}

/// Asks a person; a script must say `--yes`.
fn confirmed(id: &TenantId) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("removing a tenant cannot be undone: say --yes");
    }
    output::remark(format!(
        "This removes tenant {id} with all its pictures, for ever. Write its id to go on:"
    ));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("no answer")?;
    Ok(answer.trim() == id.as_str())
}
