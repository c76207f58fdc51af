//! A tenant as people declare it: in a batch, in a file that is applied, in a request.
//!
//! Parsed once: ids, hosts, limits and moments are types from here on, names that nobody knows are refused, and what is
//! secret is told by no error. A declaration stands for everything that it may say: what it leaves out is empty.

use super::{
    Host, Isolation, LimitOverrides, NewAdmin, NewTenant, PictureSettings, ProvisionError, ServerName, TenantState,
    normal_hosts,
};
use crate::{
    control::tenants::TenantRow,
    ids::TenantId,
    secrets::{Env, EnvError, SecretText},
    units::Millis,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Longest name of an administrator, and longest address, bytes.
const LONGEST_NAME: usize = 254;

/// What a tenant shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSpec {
    /// Its id.
    pub id: TenantId,
    /// Where it is served, normal, the main host first.
    pub hosts: Vec<String>,
    /// What it inherits from.
    pub plan: Option<String>,
    /// What it has of its own.
    pub limits: LimitOverrides,
    /// What it says of its pictures.
    pub pictures: PictureSettings,
    /// Its environment.
    pub env: Env,
    /// How its tables are kept apart, where the declaration cares.
    pub isolation: Option<Isolation>,
    /// Where they are, likewise.
    pub server: Option<ServerName>,
    /// Its trial's end.
    pub trial_until: Option<Millis>,
    /// Whether it is served.
    pub enabled: bool,
    /// Its first administrator: used when it is made, and never again.
    pub admin: Option<AdminSpec>,
}

/// A first administrator as declared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSpec {
    /// Name.
    pub name: String,
    /// Address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl From<AdminSpec> for NewAdmin {
    fn from(AdminSpec { name, email }: AdminSpec) -> Self {
        Self {
            name,
            email,
            password_hash: None,
        }
    }
}

/// Why a declaration is none. Tells names and places, never what is secret.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It is no JSON object of what a tenant has.
    #[error("{problem}")]
    Fields {
        /// What is wrong, and where.
        problem: String,
    },
    /// It names both `host` and `hosts`.
    #[error("give host or hosts, not both")]
    TwoHosts,
    /// Its hosts are none.
    #[error(transparent)]
    Hosts(#[from] ProvisionError),
    /// A text is empty or too long.
    #[error("{field} is 1 to {most} bytes")]
    Length {
        /// Which.
        field: &'static str,
        /// At most.
        most: usize,
    },
}

impl From<serde_json::Error> for SpecError {
    fn from(error: serde_json::Error) -> Self {
        // The line is always the first one here: the caller knows which one it is.
        let at = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let problem = match text.strip_suffix(&at) {
            Some(problem) if error.column() > 0 => format!("{problem} at column {}", error.column()),
            Some(problem) => problem.to_owned(),
            None => text,
        };
        Self::Fields { problem }
    }
}

/// The declaration as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: TenantId,
    host: Option<String>,
    hosts: Option<Vec<String>>,
    plan: Option<String>,
    limits: Option<LimitOverrides>,
    pictures: Option<PictureSettings>,
    env: Option<WrittenEnv>,
    #[serde(default, deserialize_with = "isolation")]
    isolation: Option<Isolation>,
    #[serde(default, deserialize_with = "server")]
    server: Option<ServerName>,
    #[serde(default, deserialize_with = "moment")]
    trial_until: Option<Millis>,
    enabled: Option<bool>,
    admin: Option<AdminSpec>,
}

impl TenantSpec {
    /// The names of all fields, for those who read tables.
    pub(crate) const FIELDS: [&'static str; 12] = [
        "id",
        "host",
        "hosts",
        "plan",
        "limits",
        "pictures",
        "env",
        "isolation",
        "server",
        "trial_until",
        "enabled",
        "admin",
    ];

