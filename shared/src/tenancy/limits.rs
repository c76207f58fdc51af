//! What a tenant may use. Per key, highest first: the tenant's own → its plan's → the installation's default.
//! 0 means unlimited.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $variant:ident $field:ident = $name:literal),+ $(,)?) => {
        /// A thing that is limited.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Limit { $($(#[doc = $doc])+ $variant),+ }

        impl Limit {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in plans, tenants and the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means, with its unit.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim()),+ }
            }
        }

        /// Effective limits. 0 is unlimited.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Limits { $($(#[doc = $doc])+ pub $field: i64),+ }

        impl Limits {
            /// One of them.
            #[must_use]
            pub const fn get(&self, limit: Limit) -> i64 {
                match limit { $(Limit::$variant => self.$field),+ }
            }

            /// These, with what `overrides` sets.
            #[must_use]
            pub fn with(mut self, overrides: &LimitOverrides) -> Self {
                $(if let Some(value) = overrides.0.get($name) { self.$field = *value; })+
                self
            }
        }
    };
}

limits! {
    /// Pictures stored at a time.
    Media media = "media",
    /// Bytes stored at a time, originals and variants.
    StoredBytes stored_bytes = "stored_bytes",
    /// Bytes of one upload.
    UploadBytes upload_bytes = "upload_bytes",
    /// Pixels of one picture, width times height.
    Pixels pixels = "pixels",
    /// API keys that are not revoked.
    ApiKeys api_keys = "api_keys",
    /// Users.
    Users users = "users",
}

/// What a plan or a tenant sets; the rest is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitOverrides(BTreeMap<String, i64>);

/// A limit is none, or its value is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// There is no such limit.
    #[error("unknown limit {name:?}; known: {}", known())]
    Unknown {
        /// As given.
        name: String,
    },
    /// A value is out of range.
    #[error("limit {name}: {value} is not between 0 (unlimited) and 9000000000000000000")]
    Range {
        /// Which.
        name: String,
        /// As given.
        value: i64,
    },
    /// The text is no JSON object of numbers.
    #[error("limits are a JSON object of whole numbers: {problem}")]
    Syntax {
        /// What the parser said.
        problem: String,
    },
}

fn known() -> String {
    Limit::ALL
        .iter()
        .map(|limit| limit.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

impl LimitOverrides {
    /// From a JSON object such as `{"media": 1000}`.
    ///
    /// # Errors
    /// When a name is unknown or a value out of range.
    pub fn from_json(text: &str) -> Result<Self, LimitsError> {
        let map: BTreeMap<String, i64> = serde_json::from_str(text).map_err(|error| LimitsError::Syntax {
            problem: error.to_string(),
        })?;
        for (name, value) in &map {
            if !Limit::ALL.iter().any(|limit| limit.as_str() == name) {
                return Err(LimitsError::Unknown { name: name.clone() });
            }
            if !(0..=9_000_000_000_000_000_000).contains(value) {
                return Err(LimitsError::Range {
                    name: name.clone(),
                    value: *value,
                });
            }
        }
        Ok(Self(map))
    }

    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A map of texts and numbers: serialising it has no way to fail.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// These with one more.
    #[must_use]
    pub fn set(mut self, limit: Limit, value: i64) -> Self {
        self.0.insert(limit.as_str().to_owned(), value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_beats_its_plan_and_the_plan_the_default() {
        let default = Limits {
            media: 1,
            stored_bytes: 2,
            upload_bytes: 3,
            ..Limits::default()
        };
        let plan = LimitOverrides::from_json(r#"{"media": 10, "stored_bytes": 20}"#).unwrap();
        let tenant = LimitOverrides::default().set(Limit::Media, 100);
        let effective = default.with(&plan).with(&tenant);
        assert_eq!(
            (effective.media, effective.stored_bytes, effective.upload_bytes),
            (100, 20, 3)
        );
    }

    #[test]
    fn unknown_limits_are_refused_by_name() {
        let error = LimitOverrides::from_json(r#"{"medias": 1}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("unknown limit \"medias\"; known: media, stored_bytes"),
            "{error}"
        );
        assert!(LimitOverrides::from_json(r#"{"media": -1}"#).is_err());
        assert!(LimitOverrides::from_json("[]").is_err());
    }
}
