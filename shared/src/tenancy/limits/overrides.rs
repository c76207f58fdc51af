//! What one layer (a plan, a tenant, the host) sets.

use super::{
    Limit, LimitsError,
    names::{Key, key, trial_name, trial_variable, variable},
    values::{read, read_carried, to_chevereto},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// What a plan, a tenant or the host sets; the rest is inherited.
///
/// Holds plain values, *trial twins* that stand before them while a tenant is on trial, and *carried* texts: variables
/// of Chevereto's that are no limit, kept for the application that knows them. A value is never out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Pairs")]
pub struct LimitOverrides {
    plain: BTreeMap<Limit, i64>,
    trial: BTreeMap<Limit, i64>,
    carried: BTreeMap<String, String>,
}

impl FromIterator<(Limit, i64)> for LimitOverrides {
    /// As [`LimitOverrides::set`] of each.
    fn from_iter<T: IntoIterator<Item = (Limit, i64)>>(set: T) -> Self {
        set.into_iter()
            .fold(Self::default(), |all, (limit, value)| all.set(limit, value))
    }
}

impl LimitOverrides {
    /// From a JSON object such as `{"media": 1000, "upload_bytes": "20M", "CHEVERETO_ENABLE_CDN": "0"}`.
    ///
    /// # Errors
    /// When a name is unknown or given twice, or a value is not what its limit is.
    pub fn from_json(text: &str) -> Result<Self, LimitsError> {
        let pairs: Pairs = serde_json::from_str(text).map_err(|error| LimitsError::Syntax {
            problem: error.to_string(),
        })?;
        Self::try_from(pairs)
    }

    /// The form that is stored: a JSON object of our names and whole numbers, and of carried texts; sorted by name.
    /// [`Self::from_json`] reads the same back.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A map of texts and numbers: serialising it has no way to fail.
        serde_json::to_string(&self.stored()).unwrap_or_default()
    }

    /// The form that Chevereto's API shows: variables, and texts as values. A limit that Chevereto has not is
    /// `MEDIAMILL_MAX_…` or `MEDIAMILL_ENABLE_…`. [`Self::from_json`] reads the same back.
    #[must_use]
    pub fn to_chevereto(&self) -> Map<String, Value> {
        let text = |limit, value| Value::from(to_chevereto(limit, value));
        let plain = self.plain().map(|(limit, value)| (variable(limit), text(limit, value)));
        let trial = self
            .trial()
            .map(|(limit, value)| (trial_variable(limit), text(limit, value)));
        let carried = self
            .all_carried()
            .map(|(name, text)| (name.to_owned(), Value::from(text)));
        plain.chain(trial).chain(carried).collect()
    }

    fn stored(&self) -> BTreeMap<String, Value> {
        let plain = self
            .plain()
            .map(|(limit, value)| (limit.as_str().to_owned(), Value::from(value)));
        let trial = self
            .trial()
            .map(|(limit, value)| (trial_name(limit), Value::from(value)));
        let carried = self
            .all_carried()
            .map(|(name, text)| (name.to_owned(), Value::from(text)));
        plain.chain(trial).chain(carried).collect()
    }

    /// These with one more. A value out of the limit's range becomes the nearest within.
    #[must_use]
    pub fn set(mut self, limit: Limit, value: i64) -> Self {
        self.plain.insert(limit, limit.within(value));
        self
    }

    /// These with one more trial twin. A value out of the limit's range becomes the nearest within.
    #[must_use]
    pub fn set_trial(mut self, limit: Limit, value: i64) -> Self {
        self.trial.insert(limit, limit.within(value));
        self
    }

    /// These without `limit`; its trial twin stays.
    #[must_use]
    pub fn unset(mut self, limit: Limit) -> Self {
        self.plain.remove(&limit);
        self
    }

    /// These without the trial twin of `limit`.
    #[must_use]
    pub fn unset_trial(mut self, limit: Limit) -> Self {
        self.trial.remove(&limit);
        self
    }

    /// These with everything that `other` sets; where both do, `other` has the say.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        self.plain.extend(other.plain());
        self.trial.extend(other.trial());
        self.carried.extend(other.carried.clone());
        self
    }

    /// What is set for `limit`, trial twins apart.
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<i64> {
        self.plain.get(&limit).copied()
    }

    /// The trial twin of `limit`.
    #[must_use]
    pub fn get_trial(&self, limit: Limit) -> Option<i64> {
        self.trial.get(&limit).copied()
    }

    /// The text carried under `name`.
    #[must_use]
    pub fn carried(&self, name: &str) -> Option<&str> {
        self.carried.get(name).map(String::as_str)
    }

    /// What is set, trial twins apart, in the table's order.
    pub fn plain(&self) -> impl Iterator<Item = (Limit, i64)> {
        self.plain.iter().map(|(limit, value)| (*limit, *value))
    }

    /// Trial twins, in the table's order.
    pub fn trial(&self) -> impl Iterator<Item = (Limit, i64)> {
        self.trial.iter().map(|(limit, value)| (*limit, *value))
    }

    /// Names and texts that are carried, sorted.
    pub fn all_carried(&self) -> impl Iterator<Item = (&str, &str)> {
        self.carried.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Whether nothing is set, as a trial twin or carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.trial.is_empty() && self.carried.is_empty()
    }
}

