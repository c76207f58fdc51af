//! `mediamill usage`: what tenants use now, and what they used by the hour.

mod check;
mod export;
mod show;

use crate::cli::{Usage, UsageCommand};
use anyhow::Context;
use mediamill_shared::services::Services;
use std::process::ExitCode;

pub(crate) async fn run(services: &Services, args: Usage, json: bool) -> anyhow::Result<ExitCode> {
    match args.command {
        None => {
            let tenant = args.tenant.context("a tenant is needed")?;
            show::run(services, &tenant, json).await
        }
        Some(UsageCommand::Export(args)) if args.check => check::run(services, args.tenant.as_ref(), json).await,
        Some(UsageCommand::Export(args)) => export::run(services, args, json).await,
    }
}
