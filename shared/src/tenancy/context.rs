//! What a process knows of a tenant.

use super::{
    Frozen, Isolation, LimitOverrides, PictureLayers, PictureSettings, Pictures, Place, ServerName,
    TENANT_SCHEMA_VERSION, TenantDatabases, TenantDb,
    limits::{Layers, Limits},
};
use crate::{ids::TenantId, units::Millis};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

crate::jobs::names!(
    /// Whether a tenant is served.
    TenantState, "tenant state" {
        /// Being made; not served yet.
        Provisioning = "provisioning",
        /// Served.
        Active = "active",
        /// Not served, nothing removed.
        Suspended = "suspended",
        /// Not served, and removed for good when its grace period is over. Until then it can come back.
        Leaving = "leaving",
        /// Being removed for good.
        Deleting = "deleting",
    }
);

/// A host that a tenant is served at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name; `*.example.org` stands for every host under it that is not named itself.
    pub name: String,
    /// The one that URLs begin with.
    pub main: bool,
}

/// What the control database says of a tenant itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantPart {
    pub(crate) id: TenantId,
    pub(crate) state: TenantState,
    pub(crate) place: Place,
    pub(crate) schema_version: i64,
    pub(crate) moving: bool,
    pub(crate) plan: Option<String>,
    pub(crate) limits: LimitOverrides,
    pub(crate) pictures: PictureSettings,
    pub(crate) trial_until: Option<Millis>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) frozen: Vec<Frozen>,
    pub(crate) version: i64,
    pub(crate) updated_at: Millis,
}

/// What the control database says of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanPart {
    pub(crate) id: String,
    pub(crate) limits: LimitOverrides,
    pub(crate) pictures: PictureSettings,
    pub(crate) version: i64,
}

/// What a tenant is, everything resolved. Made by the resolver and by nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantContext {
    /// The tenant.
    pub id: TenantId,
    /// Whether it is served.
    pub state: TenantState,
    /// Where its tables are.
    pub place: Place,
    /// What its tables are on.
    pub schema_version: i64,
    /// Whether it is on its way to another place: reads go on, writes wait.
    pub moving: bool,
    /// Its plan.
    pub plan: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// What becomes of its pictures.
    pub pictures: Pictures,
    /// Where it is served, the main host first.
    pub hosts: Vec<Host>,
    /// Why its uploads are refused; empty: they are not. Reads, deletes and jobs that were accepted go on.
    pub frozen: Vec<Frozen>,
    /// Grows with every change of its own.
    pub version: i64,
    /// Its plan's version; 0 without one.
    pub plan_version: i64,
    /// When it changed last.
    pub updated_at: Millis,
}

/// The versions that a context was made of: what writes says under which it was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The tenant's.
    pub tenant: i64,
    /// Its plan's.
    pub plan: i64,
    /// Whether its uploads were refused: a cache that an older release wrote does not say so.
    pub frozen: bool,
}

impl TenantContext {
    pub(super) fn new(
        part: TenantPart,
        plan: Option<&PlanPart>,
        defaults: &Limits,
        enforced: &LimitOverrides,
        now: Millis,
    ) -> Self {
        let plan = plan.filter(|plan| part.plan.as_ref() == Some(&plan.id));
        let layers = Layers {
            enforced,
            tenant: &part.limits,
            plan: plan.map(|plan| &plan.limits),
            on_trial: on_trial(part.trial_until, &part.limits, now),
            defaults,
        };
        let pictures = PictureLayers {
            tenant: &part.pictures,
            plan: plan.map(|plan| &plan.pictures),
        };
        let mut hosts = part.hosts;
        hosts.sort_by(|a, b| b.main.cmp(&a.main).then_with(|| a.name.cmp(&b.name)));
        Self {
            limits: layers.resolve(),
            pictures: pictures.resolve(),
            plan_version: plan.map_or(0, |plan| plan.version),
            id: part.id,
            state: part.state,
            place: part.place,
            schema_version: part.schema_version,
            moving: part.moving,
            plan: part.plan,
            hosts,
            frozen: part.frozen,
            version: part.version,
            updated_at: part.updated_at,
        }
    }

