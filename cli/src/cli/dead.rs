//! `mediamill dead`: which dead jobs, and what is done about them.

use super::{Listing, values::duration};
use clap::{Args, Subcommand};
use mediamill_shared::{
    control::jobs::{CauseCode, DeadFilter},
    dead::Rate,
    ids::{JobId, TenantId},
    jobs::JobKind,
    units::Millis,
};
use std::time::Duration;

/// What narrows dead jobs down; ids or `--all` stand in its place.
const FILTERS: [&str; 5] = ["tenant", "kind", "cause", "older_than", "younger_than"];

#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// Count dead jobs by kind and cause, most first
    Summary(Filters),
    /// List dead jobs, oldest first
    List {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show a dead job with its payload, and what `retry` and `purge` would do
    Show {
        /// The job
        id: JobId,
    },
    /// Give dead jobs all their attempts again
    Retry {
        #[command(flatten)]
        which: Which,
        /// Jobs a second, 0.001 to 10000: they become due one after the other [default: all at once]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        rate: Option<Rate>,
    },
    /// Remove dead jobs for good, with the bytes that are staged for them
    Purge(Which),
}

/// Dead jobs that all of this is true of.
#[derive(Debug, Clone, Args)]
pub(crate) struct Filters {
    /// Of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Of this kind, such as media.process
    #[arg(long)]
    kind: Option<JobKind>,
    /// With this code of their cause, such as attempts-used-up
    #[arg(long, value_name = "CODE")]
    cause: Option<CauseCode>,
    /// Given up so long ago or longer, such as 30m, 12h or 2d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,
    /// Given up so long ago or less
    #[arg(long, value_name = "TIME", value_parser = duration)]
    younger_than: Option<Duration>,
}

impl Filters {
    /// As it is understood now.
    pub(crate) fn at(&self, now: Millis) -> DeadFilter {
        DeadFilter {
            tenant: self.tenant.clone(),
            kind: self.kind,
            cause: self.cause.clone(),
            until: self.older_than.map(|age| now.before(age)),
            since: self.younger_than.map(|age| now.before(age)),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The jobs; without any, a filter at least, or --all
    #[arg(value_name = "ID", conflicts_with = "all", conflicts_with_all = FILTERS,
        required_unless_present_any = ["all"].into_iter().chain(FILTERS))]
    pub(crate) ids: Vec<JobId>,
    /// Every dead job
    #[arg(long, conflicts_with_all = FILTERS)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filters: Filters,
}