impl Serialize for LimitOverrides {
    /// As [`Self::to_json`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored().serialize(serializer)
    }
}

/// An object's members as they stand, doubles among them: a map would keep the last one and say nothing.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl TryFrom<Pairs> for LimitOverrides {
    type Error = LimitsError;

    fn try_from(Pairs(pairs): Pairs) -> Result<Self, LimitsError> {
        let mut overrides = Self::default();
        // What each place was given as.
        let mut plain: BTreeMap<Limit, String> = BTreeMap::new();
        let mut trial: BTreeMap<Limit, String> = BTreeMap::new();
        for (name, value) in pairs {
            let earlier = match key(&name)? {
                Key::Plain(limit) => {
                    overrides.plain.insert(limit, read(limit, &name, &value)?);
                    plain.insert(limit, name.clone())
                }
                Key::Trial(limit) => {
                    overrides.trial.insert(limit, read(limit, &name, &value)?);
                    trial.insert(limit, name.clone())
                }
                Key::Carried => {
                    let text = read_carried(&name, &value)?;
                    overrides.carried.insert(name.clone(), text).map(|_| name.clone())
                }
            };
            if let Some(earlier) = earlier {
                return Err(LimitsError::Twice { name, earlier });
            }
        }
        Ok(overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_earlier_releases_stored_still_reads() {
        let overrides = LimitOverrides::from_json(r#"{"media":5,"upload_bytes":0}"#).unwrap();
        assert_eq!(
            (overrides.get(Limit::Media), overrides.get(Limit::UploadBytes)),
            (Some(5), Some(0))
        );
        assert_eq!(overrides.get(Limit::Users), None);
        assert!(LimitOverrides::from_json("{}").unwrap().is_empty());
    }

    #[test]
    fn every_kind_of_name_is_read_and_stored_as_ours() {
        let overrides = LimitOverrides::from_json(
            r#"{"CHEVERETO_MAX_FILES": "100", "CHEVERETO_TRIAL_MAX_FILES": "10", "upload_bytes": "20M", "trial.cdn": false,
                "CHEVERETO_IMAGE_FORMATS_AVAILABLE": "[\"JPEG\"]", "CHEVERETO_ENABLE_LIKES": true}"#,
        )
        .unwrap();
        assert_eq!(
            overrides.to_json(),
            r#"{"CHEVERETO_ENABLE_LIKES":"1","image_formats":2,"media":100,"trial.cdn":0,"trial.media":10,"upload_bytes":20000000}"#
        );
        assert_eq!(overrides.carried("CHEVERETO_ENABLE_LIKES"), Some("1"));
        assert_eq!(overrides.get_trial(Limit::Media), Some(10));
    }

    #[test]
    fn the_compatible_form_is_variables_and_texts() {
        let overrides = LimitOverrides::default()
            .set(Limit::Media, 100)
            .set_trial(Limit::Media, 10)
            .set(Limit::ImageFormats, 6)
            .set(Limit::Pixels, 7)
            .set_trial(Limit::ExifFacts, 0)
            .merge(&LimitOverrides::from_json(r#"{"CHEVERETO_ENABLE_LIKES": "0"}"#).unwrap());
        let expected = serde_json::json!({
            "CHEVERETO_MAX_FILES": "100", "CHEVERETO_TRIAL_MAX_FILES": "10",
            "CHEVERETO_IMAGE_FORMATS_AVAILABLE": "[\"JPEG\",\"PNG\"]",
            "MEDIAMILL_MAX_PIXELS": "7", "MEDIAMILL_TRIAL_ENABLE_EXIF_FACTS": "0", "CHEVERETO_ENABLE_LIKES": "0",
        });
        assert_eq!(Value::Object(overrides.to_chevereto()), expected);
    }

    #[test]
    fn one_limit_under_two_names_is_refused() {
        for (text, problem) in [
            (
                r#"{"media": 1, "CHEVERETO_MAX_FILES": 1}"#,
                "limit CHEVERETO_MAX_FILES is given already as media: keep one of them",
            ),
            (
                r#"{"media": 1, "media": 2}"#,
                "limit media is given already as media: keep one of them",
            ),
            (
                r#"{"CHEVERETO_X": "1", "CHEVERETO_X": "2"}"#,
                "limit CHEVERETO_X is given already as CHEVERETO_X: keep one of them",
            ),
        ] {
            assert_eq!(LimitOverrides::from_json(text).unwrap_err().to_string(), problem);
        }
        assert!(LimitOverrides::from_json(r#"{"media": 1, "trial.media": 2}"#).is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "5", "{", r#"{"media": 1} x"#] {
            assert!(
                matches!(LimitOverrides::from_json(bad), Err(LimitsError::Syntax { .. })),
                "{bad}"
            );
        }
        assert!(matches!(
            LimitOverrides::from_json(r#"{"media": -1}"#),
            Err(LimitsError::Range { .. })
        ));
    }

    #[test]
    fn a_merge_keeps_what_the_other_does_not_set() {
        let own = LimitOverrides::default().set(Limit::Media, 1).set(Limit::Users, 2);
        let other = LimitOverrides::default()
            .set(Limit::Media, 9)
            .set_trial(Limit::Users, 3);
        let merged = own.merge(&other);
        assert_eq!((merged.get(Limit::Media), merged.get(Limit::Users)), (Some(9), Some(2)));
        assert_eq!(merged.get_trial(Limit::Users), Some(3));
        let merged = merged.unset(Limit::Media).unset(Limit::Users).unset_trial(Limit::Users);
        assert!(merged.is_empty());
    }

    fn any_overrides() -> impl Strategy<Value = LimitOverrides> {
        let limit = || proptest::sample::select(Limit::ALL);
        let values = proptest::collection::vec((limit(), any::<i64>(), any::<bool>()), 0..20);
        let carried = proptest::collection::btree_map("CHEVERETO_X_[A-Z0-9_]{0,9}", ".{0,20}", 0..5);
        (values, carried).prop_map(|(values, carried)| {
            let start = LimitOverrides {
                carried,
                ..LimitOverrides::default()
            };
            values.into_iter().fold(start, |overrides, (limit, value, trial)| {
                if trial {
                    overrides.set_trial(limit, value)
                } else {
                    overrides.set(limit, value)
                }
            })
        })
    }

    proptest! {
        #[test]
        fn both_forms_read_back_as_they_were(overrides in any_overrides()) {
            prop_assert_eq!(&LimitOverrides::from_json(&overrides.to_json()).unwrap(), &overrides);
            let compatible = Value::Object(overrides.to_chevereto());
            prop_assert_eq!(&LimitOverrides::from_json(&compatible.to_string()).unwrap(), &overrides);
            let carried_on: LimitOverrides = serde_json::from_value(serde_json::to_value(&overrides).unwrap()).unwrap();
            prop_assert_eq!(&carried_on, &overrides);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = LimitOverrides::from_json(&text);
        }
    }
}