    /// The versions it is made of.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        Stamp {
            tenant: self.version,
            plan: self.plan_version,
            frozen: !self.frozen.is_empty(),
        }
    }
}

/// Whether trial twins stand in for their plain limits: until a moment, or as long as `CHEVERETO_TRIAL` says so.
#[must_use]
pub fn on_trial(until: Option<Millis>, own: &LimitOverrides, now: Millis) -> bool {
    until.is_some_and(|until| now < until) || own.carried("CHEVERETO_TRIAL") == Some("1")
}

/// The tenant cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// By its state.
    #[error("tenant {id} is {state}")]
    State {
        /// The tenant.
        id: TenantId,
        /// Its state.
        state: TenantState,
    },
    /// Its tables are of a newer release.
    #[error("tenant {id} has tables of schema {has}, this release knows {known}: update this process")]
    Newer {
        /// The tenant.
        id: TenantId,
        /// Theirs.
        has: i64,
        /// Ours.
        known: i64,
    },
    /// Its tables are of an older release.
    #[error("tenant {id} has tables of schema {has}, this release needs {known}: run `mediamill migrate`")]
    Older {
        /// The tenant.
        id: TenantId,
        /// Theirs.
        has: i64,
        /// Ours.
        known: i64,
    },
}

/// A resolved tenant. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Tenant {
    context: Arc<TenantContext>,
    databases: TenantDatabases,
}

impl Tenant {
    pub(super) const fn new(context: Arc<TenantContext>, databases: TenantDatabases) -> Self {
        Self { context, databases }
    }

    /// What it is.
    #[must_use]
    pub fn context(&self) -> &TenantContext {
        &self.context
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.context.id
    }

    /// Its tables.
    ///
    /// # Errors
    /// When it is not active, or its tables are of another release.
    pub fn db(&self) -> Result<TenantDb, NotServed> {
        match self.context.state {
            TenantState::Active => self.tables(),
            TenantState::Provisioning | TenantState::Suspended | TenantState::Leaving | TenantState::Deleting => {
                Err(NotServed::State {
                    id: self.context.id.clone(),
                    state: self.context.state,
                })
            }
        }
    }

    /// Its tables for its provider, whether it is served or not: to count, to export, to mend.
    ///
    /// # Errors
    /// When they are of another release.
    pub fn tables(&self) -> Result<TenantDb, NotServed> {
        if self.context.schema_version > TENANT_SCHEMA_VERSION {
            return Err(NotServed::Newer {
                id: self.context.id.clone(),
                has: self.context.schema_version,
                known: TENANT_SCHEMA_VERSION,
            });
        }
        if self.context.schema_version < TENANT_SCHEMA_VERSION {
            return Err(NotServed::Older {
                id: self.context.id.clone(),
                has: self.context.schema_version,
                known: TENANT_SCHEMA_VERSION,
            });
        }
        Ok(TenantDb::new(
            self.databases.clone(),
            self.context.place.clone(),
            self.context.moving,
        ))
    }
}

/// A tenant as it lies in the cache. Versioned: releases share a cache while one replaces the other.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, for as long as it is read or written: a box would cost each read an allocation"
)]
enum Stored {
    /// Release 0.1, before plans were resolved apart and tenants could be elsewhere: limits are effective already.
    #[serde(rename = "1")]
    V1 {
        id: TenantId,
        state: TenantState,
        prefix: String,
        limits: BTreeMap<String, i64>,
        version: i64,
    },
    #[serde(rename = "2")]
    V2(StoredV2),
}

/// What every entry begins with that this release writes: read at once, without looking for the version first.
const V2: &[u8] = br#"{"v":"2","#;

