//! What a job is, as the side that enqueues knows it.
//!
//! `jobs` in the control database is what "accepted" means; the queue only carries [`Envelope`]s and may be lost at
//! any time. The work itself, `Handler`, lives in the workers crate.
//!
//! To add a kind: a payload type here that implements [`Job`], its line in [`JobKind`], and a handler in workers.

mod envelope;
mod error;
mod media;
mod outbox;
mod tenant;

pub use envelope::{Envelope, Malformed};
pub use error::{JobError, Reason, ResultExt};
pub use media::{DeleteMedia, FetchMedia, MakeVariant, MoveMedia, ProcessMedia, RemoveObjects, VerifyMedia};
pub use outbox::{Outbox, publish};
pub use tenant::{DeprovisionTenant, MoveTenant, ProvisionTenant, WirePlace};

use crate::retry::RetryPolicy;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// A kind of work: its payload, and the constants that everybody must agree on.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name on the wire and in the `jobs` table.
    const KIND: JobKind;
    /// Which workers take it.
    const POOL: Pool;
    /// What follows a transient failure.
    const RETRY: RetryPolicy = RetryPolicy::JOB;
    /// One attempt takes at most this long.
    const TIMEOUT: Duration = Duration::from_secs(300);
}

/// A text is no name of this closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}; known: {known}")]
pub struct UnknownName {
    what: &'static str,
    text: String,
    known: String,
}

impl UnknownName {
    pub(crate) fn new(what: &'static str, text: &str, known: &[&str]) -> Self {
        Self {
            what,
            text: text.to_owned(),
            known: known.join(", "),
        }
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in tables, on the wire and in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::jobs::UnknownName;
            fn from_str(text: &str) -> Result<Self, $crate::jobs::UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::jobs::UnknownName::new($what, text, &[$($text),+])),
                }
            }
        }
    };
}

pub(crate) use names;

names!(
    /// The kinds of work, a closed set.
    JobKind, "job kind" {
        /// Does nothing; measures what a job costs.
        Noop = "system.noop",
        /// Cleans an upload, makes its variants, places and counts them.
        MediaProcess = "media.process",
        /// Fetches an upload from a URL, then does what `media.process` does.
        MediaFetch = "media.fetch",
        /// Makes a variant that a link asked for.
        MediaVariant = "media.variant",
        /// Removes a picture, its objects and its count.
        MediaDelete = "media.delete",
        /// Moves a picture's files out of a storage.
        MediaMove = "media.move",
        /// Reads a picture's files in a storage again.
        MediaVerify = "media.verify",
        /// Removes objects that no row speaks of.
        ObjectsRemove = "objects.remove",
        /// Makes an accepted tenant.
        TenantProvision = "tenant.provision",
        /// Moves a tenant to another server or mode.
        TenantMigrate = "tenant.migrate",
        /// Removes a tenant for good.
        TenantDeprovision = "tenant.deprovision",
    }
);

impl JobKind {
    /// Whether a tenant's jobs of this kind wait for its turn, so that those of one tenant do not keep out another's: what sites
    /// cause, and not what their provider does.
    #[must_use]
    pub const fn takes_turns(self) -> bool {
        match self {
            Self::MediaProcess | Self::MediaFetch | Self::MediaVariant | Self::MediaDelete => true,
            Self::Noop
            | Self::MediaMove
            | Self::MediaVerify
            | Self::ObjectsRemove
            | Self::TenantProvision
            | Self::TenantMigrate
            | Self::TenantDeprovision => false,
        }
    }
}

names!(
    /// Which workers take a job; each pool is a queue of its own.
    Pool, "pool" {
        /// Pixels: bounded by processor and memory.
        Media = "media",
        /// Other people's servers: bounded by how long they take.
        Fetch = "fetch",
        /// Tenants coming, changing and going.
        Provision = "provision",
        /// Everything that may wait.
        Maintenance = "maintenance",
    }
);

names!(
    /// Who waits for a job.
    Lane, "lane" {
        /// Somebody does.
        Interactive = "interactive",
        /// Nobody does: an import, say. It comes after the others, and is not starved by them.
        Bulk = "bulk",
    }
);

names!(
    /// Where a job stands.
    JobState, "job state" {
        /// Accepted; waiting for a worker, or for its next attempt.
        Queued = "queued",
        /// A worker has it.
        Running = "running",
        /// Its effect is committed.
        Done = "done",
        /// It cannot succeed; the cause says why. Never retried.
        Failed = "failed",
        /// It might have succeeded, but its attempts or deliveries are used up. An operator may retry it.
        Dead = "dead",
    }
);

impl JobState {
    /// Whether nothing more will happen without an operator.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Done | Self::Failed | Self::Dead => true,
        }
    }
}

/// A job that does nothing, end to end: for benches and for `mediamill doctor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noop {}

impl Job for Noop {
    const KIND: JobKind = JobKind::Noop;
    const POOL: Pool = Pool::Maintenance;
}

/// A delivery that keeps coming back without an outcome kills its worker; after so many it is dead.
pub const DELIVERY_LIMIT: i64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for kind in JobKind::ALL {
            assert_eq!(kind.as_str().parse::<JobKind>().as_ref(), Ok(kind));
        }
        let unknown = "nope".parse::<Pool>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "unknown pool \"nope\"; known: media, fetch, provision, maintenance"
        );
    }
}
