//! TIFF 6.0: the first picture is written anew, with the tags that its look depends on, its strips or tiles as they are
//! coded, and its ICC profile. Everything else goes: further pages, EXIF, XMP, IPTC, and what no tag points to.
//!
//! Strips that are JPEG lose their segments of metadata. Not lossless: old-style JPEG (its tables lie anywhere), codings
//! that are not known here and may hold anything, strips whose sizes are missing or that lie over one another.

use super::{finds::Finds, jpeg, pieces::Pieces, removed::RemovedKind};
use crate::{
    MediaError,
    exif::{Block, Directory, Entry, Field, Order, directory, tag},
    facts, tiff,
};
use std::{borrow::Cow, ops::Range};

const COMPRESSION: u16 = 0x0103;
const JPEG_TABLES: u16 = 0x015b;
const ICC: u16 = 0x8773;
const DATE_TIME: u16 = 0x0132;
const HOST_COMPUTER: u16 = 0x013c;
const UNCODED: u32 = 1;
/// JPEG of TIFF's technical note 2.
const JPEG: u32 = 7;
/// A strip for each row of the highest picture there is, twice over.
const MOST_PARTS: usize = 1 << 17;

/// What the look depends on; TIFF 6.0 parts 1 and 2, its technical notes, ICC.1 annex B.2. Names of inks, pages and
/// people are not among it.
const KEPT: &[u16] = &[
    // Size, samples, coding, meaning.
    0x0100,
    0x0101,
    0x0102,
    COMPRESSION,
    0x0106,
    0x0107,
    0x0108,
    0x0109,
    0x010a,
    0x0115,
    0x0118,
    0x0119,
    0x011c,
    0x013d,
    0x0152,
    0x0153,
    0x0154,
    0x0155, // Rows and tiles.
    0x0116,
    0x0142,
    0x0143, // Fax and JPEG.
    0x0124,
    0x0125,
    JPEG_TABLES, // Colours.
    0x0122,
    0x0123,
    0x012d,
    0x013e,
    0x013f,
    0x0140,
    0x014c,
    0x014e,
    0x0150,
    0x0156,
    0x0211,
    0x0212,
    0x0213,
    0x0214,
    ICC,
    // How it is shown: orientation, resolution.
    tag::ORIENTATION,
    0x011a,
    0x011b,
    0x0128,
];

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    let order = Order::of(bytes).ok_or_else(|| MediaError::Unsupported {
        format: "TIFF",
        problem: "a BigTIFF, or no TIFF at all".to_owned(),
    })?;
    let block = Block::read(bytes).ok_or(MediaError::Truncated)?;
    report(bytes, &block, finds);
    let mut pieces = Pieces::of(bytes);
    if let Some(reason) = rewrite(bytes, &block.primary, order, finds, &mut pieces)? {
        finds.lossy = Some(reason);
        return Ok(pieces);
    }
    let told: u64 = finds.removed.iter().map(|removed| removed.bytes).sum();
    let told = usize::try_from(told).unwrap_or(usize::MAX);
    let rest = bytes.len().saturating_sub(pieces.len()).saturating_sub(told);
    if block.primary.next != 0 {
        finds.add(RemovedKind::FurtherPages, rest.max(1));
    } else if rest > 0 {
        finds.add(RemovedKind::Unused, rest);
    }
    Ok(pieces)
}

/// What the tags tell that do not stay.
fn report(bytes: &[u8], block: &Block<'_>, finds: &mut Finds) {
    finds.orientation = Some(tiff::orientation(bytes));
    for entry in block.primary.entries.iter().filter(|entry| !stays(entry)) {
        let size = 12 + if entry.value.len() > 4 { entry.value.len() } else { 0 };
        let what = match entry.tag {
            tag::STRIP_OFFSETS | tag::STRIP_SIZES | tag::TILE_OFFSETS | tag::TILE_SIZES => continue,
            tag::XMP => {
                finds.xmp(entry.value, size);
                continue;
            }
            tag::IPTC | tag::PHOTOSHOP => {
                finds.iptc(entry.value, size);
                continue;
            }
            tag::EXIF | tag::GPS | tag::INTEROP => RemovedKind::Exif,
            tag::MAKE | tag::MODEL => RemovedKind::Camera,
            tag::SOFTWARE | HOST_COMPUTER => RemovedKind::Software,
            tag::ARTIST => RemovedKind::Owner,
            tag::COPYRIGHT => RemovedKind::Copyright,
            tag::DESCRIPTION => RemovedKind::Comment,
            DATE_TIME => RemovedKind::TakenAt,
            tag::SUB_IFDS => RemovedKind::OtherPictures,
            _ => RemovedKind::Private,
        };
        finds.add(what, size);
    }
    let (facts, told) = facts::read(bytes);
    finds.facts = facts;
    // The second directory is a page, not a thumbnail.
    let told = told.into_iter().filter(|told| told.what != RemovedKind::Thumbnail);
    finds.parts(told.collect());
}

