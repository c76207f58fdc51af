//! What was removed, in words.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of thing that a file gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovedKind {
    /// Where it was taken.
    GpsPosition,
    /// City, state, country, in words.
    PlaceName,
    /// The camera's serial number.
    CameraSerial,
    /// The lens's serial number.
    LensSerial,
    /// The camera's owner, or the artist.
    Owner,
    /// Whose rights it says there are.
    Copyright,
    /// The camera.
    Camera,
    /// The lens.
    Lens,
    /// When it was taken.
    TakenAt,
    /// Programs that wrote it.
    Software,
    /// The maker's private notes.
    MakerNote,
    /// A smaller picture of the picture, which may show what was cut off.
    Thumbnail,
    /// Free text.
    Comment,
    /// Words to find it by.
    Keywords,
    /// EXIF, whatever is in it.
    Exif,
    /// XMP.
    Xmp,
    /// IPTC and other resources of image editors.
    Iptc,
    /// Further pictures of a multi-picture file.
    OtherPictures,
    /// Pages after the first.
    FurtherPages,
    /// A provenance record, C2PA.
    Provenance,
    /// Blocks of a program's own.
    Private,
    /// Bytes that no part of the file uses.
    Unused,
    /// Bytes after the picture's end.
    Trailing,
}

impl fmt::Display for RemovedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GpsPosition => "GPS position",
            Self::PlaceName => "place names",
            Self::CameraSerial => "camera serial number",
            Self::LensSerial => "lens serial number",
            Self::Owner => "owner or artist",
            Self::Copyright => "copyright notice",
            Self::Camera => "camera model",
            Self::Lens => "lens model",
            Self::TakenAt => "date taken",
            Self::Software => "software",
            Self::MakerNote => "maker notes",
            Self::Thumbnail => "embedded thumbnail",
            Self::Comment => "comment",
            Self::Keywords => "keywords",
            Self::Exif => "EXIF",
            Self::Xmp => "XMP",
            Self::Iptc => "IPTC",
            Self::OtherPictures => "further pictures",
            Self::FurtherPages => "further pages",
            Self::Provenance => "provenance record",
            Self::Private => "private data",
            Self::Unused => "unused bytes",
            Self::Trailing => "trailing bytes",
        })
    }
}

/// Something that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// What.
    pub what: RemovedKind,
    /// What it said, where that is short and readable.
    pub detail: String,
    /// Its size in the file; 0 for a part of a block that is named too.
    pub bytes: u64,
}

/// Longest text that is told of a field, in characters.
const LONGEST: usize = 200;

impl Removed {
    /// A part of a block that is named too, with what it said.
    pub(crate) fn part(what: RemovedKind, said: &str) -> Self {
        Self {
            what,
            detail: readable(said),
            bytes: 0,
        }
    }
}

/// A text cut to what a person reads: without control characters, at most 200 characters.
pub(crate) fn readable(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    text.trim().to_owned()
}
