//! `mediamill usage`: what tenants use and used.

use super::values::hour;
use clap::{Args, Subcommand, ValueEnum};
use mediamill_shared::{ids::TenantId, units::Millis};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Usage {
    #[command(subcommand)]
    pub(crate) command: Option<UsageCommand>,
    /// The tenant
    #[arg(required = true)]
    pub(crate) tenant: Option<TenantId>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsageCommand {
    /// What tenants used by the hour, for bills: pictures, bytes stored, bytes served
    Export(Export),
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The first hour, UTC, such as `2026-02-01` or `2026-02-01T10:00:00Z`
    #[arg(long, value_name = "HOUR", value_parser = hour, required_unless_present = "check")]
    pub(crate) from: Option<Millis>,
    /// The hour to stop before; it must have begun some minutes ago
    #[arg(long, value_name = "HOUR", value_parser = hour, required_unless_present = "check")]
    pub(crate) to: Option<Millis>,
    /// Of this tenant alone
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<TenantId>,
    /// How lines are written
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    pub(crate) format: ExportFormat,
    /// Instead compare the hours, added up, with ledgers, usage and pictures of every tenant; exit code 1 when they differ
    #[arg(long, conflicts_with_all = ["from", "to", "format"])]
    pub(crate) check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// With a head
    Csv,
    /// One JSON object a line
    Ndjson,
}
