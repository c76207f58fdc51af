//! `mediamill migrate`, and the schema check that every other command begins with.
//!
//! Each tenant is a transaction of its own and the row that says what it is on is written after it, so what is broken
//! off is gone on with by the same command, and one tenant that fails does not stop the others.

use crate::output;
use anyhow::{Context, bail};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    chain,
    control::tenants::{self, Behind},
    db::{DbError, Engine},
    ids::TenantId,
    services::Services,
    tenancy::TENANT_SCHEMA_VERSION,
};
use serde_json::json;
use std::process::ExitCode;

/// Tenants that are migrated at a time where nobody says otherwise: one connection each.
pub(crate) const AT_A_TIME: usize = 8;
/// Tenants that are looked for at a time.
const PAGE: i64 = 500;

/// What is to be migrated, and how.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Tenants at a time.
    pub(crate) at_a_time: usize,
    /// Of tenants this one alone.
    pub(crate) tenant: Option<TenantId>,
}

/// Tenants that were migrated, and those that were not.
#[derive(Debug, Default)]
struct Migrated {
    done: u64,
    failed: Vec<(TenantId, DbError)>,
}

/// Brings everything to this release and says what was done.
pub(crate) async fn run(services: &Services, wanted: &Wanted, json: bool) -> anyhow::Result<ExitCode> {
    let missing = services.control.control_migrations_missing().await?;
    services.control.migrate_control().await?;
    if !json {
        output::line(match missing {
            0 => "control database: up to date".to_owned(),
            missing => format!("control database: {missing} migrations applied"),
        });
    }
    let servers = prepare_servers(services, json).await;
    let migrated = if let Some(id) = &wanted.tenant {
        one(services, id).await?
    } else {
        let behind = tenants::count_behind(&services.control, TENANT_SCHEMA_VERSION).await?;
        let bar = ProgressBar::new(u64::try_from(behind).unwrap_or(0)).with_style(ProgressStyle::with_template(
            "{bar:40} {pos}/{len} tenants migrated, {per_sec}, {eta} left",
        )?);
        let migrated = all(services, wanted.at_a_time, || bar.inc(1)).await;
        bar.finish_and_clear();
        migrated?
    };
    let well = servers && migrated.failed.is_empty();
    say(missing, &migrated, json)?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(control: usize, migrated: &Migrated, json: bool) -> anyhow::Result<()> {
    let Migrated { done, failed } = migrated;
    if json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(id, error)| json!({ "tenant": id, "error": chain(error) }))
            .collect();
        return output::json(&json!({ "control_migrations": control, "tenants": done, "failed": failed }));
    }
    output::line(match done {
        0 if failed.is_empty() => "tenants: up to date".to_owned(),
        tenants => format!("tenants: {tenants} migrated"),
    });
    for (id, error) in failed {
        output::remark(format!("tenant {id} is not migrated: {}", chain(error)));
    }
    if !failed.is_empty() {
        output::remark(format!(
            "{} tenants are not migrated; when their cause is mended, run this again: it goes on with them",
            failed.len()
        ));
    }
    Ok(())
}

/// Makes the shared databases of all configured servers fit for tenants. Returns whether all answered.
async fn prepare_servers(services: &Services, json: bool) -> bool {
    let mut well = true;
    for server in services.databases.servers().filter(|server| !server.name.is_main()) {
        match services.lifecycle.prepare_server(&server.name).await {
            Ok(()) if json => {}
            Ok(()) => output::line(format!("server {}: prepared", server.name)),
            Err(error) => {
                output::remark(format!("server {} is not prepared: {}", server.name, chain(&error)));
                well = false;
            }
        }
    }
    well
}

/// Makes sure that the schema is this release's. SQLite is brought there; a server, which other processes may be using
/// with another release, is not.
pub(crate) async fn ensure(services: &Services) -> anyhow::Result<()> {
    match services.control.engine() {
        Engine::Sqlite => apply(services).await,
        Engine::Postgres => {
            if !is_current(services).await? {
                bail!("the database is not on this release's schema: run `mediamill migrate` first");
            }
            Ok(())
        }
    }
}

/// Brings everything to this release, silently.
pub(crate) async fn apply(services: &Services) -> anyhow::Result<()> {
    services
        .control
        .migrate_control()
        .await
        .context("the control database was not migrated")?;
    let migrated = all(services, AT_A_TIME, || {}).await?;
    match migrated.failed.into_iter().next() {
        None => Ok(()),
        Some((id, error)) => Err(anyhow::Error::new(error).context(format!(
            "tenant {id} was not migrated; `mediamill migrate` tells of all"
        ))),
    }
}

/// Whether the control database and every tenant's tables are this release's.
pub(crate) async fn is_current(services: &Services) -> Result<bool, DbError> {
    if services.control.control_migrations_missing().await? > 0 {
        return Ok(false);
    }
    Ok(tenants::behind(&services.control, None, TENANT_SCHEMA_VERSION, 1)
        .await?
        .is_empty())
}

/// Brings every tenant that is behind to this release, `at_a_time` of them.
async fn all(services: &Services, at_a_time: usize, each: impl Fn()) -> Result<Migrated, DbError> {
    let (mut migrated, mut after) = (Migrated::default(), None::<String>);
    loop {
        let page = tenants::behind(&services.control, after.as_deref(), TENANT_SCHEMA_VERSION, PAGE).await?;
        let Some(last) = page.last() else { return Ok(migrated) };
        after = Some(last.serial.clone());
        let mut migrating = futures_util::stream::iter(page.iter())
            .map(async |behind| (&behind.id, services.lifecycle.migrate(behind).await))
            .buffer_unordered(at_a_time.max(1));
        while let Some((id, outcome)) = migrating.next().await {
            match outcome {
                Ok(()) => migrated.done = migrated.done.saturating_add(1),
                Err(error) => migrated.failed.push((id.clone(), error)),
            }
            each();
        }
    }
}

async fn one(services: &Services, id: &TenantId) -> anyhow::Result<Migrated> {
    let row = tenants::get(&services.control, id).await?;
    let row = row.with_context(|| format!("there is no tenant {id}"))?;
    let mut migrated = Migrated::default();
    if row.schema_version >= TENANT_SCHEMA_VERSION {
        return Ok(migrated);
    }
    let behind = Behind {
        serial: row.serial,
        id: row.id,
        place: row.place,
    };
    match services.lifecycle.migrate(&behind).await {
        Ok(()) => migrated.done = 1,
        Err(error) => migrated.failed.push((behind.id, error)),
    }
    Ok(migrated)
}