/// Whether an entry stays: numbers that decoding needs, and the two that are bytes.
fn stays(entry: &Entry<'_>) -> bool {
    if entry.tag == tag::ORIENTATION {
        return entry.is_orientation();
    }
    KEPT.contains(&entry.tag) && (matches!(entry.tag, ICC | JPEG_TABLES) || !matches!(entry.kind, 2 | 7 | 13 | 129))
}

/// Writes the first picture anew, or says why it cannot be.
fn rewrite<'a>(
    bytes: &'a [u8],
    page: &Directory<'a>,
    order: Order,
    finds: &mut Finds,
    pieces: &mut Pieces<'a>,
) -> Result<Option<&'static str>, MediaError> {
    let coding = page
        .find(COMPRESSION)
        .and_then(|entry| entry.number(order))
        .unwrap_or(UNCODED);
    // None, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard.
    if !matches!(coding, 1..=5 | JPEG | 8 | 32_773 | 32_946 | 34_925 | 50_000) {
        return Ok(Some("its pixels are coded in a way that may hold metadata of its own"));
    }
    let tags = if page.find(tag::TILE_OFFSETS).is_some() {
        (tag::TILE_OFFSETS, tag::TILE_SIZES)
    } else {
        (tag::STRIP_OFFSETS, tag::STRIP_SIZES)
    };
    let Some(mut ranges) = ranges(page, order, tags) else {
        return Ok(Some("the sizes of its strips are missing"));
    };
    if coding == UNCODED {
        whole_rows(page, order, &mut ranges);
    }
    if ranges.is_empty() {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    let total = ranges
        .iter()
        .fold(0, |total: usize, range| total.saturating_add(range.len()));
    let mut fields: Vec<Field<'a>> = page
        .entries
        .iter()
        .filter(|entry| stays(entry))
        .map(|entry| (*entry).into())
        .collect();
    let values: usize = fields.iter().map(|field| field.value.len()).sum();
    if total > bytes.len() || values > bytes.len() {
        return Ok(Some("parts of it lie over one another"));
    }
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Some(part) = part(bytes, range, coding, finds)? else {
            return Ok(Some("a strip of it is no JPEG of its own"));
        };
        parts.push(part);
    }
    if coding == JPEG
        && let Some(tables) = fields.iter_mut().find(|field| field.tag == JPEG_TABLES)
    {
        let Ok((clean, gone)) = jpeg::stream(&tables.value) else {
            return Ok(Some("its JPEG tables do not parse"));
        };
        note(finds, gone);
        tables.kind = 7;
        tables.count = u32::try_from(clean.len()).unwrap_or(0);
        tables.value = Cow::Owned(clean);
    }
    write(pieces, order, fields, tags, parts)?;
    Ok(None)
}

/// Where strips or tiles lie; none where that is not said.
fn ranges(page: &Directory<'_>, order: Order, (at, sizes): (u16, u16)) -> Option<Vec<Range<usize>>> {
    let (at, sizes) = (page.find(at)?, page.find(sizes)?);
    if at.count != sizes.count || usize::try_from(at.count).ok()? > MOST_PARTS {
        return None;
    }
    at.numbers(order)?
        .zip(sizes.numbers(order)?)
        .map(|(start, size)| {
            let start = usize::try_from(start).ok()?;
            Some(start..start.checked_add(usize::try_from(size).ok()?)?)
        })
        .collect()
}

