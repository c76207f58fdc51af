//! A block of EXIF without places: its directories are written anew, so that nothing unreferenced stays either.

use super::{Block, Directory, Field, Order, directory, point, tag};
use crate::{
    Format, Policy, facts,
    strip::{self, Removed, RemovedKind},
};

/// GDAL's metadata and its no-data value, DNG's private data.
const UNSEARCHED: [u16; 3] = [0xa480, 0xa481, 0xc634];
/// Microsoft's note of how far maker notes were moved.
const OFFSET_SCHEMA: u16 = 0xea1d;

/// `block` without every place, and what is gone. None where it cannot be read: then it goes whole.
///
/// Gone are the GPS directory, maker notes (which may hide a position), `GeoTIFF`, XMP, IPTC and pixels that do not belong
/// into EXIF, and what could not be read. Both byte orders; entries keep their values.
pub(crate) fn without_places(block: &[u8]) -> Option<(Vec<u8>, Vec<Removed>)> {
    let read = Block::read(block)?;
    let order = read.order;
    let mut removed = facts::places(&read);
    if read.field(tag::MAKER_NOTE).is_some() {
        removed.push(Removed::part(RemovedKind::MakerNote, "may hide a position"));
    }
    let parts = [
        Some(&read.primary),
        read.exif.as_ref(),
        read.interop.as_ref(),
        read.thumbnail.as_ref(),
    ];
    if parts.into_iter().flatten().any(|directory| directory.damaged) {
        removed.push(Removed::part(RemovedKind::Exif, "entries that cannot be read"));
    }
    if parts
        .into_iter()
        .flatten()
        .flat_map(|directory| &directory.entries)
        .any(|entry| UNSEARCHED.contains(&entry.tag) || matches!(entry.tag, tag::XMP | tag::IPTC | tag::PHOTOSHOP))
    {
        removed.push(Removed::part(RemovedKind::Private, "may hide a position"));
    }
    // Entries that share their values would make a block larger than it was.
    let values: usize = parts
        .into_iter()
        .flatten()
        .flat_map(|directory| &directory.entries)
        .map(|entry| entry.value.len())
        .sum();
    if values > block.len() {
        return None;
    }
    let mut out = order.header().to_vec();
    out.extend(order.long_bytes(8));
    let mut primary = kept(&read.primary);
    let mut exif = read.exif.as_ref().map(kept);
    let interop = read.interop.as_ref().map(kept);
    if exif.is_some() {
        primary.push(Field::long(tag::EXIF, 0, order));
    }
    if let Some(exif) = exif.as_mut().filter(|_| interop.is_some()) {
        exif.push(Field::long(tag::INTEROP, 0, order));
    }
    let first = directory(&mut out, order, &mut primary);
    if let Some(mut exif) = exif {
        let start = directory(&mut out, order, &mut exif);
        point(&mut out, order, first, &primary, Some(tag::EXIF), start);
        if let Some(mut interop) = interop {
            let inner = directory(&mut out, order, &mut interop);
            point(&mut out, order, start, &exif, Some(tag::INTEROP), inner);
        }
    }
    if read.thumbnail.is_some() {
        match thumbnail(&read) {
            Some((mut fields, jpeg)) => {
                let start = directory(&mut out, order, &mut fields);
                point(&mut out, order, first, &primary, None, start);
                let place = out.len();
                point(&mut out, order, start, &fields, Some(tag::JPEG_OFFSET), place);
                out.extend(jpeg);
            }
            None => removed.push(Removed::part(RemovedKind::Thumbnail, "cannot be read")),
        }
    }
    Some((out, removed))
}

/// The entries that stay, without pointers.
fn kept<'a>(read: &Directory<'a>) -> Vec<Field<'a>> {
    read.entries
        .iter()
        .filter(|entry| {
            !tag::GEO_TIFF.contains(&entry.tag)
                && !UNSEARCHED.contains(&entry.tag)
                && entry.kind != 13
                && (entry.tag != tag::ORIENTATION || entry.is_orientation())
                && !matches!(
                    entry.tag,
                    tag::EXIF
                        | tag::GPS
                        | tag::INTEROP
                        | tag::MAKER_NOTE
                        | tag::SUB_IFDS
                        | tag::XMP
                        | tag::IPTC
                        | tag::PHOTOSHOP
                        | tag::STRIP_OFFSETS
                        | tag::STRIP_SIZES
                        | tag::TILE_OFFSETS
                        | tag::TILE_SIZES
                        | tag::JPEG_OFFSET
                        | tag::JPEG_SIZE
                        | OFFSET_SCHEMA
                )
        })
        .map(|entry| (*entry).into())
        .collect()
}

/// The thumbnail's directory, and its JPEG without metadata of its own.
fn thumbnail<'a>(read: &Block<'a>) -> Option<(Vec<Field<'a>>, Vec<u8>)> {
    let jpeg = strip::strip(Format::Jpeg, read.thumbnail_jpeg()?, Policy::Strip)
        .ok()?
        .bytes;
    let mut fields = kept(read.thumbnail.as_ref()?);
    fields.push(Field::long(tag::JPEG_OFFSET, 0, read.order));
    fields.push(size(jpeg.len(), read.order)?);
    Some((fields, jpeg))
}

