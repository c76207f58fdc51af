//! The shape of what is said about tenants.

use super::{
    Apply, Batches, Compat, Import, LimitChanges, Listing, Plans, compat,
    compat::KeyOf,
    values::{EnvText, PicturesAt, Until, duration, env_text, isolation, pictures_at, switch, until},
};
use clap::{ArgAction, Args, Subcommand};
use mediamill_shared::{
    ids::TenantId,
    operators::Scopes,
    tenancy::{Isolation, LimitOverrides, ServerName, TenantState},
};
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
#[command(after_help = compat::POINTER)]
pub(crate) enum Tenants {
    /// Make a tenant; prints its first key, once. With --id, as Chevereto's, nobody is installed in it yet
    Create(Box<Create>),
    /// List tenants in order of creation
    List(List),
    /// Show a tenant
    Get {
        #[command(flatten)]
        tenant: Named,
        /// With the values of its env
        #[arg(long)]
        show_env: bool,
    },
    /// Change a tenant
    Edit(Box<Edit>),
    /// Stop serving a tenant; nothing is removed
    Suspend {
        /// The tenant
        id: TenantId,
    },
    /// Serve a suspended tenant again
    Resume {
        /// The tenant
        id: TenantId,
    },
    /// Let a tenant leave: it is not served, and purged after a time in which it can be restored
    Leave {
        /// The tenant
        id: TenantId,
        /// That time, such as 30d [default: the configuration's `tenant_grace`]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        grace: Option<Duration>,
    },
    /// Take a tenant that leaves back into service
    Restore {
        /// The tenant
        id: TenantId,
    },
    /// Remove a tenant for good, now: its objects, tables, jobs and rows; `tenants export` keeps its rows
    Purge {
        /// The tenant
        id: TenantId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove a tenant for good, as purge. With --id, as Chevereto's: it leaves, or with --drop-tables is purged, unasked
    Delete(Delete),
    /// Begin, move or end a tenant's trial, during which the trial twins of limits hold
    Trial(Trial),
    /// The hosts that a tenant is served at
    #[command(subcommand)]
    Hosts(Hosts),
    /// Every limit of a tenant, and where its value comes from
    Limits {
        /// The tenant
        id: TenantId,
        #[command(flatten)]
        changes: LimitChanges,
    },
    /// What becomes of a tenant's pictures, and who says so; `tenants edit --pictures` changes it
    Pictures {
        /// The tenant
        id: TenantId,
    },
    /// The sealed configuration values of a tenant
    Env {
        /// The tenant
        id: TenantId,
        #[command(subcommand)]
        command: EnvCommand,
    },
    /// Move a tenant's tables to another mode or server, while its pictures are served and its uploads wait
    Move(Move),
    /// List the database servers that tenants are on
    Servers,
    /// Give a tenant that has nobody yet its first administrator; prints a key, once
    Install {
        /// The tenant
        id: TenantId,
        /// The administrator's name
        #[arg(long, value_name = "NAME")]
        user: String,
        /// The administrator's address
        #[arg(long)]
        email: Option<String>,
        /// With a password, read from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set a user's password
    Password {
        /// The tenant
        id: TenantId,
        /// The user's name
        #[arg(long, value_name = "NAME")]
        user: String,
        /// Read it from standard input; otherwise one is made up and printed
        #[arg(long)]
        password_stdin: bool,
    },
    /// Who changed what, the latest first
    Audit {
        /// Of this tenant alone; also of one that is gone
        id: Option<TenantId>,
        #[command(flatten)]
        listing: Listing,
    },
    /// The figures of a tenant, as they were counted last
    Stats {
        /// The tenant
        id: TenantId,
        /// Count them now
        #[arg(long)]
        refresh: bool,
    },
    /// Write a tenant's rows to a file, one JSON object a line: pictures with their files' keys and checksums, users, usage
    Export {
        /// The tenant
        id: TenantId,
        /// The file, such as demo.ndjson; - is standard output
        file: PathBuf,
    },
    /// Make the tenants of a file, a row each
    Import(Import),
    /// Make tenants as a file declares them: what is missing comes, what differs changes
    Apply(Apply),
    /// Look at and steer batches of tenants
    #[command(subcommand)]
    Batches(Batches),
    /// Fill the cache with every tenant, from the database
    Cache,
    /// Plans, which tenants inherit from
    #[command(subcommand)]
    Plans(Plans),
    /// Keys of the Tenants API
    #[command(subcommand)]
    ApiKeys(ApiKeys),
    #[command(flatten)]
    Compat(Compat),
}

/// A tenant, by our form or by Chevereto's.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Named {
    /// The tenant
    #[arg(value_name = "ID")]
    tenant: Option<TenantId>,
    /// The same in Chevereto's form: the answer is in its form too
    #[arg(long = "id", value_name = "ID")]
    as_option: Option<TenantId>,
}

impl Named {
    /// Its id, and whether Chevereto's form was used.
    pub(crate) fn id(&self) -> anyhow::Result<(&TenantId, bool)> {
        match (&self.tenant, &self.as_option) {
            (_, Some(id)) => Ok((id, true)),
            (Some(id), None) => Ok((id, false)),
            (None, None) => anyhow::bail!("no tenant is named"),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// 1 to 16 characters of 0-9, a-z, - and _
    #[command(flatten)]
    pub(crate) tenant: Named,
    /// Host name it is served at, the first one its main one; `*.example.org` is every host under it; may be repeated
    #[arg(long = "host", visible_alias = "hostname", value_name = "HOST", required = true)]
    pub(crate) hosts: Vec<String>,
    /// Plan it inherits limits from
    #[arg(long, visible_alias = "plan_id", alias = "plan-id")]
    pub(crate) plan: Option<String>,
    /// Limits of its own, such as `{"media": 1000}`
    #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json, default_value = "{}", hide_default_value = true)]
    pub(crate) limits: LimitOverrides,
    /// What becomes of its pictures: a file with a JSON object, or - for standard input
    #[arg(long, value_name = "FILE", value_parser = pictures_at)]
    pub(crate) pictures: Option<PicturesAt>,
    /// Its env: a JSON object of strings, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", value_parser = env_text)]
    pub(crate) env: Option<EnvText>,
    /// Whether it is served: 1 or 0
    #[arg(long, visible_alias = "is_enabled", value_name = "0|1", value_parser = switch, action = ArgAction::Set, default_value = "1")]
    pub(crate) is_enabled: bool,
    /// How its tables are kept apart: prefix or database [default: its plan's, else the configuration's]
    #[arg(long, value_name = "MODE", value_parser = isolation)]
    pub(crate) isolation: Option<Isolation>,
    /// Database server it is placed on [default: its plan's, else by the configuration's policy]
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<ServerName>,
    /// End of its trial, such as 14d or "2026-12-31 23:59:59" (UTC) [default: no trial]
    #[arg(long, value_name = "WHEN", value_parser = until)]
    pub(crate) trial: Option<Until>,
    /// Name of its first administrator
    #[arg(long, value_name = "NAME", default_value = "admin", conflicts_with = "as_option")]
    pub(crate) admin: String,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// In this state: provisioning, active, suspended, leaving or deleting
    #[arg(long)]
    pub(crate) state: Option<TenantState>,
    /// Of this plan
    #[arg(long)]
    pub(crate) plan: Option<String>,
    /// On this database server
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<ServerName>,
    /// Objects as Chevereto's Tenants API has them, one a line
    #[arg(long)]
    pub(crate) chevereto: bool,
    /// With the values of their env
    #[arg(long, requires = "chevereto")]
    pub(crate) show_env: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    #[command(flatten)]
    pub(crate) tenant: Named,
    /// Its main host from now on, in place of the one that it has
    #[arg(long, visible_alias = "host")]
    pub(crate) hostname: Option<String>,
    /// Its plan; empty takes it away
    #[arg(long, visible_alias = "plan_id", alias = "plan-id")]
    pub(crate) plan: Option<String>,
    /// All of its own limits
    #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json)]
    pub(crate) limits: Option<LimitOverrides>,
    /// All that it says of its pictures: a file with a JSON object, - for standard input, or none
    #[arg(long, value_name = "FILE", value_parser = pictures_at)]
    pub(crate) pictures: Option<PicturesAt>,
    /// All of its env: a JSON object of strings, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", value_parser = env_text)]
    pub(crate) env: Option<EnvText>,
    /// Whether it is served: 1 or 0
    #[arg(long, visible_alias = "is_enabled", value_name = "0|1", value_parser = switch)]
    pub(crate) is_enabled: Option<bool>,
    /// Only if nobody has changed it since this version
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) tenant: Named,
    /// Do not ask
    #[arg(long, conflicts_with = "as_option")]
    pub(crate) yes: bool,
    /// Purge it now instead of letting it leave; without it the configuration's `tenant_grace` passes first
    #[arg(long, visible_alias = "drop_tables", conflicts_with = "tenant")]
    pub(crate) drop_tables: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trial {
    /// The tenant
    pub(crate) id: TenantId,
    /// Until then, such as 14d or "2026-12-31 23:59:59" (UTC)
    #[arg(long, value_name = "WHEN", value_parser = until, required_unless_present = "end", conflicts_with = "end")]
    pub(crate) until: Option<Until>,
    /// No longer
    #[arg(long)]
    pub(crate) end: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Hosts {
    /// Serve a tenant at more hosts
    Add {
        /// The tenant
        id: TenantId,
        /// Host names; `*.example.org` is every host under it
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Serve a tenant at these hosts no longer
    Remove {
        /// The tenant
        id: TenantId,
        /// Host names
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Make one of a tenant's hosts its main one, which URLs begin with
    Main {
        /// The tenant
        id: TenantId,
        /// Host name
        host: String,
    },
    /// List a tenant's hosts, the main one first
    List {
        /// The tenant
        id: TenantId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Set a value, read from standard input or a file
    Set {
        /// 1 to 64 characters of A-Z, a-z, 0-9 and _
        name: String,
        /// File with the value [default: standard input]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take values away
    Unset {
        /// Names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List names, the plan's too, without values
    List,
    /// Print a value
    Show {
        /// The name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The tenant
    pub(crate) id: TenantId,
    /// How its tables are kept apart there: database or prefix
    #[arg(long, value_name = "MODE", value_parser = isolation)]
    pub(crate) to: Isolation,
    /// Server to move to [default: the one it is on]
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<ServerName>,
    /// Move it here and now, and wait; otherwise a worker does. Broken off, the same command goes on
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeys {
    /// Make a key; it is printed once
    Create {
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Its end, such as 90d or "2026-12-31 23:59:59" (UTC) [default: never]
        #[arg(long, value_name = "WHEN", value_parser = until)]
        expires: Option<Until>,
        /// What it allows: all, or some of read, tenants, plans and people with commas between
        #[arg(long, value_name = "LIST", default_value = "all")]
        scopes: Scopes,
    },
    /// List keys, without what is secret
    List(Listing),
    /// Whether a key, read from standard input, is good; exit code 1 when not
    Verify,
    /// End keys that have this number, this name or both
    Revoke(KeyOf),
}