/// Makes strips or tiles that are not coded as long as their rows, where the file says less: what decoders read all the same.
fn whole_rows(page: &Directory<'_>, order: Order, ranges: &mut [Range<usize>]) {
    const WIDTH: u16 = 0x0100;
    const HEIGHT: u16 = 0x0101;
    const BITS: u16 = 0x0102;
    const SAMPLES: u16 = 0x0115;
    const ROWS: u16 = 0x0116;
    const PLANES: u16 = 0x011c;
    const TILE_WIDTH: u16 = 0x0142;
    const TILE_HEIGHT: u16 = 0x0143;
    let number = |tag: u16, without: usize| {
        let first = page.find(tag).and_then(|entry| entry.numbers(order)?.next());
        first.and_then(|number| usize::try_from(number).ok()).unwrap_or(without)
    };
    let apart = number(PLANES, 1) == 2;
    let samples = if apart { 1 } else { number(SAMPLES, 1) };
    let (width, height) = (number(WIDTH, 0), number(HEIGHT, 0));
    let (across, down) = (
        number(TILE_WIDTH, width),
        number(TILE_HEIGHT, number(ROWS, height).min(height)),
    );
    let tiled = page.find(TILE_WIDTH).is_some();
    let row = across
        .saturating_mul(samples)
        .saturating_mul(number(BITS, 1))
        .div_ceil(8);
    let in_a_plane = height.div_ceil(down.max(1)).max(1);
    for (place, range) in ranges.iter_mut().enumerate() {
        let rows = if tiled {
            down
        } else {
            height.saturating_sub(place % in_a_plane * down).min(down)
        };
        range.end = range.end.max(range.start.saturating_add(rows.saturating_mul(row)));
    }
}

enum Part {
    Kept(Range<usize>),
    Edited(Vec<u8>),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Kept(range) => range.len(),
            Self::Edited(bytes) => bytes.len(),
        }
    }
}

/// A strip or tile; none where it is a JPEG that does not parse alone.
fn part(bytes: &[u8], range: Range<usize>, coding: u32, finds: &mut Finds) -> Result<Option<Part>, MediaError> {
    let inside = bytes.get(range.clone()).ok_or(MediaError::Truncated)?;
    if coding != JPEG || inside.is_empty() {
        return Ok(Some(Part::Kept(range)));
    }
    let Ok((clean, gone)) = jpeg::stream(inside) else {
        return Ok(None);
    };
    note(finds, gone);
    Ok(Some(if clean == inside {
        Part::Kept(range)
    } else {
        Part::Edited(clean)
    }))
}

/// What a JPEG within has lost.
fn note(finds: &mut Finds, gone: Finds) {
    for removed in gone.removed {
        finds.add(removed.what, usize::try_from(removed.bytes).unwrap_or(0));
    }
}

/// Header, directory, values, strips.
fn write(
    pieces: &mut Pieces<'_>,
    order: Order,
    mut fields: Vec<Field<'_>>,
    (at, sizes): (u16, u16),
    parts: Vec<Part>,
) -> Result<(), MediaError> {
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let longs = |numbers: Vec<u32>, tag| Field {
        tag,
        kind: 4,
        count,
        value: Cow::Owned(
            numbers
                .into_iter()
                .flat_map(|number| order.long_bytes(number))
                .collect(),
        ),
    };
    let too_large = |_| MediaError::corrupt("it would be larger than a TIFF may be");
    let lengths = parts.iter().map(|part| u32::try_from(part.len()).map_err(too_large));
    fields.push(longs(lengths.collect::<Result<_, _>>()?, sizes));
    fields.push(longs(vec![0; parts.len()], at));
    // Once to see how long it gets, once with the places that follow from it.
    let mut place = head(order, &mut fields).len();
    let mut places = Vec::with_capacity(parts.len());
    for part in &parts {
        places.push(u32::try_from(place).map_err(too_large)?);
        place += part.len();
    }
    fields.retain(|field| field.tag != at);
    fields.push(longs(places, at));
    pieces.write(head(order, &mut fields))?;
    for part in parts {
        match part {
            Part::Kept(range) => pieces.keep(range)?,
            Part::Edited(bytes) => pieces.write(bytes)?,
        }
    }
    Ok(())
}