fn size(length: usize, order: Order) -> Option<Field<'static>> {
    Some(Field::long(tag::JPEG_SIZE, u32::try_from(length).ok()?, order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block with everything, in either byte order.
    fn block(order: Order) -> Vec<u8> {
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 60)
            .encode(&[90; 16 * 16 * 3], 16, 16, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        // The thumbnail has metadata of its own.
        jpeg.splice(2..2, *b"\xff\xfe\0\x0eSECRET-THUMB");
        let field = |tag, kind, count, value: &[u8]| Field {
            tag,
            kind,
            count,
            value: value.to_vec().into(),
        };
        let text = |tag, text: &[u8]| field(tag, 2, u32::try_from(text.len()).unwrap(), text);
        let mut out = order.header().to_vec();
        out.extend(order.long_bytes(8));
        let mut primary = vec![
            text(tag::MAKE, b"Maker\0"),
            text(tag::MODEL, b"A long model name\0"),
            field(tag::ORIENTATION, 3, 1, &order.short_bytes(6)),
            Field::long(tag::EXIF, 0, order),
            Field::long(tag::GPS, 0, order),
            text(tag::XMP, b"SECRET-XMP"),
        ];
        let first = directory(&mut out, order, &mut primary);
        let mut exif = vec![
            text(tag::TAKEN_AT, b"2026:03:14 18:22:05\0"),
            field(tag::MAKER_NOTE, 7, 17, b"SECRET-MAKERNOTE!"),
            field(tag::USER_COMMENT, 7, 16, b"ASCII\0\0\0a remark"),
            Field::long(tag::INTEROP, 0, order),
        ];
        let at = directory(&mut out, order, &mut exif);
        point(&mut out, order, first, &primary, Some(tag::EXIF), at);
        let inner = directory(&mut out, order, &mut vec![text(1, b"R98\0")]);
        point(&mut out, order, at, &exif, Some(tag::INTEROP), inner);
        let degrees: Vec<u8> = [46, 1, 27, 1, 7, 2]
            .into_iter()
            .flat_map(|n| order.long_bytes(n))
            .collect();
        let gps = directory(
            &mut out,
            order,
            &mut vec![
                text(1, b"N\0"),
                field(2, 5, 3, &degrees),
                text(3, b"E\0"),
                field(4, 5, 3, &degrees),
                text(0x1d, b"SECRET-GPS\0"),
            ],
        );
        point(&mut out, order, first, &primary, Some(tag::GPS), gps);
        let mut thumb = vec![
            field(0x0103, 3, 1, &order.short_bytes(6)),
            Field::long(tag::JPEG_OFFSET, 0, order),
            size(jpeg.len(), order).unwrap(),
        ];
        let third = directory(&mut out, order, &mut thumb);
        point(&mut out, order, first, &primary, None, third);
        let place = out.len();
        point(&mut out, order, third, &thumb, Some(tag::JPEG_OFFSET), place);
        out.extend(jpeg);
        out.extend(b"SECRET-ORPHAN");
        out
    }

    #[test]
    fn places_go_and_every_other_value_stays() {
        for order in [Order::Little, Order::Big] {
            let (kept, removed) = without_places(&block(order)).unwrap();
            assert!(memchr::memmem::find(&kept, b"SECRET").is_none(), "{order:?}");
            let read = Block::read(&kept).unwrap();
            let text = |tag| read.field(tag).and_then(super::super::Entry::text).unwrap();
            assert_eq!(text(tag::MAKE), "Maker");
            assert_eq!(text(tag::MODEL), "A long model name");
            assert_eq!(text(tag::TAKEN_AT), "2026:03:14 18:22:05");
            assert_eq!(read.field(tag::USER_COMMENT).unwrap().value, b"ASCII\0\0\0a remark");
            assert_eq!(read.field(tag::ORIENTATION).unwrap().number(order), Some(6));
            assert_eq!(read.interop.as_ref().unwrap().find(1).unwrap().value, b"R98\0");
            assert!(read.gps.is_none() && read.primary.find(tag::GPS).is_none());
            let jpeg = read.thumbnail_jpeg().unwrap();
            assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]));
            let kinds: Vec<_> = removed.iter().map(|removed| removed.what).collect();
            assert_eq!(
                kinds,
                [RemovedKind::GpsPosition, RemovedKind::MakerNote, RemovedKind::Private]
            );
            assert_eq!(removed[0].detail, "46 deg 27 min 3.5 sec N, 46 deg 27 min 3.5 sec E");
            assert_eq!(without_places(&kept).unwrap(), (kept, vec![]), "once more");
        }
    }

    #[test]
    fn what_is_damaged_is_left_out() {
        let whole = block(Order::Little);
        for end in 0..whole.len() {
            if let Some((kept, _)) = without_places(&whole[..end]) {
                assert!(memchr::memmem::find(&kept, b"SECRET").is_none(), "cut at {end}");
                assert_eq!(without_places(&kept), Some((kept, vec![])), "cut at {end}");
            }
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_never_grows(
            big in any::<bool>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        ) {
            let mut bytes = block(if big { Order::Big } else { Order::Little });
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Some((kept, _)) = without_places(&bytes) {
                prop_assert!(kept.len() <= 2 * bytes.len() + 1_000);
                prop_assert_eq!(without_places(&kept).map(|(again, _)| again), Some(kept));
            }
        }
    }
}
