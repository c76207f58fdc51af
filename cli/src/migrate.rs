//! `mediamill migrate`, and the schema check that every other command begins with.

use crate::output;
use anyhow::{Context, bail};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    control::tenants,
    db::{DbError, Engine},
    services::Services,
    tenancy::TENANT_SCHEMA_VERSION,
};
use std::process::ExitCode;

/// Tenants that are migrated at a time: one connection each.
const AT_A_TIME: usize = 8;
/// Tenants that are looked for at a time.
const PAGE: i64 = 500;

/// Brings everything to this release and says what was done.
pub(crate) async fn run(services: &Services) -> anyhow::Result<ExitCode> {
    let missing = services.control.control_migrations_missing().await?;
    services.control.migrate_control().await?;
    output::line(match missing {
        0 => "control database: up to date".to_owned(),
        missing => format!("control database: {missing} migrations applied"),
    });
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} {pos} tenants migrated, {elapsed}, {per_sec}",
    )?);
    let done = migrate_tenants(services, || bar.inc(1)).await;
    bar.finish_and_clear();
    output::line(match done? {
        0 => "tenants: up to date".to_owned(),
        tenants => format!("tenants: {tenants} migrated"),
    });
    Ok(ExitCode::SUCCESS)
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
    migrate_tenants(services, || {})
        .await
        .context("a tenant was not migrated")?;
    Ok(())
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

/// Brings every tenant that is behind to this release, several at a time; what breaks off is gone on with by the same
/// command. Returns how many were behind.
async fn migrate_tenants(services: &Services, each: impl Fn()) -> Result<u64, DbError> {
    let (mut done, mut after) = (0_u64, None::<String>);
    loop {
        let page = tenants::behind(&services.control, after.as_deref(), TENANT_SCHEMA_VERSION, PAGE).await?;
        let Some(last) = page.last() else { return Ok(done) };
        after = Some(last.serial.clone());
        let mut migrating = futures_util::stream::iter(page.iter())
            .map(|behind| services.lifecycle.migrate(behind))
            .buffer_unordered(AT_A_TIME);
        while let Some(migrated) = migrating.next().await {
            migrated?;
            done = done.saturating_add(1);
            each();
        }
    }
}
