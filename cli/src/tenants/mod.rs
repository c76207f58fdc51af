//! `mediamill tenants`: from the first key to the last object.
//!
//! One file per family: what is made and changed (`edit.rs`), how tenants are shown (`show.rs`), what begins and ends
//! (`state.rs`), where they are (`placement.rs`), and Chevereto's own names (`compat.rs`).

mod api_keys;
mod compat;
mod create;
mod edit;
mod env;
mod export;
mod hosts;
mod limits;
mod people;
mod pictures;
mod placement;
mod show;
mod state;
mod stats;

pub(crate) use create::create;
pub(crate) use show::chevereto_env;

use crate::{
    batches,
    cli::{Compat, Named, Tenants},
    migrate, moments, operator, output, plans, serve,
};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    config::Config,
    control::{
        audit,
        tenants::{self, Filter, TenantRow},
    },
    ids::TenantId,
    services::Services,
    tenancy::TenantState,
};
use std::process::ExitCode;

/// Tenants and lines read at a time.
const PAGE: i64 = 500;

/// Runs `command` with what it needs: some of Chevereto's are roles, or come before the tables do.
pub(crate) async fn dispatch(command: Tenants, config: Config, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Tenants::Compat(Compat::Init) => {
            operator::without_schema(config, async |services| compat::init(services, json).await).await
        }
        Tenants::Compat(Compat::DatabaseMigrate { id, verbose }) => {
            let wanted = migrate::Wanted {
                at_a_time: migrate::AT_A_TIME,
                tenant: id,
            };
            let config = compat::verbose(config, verbose);
            operator::without_schema(config, async |services| migrate::run(services, &wanted, json).await).await
        }
        Tenants::Compat(Compat::JobsWorker { id, verbose }) => {
            compat::refuse_one(id.as_ref())?;
            Box::pin(serve::background(compat::verbose(config, verbose))).await
        }
        command => operator::with(config, async |services| Box::pin(run(services, command, json)).await).await,
    }
}

