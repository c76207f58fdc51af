//! The one binary: roles and operator commands.
//!
//! Exit codes: 0 when it was done, 1 when it was not (or an answer is bad news), 2 when the command line is wrong.
//! `--help` and `docs/cli.md` say the same, and a test holds it.
//! Roles are in `serve.rs`, the newcomer's command in `quickstart/`, the rest is one file per family of commands.

mod batches;
mod cli;
mod completions;
mod dead;
mod doctor;
mod helper;
mod input;
mod jobs;
mod keys;
mod migrate;
mod moments;
mod operator;
mod output;
mod plans;
mod quickstart;
mod secrets;
mod serve;
mod settings;
mod storages;
mod tenants;
mod timers;
mod usage;

use crate::{
    cli::{Cli, Command, SchedulerCommand, Secrets},
    serve::Role,
};
use anyhow::Context;
use clap::Parser;
use mediamill_scheduler::Scope;
use mediamill_shared::{config::Config, jobs::Pool};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Config(args) if args.reference => {
            settings::reference();
            return Ok(ExitCode::SUCCESS);
        }
        Command::Completions { shell } => {
            completions::run(*shell)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Secrets(Secrets::Generate) => return secrets::generate(cli.json),
        Command::MediaHelper => return helper::serve(),
        _ => {}
    }
    let config = Config::load(cli.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime did not start")?;
    runtime.block_on(dispatch(cli.command, config, cli.json))
}

async fn dispatch(command: Command, config: Config, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => {
            let worker = helper::worker(&config)?;
            serve::run(config, vec![Role::Api, Role::Worker(worker), Role::Scheduler]).await
        }
        Command::Api => serve::run(config, vec![Role::Api]).await,
        Command::Worker(args) => {
            let pools = if args.pools.is_empty() {
                Pool::ALL.to_vec()
            } else {
                args.pools
            };
            let worker = helper::worker(&config)?.only(&pools);
            serve::run(config, vec![Role::Worker(worker)]).await
        }
        Command::Scheduler(args) => match args.command {
            None => serve::run(config, vec![Role::Scheduler]).await,
            Some(SchedulerCommand::List) => {
                operator::with(config, async |services| timers::list(services, json).await).await
            }
            Some(SchedulerCommand::Findings { tenant }) => {
                operator::with(config, async |services| {
                    timers::findings(services, tenant.as_ref(), json).await
                })
                .await
            }
            Some(SchedulerCommand::Run { name, tenant, dry_run }) => {
                let scope = Scope::all().of(tenant).dry(dry_run);
                operator::with(config, async |services| timers::run(services, &name, scope, json).await).await
            }
        },
        Command::Quickstart(args) => Box::pin(quickstart::run(args, config)).await,
        Command::Migrate(args) => {
            let wanted = migrate::Wanted {
                at_a_time: usize::from(args.jobs),
                tenant: args.tenant,
            };
            operator::without_schema(config, async |services| migrate::run(services, &wanted, json).await).await
        }
        Command::Doctor => {
            operator::without_schema(config, async |services| Box::pin(doctor::run(services, json)).await).await
        }
        Command::Config(_) => settings::effective(&config, json),
        Command::Tenants(args) => Box::pin(tenants::dispatch(*args, config, json)).await,
        Command::Plans(args) => operator::with(config, async |services| plans::run(services, args, json).await).await,
        Command::Storages(args) => {
            operator::with(config, async |services| {
                Box::pin(storages::run(services, *args, json)).await
            })
            .await
        }
        Command::Keys(args) => operator::with(config, async |services| keys::run(services, args, json).await).await,
        Command::Jobs(args) => operator::with(config, async |services| jobs::run(services, args, json).await).await,
        Command::Dead(args) => {
            operator::with(config, async |services| Box::pin(dead::run(services, args, json)).await).await
        }
        // A check that refused to run because of what it is there to find would tell less.
        Command::Secrets(Secrets::Check) => {
            operator::without_schema(config, async |services| {
                secrets::run(services, Secrets::Check, json).await
            })
            .await
        }
        Command::Secrets(args) => {
            operator::with(config, async |services| secrets::run(services, args, json).await).await
        }
        Command::Completions { shell } => {
            completions::run(shell)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::MediaHelper => helper::serve(),
        Command::Usage(args) => {
            operator::with(config, async |services| {
                Box::pin(usage::run(services, args, json)).await
            })
            .await
        }
    }
}
