//! Formats of still pictures, and sets of them.
//!
//! A set is stored as an integer: a format's bit never changes, a new one takes the next.

use std::{fmt, str::FromStr};

/// A format that a tenant may be allowed to upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageFormat {
    /// AV1 still pictures and sequences.
    Avif,
    /// JPEG.
    Jpeg,
    /// PNG and APNG.
    Png,
    /// Windows bitmaps.
    Bmp,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
    /// TIFF.
    Tiff,
}

impl ImageFormat {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self::Avif,
        Self::Jpeg,
        Self::Png,
        Self::Bmp,
        Self::Gif,
        Self::Webp,
        Self::Tiff,
    ];

    /// Its media type.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Avif => "image/avif",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Bmp => "image/bmp",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Tiff => "image/tiff",
        }
    }

    /// By its media type. `None`: it is no picture's that is taken here.
    #[must_use]
    pub fn of_mime(mime: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.mime() == mime)
    }

    /// Its name as Chevereto writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Avif => "AVIF",
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Webp => "WEBP",
            Self::Tiff => "TIFF",
        }
    }

    /// Stored: never change one.
    const fn bit(self) -> i64 {
        match self {
            Self::Avif => 1,
            Self::Jpeg => 1 << 1,
            Self::Png => 1 << 2,
            Self::Bmp => 1 << 3,
            Self::Gif => 1 << 4,
            Self::Webp => 1 << 5,
            Self::Tiff => 1 << 6,
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ImageFormat {
    type Err = String;

    /// In capitals or not; `JPG` and `TIF` are understood.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text.trim().to_ascii_uppercase() {
            name if name == "JPG" => "JPEG".to_owned(),
            name if name == "TIF" => "TIFF".to_owned(),
            name => name,
        };
        let known = Self::ALL.iter().find(|format| format.as_str() == name);
        known
            .copied()
            .ok_or_else(|| format!("{text:?} is no image format: write some of {}", FormatSet::ALL))
    }
}

/// A set of formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FormatSet(i64);

impl FormatSet {
    /// Every format.
    pub const ALL: Self = Self((1 << ImageFormat::ALL.len()) - 1);

    /// From the stored integer; bits that are no format are dropped.
    #[must_use]
    pub const fn from_bits(bits: i64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The integer that is stored.
    #[must_use]
    pub const fn bits(self) -> i64 {
        self.0
    }

    /// Whether `format` is in it.
    #[must_use]
    pub const fn contains(self, format: ImageFormat) -> bool {
        self.0 & format.bit() != 0
    }

    /// Its formats, in the order of [`ImageFormat::ALL`].
    pub fn iter(self) -> impl Iterator<Item = ImageFormat> {
        ImageFormat::ALL
            .iter()
            .copied()
            .filter(move |format| self.contains(*format))
    }
}

impl FromIterator<ImageFormat> for FormatSet {
    fn from_iter<I: IntoIterator<Item = ImageFormat>>(formats: I) -> Self {
        Self(formats.into_iter().fold(0, |bits, format| bits | format.bit()))
    }
}

impl fmt::Display for FormatSet {
    /// `JPEG, PNG`, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(ImageFormat::as_str).collect();
        if names.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bits_stay_what_they_are() {
        let bits: Vec<i64> = ImageFormat::ALL.iter().map(|format| format.bit()).collect();
        assert_eq!(bits, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(FormatSet::ALL.bits(), 127);
        assert_eq!(FormatSet::from_bits(-1), FormatSet::ALL);
    }

    #[test]
    fn sets_read_as_people_write_them() {
        let set: FormatSet = ["jpg", "PNG"].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(set.to_string(), "JPEG, PNG");
        assert!(set.contains(ImageFormat::Jpeg) && !set.contains(ImageFormat::Gif));
        assert_eq!(FormatSet::from_bits(0).to_string(), "none");
        assert_eq!(
            "HEIC".parse::<ImageFormat>().unwrap_err(),
            "\"HEIC\" is no image format: write some of AVIF, JPEG, PNG, BMP, GIF, WEBP, TIFF"
        );
    }
}
