//! One variant as a tenant asks for it.

use super::PicturesError;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;

/// Longest name of a variant: what the tenants' tables hold.
const LONGEST_NAME: usize = 32;
/// The file that every picture has: no variant may have its name.
const ORIGINAL: &str = "original";
/// Longest side of a box, pixels: what WebP can hold.
const LONGEST_SIDE: u32 = 16_383;
/// Quality where nobody says.
const STANDARD_QUALITY: u32 = 80;

crate::jobs::names!(
    /// How a picture meets its box.
    Fit, "fit" {
        /// Fills it; what stands out is cut off.
        Cover = "cover",
        /// Whole, within it, and the rest of it filled.
        Contain = "contain",
        /// Whole, within it.
        Inside = "inside",
    }
);

crate::jobs::names!(
    /// The format that a variant is stored in.
    Output, "output" {
        /// Whichever suits the picture.
        Auto = "auto",
        /// JPEG.
        Jpeg = "jpeg",
        /// PNG.
        Png = "png",
        /// WebP, lossy.
        Webp = "webp",
        /// WebP, lossless.
        WebpLossless = "webp-lossless",
        /// AVIF.
        Avif = "avif",
        /// GIF.
        Gif = "gif",
    }
);

#[expect(clippy::derivable_impls, reason = "the macro that makes it names no default")]
impl Default for Fit {
    fn default() -> Self {
        Self::Inside
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that makes it names no default")]
impl Default for Output {
    fn default() -> Self {
        Self::Auto
    }
}

/// A variant that is made of every picture. Its options and what they are without a word are the media engine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantPreset {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    fit: Fit,
    #[serde(default, skip_serializing_if = "is_default")]
    gravity: Gravity,
    #[serde(default, skip_serializing_if = "is_default")]
    output: Output,
    #[serde(default = "standard_quality", skip_serializing_if = "is_standard")]
    quality: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    background: Option<Colour>,
    #[serde(default, skip_serializing_if = "is_default")]
    sharpen: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    enlarge: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    linear: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    animated: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn standard_quality() -> u32 {
    STANDARD_QUALITY
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
const fn is_standard(quality: &u32) -> bool {
    *quality == STANDARD_QUALITY
}

impl VariantPreset {
    pub(super) fn new(name: &str, width: Option<u32>, height: Option<u32>, fit: Fit) -> Self {
        Self {
            name: name.to_owned(),
            width,
            height,
            fit,
            gravity: Gravity::default(),
            output: Output::Auto,
            quality: STANDARD_QUALITY,
            background: None,
            sharpen: 0,
            enlarge: false,
            linear: false,
            animated: false,
        }
    }

    /// Its name: part of URLs and of object keys.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn check(&self) -> Result<(), PicturesError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let named = (1..=LONGEST_NAME).contains(&self.name.len()) && self.name.bytes().all(plain);
        if !named || self.name == ORIGINAL {
            return Err(PicturesError::Name {
                name: self.name.clone(),
            });
        }
        let ranges = [
            ("width", self.width, 1, LONGEST_SIDE),
            ("height", self.height, 1, LONGEST_SIDE),
            ("quality", Some(self.quality), 1, 100),
            ("sharpen", Some(self.sharpen), 0, 100),
        ];
        for (option, value, least, most) in ranges {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                return Err(PicturesError::Range {
                    name: self.name.clone(),
                    option,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    /// Pixels of its box where it may have more of them than the original, which the limit `pixels` bounds.
    pub(super) fn beyond_original(&self) -> u64 {
        if !self.enlarge && self.fit != Fit::Contain {
            return 0;
        }
        let side = |one: Option<u32>, other: Option<u32>| u64::from(one.or(other).unwrap_or(0));
        side(self.width, self.height).saturating_mul(side(self.height, self.width))
    }
}

/// The part that is kept where something is cut off: a name, or a point in thousandths of width and height.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Gravity(String);

impl Gravity {
    const NAMED: [&str; 9] = [
        "centre",
        "north",
        "northeast",
        "east",
        "southeast",
        "south",
        "southwest",
        "west",
        "northwest",
    ];
}

impl Default for Gravity {
    fn default() -> Self {
        let [centre, ..] = Self::NAMED;
        Self(centre.to_owned())
    }
}

impl<'de> Deserialize<'de> for Gravity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let thousandths = |part: &str| {
            let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            digits && part.parse::<u16>().is_ok_and(|value| value <= 1_000)
        };
        let point = |(x, y): (&str, &str)| thousandths(x) && thousandths(y);
        if Self::NAMED.contains(&text.as_str()) || text.split_once(':').is_some_and(point) {
            return Ok(Self(text));
        }
        Err(de::Error::custom(format_args!(
            "gravity {text:?} is none of {}, nor a point in thousandths such as 250:700",
            Self::NAMED.join(", ")
        )))
    }
}

/// A colour, sRGB, as `#rrggbb`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Colour(String);

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix('#').unwrap_or(&text);
        if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Self(format!("#{}", digits.to_ascii_lowercase())));
        }
        Err(de::Error::custom(format_args!(
            "background {text:?} is no colour: six hexadecimal digits, such as #ffffff"
        )))
    }
}

/// In a line, for people: `480 × 320 cover webp`.
impl fmt::Display for VariantPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: Option<u32>| side.map_or_else(|| "any".to_owned(), |side| side.to_string());
        write!(
            f,
            "{} × {} {} {}",
            side(self.width),
            side(self.height),
            self.fit,
            self.output
        )?;
        write!(f, ", quality {}", self.quality)?;
        if !is_default(&self.gravity) {
            write!(f, ", {}", self.gravity.0)?;
        }
        if let Some(Colour(colour)) = &self.background {
            write!(f, ", on {colour}")?;
        }
        if self.sharpen > 0 {
            write!(f, ", sharpened {} %", self.sharpen)?;
        }
        for (word, is) in [
            ("enlarged", self.enlarge),
            ("in linear light", self.linear),
            ("animated", self.animated),
        ] {
            if is {
                write!(f, ", {word}")?;
            }
        }
        Ok(())
    }
}
