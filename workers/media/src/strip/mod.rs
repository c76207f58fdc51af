//! Metadata, removed losslessly: containers are taken apart and put together, pixels are copied as they are coded.

mod gif;
mod jpeg;
mod png;
mod webp;

use crate::{Facts, Format, MediaError, Policy, facts, tiff};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of thing that a file gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovedKind {
    /// Where it was taken.
    GpsPosition,
    /// The camera's serial number.
    CameraSerial,
    /// The lens's serial number.
    LensSerial,
    /// The camera's owner, or the artist.
    Owner,
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
    /// EXIF, whatever is in it.
    Exif,
    /// XMP.
    Xmp,
    /// IPTC and other resources of image editors.
    Iptc,
    /// Further pictures of a multi-picture file.
    OtherPictures,
    /// A provenance record, C2PA.
    Provenance,
    /// Blocks of a program's own.
    Private,
    /// Bytes after the picture's end.
    Trailing,
}

impl fmt::Display for RemovedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GpsPosition => "GPS position",
            Self::CameraSerial => "camera serial number",
            Self::LensSerial => "lens serial number",
            Self::Owner => "owner or artist",
            Self::Camera => "camera model",
            Self::Lens => "lens model",
            Self::TakenAt => "date taken",
            Self::Software => "software",
            Self::MakerNote => "maker notes",
            Self::Thumbnail => "embedded thumbnail",
            Self::Comment => "comment",
            Self::Exif => "EXIF",
            Self::Xmp => "XMP",
            Self::Iptc => "IPTC",
            Self::OtherPictures => "further pictures",
            Self::Provenance => "provenance record",
            Self::Private => "private data",
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

/// A file without what it gave away.
#[derive(Debug, Clone)]
pub(crate) struct Stripped {
    pub(crate) bytes: Vec<u8>,
    pub(crate) removed: Vec<Removed>,
    pub(crate) facts: Facts,
    /// EXIF orientation, 1 to 8.
    pub(crate) orientation: u8,
}

/// Takes the container apart and puts it together without what `policy` does not keep.
pub(crate) fn strip(format: Format, bytes: &[u8], _policy: Policy) -> Result<Stripped, MediaError> {
    match format {
        Format::Jpeg => jpeg::strip(bytes),
        Format::Png => png::strip(bytes),
        Format::WebP => webp::strip(bytes),
        Format::Gif => gif::strip(bytes),
        Format::Avif | Format::Bmp | Format::Tiff => Err(MediaError::Unsupported {
            format: format.name(),
            problem: "not yet".to_owned(),
        }),
    }
}

/// What a walk through a container has found so far.
#[derive(Debug, Default)]
struct Finds {
    removed: Vec<Removed>,
    facts: Facts,
    orientation: Option<u8>,
}

impl Finds {
    fn add(&mut self, what: RemovedKind, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self
            .removed
            .iter_mut()
            .find(|removed| removed.what == what && removed.bytes > 0)
        {
            Some(removed) => removed.bytes = removed.bytes.saturating_add(bytes),
            None => self.removed.push(Removed {
                what,
                detail: String::new(),
                bytes,
            }),
        }
    }

    /// A TIFF block of EXIF. One that holds nothing but the orientation is what is written here: no find.
    fn exif(&mut self, block: &[u8], bytes: usize) {
        let orientation = tiff::orientation(block);
        self.orientation.get_or_insert(orientation);
        if block == tiff::only_orientation(orientation) && orientation != 1 {
            return;
        }
        let (facts, given_away) = facts::read(block);
        if self.facts == Facts::default() {
            self.facts = facts;
        }
        self.add(RemovedKind::Exif, bytes);
        self.removed.extend(given_away);
    }

    fn into_stripped(self, bytes: Vec<u8>) -> Stripped {
        let mut removed = self.removed;
        removed.sort_by_key(|removed| removed.what);
        Stripped {
            bytes,
            removed,
            facts: self.facts,
            orientation: self.orientation.unwrap_or(1),
        }
    }
}
