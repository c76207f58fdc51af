//! Metadata, removed losslessly: containers are taken apart and put together, pixels are copied as they are coded.
//!
//! Every walk goes through the whole file, whatever the policy: one that is cut off, or is a bomb, is refused. A kept
//! byte is copied once.
//!
//! [`Policy::StripLocation`] takes every place and leaves the rest valid. What cannot be searched for places goes whole:
//! maker notes, blocks of a program's own, provenance records (their signatures would be broken besides), further
//! pictures (they carry EXIF of their own), XMP that is split or does not parse, blocks over 1 MiB. In AVIF, BMP and
//! TIFF it removes what [`Policy::Strip`] does.

mod avif;
#[cfg(test)]
mod avif_tests;
mod bmp;
mod finds;
mod gif;
mod items;
mod jpeg;
mod movie;
mod pieces;
mod png;
mod png_text;
mod removed;
mod tiff;
mod webp;

use crate::{Facts, Format, MediaError, Policy};
use finds::Finds;
pub(crate) use jpeg::MOST_SCANS;
pub(crate) use removed::readable;
pub use removed::{Removed, RemovedKind};

/// A file without what it gave away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stripped {
    /// The file, clean unless `not_lossless` says otherwise.
    pub bytes: Vec<u8>,
    /// What is gone, the most telling first.
    pub removed: Vec<Removed>,
    /// What the metadata told, and the frames of an animation.
    pub facts: Facts,
    /// EXIF orientation, 1 to 8: how the pixels are to be turned. The file says so itself. Always 1 for AVIF, whose
    /// decoders turn by its own properties.
    pub orientation: u8,
    /// Why the file cannot be cleaned as it is coded: its pixels are to be coded anew, and `bytes`, which are those that
    /// came, are not to be kept. Rare, and only with AVIF, BMP and TIFF.
    pub not_lossless: Option<&'static str>,
}

/// Takes the container apart and puts it together without what `policy` does not keep. Pixels stay as they are coded,
/// so does the ICC profile. Doing it twice changes nothing and finds nothing.
///
/// With [`Policy::Keep`] the bytes come back as they are, after the same walk.
///
/// # Errors
/// When the file is cut off, or contradicts its format.
pub fn strip(format: Format, bytes: &[u8], policy: Policy) -> Result<Stripped, MediaError> {
    let mut finds = Finds::new(match (format, policy) {
        (Format::Jpeg | Format::Png | Format::WebP | Format::Gif, Policy::StripLocation) => Policy::StripLocation,
        (_, Policy::Strip | Policy::StripLocation | Policy::Keep) => Policy::Strip,
    });
    let pieces = match format {
        Format::Jpeg => jpeg::walk(bytes, &mut finds),
        Format::Png => png::walk(bytes, &mut finds),
        Format::WebP => webp::walk(bytes, &mut finds),
        Format::Gif => gif::walk(bytes, &mut finds),
        Format::Avif => avif::walk(bytes, &mut finds),
        Format::Bmp => bmp::walk(bytes, &mut finds),
        Format::Tiff => tiff::walk(bytes, &mut finds),
    }?;
    let (removed, facts, orientation, lossy) = finds.finish();
    let keep = policy == Policy::Keep;
    let as_it_came = keep || lossy.is_some();
    Ok(Stripped {
        bytes: if as_it_came { bytes.to_vec() } else { pieces.finish() },
        removed: if keep { Vec::new() } else { removed },
        facts,
        orientation,
        not_lossless: if keep { None } else { lossy },
    })
}
