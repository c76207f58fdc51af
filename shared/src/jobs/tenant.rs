//! Payloads of the kinds that make, move and remove tenants. Whose tenant it is stands in the job's row.

use super::{Job, JobKind, Pool};
use crate::{
    retry::RetryPolicy,
    tenancy::{FirstAdmin, Isolation, Place, TenantState},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Makes an accepted tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisionTenant {
    /// Its first administrator.
    pub admin: Option<FirstAdmin>,
    /// Whether it is served once it is made.
    pub enabled: bool,
    /// Where its tables go, as its row says: spares the look at that. `None` in jobs of before this was told.
    #[serde(default)]
    pub at: Option<WirePlace>,
}

impl ProvisionTenant {
    /// The state it is in once it is made.
    #[must_use]
    pub const fn made(&self) -> TenantState {
        if self.enabled {
            TenantState::Active
        } else {
            TenantState::Suspended
        }
    }
}

impl Job for ProvisionTenant {
    const KIND: JobKind = JobKind::TenantProvision;
    const POOL: Pool = Pool::Provision;
    const TIMEOUT: Duration = Duration::from_secs(120);
}

/// Removes a tenant for good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeprovisionTenant {}

impl Job for DeprovisionTenant {
    const KIND: JobKind = JobKind::TenantDeprovision;
    const POOL: Pool = Pool::Maintenance;
    /// Millions of objects take their time; what is cut goes on in the next attempt.
    const TIMEOUT: Duration = Duration::from_secs(3_600);
}

/// Moves a tenant from one place to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveTenant {
    /// Where it is.
    pub from: WirePlace,
    /// Where it goes.
    pub to: WirePlace,
}

impl Job for MoveTenant {
    const KIND: JobKind = JobKind::TenantMigrate;
    const POOL: Pool = Pool::Provision;
    /// Uploads wait for its end: it is given up after some minutes, and they go on where they were.
    const RETRY: RetryPolicy = RetryPolicy {
        max: Duration::from_secs(60),
        attempts: Some(8),
        ..RetryPolicy::JOB
    };
    const TIMEOUT: Duration = Duration::from_secs(3_600);
}

/// A place as a payload has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WirePlace {
    /// The server's name.
    pub server: String,
    /// The mode.
    pub isolation: Isolation,
    /// The prefix.
    pub prefix: String,
}

impl From<&Place> for WirePlace {
    fn from(place: &Place) -> Self {
        Self {
            server: place.server.to_string(),
            isolation: place.isolation,
            prefix: place.prefix.to_string(),
        }
    }
}

impl TryFrom<&WirePlace> for Place {
    type Error = String;
    fn try_from(place: &WirePlace) -> Result<Self, String> {
        Ok(Self {
            server: place.server.parse().map_err(|error| format!("{error}"))?,
            isolation: place.isolation,
            prefix: place.prefix.parse().map_err(|error| format!("{error}"))?,
        })
    }
}
