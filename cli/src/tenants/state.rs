//! What begins and ends: service, trial, leaving, removal.

use super::row;
use crate::{cli::Trial, moments, output};
use anyhow::{Context, bail};
use mediamill_shared::{
    control::{audit::Actor, changes::Change},
    ids::TenantId,
    jobs::JobState,
    services::Services,
    tenancy::TenantState,
};
use serde_json::json;
use std::{
    io::{BufRead, IsTerminal},
    time::Duration,
};

/// A removal that takes longer goes on in a worker.
const REMOVED: Duration = Duration::from_secs(3_600);

pub(super) async fn set(services: &Services, id: &TenantId, state: TenantState, json: bool) -> anyhow::Result<()> {
    let change = Change {
        state: Some(state),
        ..Change::default()
    };
    let version = services.lifecycle.change(id, &change, &Actor::cli()).await?;
    let answer = json!({ "id": id, "state": state, "version": version });
    output::done(json, &answer, format!("tenant {id} is {state}"))
}

pub(super) async fn leave(
    services: &Services,
    id: &TenantId,
    grace: Option<Duration>,
    json: bool,
) -> anyhow::Result<()> {
    let grace = grace.unwrap_or_else(|| services.lifecycle.grace());
    services.lifecycle.leave(id, grace, &Actor::cli()).await?;
    let row = row(services, id).await?;
    let answer = json!({ "id": id, "state": row.state, "version": row.version, "purge_at": row.purge_at });
    let when = row.purge_at.map_or_else(|| "later".to_owned(), moments::shown);
    output::done(
        json,
        &answer,
        format!(
            "tenant {id} is not served any more and is purged {when}; until then `mediamill tenants restore {id}` brings it \
             back, and `mediamill tenants export {id} {id}.ndjson` keeps its rows"
        ),
    )
}

pub(super) async fn trial(services: &Services, trial: &Trial, json: bool) -> anyhow::Result<()> {
    let until = trial.until.map(|until| until.from(services.clock.now()));
    let change = Change {
        trial_until: Some(until),
        ..Change::default()
    };
    let id = &trial.id;
    let version = services.lifecycle.change(id, &change, &Actor::cli()).await?;
    let words = match until {
        Some(until) => format!("tenant {id} is on trial until {}", moments::shown(until)),
        None => format!("tenant {id} is not on trial"),
    };
    output::done(
        json,
        &json!({ "id": id, "trial_until": until, "version": version }),
        words,
    )
}

pub(super) async fn purge(services: &Services, id: &TenantId, yes: bool, json: bool) -> anyhow::Result<()> {
    row(services, id).await?;
    if !yes && !confirmed(id)? {
        bail!("tenant {id} was not removed");
    }
    delete(services, id).await?;
    output::done(
        json,
        &json!({ "id": id, "removed": true }),
        format!("tenant {id} is removed"),
    )
}

/// Removes a tenant for good, here and now. Broken off at any line, it is begun again by the same command.
async fn delete(services: &Services, id: &TenantId) -> anyhow::Result<()> {
    let job = match services.lifecycle.begin_purge(id, &Actor::cli()).await? {
        Some(job) => job,
        None => services.lifecycle.purge_again(id).await?,
    };
    let row = Box::pin(mediamill_workers::run_now(services, &job, REMOVED)).await?;
    if row.state != JobState::Done {
        bail!("tenant {id} is not removed: {}", row.cause.unwrap_or_default());
    }
    Ok(())
}

/// Asks a person; a script must say `--yes`.
fn confirmed(id: &TenantId) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "removing a tenant cannot be undone: say --yes, after `mediamill tenants export {id} {id}.ndjson` if its rows \
             shall be kept"
        );
    }
    output::remark(format!(
        "This removes tenant {id} with all its pictures, for ever; `mediamill tenants export {id} {id}.ndjson` keeps its rows. \
         Write its id to go on:"
    ));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("no answer")?;
    Ok(answer.trim() == id.as_str())
}
