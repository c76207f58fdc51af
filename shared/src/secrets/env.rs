//! Configuration values of a tenant or a plan: free names, secret values.

use super::SecretText;
use std::{collections::BTreeMap, fmt};

/// Most names in one env.
const NAMES: usize = 256;
/// Longest name, characters.
const NAME: usize = 64;
/// Longest value, characters.
const VALUE: usize = 4096;

/// Why these are no configuration values. Tells names and places, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The text is no JSON object of texts.
    #[error("an env is a JSON object whose values are strings; line {line}, column {column} is otherwise")]
    Json {
        /// From 1.
        line: usize,
        /// From 1; 0 is the end of the line before.
        column: usize,
    },
    /// A name is none.
    #[error("{name:?} is no name in an env: those are 1 to {NAME} characters of A-Z, a-z, 0-9 and _")]
    Name {
        /// As given, its first 64 characters.
        name: String,
    },
    /// A value is too long.
    #[error("the value of {name} has more than {VALUE} characters")]
    Long {
        /// Whose.
        name: String,
    },
    /// A value holds a NUL, which no environment can.
    #[error("the value of {name} holds a NUL character")]
    Nul {
        /// Whose.
        name: String,
    },
    /// There are too many.
    #[error("an env has at most {NAMES} names")]
    Many,
}

/// Configuration values by name: at most 256, names of 1 to 64 characters of `A-Za-z0-9_`, values of at most 4096
/// characters without NUL. `Debug` shows the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, SecretText>);

impl Env {
    /// From names and values.
    ///
    /// # Errors
    /// When one of them, or their number, does not fit.
    pub fn new(values: BTreeMap<String, SecretText>) -> Result<Self, EnvError> {
        if values.len() > NAMES {
            return Err(EnvError::Many);
        }
        for (name, value) in &values {
            let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if !(1..=NAME).contains(&name.len()) || !name.bytes().all(letter) {
                let name = name.chars().take(NAME).collect();
                return Err(EnvError::Name { name });
            }
            let name = || name.clone();
            if value.reveal().chars().count() > VALUE {
                return Err(EnvError::Long { name: name() });
            }
            if value.reveal().contains('\0') {
                return Err(EnvError::Nul { name: name() });
            }
        }
        Ok(Self(values))
    }

    /// From a JSON object of strings.
    ///
    /// # Errors
    /// When it is none, or a name or value does not fit.
    pub fn from_json(text: &str) -> Result<Self, EnvError> {
        // Not the parser's own words: they quote what they stumble over.
        let values: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| EnvError::Json {
            line: error.line(),
            column: error.column(),
        })?;
        Self::new(values.into_iter().map(|(name, Value(value))| (name, value)).collect())
    }

    /// As a JSON object of strings, names in order.
    #[must_use]
    pub fn to_json(&self) -> SecretText {
        let quoted = |text: &str| text.len().saturating_mul(6).saturating_add(4);
        let room = self.0.iter().fold(2_usize, |room, (name, value)| {
            room.saturating_add(quoted(name)).saturating_add(quoted(value.reveal()))
        });
        // Room for the longest escapes: a text that grows leaves copies behind.
        let mut json = Vec::with_capacity(room);
        let values: BTreeMap<&str, &str> = self.iter().map(|(name, value)| (name, value.reveal())).collect();
        // Texts under texts written to memory have no way to fail.
        let _ = serde_json::to_writer(&mut json, &values);
        super::SecretBytes::new(json).into_text().unwrap_or_default()
    }

    /// These values, and those of `over` in place of the ones that have the same names. Of two that fit: together they may
    /// be more than one may have, so that a plan's change refuses no tenant.
    #[must_use]
    pub fn merge(&self, over: &Self) -> Self {
        let mut values = self.0.clone();
        values.extend(over.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(values)
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretText> {
        self.0.get(name)
    }

    /// Takes `name` away. Returns whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretText)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> serde::Deserialize<'de> for Env {
    /// As [`Self::from_json`]: an object of strings. The error tells names, never a value.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given: BTreeMap<String, serde_json::Value> = BTreeMap::deserialize(deserializer)?;
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let serde_json::Value::String(text) = value else {
                return Err(serde::de::Error::custom(format!(
                    "the value of {name} in an env is no string"
                )));
            };
            values.insert(name, SecretText::new(text));
        }
        Self::new(values).map_err(serde::de::Error::custom)
    }
}

/// A value while it is read: secret from the parser on.
struct Value(SecretText);

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretText::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(json: &str) -> Env {
        Env::from_json(json).unwrap()
    }

    #[test]
    fn the_upper_one_has_the_last_word() {
        let merged = env(r#"{"A": "1", "B": "2"}"#).merge(&env(r#"{"B": "3"}"#));
        assert_eq!(merged.to_json().reveal(), r#"{"A":"1","B":"3"}"#);
    }

    #[test]
    fn within_a_body_it_reads_the_same_and_tells_as_little() {
        let read: Env = serde_json::from_str(r#"{"A": "1"}"#).unwrap();
        assert_eq!(read, env(r#"{"A": "1"}"#));
        let error = serde_json::from_str::<Env>(r#"{"A": 4711}"#).unwrap_err().to_string();
        assert!(error.contains("the value of A") && !error.contains("4711"), "{error}");
    }

    #[test]
    fn debug_shows_names_alone() {
        assert_eq!(
            format!("{:?}", env(r#"{"SMTP_PASSWORD": "hush"}"#)),
            r#"{"SMTP_PASSWORD"}"#
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_without_being_told() {
        let long = format!(r#"{{"A": "{}"}}"#, "hush".repeat(1025));
        for (json, told) in [
            ("[]", "an env is a JSON object"),
            (r#"{"A": 4711}"#, "an env is a JSON object"),
            (r#"{"A": {"hush": 1}}"#, "an env is a JSON object"),
            (r#"{"": "hush"}"#, r#""" is no name"#),
            (r#"{"A": "", "A-B": "hush"}"#, r#""A-B" is no name"#),
            (&format!(r#"{{"{}": ""}}"#, "A".repeat(65)), r#""AAAA"#),
            (r#"{"A": "hush\u0000"}"#, "the value of A holds a NUL"),
            (&long, "the value of A has more than 4096 characters"),
        ] {
            let error = Env::from_json(json).unwrap_err().to_string();
            assert!(error.starts_with(told), "{json}: {error}");
            assert!(!error.contains("hush") && !error.contains("4711"), "{error}");
        }
        let many = (0..=NAMES).map(|n| (format!("N{n}"), SecretText::default())).collect();
        assert_eq!(Env::new(many), Err(EnvError::Many));
    }

    proptest! {
        #[test]
        fn every_value_survives_the_text(values in proptest::collection::btree_map("[A-Za-z0-9_]{1,64}", "[^\0]{0,100}", 0..10)) {
            let env = Env::new(values.into_iter().map(|(name, value)| (name, SecretText::new(value))).collect()).unwrap();
            let json = env.to_json();
            prop_assert_eq!(Env::from_json(json.reveal()).unwrap(), env);
        }
    }
}
