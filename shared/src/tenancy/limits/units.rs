//! What a limit counts in, and which part of the program holds tenants to it.

use super::FormatSet;

/// The greatest number a limit may be: what the tables' counters may hold.
const MOST: i64 = 9_000_000_000_000_000_000;

/// What a limit's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Pixels, width times height.
    Pixels,
    /// Seconds.
    Seconds,
    /// Times in an hour.
    PerHour,
    /// Bytes in a calendar month.
    BytesPerMonth,
    /// 1 is on, 0 is off.
    Toggle,
    /// A [`FormatSet`] as its bits.
    Formats,
}

impl Unit {
    /// Its name in the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Pixels => "pixels",
            Self::Seconds => "seconds",
            Self::PerHour => "per hour",
            Self::BytesPerMonth => "bytes a month",
            Self::Toggle => "toggle",
            Self::Formats => "formats",
        }
    }

    /// The greatest value; the least is 0 for every unit.
    #[must_use]
    pub const fn most(self) -> i64 {
        match self {
            Self::Toggle => 1,
            Self::Formats => FormatSet::ALL.bits(),
            Self::Count | Self::Bytes | Self::Pixels | Self::Seconds | Self::PerHour | Self::BytesPerMonth => MOST,
        }
    }
}

/// Where a limit is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Enforcement {
    /// When an upload is accepted.
    Upload,
    /// When an upload is processed.
    Worker,
    /// When an API key is made or used.
    Keys,
    /// When a user is made or gets a role.
    Users,
    /// When a host is given to the tenant.
    Hosts,
    /// When a list is asked for.
    Listing,
    /// When a file is served.
    Delivery,
    /// When something is cached.
    Cache,
    /// When jobs are handed to workers.
    Dispatch,
    /// When a storage is added, taken away or chosen.
    Storages,
    /// When a webhook is added.
    Webhooks,
    /// By the site's application; the pipeline only carries it.
    Application,
}

impl Enforcement {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self::Upload,
        Self::Worker,
        Self::Keys,
        Self::Users,
        Self::Hosts,
        Self::Listing,
        Self::Delivery,
        Self::Cache,
        Self::Dispatch,
        Self::Storages,
        Self::Webhooks,
        Self::Application,
    ];

    /// Its name in the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Worker => "worker",
            Self::Keys => "keys",
            Self::Users => "users",
            Self::Hosts => "hosts",
            Self::Listing => "listing",
            Self::Delivery => "delivery",
            Self::Cache => "cache",
            Self::Dispatch => "dispatch",
            Self::Storages => "storages",
            Self::Webhooks => "webhooks",
            Self::Application => "application",
        }
    }

    /// What that means.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Upload => "judged when an upload is accepted",
            Self::Worker => "judged when an upload is processed",
            Self::Keys => "judged when an API key is made or used",
            Self::Users => "judged when a user is made or gets a role",
            Self::Hosts => "judged when a host is given to the tenant",
            Self::Listing => "judged when a list is asked for",
            Self::Delivery => "judged when a file is served",
            Self::Cache => "judged when something is cached",
            Self::Dispatch => "judged when jobs are handed to workers",
            Self::Storages => "judged when a storage is added, taken away or chosen",
            Self::Webhooks => "judged when a webhook is added",
            Self::Application => "not enforced by the pipeline: the site's application reads it",
        }
    }
}
