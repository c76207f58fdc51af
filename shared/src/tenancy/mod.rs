//! Tenants: who they are, what they may, and the only way to their tables.
//!
//! `Host` or id → [`Resolver`] → [`Tenant`] → [`TenantDb`]. Only the resolver makes a [`Tenant`], only an active one
//! gives a [`TenantDb`], and only that names a tenant's tables: a query for another tenant would need that tenant's
//! `TenantDb`, so there is no id to mix up.

mod connections;
mod context;
#[cfg(test)]
mod contract;
mod copy;
mod databases;
mod db;
mod findings;
#[cfg(test)]
mod hostile;
mod keys;
mod lifecycle;
mod limits;
mod migrate;
mod pictures;
mod place;
mod resolver;
pub(crate) mod schemas;
mod spec;
mod sql;
pub mod store;

pub use context::{Host, NotServed, Stamp, Tenant, TenantContext, TenantState, on_trial};
pub(crate) use context::{PlanPart, TenantPart};
pub use databases::{Server, TenantDatabases};
pub use db::{TenantDb, TenantTx};
pub use findings::{Finding, FindingState, Frozen, Reason, Used, judge};
pub use keys::{ApiKey, KeyText, KeyTextError};
pub use lifecycle::{
    AcceptedOnce, BatchError, Batches, CreateError, Enforced, Feeding, FirstAdmin, FirstKey, FirstKeys, Lifecycle,
    LifecycleError, LifecycleParts, LifecycleSettings, MadeBefore, MoveError, NewAdmin, NewTenant, Over, PeopleError,
    Placement, ProvisionError, Received, Receiving, RemoveError, RowResult, Stats, WINDOW, normal_hosts,
};
pub use limits::{
    Effective, Enforcement, FormatSet, ImageFormat, Layers, Limit, LimitOverrides, Limits, LimitsError, Origin, Unit,
    limits_reference, shown,
};
#[cfg(feature = "testing")]
pub use migrate::tables_text;
pub use migrate::{TENANT_SCHEMA_VERSION, migrate_tenant};
pub use pictures::{
    Duplicates, EffectivePictures, Fit, Metadata, OnDemand, OnDemandError, Output, PictureLayers, PictureSettings,
    Pictures, PicturesError, VariantPreset, Variants, most_files,
};
pub use place::{Isolation, Place, ServerName, ServerNameError};
pub use resolver::{ResolveError, Resolver, ResolverSettings};
pub use spec::{AdminSpec, Difference, Field, SpecError, TenantSpec};
pub use sql::TablePrefix;

#[cfg(test)]
pub(crate) fn tenant_statements() -> [(&'static str, &'static [(&'static str, sql::TenantSql)]); 8] {
    [
        ("balance", store::balance::STATEMENTS),
        ("copy", copy::STATEMENTS),
        ("holders", store::holders::STATEMENTS),
        ("media", store::media::STATEMENTS),
        ("oldest", store::oldest::STATEMENTS),
        ("places", store::places::STATEMENTS),
        ("usage", store::usage::STATEMENTS),
        ("users", store::users::STATEMENTS),
    ]
}

/// A host name as tenants are looked up by: lower case, no port, no trailing dot. `None` when it is no host name.
#[must_use]
pub fn normal_host(text: &str) -> Option<String> {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        _ => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    ((1..=253).contains(&name.len()) && name.split('.').all(label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::normal_host;

    #[test]
    fn hosts_are_normalised_or_refused() {
        assert_eq!(normal_host("Demo.LocalHost:8080").as_deref(), Some("demo.localhost"));
        assert_eq!(normal_host("a.example.").as_deref(), Some("a.example"));
        for bad in ["", "a..b", "-a.b", "a b", "a/b", "[::1]", "a:b", &"x".repeat(254)] {
            assert_eq!(normal_host(bad), None, "{bad}");
        }
    }
}
