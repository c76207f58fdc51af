//! What operators send. A member that nobody knows is refused by its name: it would have been meant to do something.

use mediamill_shared::{
    secrets::{Env, SecretText},
    tenancy::{LimitOverrides, PictureSettings},
};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

/// `true`, `false`, `1` or `0`: Chevereto's API has the former, its command line the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(flag) => Ok(Self(flag)),
            value if value == 1 => Ok(Self(true)),
            value if value == 0 => Ok(Self(false)),
            _ => Err(serde::de::Error::custom("a flag is true or false, or 1 or 0")),
        }
    }
}

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTenant {
    /// 1 to 16 characters of `0-9`, `a-z`, `-` and `_`.
    #[schema(value_type = String)]
    pub(crate) id: String,
    /// Its main host.
    pub(crate) hostname: String,
    /// Whether it is served once it is made.
    #[schema(value_type = bool)]
    pub(crate) is_enabled: Flag,
    /// Its plan; empty is none.
    pub(crate) plan_id: Option<String>,
    /// Its own limits, by Chevereto's names or ours.
    #[schema(value_type = Option<Object>)]
    pub(crate) limits: Option<LimitOverrides>,
    /// What becomes of its pictures: `metadata`, `variants`, as docs/pictures.md has them. What is left out is inherited.
    #[schema(value_type = Option<Object>)]
    pub(crate) pictures: Option<PictureSettings>,
    /// Its own environment: names and texts. Stored sealed.
    #[schema(value_type = Option<Object>)]
    pub(crate) env: Option<Env>,
    /// More hosts; `*.a.example` is a wildcard.
    pub(crate) hosts: Option<Vec<String>>,
    /// `prefix` (or `table`) or `database`; without, it is up to the plan and the installation.
    pub(crate) isolation: Option<String>,
    /// Where its tables go; without, it is up to the plan and the installation.
    pub(crate) server: Option<String>,
    /// Its trial's end: `YYYY-MM-DD HH:MM:SS` (UTC) or RFC 3339.
    pub(crate) trial_until: Option<String>,
}

/// What is to change of a tenant; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditTenant {
    /// Whether it is served.
    #[schema(value_type = Option<bool>)]
    pub(crate) is_enabled: Option<Flag>,
    /// Its main host, in place of the one before.
    pub(crate) hostname: Option<String>,
    /// Its plan; empty takes it away.
    pub(crate) plan_id: Option<String>,
    /// All of its own limits; with `?merge=true` those that change.
    #[schema(value_type = Option<Object>)]
    pub(crate) limits: Option<LimitOverrides>,
    /// All that it says of its pictures; null takes it away, with `?merge=true` keys that are given take the place of theirs.
    #[serde(default, deserialize_with = "or_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) pictures: Option<PictureSettings>,
    /// All of its own environment; with `?merge=true` what changes of it.
    #[schema(value_type = Option<Object>)]
    pub(crate) env: Option<Env>,
}

/// What is given; null is that nothing is set any more.
fn or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PictureSettings>, D::Error> {
    Option::deserialize(deserializer).map(|given| Some(given.unwrap_or_default()))
}

/// How a tenant goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteTenant {
    /// Whether its tables and pictures are removed now. Otherwise it is not served any more, and can be restored until its
    /// grace period is over.
    #[schema(value_type = Option<bool>)]
    pub(crate) drop_tables: Option<Flag>,
}

/// A first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Install {
    /// 1 to 100 characters.
    pub(crate) username: String,
    /// `name@host`.
    pub(crate) email: String,
    /// 6 to 1,024 bytes.
    #[schema(value_type = String)]
    pub(crate) password: Secret,
    /// Whether it gets a key of the tenant's API too.
    #[schema(value_type = Option<bool>)]
    pub(crate) with_key: Option<Flag>,
}

/// A user whose password is set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetPassword {
    /// Who.
    pub(crate) username: String,
    /// The new password; a random one without.
    #[schema(value_type = Option<String>)]
    pub(crate) password: Option<Secret>,
}