fn head(order: Order, fields: &mut Vec<Field<'_>>) -> Vec<u8> {
    let mut out = order.header().to_vec();
    out.extend(order.long_bytes(8));
    directory(&mut out, order, fields);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Policy, Stripped, exif::point};
    use proptest::prelude::*;

    fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
        crate::strip(Format::Tiff, bytes, Policy::Strip)
    }

    fn pixels(bytes: &[u8]) -> Vec<u8> {
        image::load_from_memory_with_format(bytes, image::ImageFormat::Tiff)
            .unwrap()
            .into_bytes()
    }

    fn plain() -> Vec<u8> {
        let mut out = Vec::new();
        let image = image::RgbImage::from_fn(30, 20, |x, y| image::Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 7]));
        image
            .write_to(&mut std::io::Cursor::new(&mut out), image::ImageFormat::Tiff)
            .unwrap();
        out
    }

    /// The same picture in either order, with much metadata and a second page.
    fn dirty(order: Order) -> Vec<u8> {
        let text = |tag, text: &[u8]| Field {
            tag,
            kind: 2,
            count: u32::try_from(text.len()).unwrap(),
            value: text.to_vec().into(),
        };
        let shorts = |tag, numbers: &[u16]| Field {
            tag,
            kind: 3,
            count: u32::try_from(numbers.len()).unwrap(),
            value: numbers.iter().flat_map(|n| order.short_bytes(*n)).collect(),
        };
        let mut out = order.header().to_vec();
        out.extend(order.long_bytes(8));
        let mut fields = vec![
            shorts(0x0100, &[4]),
            shorts(0x0101, &[2]),
            shorts(0x0102, &[8, 8, 8]),
            shorts(COMPRESSION, &[1]),
            shorts(0x0106, &[2]),
            text(tag::DESCRIPTION, b"SECRET words\0"),
            text(tag::MAKE, b"SECRET make\0"),
            Field::long(tag::STRIP_OFFSETS, 0, order),
            shorts(tag::ORIENTATION, &[6]),
            shorts(0x0115, &[3]),
            shorts(0x0116, &[2]),
            Field::long(tag::STRIP_SIZES, 24, order),
            text(tag::SOFTWARE, b"SECRET software\0"),
            text(tag::XMP, b"<a><City>SECRETVILLE</City></a>"),
            Field {
                kind: 7,
                ..text(ICC, b"an ICC profile")
            },
            Field::long(tag::EXIF, 0, order),
        ];
        let first = directory(&mut out, order, &mut fields);
        let exif = directory(
            &mut out,
            order,
            &mut vec![text(tag::TAKEN_AT, b"2026:03:14 18:22:05\0")],
        );
        point(&mut out, order, first, &fields, Some(tag::EXIF), exif);
        let second = directory(&mut out, order, &mut vec![text(tag::DESCRIPTION, b"SECRET page\0")]);
        point(&mut out, order, first, &fields, None, second);
        let strip = out.len();
        point(&mut out, order, first, &fields, Some(tag::STRIP_OFFSETS), strip);
        out.extend(0..24);
        out.extend(b"SECRET tail");
        out
    }

    #[test]
    fn tags_and_pages_go_and_pixels_stay() {
        for order in [Order::Little, Order::Big] {
            let dirty = dirty(order);
            let stripped = strip(&dirty).unwrap();
            assert!(memchr::memmem::find(&stripped.bytes, b"SECRET").is_none());
            assert!(memchr::memmem::find(&stripped.bytes, b"an ICC profile").is_some());
            assert_eq!(pixels(&stripped.bytes), pixels(&dirty));
            assert_eq!((stripped.orientation, stripped.not_lossless), (6, None));
            assert_eq!(stripped.facts.taken_at.as_deref(), Some("2026-03-14 18:22:05"));
            let kinds: Vec<_> = stripped.removed.iter().map(|removed| removed.what).collect();
            for kind in [
                RemovedKind::PlaceName,
                RemovedKind::Camera,
                RemovedKind::Software,
                RemovedKind::Exif,
                RemovedKind::Xmp,
                RemovedKind::FurtherPages,
            ] {
                assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
            }
            let again = strip(&stripped.bytes).unwrap();
            assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
        }
        let plain = plain();
        assert_eq!(pixels(&strip(&plain).unwrap().bytes), pixels(&plain));
    }

    #[test]
    fn a_coding_that_may_hide_metadata_is_said_and_nothing_of_it_is_kept() {
        let mut bytes = dirty(Order::Little);
        // The fourth entry's value.
        bytes[8 + 2 + 3 * 12 + 8] = 6;
        let stripped = strip(&bytes).unwrap();
        assert!(stripped.not_lossless.is_some());
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_once_is_enough(
            big in any::<bool>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = dirty(if big { Order::Big } else { Order::Little });
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Ok(stripped) = strip(&bytes) && stripped.not_lossless.is_none() {
                let again = strip(&stripped.bytes).unwrap();
                prop_assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
            }
        }
    }
}