    /// From a JSON object.
    ///
    /// # Errors
    /// When it is none, has fields that a tenant has not, or a value is not what its field is.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        serde_json::from_str::<Written>(text)?.checked()
    }

    /// From a JSON value; as [`Self::from_json`].
    pub(crate) fn from_value(value: Value) -> Result<Self, SpecError> {
        serde_json::from_value::<Written>(value)?.checked()
    }

    /// As a tenant to be made, with its environment sealed by the caller and its administrator, who has ids by then.
    #[must_use]
    pub fn to_new_tenant(&self, sealed_env: Option<String>, admin: Option<super::FirstAdmin>) -> NewTenant {
        NewTenant {
            id: self.id.clone(),
            hosts: self.hosts.clone(),
            plan: self.plan.clone(),
            limits: self.limits.clone(),
            pictures: self.pictures.clone(),
            env: sealed_env,
            trial_until: self.trial_until,
            isolation: self.isolation,
            server: self.server.clone(),
            enabled: self.enabled,
            admin,
        }
    }

    /// What is otherwise than declared, in a fixed order. Environments are sealed and not compared here.
    #[must_use]
    pub fn differences(&self, row: &TenantRow, hosts: &[Host]) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut compare = |field, present: String, declared: String| {
            if present != declared {
                found.push(Difference {
                    field,
                    present,
                    declared,
                });
            }
        };
        let main = hosts.iter().find(|host| host.main).map(|host| host.name.clone());
        compare(
            Field::Hosts,
            sorted(hosts.iter().map(|host| &host.name)),
            sorted(self.hosts.iter()),
        );
        compare(
            Field::MainHost,
            main.unwrap_or_default(),
            self.hosts.first().cloned().unwrap_or_default(),
        );
        let or_none = |text: Option<&str>| text.unwrap_or("none").to_owned();
        compare(Field::Plan, or_none(row.plan.as_deref()), or_none(self.plan.as_deref()));
        compare(Field::Limits, row.limits.to_json(), self.limits.to_json());
        compare(Field::Pictures, row.pictures.to_json(), self.pictures.to_json());
        if let Some(isolation) = self.isolation {
            compare(Field::Isolation, row.place.isolation.to_string(), isolation.to_string());
        }
        if let Some(server) = &self.server {
            compare(Field::Server, row.place.server.to_string(), server.to_string());
        }
        compare(Field::TrialUntil, shown(row.trial_until), shown(self.trial_until));
        let enabled = match row.state {
            TenantState::Active => "true".to_owned(),
            TenantState::Suspended => "false".to_owned(),
            TenantState::Leaving | TenantState::Deleting => row.state.to_string(),
            // It will be what its job says.
            TenantState::Provisioning => self.enabled.to_string(),
        };
        compare(Field::Enabled, enabled, self.enabled.to_string());
        found
    }
}

impl Written {
    fn checked(self) -> Result<TenantSpec, SpecError> {
        let hosts = match (self.host, self.hosts) {
            (Some(_), Some(_)) => return Err(SpecError::TwoHosts),
            (Some(host), None) => normal_hosts(&[host])?,
            (None, Some(hosts)) => normal_hosts(&hosts)?,
            (None, None) => return Err(ProvisionError::NoHost.into()),
        };
        let fits = |field, text: &str| {
            let fits = (1..=LONGEST_NAME).contains(&text.len());
            let error = SpecError::Length {
                field,
                most: LONGEST_NAME,
            };
            if fits { Ok(()) } else { Err(error) }
        };
        if let Some(plan) = &self.plan {
            fits("plan", plan)?;
        }
        if let Some(admin) = &self.admin {
            fits("the administrator's name", &admin.name)?;
            fits("the administrator's address", admin.email.as_deref().unwrap_or("none"))?;
        }
        Ok(TenantSpec {
            id: self.id,
            hosts,
            plan: self.plan,
            limits: self.limits.unwrap_or_default(),
            pictures: self.pictures.unwrap_or_default(),
            env: self.env.map(|env| env.0).unwrap_or_default(),
            isolation: self.isolation,
            server: self.server,
            trial_until: self.trial_until,
            enabled: self.enabled.unwrap_or(true),
            admin: self.admin,
        })
    }
}

crate::jobs::names!(
    /// What a tenant can differ in from its declaration.
    Field, "field" {
        /// The hosts, in any order.
        Hosts = "hosts",
        /// The one that URLs begin with.
        MainHost = "main host",
        /// The plan.
        Plan = "plan",
        /// Limits of its own.
        Limits = "limits",
        /// What it says of its pictures.
        Pictures = "pictures",
        /// The mode.
        Isolation = "isolation",
        /// The server.
        Server = "server",
        /// The trial's end.
        TrialUntil = "trial_until",
        /// Whether it is served.
        Enabled = "enabled",
    }
);

impl Field {
    /// Whether it says which tenant this is: a provider switches the others to and fro while a tenant lives.
    #[must_use]
    pub const fn defines(self) -> bool {
        match self {
            Self::Hosts | Self::Plan | Self::Limits | Self::Pictures | Self::Isolation | Self::Server => true,
            Self::MainHost | Self::TrialUntil | Self::Enabled => false,
        }
    }
}

/// A field that is otherwise than declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub field: Field,
    /// What is there.
    pub present: String,
    /// What is declared.
    pub declared: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.field, self.present, self.declared)
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}

fn shown(at: Option<Millis>) -> String {
    let Some(at) = at else { return "none".to_owned() };
    let nanos = i128::from(at.get()).saturating_mul(1_000_000);
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    date.and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.get().to_string())
}

fn isolation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Isolation>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Isolation::parse(&text))
        .transpose()
        .map_err(de::Error::custom)
}

fn server<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServerName>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(de::Error::custom)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let read = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_i64().map(Millis::new),
        Value::String(text) => read_moment(text),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let wrong = || de::Error::custom("trial_until is a date of RFC 3339 or milliseconds since 1970");
    // What cannot be shown as a date is none.
    read.filter(|at| (0..=253_402_300_799_999).contains(&at.get()))
        .map(Some)
        .ok_or_else(wrong)
}