/// A text that is secret from the parser on.
pub(crate) struct Secret(pub(crate) SecretText);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretText::new(text)))
    }
}

/// A plan to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePlan {
    /// 1 to 64 characters of `0-9`, `A-Z`, `a-z`, `-`, `_` and `.`.
    pub(crate) id: String,
    /// What its tenants inherit, by Chevereto's names or ours.
    #[schema(value_type = Option<Object>)]
    pub(crate) limits: Option<LimitOverrides>,
    /// What becomes of their pictures: `metadata`, `variants`, as docs/pictures.md has them.
    #[schema(value_type = Option<Object>)]
    pub(crate) pictures: Option<PictureSettings>,
    /// Their environment: names and texts. Stored sealed.
    #[schema(value_type = Option<Object>)]
    pub(crate) env: Option<Env>,
    /// For people; the id without.
    pub(crate) name: Option<String>,
    /// `prefix` (or `table`) or `database`, for tenants that do not say.
    pub(crate) isolation: Option<String>,
    /// Where new tenants of it go that do not say.
    pub(crate) server: Option<String>,
}

/// What is to change of a plan; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditPlan {
    /// All of what its tenants inherit; with `?merge=true` what changes of it.
    #[schema(value_type = Option<Object>)]
    pub(crate) limits: Option<LimitOverrides>,
    /// All that it says of their pictures; null takes it away, with `?merge=true` keys that are given take the place of theirs.
    #[serde(default, deserialize_with = "or_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) pictures: Option<PictureSettings>,
    /// All of their environment; with `?merge=true` what changes of it.
    #[schema(value_type = Option<Object>)]
    pub(crate) env: Option<Env>,
    /// For people.
    pub(crate) name: Option<String>,
    /// `prefix` (or `table`) or `database`; empty leaves it to the installation. Tenants that are there stay where they are.
    pub(crate) isolation: Option<String>,
    /// A server; empty leaves it to the installation. Tenants that are there stay where they are.
    pub(crate) server: Option<String>,
}

/// Where a tenant shall go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    /// `prefix` (or `table`) or `database`.
    pub(crate) isolation: String,
    /// A server; without, the one it is on.
    pub(crate) server: Option<String>,
}

/// A host that a tenant gets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddHost {
    /// `a.example`, or `*.a.example` for every host under it.
    pub(crate) hostname: String,
}

/// A trial's end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    /// `YYYY-MM-DD HH:MM:SS` (UTC) or RFC 3339; null ends it now.
    pub(crate) until: Option<String>,
}

/// A body that says nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// How objects in a body stand to those that are there.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EditQuery {
    /// Whether `limits`, `env` and `pictures` are laid over those that are there, instead of replacing them.
    pub(crate) merge: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_words_or_numbers() {
        for (text, flag) in [("true", true), ("1", true), ("false", false), ("0", false)] {
            assert_eq!(serde_json::from_str::<Flag>(text).unwrap(), Flag(flag));
        }
        for bad in ["2", "\"true\"", "null", "[]", "1.5"] {
            assert!(serde_json::from_str::<Flag>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pictures_are_left_given_or_taken_away() {
        let read = |text| serde_json::from_str::<EditTenant>(text).map(|edit| edit.pictures);
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read(r#"{"pictures": null}"#).unwrap(), Some(PictureSettings::default()));
        let given = read(r#"{"pictures": {"variants": []}}"#).unwrap().unwrap();
        assert_eq!(given.variants(), Some(0));
        let error = read(r#"{"pictures": {"variants": [{"name": "original"}]}}"#).unwrap_err();
        assert!(error.to_string().contains("names no variant"), "{error}");
    }

    #[test]
    fn a_member_that_nobody_knows_is_named() {
        let error = serde_json::from_str::<EditTenant>(r#"{"hostnam": "a"}"#).err().unwrap();
        assert!(error.to_string().contains("unknown field `hostnam`"), "{error}");
    }
}
