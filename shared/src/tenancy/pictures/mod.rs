//! What becomes of a tenant's pictures: what their files keep of their metadata, which variants are made of them, how files are
//! placed, what the same upload again is, and how long pictures stay.
//!
//! Per key (`metadata`, `variants`, `placement`, `duplicates`, `expiration`) the first that sets it has the say: the tenant, its plan, what is built in. The form is
//! that of the media engine, which this crate knows nothing of: names and ranges are checked here, where settings are
//! saved, and a test beside the worker holds the two forms together.

mod layers;
mod on_demand;
mod variant;

pub use layers::{EffectivePictures, PictureLayers, Pictures};
pub use on_demand::{OnDemand, OnDemandError, most_files};
pub use variant::{Fit, Output, VariantPreset};

use crate::{
    interval::Interval,
    placement::{FilePlacement, PlacementError},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{collections::BTreeSet, fmt, marker::PhantomData, sync::Arc};

/// Most variants that settings may have.
const MOST_VARIANTS: usize = 20;
/// Most pixels, in all variants together, that may be more than the original has: what a worker needs memory for beyond
/// what the limit `pixels` bounds.
const MOST_BEYOND: u64 = 100_000_000;

crate::jobs::names!(
    /// What files keep of their metadata. How a picture looks (profile, orientation) is always kept.
    Metadata, "metadata policy" {
        /// None of it.
        Strip = "strip",
        /// What tells no place.
        StripLocation = "strip-location",
        /// All of it in originals; variants have none.
        Keep = "keep",
    }
);

crate::jobs::names!(
    /// What becomes of an upload of the same bytes as one that is there.
    Duplicates, "duplicates policy" {
        /// It is a picture of its own.
        Allow = "allow",
        /// The picture that is there is given; nothing is stored or counted twice.
        ReturnExisting = "return-existing",
    }
);

/// What a tenant or a plan sets; the rest is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Object<Written>")]
pub struct PictureSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variants: Option<Variants>,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<FilePlacement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicates: Option<Duplicates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<Interval>,
}

/// Variants, in the order they are made and listed. Cloning shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants(Arc<[VariantPreset]>);

impl Variants {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &VariantPreset> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for Variants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Why settings are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PicturesError {
    /// It is no JSON object of what settings have.
    #[error("picture settings are a JSON object such as {{\"metadata\": \"strip\"}}: {problem}")]
    Syntax {
        /// What the parser said.
        problem: String,
    },
    /// A variant cannot be called so.
    #[error("{name:?} names no variant: 1 to 32 characters of a-z, 0-9 and -, and not \"original\"")]
    Name {
        /// As given.
        name: String,
    },
    /// Two variants are called the same.
    #[error("there are two variants {name:?}: keep one of them")]
    Twice {
        /// As given.
        name: String,
    },
    /// There are too many.
    #[error("{given} variants are too many: at most {MOST_VARIANTS}")]
    TooMany {
        /// How many.
        given: usize,
    },
    /// A number is not one that an option may have.
    #[error("variant {name}: {option} {value} is not between {least} and {most}")]
    Range {
        /// Which variant.
        name: String,
        /// Which option.
        option: &'static str,
        /// As given.
        value: u32,
        /// The least.
        least: u32,
        /// The greatest.
        most: u32,
    },
    /// Files cannot be placed so.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// No worker should need so much memory.
    #[error(
        "variants that are enlarged or contained have boxes of {pixels} pixels together: at most {MOST_BEYOND}; make some smaller"
    )]
    TooLarge {
        /// How many.
        pixels: u64,
    },
}

/// Settings as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    variants: Option<Vec<Object<VariantPreset>>>,
    #[serde(default)]
    placement: Option<Object<FilePlacement>>,
    #[serde(default)]
    duplicates: Option<Duplicates>,
    #[serde(default)]
    expiration: Option<Interval>,
}

/// What is read from a JSON object alone: a list of values would do for a struct too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl TryFrom<Object<Written>> for PictureSettings {
    type Error = PicturesError;

    fn try_from(Object(written): Object<Written>) -> Result<Self, PicturesError> {
        let Written {
            metadata,
            variants,
            placement,
            duplicates,
            expiration,
        } = written;
        let placement = placement.map(|Object(placement)| placement);
        placement.as_ref().map_or(Ok(()), FilePlacement::check)?;
        let variants = variants.map(|given| checked(given.into_iter().map(|Object(variant)| variant).collect()));
        Ok(Self {
            metadata,
            variants: variants.transpose()?,
            placement,
            duplicates,
            expiration,
        })
    }
}

