//! What operator commands share: the services opened, the schema looked at, everything closed again.

use crate::migrate;
use anyhow::Context;
use mediamill_shared::{
    clock::{Clock, Entropy},
    config::Config,
    control::secrets::{self, MasterKeyError},
    ids::TenantId,
    services::Services,
    shutdown::Shutdown,
    telemetry::logs,
    tenancy::{Tenant, TenantDb},
};
use std::{process::ExitCode, time::Duration};

/// How long the connections of a finished command may take to close.
const CLOSING: Duration = Duration::from_secs(5);

/// Runs `command` on an installation whose schema is this release's and whose master keys are here.
pub(crate) async fn with<F>(config: Config, command: F) -> anyhow::Result<ExitCode>
where
    F: AsyncFnOnce(&Services) -> anyhow::Result<ExitCode>,
{
    without_schema(config, async |services| {
        migrate::ensure(services).await?;
        master_keys(services).await?;
        command(services).await
    })
    .await
}

/// Runs `command` on an installation as it is.
pub(crate) async fn without_schema<F>(config: Config, command: F) -> anyhow::Result<ExitCode>
where
    F: AsyncFnOnce(&Services) -> anyhow::Result<ExitCode>,
{
    quiet_logs(&config)?;
    let shutdown = Shutdown::new();
    let services = Services::open(config, Clock::system(), Entropy::system(), shutdown.clone()).await?;
    let result = command(&services).await;
    drop(services);
    // What is not closed in time closes with the process: nothing is owed to a server that is away.
    let _ = tokio::time::timeout(CLOSING, shutdown.finish()).await;
    result
}

/// Makes sure that the master keys are this installation's, before anything is opened or sealed under wrong ones, and
/// that the one that seals is on record.
pub(crate) async fn master_keys(services: &Services) -> Result<(), MasterKeyError> {
    match services.secrets.keyring() {
        Ok(keyring) => secrets::register(&services.control, keyring, services.clock.now(), &services.entropy).await,
        // Without a key nothing may be sealed already.
        Err(_) => secrets::check(&services.control, None).await,
    }
}

/// Logs for a command that a person reads: warnings, unless more was asked for.
pub(crate) fn quiet_logs(config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    if config.log_level == "info" {
        "warn".clone_into(&mut config.log_level);
    }
    install_logs(&config)
}

pub(crate) fn install_logs(config: &Config) -> anyhow::Result<()> {
    logs::install(config)
        .map_err(anyhow::Error::from_boxed)
        .context("logs cannot be written")
}

/// A tenant as the database has it now, in this process and in the caches of all.
pub(crate) async fn refreshed(services: &Services, id: &TenantId) -> anyhow::Result<Tenant> {
    let tenant = services.resolver.refresh(id).await?;
    tenant.with_context(|| format!("there is no tenant {id}"))
}

/// A tenant and its tables, whether it is served or not.
pub(crate) async fn any_tables(services: &Services, id: &TenantId) -> anyhow::Result<(Tenant, TenantDb)> {
    let tenant = refreshed(services, id).await?;
    let db = tenant.tables()?;
    Ok((tenant, db))
}

/// A tenant and its tables.
pub(crate) async fn tables(services: &Services, id: &TenantId) -> anyhow::Result<(Tenant, TenantDb)> {
    let tenant = refreshed(services, id).await?;
    let db = tenant.db()?;
    Ok((tenant, db))
}
