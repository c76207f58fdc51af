//! The command line's shape: parsed once here, carried as types from here on.
//!
//! Tenants and plans are in `cli/tenants.rs`, Chevereto's names for commands in `cli/compat.rs`, values in
//! `cli/values.rs`. `docs/cli.md` follows from all of it.

mod batches;
mod compat;
mod dead;
mod plans;
mod storages;
mod tenants;
mod usage;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use batches::{Apply, Batches, Import};
pub(crate) use compat::Compat;
pub(crate) use dead::{Dead, Filters, Which};
pub(crate) use plans::{LimitChanges, PlanFields, Plans};
pub(crate) use storages::{StorageFields, Storages, Where};
pub(crate) use tenants::{ApiKeys, Create, Edit, EnvCommand, Hosts, List, Move, Named, Tenants, Trial};
pub(crate) use usage::{Export, ExportFormat, Usage, UsageCommand};
pub(crate) use values::Until;

use clap::{Args, Parser, Subcommand};
use mediamill_shared::{
    ids::{JobId, KeyId, TenantId},
    jobs::Pool,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use values::duration;

/// What every command ends with.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 not done, or the answer is bad news; 2 the command line is wrong.";

/// A multitenant media pipeline: roles and operator commands in one binary.
#[derive(Debug, Parser)]
#[command(name = "mediamill", version, propagate_version = true, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Configuration file (TOML); environment variables MEDIAMILL_* have the last word
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON; a listing is one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: make a tenant, upload pictures, show what became of them, serve them
    Quickstart(Quickstart),
    /// Run api, worker and scheduler in one process
    Serve,
    /// Run the HTTP API
    Api,
    /// Run the job handlers
    Worker(Worker),
    /// Run the timers, or one of them now
    Scheduler(Scheduler),
    /// Bring the control database and every tenant's tables to this release
    Migrate(Migrate),
    /// Check everything that the configuration names, and say what to do
    Doctor,
    /// Show the configuration in effect, secrets left out
    Config(ConfigArgs),
    /// Everything about tenants
    #[command(subcommand)]
    Tenants(Box<Tenants>),
    /// Make, change and remove plans
    #[command(subcommand)]
    Plans(Plans),
    /// Add, check, empty, verify and remove storages
    #[command(subcommand)]
    Storages(Box<Storages>),
    /// Make and revoke API keys of a tenant
    #[command(subcommand)]
    Keys(Keys),
    /// Look at jobs
    #[command(subcommand)]
    Jobs(Jobs),
    /// Look at, retry and purge jobs that used up their attempts
    #[command(subcommand)]
    Dead(Dead),
    /// Make, check and rotate the master keys that seal stored secrets
    #[command(subcommand)]
    Secrets(Secrets),
    /// What a tenant uses of its limits, and stores, counted three ways; exit code 1 when they differ
    Usage(Usage),
    /// Decode pictures for the worker that started this
    #[command(name = mediamill_workers::helpers::ARGUMENT, hide = true)]
    MediaHelper,
    /// Print a script that completes this command line in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Tenants at a time, with one connection each
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// Of tenants this one alone
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<TenantId>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Secrets {
    /// Print a new master key as `MEDIAMILL_MASTER_KEYS` takes it
    Generate,
    /// Whether every key that secrets are sealed under is here and the right one; exit code 1 when not
    Check,
    /// Seal everything anew under the first key, while all goes on; exit code 1 when something is left
    Rotate,
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Pictures, or folders of them; without any, sample photographs
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Stop after the table instead of serving on
    #[arg(long)]
    pub(crate) exit: bool,
    /// Directory for the embedded back ends, made anew if it is an earlier demo's [default: mediamill-demo]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
    /// Address to serve on; the next free port when it is taken [default: the configuration's]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "url")]
    pub(crate) listen: Option<SocketAddr>,
    /// Upload to the running api of this installation instead of serving here, such as `http://127.0.0.1:8080`
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Serve this pool only: media, fetch, provision or maintenance; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pub(crate) pools: Vec<Pool>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Scheduler {
    #[command(subcommand)]
    pub(crate) command: Option<SchedulerCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulerCommand {
    /// Every timer: its period, and how its last run ended
    List,
    /// Objects that are not what the rows say, as `reconcile-objects` has found them
    Findings {
        /// Of this tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
    },
    /// Do all of one timer's work now, whoever leads
    Run {
        /// The timer; an unknown one answers with those there are
        name: String,
        /// Only what concerns this tenant; not every timer can
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        /// Say what it would do, and change nothing; not every timer can
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Every key with its default and meaning instead
    #[arg(long)]
    pub(crate) reference: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u32,
    /// Every one
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

impl Listing {
    /// How many lines are wanted.
    pub(crate) fn wanted(&self) -> usize {
        if self.all {
            usize::MAX
        } else {
            usize::try_from(self.limit).unwrap_or(usize::MAX)
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key; it is printed once
    Create {
        /// The tenant
        tenant: TenantId,
        /// Whose key
        #[arg(long, default_value = "admin")]
        user: String,
        /// What it is for
        #[arg(long, default_value = "operator")]
        name: String,
        /// When it ends, from now, such as 12h, 30d or 8w [default: never]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// End a key
    Revoke {
        /// The tenant
        tenant: TenantId,
        /// The key's id: what stands between `mm_` and the next `_`
        key: KeyId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// Show a job
    Get {
        /// The job
        id: JobId,
    },
}
