//! `mediamill tenants`: from the first key to the last object.

use crate::{batches, cli::Tenants, output};
use anyhow::{Context, bail};
use mediamill_shared::{
    control::{
        audit::Actor,
        changes::Change,
        tenants::{self, Filter, TenantRow},
    },
    ids::TenantId,
    jobs::JobState,
    services::Services,
    tenancy::{KeyText, NewAdmin, NewTenant, TenantState, normal_hosts},
};
use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
    time::Duration,
};

/// Tenants read at a time.
const PAGE: i64 = 500;
/// A removal that takes longer goes on in a worker.
const REMOVED: Duration = Duration::from_secs(3_600);

pub(crate) async fn run(services: &Services, command: Tenants, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Tenants::Create {
            id,
            host,
            plan,
            limits,
            admin,
        } => {
            let mut new = NewTenant::plain(id, "");
            new.hosts = normal_hosts(&[host])?;
            new.plan = plan;
            new.limits = limits;
            let (id, host) = (new.id.clone(), new.hosts.join(", "));
            let key = create(services, new, &admin).await?;
            if json {
                output::json(&serde_json::json!({ "id": id, "host": host, "admin": admin, "key": key.reveal() }))?;
            } else {
                output::line(key.reveal());
                output::remark(format!(
                    "tenant {id} is served at {host}; above is the key of {admin}, which is not shown again"
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
        Tenants::Import(args) => return batches::import(services, args, json).await,
        Tenants::Apply(args) => return batches::apply(services, args, json).await,
        Tenants::Batches(command) => return batches::run(services, command, json).await,
    }
    Ok(ExitCode::SUCCESS)
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

async fn list(services: &Services, wanted: usize, json: bool) -> anyhow::Result<()> {
    let (mut left, mut after) = (wanted, None);
    while left > 0 {
        let page = tenants::page(&services.control, &Filter::default(), after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.serial.clone());
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
        .map(|host| host.name)
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
        ("tables", row.place.to_string()),
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
    let change = Change {
        state: Some(state),
        ..Change::default()
    };
    services.lifecycle.change(id, &change, &Actor::cli()).await?;
    output::remark(format!("tenant {id} is {state}"));
    Ok(())
}

/// Removes a tenant for good, here and now. Broken off at any line, it is begun again by the same command.
pub(crate) async fn delete(services: &Services, id: &TenantId) -> anyhow::Result<()> {
    let job = match services.lifecycle.begin_purge(id, &Actor::cli()).await? {
        Some(job) => job,
        None => services.lifecycle.purge_again(id).await?,
    };
    let row = mediamill_workers::run_now(services, &job, REMOVED).await?;
    if row.state != JobState::Done {
        bail!("tenant {id} is not removed: {}", row.cause.unwrap_or_default());
    }
    Ok(())
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
