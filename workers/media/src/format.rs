//! Formats, told by content, never by name.

use serde::{Deserialize, Serialize};

/// A format that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ITU-T T.81.
    Jpeg,
    /// W3C PNG, third edition; APNG too.
    Png,
    /// RFC 9649.
    WebP,
    /// GIF 87a and 89a.
    Gif,
    /// AV1 Image File Format 1.1, still pictures and sequences.
    Avif,
    /// Windows bitmap.
    Bmp,
    /// TIFF 6.0; BigTIFF is refused.
    Tiff,
}

/// Major brands of files that may hold an AV1 picture; the others that begin so are films.
const PICTURES: [&[u8]; 5] = [b"avif", b"avis", b"mif1", b"msf1", b"miaf"];

impl Format {
    /// Its name in rows and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Avif => "avif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Jpeg,
            Self::Png,
            Self::WebP,
            Self::Gif,
            Self::Avif,
            Self::Bmp,
            Self::Tiff,
        ];
        all.into_iter().find(|format| format.name() == name)
    }

    /// Its file extension, without a dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Avif => "avif",
            Self::Bmp => "bmp",
            Self::Tiff => "tif",
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Avif => "image/avif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }

    /// The format that `head` begins like; 12 bytes tell.
    #[must_use]
    pub fn sniff(head: &[u8]) -> Option<Self> {
        if head.starts_with(&[0xff, 0xd8, 0xff]) {
            Some(Self::Jpeg)
        } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
            Some(Self::Gif)
        } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
            Some(Self::WebP)
        } else if head.get(4..8) == Some(b"ftyp") && head.get(8..12).is_some_and(|brand| PICTURES.contains(&brand)) {
            Some(Self::Avif)
        } else if head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4]) {
            // The reserved fields: two letters alone begin many a text.
            Some(Self::Bmp)
        } else if head.starts_with(b"II*\0") || head.starts_with(b"MM\0*") {
            Some(Self::Tiff)
        } else {
            None
        }
    }
}
