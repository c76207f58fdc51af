//! AVIF: the file type box and the meta box, which stands near the file's beginning but may be longer than a head.

use super::{Header, ProbeError, TABLES, pixels};
use crate::{
    Format, MediaError,
    avif::{self, Coding},
    isobmff::{BoxError, IsoBox, Meta, boxes},
};

/// Brands of HEVC pictures and sequences (ISO/IEC 23008-12, annex B).
const HEIC: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"];
const AVIF: [&[u8]; 2] = [b"avif", b"avis"];
/// Contexts and scratch of an AV1 decoder with one thread.
const DECODER: u64 = 4 * 1024 * 1024;

/// Names HEIC, which begins like AVIF.
pub(super) fn refuse_heic(head: &[u8]) -> Result<(), ProbeError> {
    let first = match boxes(head, 0).next() {
        Some(Ok(first)) => first,
        Some(Err(BoxError::Beyond { kind: Some(kind) })) if &kind == b"ftyp" && Format::sniff(head).is_none() => {
            return Err(ProbeError::NeedMore);
        }
        _ => return Ok(()),
    };
    if &first.kind != b"ftyp" || first.open || brands(&first).any(|brand| AVIF.contains(&brand)) {
        return Ok(());
    }
    if brands(&first).any(|brand| HEIC.contains(&brand)) {
        return Err(avif::heic().into());
    }
    Ok(())
}

/// The major brand and those that it is compatible with.
fn brands<'a>(ftyp: &IsoBox<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    ftyp.body
        .chunks_exact(4)
        .enumerate()
        .filter(|(place, _)| *place != 1)
        .map(|(_, brand)| brand)
}

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    let meta = meta(head)?;
    let picture = avif::picture(&meta)?;
    Ok(Header {
        width: picture.width,
        height: picture.height,
        pixel_bytes: if picture.alpha.is_some() { 4 } else { 3 },
        decoder_bytes: decoder_bytes(picture.width, picture.height, picture.coding),
        coded: None,
    })
}

/// The meta box, once the file's beginning reaches to its end.
fn meta(head: &[u8]) -> Result<Meta<'_>, ProbeError> {
    for found in boxes(head, 0) {
        match found {
            // Where the head ends it would end too.
            Ok(found) if &found.kind == b"meta" && found.open => {
                return Err(MediaError::corrupt("its list of items does not say where it ends").into());
            }
            Ok(found) if &found.kind == b"meta" => return Ok(Meta::parse(&found)?),
            Ok(_) => {}
            Err(BoxError::Beyond { .. }) => return Err(ProbeError::NeedMore),
            Err(error @ BoxError::Damaged) => return Err(error.within("file").into()),
        }
    }
    Err(ProbeError::NeedMore)
}

/// The planes of a frame and, where there is film grain, of a second one; the result; what the decoder knows of each
/// block, and lines of its filters.
fn decoder_bytes(width: u32, height: u32, coding: Coding) -> u64 {
    const ALIGNED: u64 = 128;
    let padded = |side: u32| {
        u64::from(side)
            .div_ceil(ALIGNED)
            .saturating_mul(ALIGNED)
            .saturating_add(ALIGNED)
    };
    let luma = padded(width).saturating_mul(padded(height));
    let chroma = match coding {
        Coding { monochrome: true, .. } => 0,
        Coding {
            halved_across: true,
            halved_down: true,
            ..
        } => luma / 2,
        Coding {
            halved_across: true, ..
        } => luma,
        Coding { .. } => luma.saturating_mul(2),
    };
    let sample = if coding.depth > 8 { 2 } else { 1 };
    luma.saturating_add(chroma)
        .saturating_mul(sample)
        .saturating_mul(2)
        .saturating_add(luma)
        .saturating_add(pixels(width, height).saturating_mul(4))
        .saturating_add(DECODER)
        .saturating_add(TABLES)
}