fn read_moment(text: &str) -> Option<Millis> {
    if let Ok(millis) = text.parse() {
        return Some(Millis::new(millis));
    }
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(1_000_000)).ok().map(Millis::new)
}

/// An environment as it is written. Errors of the parser quote what they stumble over: here nothing is left to it.
struct WrittenEnv(Env);

impl<'de> Deserialize<'de> for WrittenEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(values) = Value::deserialize(deserializer)? else {
            return Err(de::Error::custom("env is an object whose values are strings"));
        };
        let mut texts = BTreeMap::new();
        for (name, value) in values {
            let Value::String(text) = value else {
                return Err(de::Error::custom("env is an object whose values are strings"));
            };
            texts.insert(name, SecretText::new(text));
        }
        Env::new(texts)
            .map(Self)
            .map_err(|error: EnvError| de::Error::custom(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(json: &str) -> String {
        TenantSpec::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn a_declaration_is_read_with_all_it_may_say() {
        let spec = TenantSpec::from_json(
            r#"{"id": "t1", "hosts": ["A.example", "*.b.example"], "plan": "gold", "limits": {"media": 5}, "env": {"A": "hush"},
                "pictures": {"variants": [{"name": "card", "width": 480}]}, "isolation": "table", "server": "pg2", "trial_until": "1970-01-01T01:00:01+01:00", "enabled": false,
                "admin": {"name": "ann", "email": "ann@a.example"}}"#,
        )
        .unwrap();
        assert_eq!(spec.hosts, ["a.example", "*.b.example"]);
        assert_eq!((spec.isolation, spec.enabled), (Some(Isolation::Prefix), false));
        assert_eq!(spec.pictures.variants(), Some(1));
        assert_eq!(spec.trial_until, Some(Millis::new(1_000)));
        assert_eq!(spec.env.get("A").unwrap().reveal(), "hush");
        let short = TenantSpec::from_json(r#"{"id": "t1", "host": "a.example"}"#).unwrap();
        assert!(
            short.enabled
                && short.env.is_empty()
                && short.limits.is_empty()
                && short.pictures.is_empty()
                && short.admin.is_none()
        );
        let millis = TenantSpec::from_json(r#"{"id": "t1", "host": "a.example", "trial_until": 1000}"#).unwrap();
        assert_eq!(millis.trial_until, spec.trial_until);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, told) in [
            (
                r#"{"id": "t1", "host": "a.example", "colour": 1}"#,
                "unknown field `colour`",
            ),
            (
                r#"{"id": "T 1", "host": "a.example"}"#,
                "a tenant id is 1 to 16 characters",
            ),
            (r#"{"id": "t1"}"#, "needs a host"),
            (r#"{"id": "t1", "host": "a b"}"#, "no host name"),
            (r#"{"id": "t1", "host": "a.example", "hosts": []}"#, "not both"),
            (r#"{"id": "t1", "host": "a.example", "limits": {"medai": 1}}"#, "medai"),
            (
                r#"{"id": "t1", "host": "a.example", "pictures": {"variants": [{"name": "a.b"}]}}"#,
                "\"a.b\" names no variant",
            ),
            (
                r#"{"id": "t1", "host": "a.example", "isolation": "x"}"#,
                "isolation mode",
            ),
            (
                r#"{"id": "t1", "host": "a.example", "trial_until": "soon"}"#,
                "trial_until",
            ),
            (
                r#"{"id": "t1", "host": "a.example", "admin": {"name": ""}}"#,
                "administrator's name",
            ),
            ("[]", "invalid"),
            ("{", "EOF"),
        ] {
            let error = refused(json);
            assert!(error.contains(told) && !error.contains("line 1"), "{json}: {error}");
        }
    }

    #[test]
    fn no_error_tells_a_value_of_an_environment() {
        for env in [
            r#""hush""#,
            r#"["hush"]"#,
            r#"{"A": ["hush"]}"#,
            r#"{"A": 4711}"#,
            r#"{"A": "hush\u0000"}"#,
            r#"{"A": "hush"}, "x": 1"#,
        ] {
            let error = refused(&format!(r#"{{"id": "t1", "host": "a.example", "env": {env}}}"#));
            assert!(!error.contains("hush") && !error.contains("4711"), "{error}");
        }
        let spec = TenantSpec::from_json(r#"{"id": "t1", "host": "a.example", "env": {"A": "hush"}}"#).unwrap();
        assert!(!format!("{spec:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = TenantSpec::from_json(&text);
        }

        #[test]
        fn a_moment_reads_as_it_is_shown(millis in 0_i64..=253_402_300_799_999) {
            prop_assert_eq!(read_moment(&shown(Some(Millis::new(millis)))), Some(Millis::new(millis)));
        }
    }
}