#[derive(Serialize, Deserialize)]
struct StoredV2 {
    id: TenantId,
    state: TenantState,
    server: String,
    isolation: Isolation,
    prefix: String,
    schema: i64,
    moving: bool,
    plan: Option<String>,
    limits: String,
    /// Left out where everything is inherited, as the release before does.
    #[serde(default, skip_serializing_if = "PictureSettings::is_empty")]
    pictures: PictureSettings,
    trial_until: Option<Millis>,
    hosts: Vec<Host>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    frozen: Vec<Frozen>,
    version: i64,
    updated_at: Millis,
}

/// A plan as it lies in the cache.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum StoredPlan {
    #[serde(rename = "1")]
    V1 {
        id: String,
        limits: String,
        #[serde(default, skip_serializing_if = "PictureSettings::is_empty")]
        pictures: PictureSettings,
        version: i64,
    },
}

impl TenantPart {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored::V2(StoredV2 {
            id: self.id.clone(),
            state: self.state,
            server: self.place.server.as_str().to_owned(),
            isolation: self.place.isolation,
            prefix: self.place.prefix.as_str().to_owned(),
            schema: self.schema_version,
            moving: self.moving,
            plan: self.plan.clone(),
            limits: self.limits.to_json(),
            pictures: self.pictures.clone(),
            trial_until: self.trial_until,
            hosts: self.hosts.clone(),
            frozen: self.frozen.clone(),
            version: self.version,
            updated_at: self.updated_at,
        });
        // Texts and numbers: serialising them has no way to fail.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// `None` when another release wrote what this one cannot read: then the database is asked.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = if bytes.starts_with(V2) {
            Stored::V2(serde_json::from_slice(bytes).ok()?)
        } else {
            serde_json::from_slice(bytes).ok()?
        };
        match stored {
            Stored::V1 {
                id,
                state,
                prefix,
                limits,
                version,
            } => Some(Self {
                id,
                state,
                place: Place {
                    server: ServerName::main(),
                    isolation: Isolation::Prefix,
                    prefix: prefix.parse().ok()?,
                },
                schema_version: 1,
                moving: false,
                plan: None,
                limits: LimitOverrides::from_json(&serde_json::to_string(&limits).ok()?).ok()?,
                pictures: PictureSettings::default(),
                trial_until: None,
                hosts: Vec::new(),
                frozen: Vec::new(),
                version,
                updated_at: Millis::new(0),
            }),
            Stored::V2(StoredV2 {
                id,
                state,
                server,
                isolation,
                prefix,
                schema,
                moving,
                plan,
                limits,
                pictures,
                trial_until,
                hosts,
                frozen,
                version,
                updated_at,
            }) => Some(Self {
                id,
                state,
                place: Place {
                    server: server.parse().ok()?,
                    isolation,
                    prefix: prefix.parse().ok()?,
                },
                schema_version: schema,
                moving,
                plan,
                limits: LimitOverrides::from_json(&limits).ok()?,
                pictures,
                trial_until,
                hosts,
                frozen,
                version,
                updated_at,
            }),
        }
    }
}

impl PlanPart {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let stored = StoredPlan::V1 {
            id: self.id.clone(),
            limits: self.limits.to_json(),
            pictures: self.pictures.clone(),
            version: self.version,
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let StoredPlan::V1 {
            id,
            limits,
            pictures,
            version,
        } = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            id,
            limits: LimitOverrides::from_json(&limits).ok()?,
            pictures,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenancy::{Limit, Metadata};

