//! Chevereto's Tenants CLI: its commands by the same names and options, so that a script changes one word.
//!
//! Hidden from the list of commands, which points here; `docs/cli.md` has them all.

use super::values::{EnvText, Until, env_text, until};
use clap::{Args, Subcommand};
use mediamill_shared::{ids::TenantId, tenancy::LimitOverrides};

/// What the list of commands says of these.
pub(super) const POINTER: &str = "\
Scripts for Chevereto's `app/bin/tenants -C` run with `mediamill tenants` in its place: init, create, get, list, edit and \
delete (with --id), cache, api:key:create, api:key:verify, api:key:delete, plan:create, plan:edit, plan:list, plan:delete, \
stats:refresh, jobs:worker, database:migrate. Each has --help.";

#[derive(Debug, Subcommand)]
pub(crate) enum Compat {
    /// Make the control tables (Chevereto's name; ours is `mediamill migrate`)
    #[command(hide = true)]
    Init,
    /// Make a key of the Tenants API; it is printed once (ours is `tenants api-keys create`)
    #[command(name = "api:key:create", hide = true)]
    KeyCreate {
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Its end, such as "2026-12-31 23:59:59" (UTC) [default: never]
        #[arg(long, value_name = "WHEN", value_parser = until)]
        expires: Option<Until>,
    },
    /// Whether a key of the Tenants API is good; exit code 1 when not (ours is `tenants api-keys verify`)
    #[command(name = "api:key:verify", hide = true)]
    KeyVerify {
        /// The key, or - for standard input, which other processes cannot read
        #[arg(long)]
        key: String,
    },
    /// Revoke keys of the Tenants API (ours is `tenants api-keys revoke`)
    #[command(name = "api:key:delete", hide = true)]
    KeyDelete(KeyOf),
    /// Make a plan (ours is `tenants plans create`)
    #[command(name = "plan:create", hide = true)]
    PlanCreate(CompatPlan),
    /// Change a plan (ours is `tenants plans edit`)
    #[command(name = "plan:edit", hide = true)]
    PlanEdit(CompatPlan),
    /// List plans (ours is `tenants plans list`)
    #[command(name = "plan:list", hide = true)]
    PlanList {
        /// With the values of their env
        #[arg(long)]
        show_env: bool,
    },
    /// Remove a plan (ours is `tenants plans delete`)
    #[command(name = "plan:delete", hide = true)]
    PlanDelete {
        /// The plan
        #[arg(long)]
        id: String,
    },
    /// Count the figures of a tenant, or of all, anew (ours is `tenants stats --refresh`)
    #[command(name = "stats:refresh", hide = true)]
    StatsRefresh {
        /// The tenant [default: every one]
        #[arg(long, value_name = "ID")]
        id: Option<TenantId>,
    },
    /// Run worker and scheduler until a signal (ours are `mediamill worker` and `mediamill scheduler`)
    #[command(name = "jobs:worker", hide = true)]
    JobsWorker {
        /// Refused: workers serve every tenant from one queue
        #[arg(long, value_name = "ID")]
        id: Option<TenantId>,
        /// Log more
        #[arg(long)]
        verbose: bool,
    },
    /// Bring every tenant's tables, or one's, to this release (ours is `mediamill migrate`)
    #[command(name = "database:migrate", hide = true)]
    DatabaseMigrate {
        /// The tenant [default: every one]
        #[arg(long, value_name = "ID")]
        id: Option<TenantId>,
        /// Log more
        #[arg(long)]
        verbose: bool,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct KeyOf {
    /// Its number: what stands between `chv_` and the next `_`
    #[arg(long, value_name = "N")]
    pub(crate) id: Option<i64>,
    /// What it is for
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompatPlan {
    /// The plan
    #[arg(long)]
    pub(crate) id: String,
    /// For people [default: the id]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// All of its limits, such as `{"CHEVERETO_MAX_FILES": "500"}`
    #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json)]
    pub(crate) limits: Option<LimitOverrides>,
    /// All of its env: a JSON object of strings, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", value_parser = env_text)]
    pub(crate) env: Option<EnvText>,
}