fn checked(variants: Vec<VariantPreset>) -> Result<Variants, PicturesError> {
    if variants.len() > MOST_VARIANTS {
        return Err(PicturesError::TooMany { given: variants.len() });
    }
    let mut names = BTreeSet::new();
    let mut pixels = 0_u64;
    for variant in &variants {
        variant.check()?;
        if !names.insert(variant.name()) {
            return Err(PicturesError::Twice {
                name: variant.name().to_owned(),
            });
        }
        pixels = pixels.saturating_add(variant.beyond_original());
    }
    if pixels > MOST_BEYOND {
        return Err(PicturesError::TooLarge { pixels });
    }
    Ok(Variants(variants.into()))
}

impl PictureSettings {
    /// From a JSON object such as `{"metadata": "keep", "variants": [{"name": "thumb", "width": 320}]}`.
    ///
    /// # Errors
    /// When it is none, or has a key or a value that settings have not.
    pub fn from_json(text: &str) -> Result<Self, PicturesError> {
        let written: Object<Written> = serde_json::from_str(text).map_err(|error| PicturesError::Syntax {
            problem: error.to_string(),
        })?;
        written.try_into()
    }

    /// The shortest text that says the same; as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and numbers: serialising them has no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As it is stored: nothing where everything is inherited.
    pub(crate) fn to_column(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.to_json())
    }

    /// Whether everything is inherited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many variants it sets. `None`: they are inherited.
    #[must_use]
    pub fn variants(&self) -> Option<usize> {
        self.variants.as_ref().map(Variants::count)
    }

    /// These, with what `other` sets in its place.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            metadata: other.metadata.or(self.metadata),
            variants: other.variants.clone().or_else(|| self.variants.clone()),
            placement: other.placement.clone().or_else(|| self.placement.clone()),
            duplicates: other.duplicates.or(self.duplicates),
            expiration: other.expiration.or(self.expiration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        PictureSettings::from_json(json).unwrap_err().to_string()
    }

    fn variant(options: &str) -> String {
        format!(r#"{{"variants": [{{"name": "a", {options}}}]}}"#)
    }

    #[test]
    fn settings_are_read_with_all_they_may_say_and_kept_as_short_as_can_be() {
        let whole = r##"{"metadata":"strip-location","variants":[{"name":"card-2","width":480,"height":320,"fit":"cover","gravity":"250:700","output":"webp-lossless","quality":70,"background":"#aabbcc","sharpen":20,"enlarge":true,"linear":true,"animated":true}]}"##;
        assert_eq!(PictureSettings::from_json(whole).unwrap().to_json(), whole);
        let plain = r#"{"variants": [{"name": "a", "width": null, "fit": "inside", "gravity": "centre", "output": "auto",
            "quality": 80, "background": null, "sharpen": 0, "enlarge": false}], "metadata": null}"#;
        let plain = PictureSettings::from_json(plain).unwrap();
        assert_eq!(plain.to_json(), r#"{"variants":[{"name":"a"}]}"#);
        assert_eq!(plain.variants(), Some(1));
        let none = PictureSettings::from_json("{}").unwrap();
        assert!(none.is_empty() && none.to_column().is_none() && none == PictureSettings::default());
        // No variants at all is something to say.
        let bare = PictureSettings::from_json(r#"{"variants": []}"#).unwrap();
        assert_eq!((bare.variants(), bare.is_empty()), (Some(0), false));
        let shouted = PictureSettings::from_json(&variant(r#""background": "AABBCC""#)).unwrap();
        assert!(shouted.to_json().contains("#aabbcc"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, told) in [
            ("[]".to_owned(), "expected a JSON object"),
            (r#"{"variants": [["a", 9]]}"#.to_owned(), "expected a JSON object"),
            (
                r#"{"metadata": "keep", "metadata": "strip"}"#.to_owned(),
                "duplicate field",
            ),
            ("{".to_owned(), "EOF"),
            (r#"{"colour": 1}"#.to_owned(), "unknown field `colour`"),
            (r#"{"metadata": "all"}"#.to_owned(), "unknown variant `all`"),
            (r#"{"variants": [{"width": 1}]}"#.to_owned(), "missing field `name`"),
            (r#"{"variants": [{"name": "original"}]}"#.to_owned(), "names no variant"),
            (r#"{"variants": [{"name": ""}]}"#.to_owned(), "names no variant"),
            (r#"{"variants": [{"name": "a.b"}]}"#.to_owned(), "names no variant"),
            (r#"{"variants": [{"name": "A"}]}"#.to_owned(), "names no variant"),
            (
                format!(r#"{{"variants": [{{"name": "{}"}}]}}"#, "x".repeat(33)),
                "names no variant",
            ),
            (
                r#"{"variants": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}"#.to_owned(),
                "two variants \"a\"",
            ),
            (variant(r#""size": 1"#), "unknown field `size`"),
            (variant(r#""width": 0"#), "width 0 is not between 1 and 16383"),
            (variant(r#""height": 16384"#), "height 16384 is not between"),
            (variant(r#""width": -1"#), "invalid value"),
            (variant(r#""quality": 0"#), "quality 0 is not between 1 and 100"),
            (variant(r#""quality": 101"#), "quality 101"),
            (variant(r#""sharpen": 101"#), "sharpen 101"),
            (variant(r#""fit": "crop""#), "unknown variant `crop`"),
            (variant(r#""output": "tiff""#), "unknown variant `tiff`"),
            (variant(r#""gravity": "middle""#), "gravity \"middle\""),
            (variant(r#""gravity": "1001:0""#), "gravity \"1001:0\""),
            (variant(r#""gravity": "+1:0""#), "gravity \"+1:0\""),
            (variant(r##""background": "#fff""##), "background \"#fff\""),
            (variant(r#""enlarge": 1"#), "invalid type"),
            (variant(r#""enlarge": true, "width": 16383"#), "268402689 pixels"),
        ] {
            let error = refused(&json);
            assert!(error.contains(told), "{json}: {error}");
        }
    }

    #[test]
    fn there_are_so_many_variants_and_so_large_and_no_more() {
        let many = |count: usize, options: &str| {
            let variants: Vec<String> = (0..count)
                .map(|number| format!(r#"{{"name": "{number}"{options}}}"#))
                .collect();
            format!(r#"{{"variants": [{}]}}"#, variants.join(","))
        };
        let longest = r##", "width": 2000, "height": 2000, "fit": "contain", "gravity": "1000:1000", "output": "webp-lossless", "quality": 100, "background": "#ffffff", "sharpen": 100, "enlarge": true, "linear": true, "animated": true"##;
        let most = PictureSettings::from_json(&many(20, longest)).unwrap();
        assert!(most.to_json().len() < 8_192, "a row stays small");
        assert!(refused(&many(21, "")).contains("21 variants are too many"));
        let boxed = |options: &str| PictureSettings::from_json(&many(5, options));
        assert!(
            boxed(r#", "width": 5000, "height": 5000"#).is_ok(),
            "never larger than the original"
        );
        assert!(boxed(r#", "width": 4000, "height": 5000, "fit": "contain""#).is_ok());
        assert!(boxed(r#", "width": 4001, "height": 5000, "fit": "contain""#).is_err());
    }

    #[test]
    fn what_is_merged_takes_the_place_of_its_key_alone() {
        let read = |text: &str| PictureSettings::from_json(text).unwrap();
        let (present, keep) = (read(r#"{"variants":[{"name":"a"}]}"#), read(r#"{"metadata":"keep"}"#));
        assert_eq!(
            present.merge(&keep).to_json(),
            r#"{"metadata":"keep","variants":[{"name":"a"}]}"#
        );
        assert_eq!(
            present.merge(&read(r#"{"variants":[]}"#)).to_json(),
            r#"{"variants":[]}"#
        );
        assert_eq!(present.merge(&read("{}")), present);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_again(text in r#"\{("(metadata|variants|x)": ?("keep"|\[\{"name": ?"[a-z]{0,3}"(, ?"width": ?[0-9]{1,5})?\}\]),?){0,2}\}"#) {
            if let Ok(settings) = PictureSettings::from_json(&text) {
                proptest::prop_assert_eq!(PictureSettings::from_json(&settings.to_json()).unwrap(), settings);
            }
        }
    }
}