async fn run(services: &Services, command: Tenants, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Tenants::Create(new) => create::run(services, *new, json).await?,
        Tenants::List(wanted) => show::list(services, &wanted, json).await?,
        Tenants::Get { tenant, show_env } => {
            let (id, chevereto) = tenant.id()?;
            let row = row(services, id).await?;
            if chevereto {
                output::json(&show::chevereto(services, &row, show_env).await?)?;
            } else {
                show::one(services, &row, show_env, json).await?;
            }
        }
        Tenants::Edit(edit) => edit::run(services, *edit, json).await?,
        Tenants::Suspend { id } => state::set(services, &id, TenantState::Suspended, json).await?,
        Tenants::Resume { id } | Tenants::Restore { id } => {
            state::set(services, &id, TenantState::Active, json).await?;
        }
        Tenants::Leave { id, grace } => state::leave(services, &id, grace, json).await?,
        Tenants::Purge { id, yes } => state::purge(services, &id, yes, json).await?,
        Tenants::Delete(wanted) => {
            let (id, chevereto) = wanted.tenant.id()?;
            match (chevereto, wanted.drop_tables) {
                (true, false) => state::leave(services, id, None, json).await?,
                (true, true) => state::purge(services, id, true, json).await?,
                (false, _) => state::purge(services, id, wanted.yes, json).await?,
            }
        }
        Tenants::Trial(trial) => state::trial(services, &trial, json).await?,
        Tenants::Hosts(command) => hosts::run(services, command, json).await?,
        Tenants::Limits { id, changes } => limits::run(services, &id, &changes, json).await?,
        Tenants::Pictures { id } => pictures::run(services, &id, json).await?,
        Tenants::Env { id, command } => env::run(services, &id, command, json).await?,
        Tenants::Move(wanted) => placement::relocate(services, &wanted, json).await?,
        Tenants::Servers => placement::servers(services, json).await?,
        Tenants::Install {
            id,
            user,
            email,
            password_stdin,
        } => people::install(services, &id, &user, email.as_deref(), password_stdin, json).await?,
        Tenants::Password {
            id,
            user,
            password_stdin,
        } => people::password(services, &id, &user, password_stdin, json).await?,
        Tenants::Audit { id, listing } => audited(services, id.as_ref(), listing.wanted(), json).await?,
        Tenants::Stats { id, refresh } => stats::one(services, &id, refresh, json).await?,
        Tenants::Export { id, file } => export::run(services, &id, &file, json).await?,
        Tenants::Import(args) => return batches::import(services, args, json).await,
        Tenants::Apply(args) => return batches::apply(services, args, json).await,
        Tenants::Batches(command) => return batches::run(services, command, json).await,
        Tenants::Cache => rebuild(services, json).await?,
        Tenants::Plans(command) => return plans::run(services, command, json).await,
        Tenants::ApiKeys(command) => return api_keys::run(services, command, json).await,
        Tenants::Compat(command) => return compat::run(services, command, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// A tenant's row.
async fn row(services: &Services, id: &TenantId) -> anyhow::Result<TenantRow> {
    let row = tenants::get(&services.control, id).await?;
    row.with_context(|| format!("there is no tenant {id}: `mediamill tenants list` shows those there are"))
}

/// Calls `each` for every tenant of `filter` in the order of creation, at most `wanted`.
async fn for_each(
    services: &Services,
    filter: &Filter,
    wanted: usize,
    mut each: impl AsyncFnMut(&TenantRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut left, mut after) = (wanted, None);
    while left > 0 {
        let page = tenants::page(&services.control, filter, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.serial.clone());
        for row in page.iter().take(left) {
            each(row).await?;
        }
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

/// A bar for a number of tenants that is known.
async fn bar(services: &Services) -> anyhow::Result<ProgressBar> {
    let states = tenants::states(&services.control).await?;
    let all = states.iter().map(|(_, count)| *count).sum::<i64>();
    let style = "{bar:40} {pos}/{len} tenants, {per_sec}, {eta} left";
    Ok(ProgressBar::new(u64::try_from(all).unwrap_or(0)).with_style(ProgressStyle::with_template(style)?))
}

async fn rebuild(services: &Services, json: bool) -> anyhow::Result<()> {
    if !services.cache.is_shared() {
        output::remark(
            "the cache is this process's own, so nothing stays of this; set MEDIAMILL_CACHE_URL to a Redis that all share",
        );
    }
    let bar = bar(services).await?;
    let done = services.resolver.rebuild(|| bar.inc(1)).await;
    bar.finish_and_clear();
    let done = done?;
    output::done(
        json,
        &serde_json::json!({ "tenants": done }),
        format!("{done} tenants are in the cache"),
    )
}

async fn audited(services: &Services, id: Option<&TenantId>, wanted: usize, json: bool) -> anyhow::Result<()> {
    let (mut left, mut before) = (wanted, None);
    while left > 0 {
        let page = audit::page(&services.control, id, before.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        for entry in page.iter().take(left) {
            if json {
                output::json(&serde_json::json!({
                    "id": entry.id, "at": entry.at, "actor": entry.actor, "action": entry.action,
                    "tenant": entry.tenant, "detail": entry.detail,
                }))?;
            } else {
                let tenant = entry.tenant.as_ref().map_or("-", |tenant| tenant.as_str());
                output::line(format!(
                    "{}  {:<12}  {:<16}  {tenant:<16}  {}",
                    moments::shown(entry.at),
                    output::plain(&entry.actor),
                    entry.action,
                    output::plain(&entry.detail.to_string())
                ));
            }
        }
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

/// The tenant of `named`, and whether the answer is in Chevereto's form.
fn form(named: &Named) -> anyhow::Result<(TenantId, bool)> {
    named.id().map(|(id, chevereto)| (id.clone(), chevereto))
}
