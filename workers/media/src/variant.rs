//! What is wanted of a picture: sizes, fits, formats.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A picture that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Width of the box, pixels, as displayed; `None`: as it comes.
    #[serde(default)]
    pub width: Option<u32>,
    /// Height of the box, pixels, as displayed; `None`: as it comes.
    #[serde(default)]
    pub height: Option<u32>,
    /// How it meets the box.
    #[serde(default)]
    pub fit: Fit,
    /// Which part is kept where something is cut off, or where it stands where something is added.
    #[serde(default)]
    pub gravity: Gravity,
    /// The format it is stored in.
    #[serde(default)]
    pub output: Output,
    /// Quality of lossy formats, 1 to 100.
    #[serde(default = "standard_quality")]
    pub quality: u8,
    /// What stands behind transparency, and beside a picture that is contained. `None`: transparency stays where the
    /// format has it, and is white elsewhere.
    #[serde(default)]
    pub background: Option<Rgb>,
    /// Sharpening after scaling, percent, 0 to 100.
    #[serde(default)]
    pub sharpen: u8,
    /// Whether it may have more pixels than the original.
    #[serde(default)]
    pub enlarge: bool,
    /// Whether it is scaled in linear light: exact, and slower.
    #[serde(default)]
    pub linear: bool,
    /// Whether it moves where the original does and its format can; else it is the first frame.
    #[serde(default)]
    pub animated: bool,
}

/// How a picture meets a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Fills the box; what stands out is cut off where gravity says.
    Cover,
    /// Whole, within the box, and the rest of the box filled with the background.
    Contain,
    /// Whole, within the box.
    #[default]
    Inside,
}

/// A point of a picture that is held when it is cut, in thousandths of width and height from above left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gravity {
    /// Across, 0 to 1,000.
    pub x: u16,
    /// Down, 0 to 1,000.
    pub y: u16,
}

/// The format that a variant is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// JPEG; PNG where there is transparency or the sides are too long for JPEG; WebP where it moves.
    #[default]
    Auto,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy.
    Webp,
    /// WebP, lossless.
    WebpLossless,
    /// AVIF.
    Avif,
    /// GIF.
    Gif,
}

/// A colour, sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub [u8; 3]);

/// Quality where nobody says.
pub const STANDARD_QUALITY: u8 = 80;

const fn standard_quality() -> u8 {
    STANDARD_QUALITY
}

impl Variant {
    /// A variant with a name and a box, and everything else as it is by default.
    #[must_use]
    pub fn new(name: &str, width: Option<u32>, height: Option<u32>, fit: Fit) -> Self {
        Self {
            name: name.to_owned(),
            width,
            height,
            fit,
            gravity: Gravity::CENTRE,
            output: Output::Auto,
            quality: STANDARD_QUALITY,
            background: None,
            sharpen: 0,
            enlarge: false,
            linear: false,
            animated: false,
        }
    }
}

impl Gravity {
    /// The middle.
    pub const CENTRE: Self = Self { x: 500, y: 500 };

    const NAMED: [(&'static str, Self); 9] = [
        ("centre", Self::CENTRE),
        ("north", Self { x: 500, y: 0 }),
        ("northeast", Self { x: 1_000, y: 0 }),
        ("east", Self { x: 1_000, y: 500 }),
        ("southeast", Self { x: 1_000, y: 1_000 }),
        ("south", Self { x: 500, y: 1_000 }),
        ("southwest", Self { x: 0, y: 1_000 }),
        ("west", Self { x: 0, y: 500 }),
        ("northwest", Self { x: 0, y: 0 }),
    ];
}

impl Default for Gravity {
    fn default() -> Self {
        Self::CENTRE
    }
}

/// A name, or a focal point in thousandths: `north`, `250:700`.
impl FromStr for Gravity {
    type Err = NoGravity;

    fn from_str(text: &str) -> Result<Self, NoGravity> {
        if let Some((_, gravity)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*gravity);
        }
        let thousandths = |part: &str| part.parse::<u16>().ok().filter(|value| *value <= 1_000);
        text.split_once(':')
            .and_then(|(x, y)| {
                Some(Self {
                    x: thousandths(x)?,
                    y: thousandths(y)?,
                })
            })
            .ok_or_else(|| NoGravity(text.to_owned()))
    }
}

impl fmt::Display for Gravity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, gravity)| gravity == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}:{}", self.x, self.y),
        }
    }
}

/// A text that is no gravity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no gravity: centre, north, northeast … northwest, or a point in thousandths such as 250:700")]
pub struct NoGravity(String);

/// `#rrggbb`, the `#` may be missing.
impl FromStr for Rgb {
    type Err = NoColour;

    fn from_str(text: &str) -> Result<Self, NoColour> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        let refuse = || NoColour(text.to_owned());
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let value = u32::from_str_radix(digits, 16).map_err(|_| refuse())?;
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// A text that is no colour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no colour: six hexadecimal digits, such as #ffffff")]
pub struct NoColour(String);

/// Written and read as text.
macro_rules! as_text {
    ($($name:ident),+) => { $(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+ };
}
as_text!(Gravity, Rgb);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gravities_and_colours_are_read_as_they_are_written() {
        for text in ["centre", "southwest", "0:1000", "250:700"] {
            let gravity: Gravity = text.parse().unwrap();
            assert_eq!(gravity.to_string().parse::<Gravity>().unwrap(), gravity, "{text}");
        }
        assert_eq!("Ff8000".parse::<Rgb>().unwrap().to_string(), "#ff8000");
        for bad in ["", "middle", "1:2:3", "1001:0", "-1:0", "0,5:1"] {
            assert!(bad.parse::<Gravity>().is_err(), "{bad}");
        }
        for bad in ["", "#12345", "+12345", "gggggg", "#1234567"] {
            assert!(bad.parse::<Rgb>().is_err(), "{bad}");
        }
    }
}
