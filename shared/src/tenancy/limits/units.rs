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
    /// When it is processed.
    Worker,
    /// When a file is asked for.
    Delivery,
    /// When an API key is made or used.
    Keys,
    /// When a user is made.
    Users,
    /// When a tenant gets a host.
    Hosts,
    /// When a storage is added or changed.
    Storages,
    /// When a list is asked for.
    Listing,
    /// When jobs go to the queue.
    Dispatch,
    /// By a timer.
    Scheduler,
    /// By nothing yet: the pipeline has no such thing.
    Reserved,
    /// By the site's application; the pipeline only carries it.
    Application,
}

impl Enforcement {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self::Upload,
        Self::Worker,
        Self::Delivery,
        Self::Keys,
        Self::Users,
        Self::Hosts,
        Self::Storages,
        Self::Listing,
        Self::Dispatch,
        Self::Scheduler,
        Self::Reserved,
        Self::Application,
    ];

    /// Its name in the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Worker => "worker",
            Self::Delivery => "delivery",
            Self::Keys => "keys",
            Self::Users => "users",
            Self::Hosts => "hosts",
            Self::Storages => "storages",
            Self::Listing => "listing",
            Self::Dispatch => "dispatch",
            Self::Scheduler => "scheduler",
            Self::Reserved => "reserved",
            Self::Application => "application",
        }
    }

    /// What that means.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Upload => "judged when an upload is accepted",
            Self::Worker => "judged when an upload is processed",
            Self::Delivery => "judged when a file is asked for",
            Self::Keys => "judged when an API key is made or used",
            Self::Users => "judged when a user is made",
            Self::Hosts => "judged when a host is given to the tenant",
            Self::Storages => "judged when a storage is added or changed",
            Self::Listing => "judged when a list is asked for",
            Self::Dispatch => "judged when jobs go to the queue: nothing is refused, it waits",
            Self::Scheduler => "judged by a timer: see enforcement.md",
            Self::Reserved => "kept, inherited and shown; the pipeline has nothing yet that uses it up",
            Self::Application => "not enforced by the pipeline: the site's application reads it",
        }
    }
}