    /// What release 0.1 puts into the cache.
    const V1: &str = r#"{"v":"1","id":"demo","state":"active","prefix":"t1","limits":{"media":5,"stored_bytes":0,"upload_bytes":7,"pixels":0,"api_keys":0,"users":0},"version":3}"#;
    const V2: &str = r#"{"v":"2","id":"demo","state":"active","server":"main","isolation":"prefix","prefix":"t1","schema":2,"moving":false,"plan":"small","limits":"{\"media\":5}","trial_until":null,"hosts":[{"name":"demo.example","main":true}],"version":3,"updated_at":9}"#;
    /// The same with picture settings, which an older release passes over.
    const V2_PICTURES: &str = r#"{"v":"2","id":"demo","state":"active","server":"main","isolation":"prefix","prefix":"t1","schema":2,"moving":false,"plan":"small","limits":"{\"media\":5}","pictures":{"variants":[{"name":"card","width":9}]},"trial_until":null,"hosts":[{"name":"demo.example","main":true}],"version":3,"updated_at":9}"#;
    /// The same with what freezes its uploads.
    const V2_FROZEN: &str = r#"{"v":"2","id":"demo","state":"active","server":"main","isolation":"prefix","prefix":"t1","schema":2,"moving":false,"plan":"small","limits":"{\"media\":5}","trial_until":null,"hosts":[{"name":"demo.example","main":true}],"frozen":[{"reason":"media","used":7,"allowed":5,"since":1,"freeze_at":2}],"version":3,"updated_at":9}"#;
    const PLAN_V1: &str = r#"{"v":"1","id":"small","limits":"{\"media\":9}","version":4}"#;
    const PLAN_V1_PICTURES: &str =
        r#"{"v":"1","id":"small","limits":"{\"media\":9}","pictures":{"metadata":"keep"},"version":4}"#;

    #[test]
    fn every_version_reads_as_released_and_the_latest_writes_so() {
        let old = TenantPart::from_bytes(V1.as_bytes()).unwrap();
        assert_eq!((old.version, old.limits.get(Limit::Media)), (3, Some(5)));
        for text in [V2, V2_PICTURES, V2_FROZEN] {
            let part = TenantPart::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(part.to_bytes()).unwrap(), text);
        }
        for text in [PLAN_V1, PLAN_V1_PICTURES] {
            let plan = PlanPart::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(plan.to_bytes()).unwrap(), text);
        }
        // A newer release's option: then the database is asked.
        assert!(TenantPart::from_bytes(V2_PICTURES.replace("width", "girth").as_bytes()).is_none());
        assert!(TenantPart::from_bytes(br#"{"v":"3"}"#).is_none());
    }

    #[test]
    fn pictures_are_the_tenants_then_its_plans() {
        let none = LimitOverrides::default();
        let plan = PlanPart::from_bytes(PLAN_V1_PICTURES.as_bytes()).unwrap();
        let make = |text: &str, plan: Option<&PlanPart>| {
            let part = TenantPart::from_bytes(text.as_bytes()).unwrap();
            let context = TenantContext::new(part, plan, &Limits::default(), &none, Millis::new(1));
            (context.pictures.metadata, context.pictures.variants.count())
        };
        assert_eq!(make(V2, None), (Metadata::Strip, 3));
        assert_eq!(make(V2, Some(&plan)), (Metadata::Keep, 3));
        assert_eq!(make(V2_PICTURES, Some(&plan)), (Metadata::Keep, 1));
    }

    #[test]
    fn a_plan_counts_for_its_own_tenants_alone() {
        let part = TenantPart::from_bytes(V2.as_bytes()).unwrap();
        let mut plan = PlanPart::from_bytes(PLAN_V1.as_bytes()).unwrap();
        plan.limits = LimitOverrides::default().set(Limit::Pixels, 8);
        let make = |plan: &PlanPart| {
            let none = LimitOverrides::default();
            TenantContext::new(part.clone(), Some(plan), &Limits::default(), &none, Millis::new(1))
        };
        let context = make(&plan);
        assert_eq!(
            (context.limits.media, context.limits.pixels, context.plan_version),
            (5, 8, 4)
        );
        plan.id = "other".to_owned();
        assert_eq!(
            (make(&plan).limits.pixels, make(&plan).plan_version),
            (Limits::default().pixels, 0)
        );
    }
}
