//! Whom a sealed text belongs to, and the names of the keys that seal.

use crate::ids::{StorageId, TenantId};
use std::{fmt, str::FromStr, sync::Arc};

/// A master key's name: 1 to 16 characters of `0-9a-z-`. No secret: it stands in every text that the key sealed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MasterKeyId(Arc<str>);

/// A text names no master key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a master key's id is 1 to 16 characters of 0-9, a-z and -")]
pub struct MasterKeyIdError;

impl MasterKeyId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MasterKeyId {
    type Err = MasterKeyIdError;
    fn from_str(text: &str) -> Result<Self, MasterKeyIdError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=16).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(MasterKeyIdError)
        }
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({})", self.0)
    }
}

/// Whom a text is sealed for, and as what. Sealed for one it opens for no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedFor {
    /// A tenant's configuration values.
    TenantEnv(TenantId),
    /// A plan's, by the plan's id.
    PlanEnv(String),
    /// The first API key of a tenant, until it is fetched.
    FirstKey(TenantId),
    /// A key that a tenant's links are signed with.
    LinkKey(TenantId),
    /// What opens a storage.
    Storage(StorageId),
    /// The known text that tells whether a master key is the right one.
    MasterKey(MasterKeyId),
}

impl SealedFor {
    /// The cipher's associated data. Two owners never have the same: the label holds no `|`, and the id is all that
    /// follows it. Part of the format: a change makes every stored text unreadable.
    pub(super) fn associated_data(&self) -> String {
        match self {
            Self::TenantEnv(id) => format!("mediamill/1|tenant-env|{id}"),
            Self::PlanEnv(id) => format!("mediamill/1|plan-env|{id}"),
            Self::FirstKey(id) => format!("mediamill/1|first-key|{id}"),
            Self::LinkKey(id) => format!("mediamill/1|link-key|{id}"),
            Self::Storage(id) => format!("mediamill/1|storage|{id}"),
            Self::MasterKey(id) => format!("mediamill/1|master-key|{id}"),
        }
    }
}

impl fmt::Display for SealedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantEnv(id) => write!(f, "the env of tenant {id}"),
            Self::PlanEnv(id) => write!(f, "the env of plan {id}"),
            Self::FirstKey(id) => write!(f, "the first key of tenant {id}"),
            Self::LinkKey(id) => write!(f, "a link key of tenant {id}"),
            Self::Storage(id) => write!(f, "the credentials of storage {id}"),
            Self::MasterKey(id) => write!(f, "the canary of master key {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_master_keys_are_checked() {
        for good in ["1", "2026-a", "0123456789abcdef"] {
            assert_eq!(good.parse::<MasterKeyId>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "a.b", "a_b", "a b", "0123456789abcdefg", "ä"] {
            assert_eq!(bad.parse::<MasterKeyId>(), Err(MasterKeyIdError), "{bad}");
        }
    }

    #[test]
    fn a_plan_that_is_named_like_a_tenant_is_another_owner() {
        let tenant: TenantId = "a".parse().unwrap();
        let owners = [
            SealedFor::TenantEnv(tenant.clone()),
            SealedFor::PlanEnv("a".into()),
            SealedFor::PlanEnv("|tenant-env|a".into()),
            SealedFor::FirstKey(tenant.clone()),
            SealedFor::LinkKey(tenant),
            SealedFor::Storage(StorageId::generate(
                &crate::clock::Clock::system(),
                &crate::clock::Entropy::system(),
            )),
            SealedFor::MasterKey("a".parse().unwrap()),
        ];
        let texts: std::collections::BTreeSet<String> = owners.iter().map(SealedFor::associated_data).collect();
        assert_eq!(texts.len(), owners.len());
    }
}
