//! What a process knows of a tenant.

use super::{TablePrefix, TenantDb, limits::Limits};
use crate::{db::Db, ids::TenantId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// Whether a tenant is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantState {
    /// Served.
    Active,
    /// Not served, nothing removed.
    Suspended,
    /// Being removed.
    Deleting,
}

impl TenantState {
    /// Its name in tables and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }
}

impl fmt::Display for TenantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TenantState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            "deleting" => Ok(Self::Deleting),
            _ => Err(format!("unknown tenant state {text:?}")),
        }
    }
}

/// Where a tenant's tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In a shared database, under names of its own.
    Prefix(TablePrefix),
}

impl Isolation {
    pub(crate) const fn prefix(&self) -> &TablePrefix {
        match self {
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// What a tenant is, as the caches carry it. Made by the resolver and by nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantContext {
    /// The tenant.
    pub id: TenantId,
    /// Whether it is served.
    pub state: TenantState,
    /// Where its tables are.
    pub isolation: Isolation,
    /// What it may use, everything resolved.
    pub limits: Limits,
    /// Grows with every change.
    pub version: i64,
}

/// The tenant is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {id} is {state}")]
pub struct NotActive {
    /// The tenant.
    pub id: TenantId,
    /// Its state.
    pub state: TenantState,
}

/// A resolved tenant. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Tenant {
    context: Arc<TenantContext>,
    db: Db,
}

impl Tenant {
    pub(super) const fn new(context: Arc<TenantContext>, db: Db) -> Self {
        Self { context, db }
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
    /// When it is not active.
    pub fn db(&self) -> Result<TenantDb, NotActive> {
        match self.context.state {
            TenantState::Active => Ok(TenantDb::new(self.db.clone(), self.context.isolation.clone())),
            TenantState::Suspended | TenantState::Deleting => Err(NotActive {
                id: self.context.id.clone(),
                state: self.context.state,
            }),
        }
    }
}

/// A context as it lies in the cache. Versioned: releases share a cache while one replaces the other.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        id: TenantId,
        state: TenantState,
        prefix: String,
        limits: Limits,
        version: i64,
    },
}

impl TenantContext {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Isolation::Prefix(prefix) = &self.isolation;
        let stored = Stored::V1 {
            id: self.id.clone(),
            state: self.state,
            prefix: prefix.as_str().to_owned(),
            limits: self.limits,
            version: self.version,
        };
        // Texts and numbers: serialising them has no way to fail.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// `None` when another release wrote what this one cannot read: then the database is asked.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Stored::V1 {
            id,
            state,
            prefix,
            limits,
            version,
        } = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            id,
            state,
            isolation: Isolation::Prefix(prefix.parse().ok()?),
            limits,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What release 0.1 puts into the cache.
    const V1: &str = r#"{"v":"1","id":"demo","state":"active","prefix":"t1","limits":{"media":5,"stored_bytes":0,"upload_bytes":7,"pixels":0,"api_keys":0,"users":0},"version":3}"#;

    #[test]
    fn the_first_version_reads_and_writes_as_released() {
        let context = TenantContext::from_bytes(V1.as_bytes()).unwrap();
        assert_eq!((context.version, context.limits.media), (3, 5));
        assert_eq!(String::from_utf8(context.to_bytes()).unwrap(), V1);
        assert!(TenantContext::from_bytes(br#"{"v":"2"}"#).is_none());
    }
}
