//! What a request says of a storage.

use crate::{problem::Problem, routes::operator::bodies::Secret};
use mediamill_shared::{
    control::storages::{StorageError, StorageRole, StorageState},
    ids::TenantId,
    placement::{Credentials, NewStorage, StorageChange, StorageSettings},
    units::ByteCount,
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What opens a storage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialsBody {
    /// Access key id.
    access_key: String,
    /// Secret access key; kept sealed, never answered.
    #[schema(value_type = String)]
    secret_key: Secret,
}

impl From<CredentialsBody> for Credentials {
    fn from(body: CredentialsBody) -> Self {
        Self {
            access_key: body.access_key,
            secret_key: body.secret_key.0,
        }
    }
}

/// A storage to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddStorage {
    /// Whose; the provider's without.
    #[schema(value_type = Option<String>)]
    pub(crate) tenant: Option<TenantId>,
    /// 1 to 100 characters.
    name: String,
    /// `{"kind": "s3", "bucket": …}` or, of the provider, `{"kind": "directory", "path": …}`: see docs/storages.md.
    #[schema(value_type = Object)]
    settings: Value,
    /// A tenant's storage has some.
    credentials: Option<CredentialsBody>,
    /// `originals`, `variants` or `both`.
    #[schema(value_type = Option<String>)]
    role: Option<StorageRole>,
    /// Bytes that it may hold; 0 is no bound.
    #[schema(value_type = Option<i64>)]
    capacity: Option<ByteCount>,
    /// How often it is chosen, 1 to 1,000.
    weight: Option<i64>,
    /// Adds it switched off, without trying it.
    #[serde(default)]
    pub(crate) unchecked: bool,
}

impl AddStorage {
    /// What is to be added, whosever it is.
    pub(super) fn into_new(self) -> Result<NewStorage, Problem> {
        Ok(NewStorage {
            name: self.name,
            settings: settings(&self.settings)?,
            credentials: self.credentials.map(Into::into),
            role: self.role.unwrap_or(StorageRole::Both),
            capacity: self.capacity.unwrap_or(ByteCount::ZERO),
            weight: self.weight.unwrap_or(1),
        })
    }
}

/// A storage of the tenant's own to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddOwnStorage {
    /// 1 to 100 characters.
    name: String,
    /// `{"kind": "s3", "bucket": …}`: see docs/storages.md.
    #[schema(value_type = Object)]
    settings: Value,
    /// What opens it.
    credentials: CredentialsBody,
    /// `originals`, `variants` or `both`.
    #[schema(value_type = Option<String>)]
    role: Option<StorageRole>,
    /// Bytes that it may hold; 0 is no bound.
    #[schema(value_type = Option<i64>)]
    capacity: Option<ByteCount>,
    /// How often it is chosen, 1 to 1,000.
    weight: Option<i64>,
    /// Adds it switched off, without trying it.
    #[serde(default)]
    unchecked: bool,
}

impl AddOwnStorage {
    /// The same, said by somebody who says whose.
    pub(crate) fn of(self, tenant: TenantId) -> AddStorage {
        AddStorage {
            tenant: Some(tenant),
            name: self.name,
            settings: self.settings,
            credentials: Some(self.credentials),
            role: self.role,
            capacity: self.capacity,
            weight: self.weight,
            unchecked: self.unchecked,
        }
    }
}

/// What is to be another way.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditStorage {
    /// 1 to 100 characters.
    name: Option<String>,
    /// All of its settings.
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
    /// What opens it from now on.
    credentials: Option<CredentialsBody>,
    /// `originals`, `variants` or `both`.
    #[schema(value_type = Option<String>)]
    role: Option<StorageRole>,
    /// `active`, `read-only`, `draining` or `off`.
    #[schema(value_type = Option<String>)]
    state: Option<StorageState>,
    /// Bytes that it may hold; 0 is no bound.
    #[schema(value_type = Option<i64>)]
    capacity: Option<ByteCount>,
    /// How often it is chosen, 1 to 1,000.
    weight: Option<i64>,
}

impl EditStorage {
    /// What is to be another way.
    pub(super) fn into_change(self) -> Result<StorageChange, Problem> {
        Ok(StorageChange {
            name: self.name,
            settings: self.settings.as_ref().map(settings).transpose()?,
            credentials: self.credentials.map(Into::into),
            role: self.role,
            state: self.state,
            capacity: self.capacity,
            weight: self.weight,
        })
    }

    /// Whether it is tried before it is so.
    pub(crate) fn is_tried(&self) -> bool {
        self.settings.is_some() || self.credentials.is_some() || self.state == Some(StorageState::Active)
    }
}

fn settings(value: &Value) -> Result<StorageSettings, Problem> {
    StorageSettings::from_json(&value.to_string()).map_err(|error| StorageError::from(error).into())
}

/// What is to be done with everything in a storage.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum TaskBody {
    /// Nothing more comes in, and everything goes out.
    Drain {
        /// Into this one; `-` is the installation's own store. Without, where each tenant's placement says.
        to: Option<String>,
    },
    /// Everything that is in it now goes out.
    Move {
        /// As of a drain.
        to: Option<String>,
    },
    /// It is read again.
    Verify {
        /// Of so many pictures one.
        sample: Option<i64>,
    },
}

impl TaskBody {
    /// Where everything goes, where that is said.
    pub(crate) fn to(&self) -> Option<&str> {
        match self {
            Self::Drain { to } | Self::Move { to } => to.as_deref(),
            Self::Verify { .. } => None,
        }
    }
}
