//! Why a storage is not as somebody wants it, as it is answered.

use super::steps;
use crate::{
    problem::{Cause, Problem},
    routes::operator::problems::broken,
};
use mediamill_shared::{
    control::storages::StorageError,
    placement::{ChangeError, OpenError},
    secrets::SecretsError,
    tenancy::Limit,
};

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        let detail = error.to_string();
        match error {
            StorageError::Missing { .. } => Self::new(Cause::NotFound, detail),
            StorageError::TooMany { has, limit } => Self::new(Cause::OverQuota, detail)
                .with("limit_name", Limit::Storages.as_str())
                .with("limit", limit)
                .with("used", has)
                .with("asked", 1),
            StorageError::NotAllowed => {
                Self::new(Cause::SwitchedOff, detail).with("limit_name", Limit::ExternalStorage.as_str())
            }
            StorageError::TooFewActive { left, least } => Self::new(Cause::Conflict, detail)
                .with("limit_name", Limit::MinActiveStorages.as_str())
                .with("limit", least)
                .with("left", left),
            StorageError::Outdated { .. } => Self::new(Cause::VersionChanged, detail),
            StorageError::InUse { .. } | StorageError::NotRead { .. } => Self::new(Cause::Conflict, detail),
            StorageError::Settings(_) => Self::new(Cause::BadRequest, detail).with("member", "settings"),
            StorageError::MasterKey(error) => broken("a storage's credentials cannot be sealed", &error),
            StorageError::Db(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Storage(error) => error.into(),
            ChangeError::Check(findings) => {
                let problem = Self::new(Cause::StorageBroken, ChangeError::Check(findings.clone()).to_string());
                problem.with("steps", steps(&findings))
            }
            ChangeError::Address(refused) => {
                Self::new(Cause::StorageAddressRefused, refused.to_string()).with("member", "endpoint")
            }
            ChangeError::Open(OpenError::Objects { source, .. }) => {
                Self::new(Cause::BadRequest, source.to_string()).with("member", "settings")
            }
            ChangeError::Open(error @ (OpenError::Settings { .. } | OpenError::NoCredentials { .. })) => {
                Self::new(Cause::BadRequest, error.to_string()).with("member", "settings")
            }
            ChangeError::Open(error @ OpenError::Secrets { .. }) => {
                broken("a storage's credentials do not open", &error)
            }
            ChangeError::Secrets(SecretsError::NoMasterKey) => Self::new(
                Cause::SwitchedOff,
                "credentials are kept sealed, and this installation has no master key: its provider can give it one",
            ),
            ChangeError::Secrets(error) => error.into(),
        }
    }
}
