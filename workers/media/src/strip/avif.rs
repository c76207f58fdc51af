//! AVIF 1.1: a still picture is put together from its file type, a meta box that knows only the items that the picture
//! needs, and their data. EXIF, XMP, thumbnails, other pictures, unknown properties and boxes, names and the bytes that
//! no item uses go; ICC profile, rotation and mirroring are properties and stay.
//!
//! A sequence keeps its layout, since its tracks point into the file: what goes there is overwritten with zeros. Not
//! lossless: tracks that are no pictures, items whose data lies in other items or files.

use super::{
    finds::Finds,
    items::{Item, Items, Trouble},
    movie::{self, Patches},
    pieces::Pieces,
    removed::RemovedKind,
};
use crate::{
    MediaError,
    isobmff::{BoxError, IsoBox, Meta, boxed, boxes},
    tiff::EXIF_HEADER,
};
use std::{borrow::Cow, ops::Range};

/// A file's boxes beside one another; real ones have a few.
const MOST_BOXES: usize = 4_096;
/// The identifier of C2PA's box.
const C2PA: [u8; 16] = [
    0xd8, 0xfe, 0xc3, 0xd6, 0x1b, 0x0e, 0x48, 0x3c, 0x92, 0x97, 0x58, 0x28, 0x87, 0x7e, 0xc4, 0x81,
];

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    let (top, end) = top_level(bytes)?;
    let find = |kind: &[u8; 4]| top.iter().find(|found| found.kind == *kind);
    let (Some(brand), Some(meta)) = (find(b"ftyp"), find(b"meta")) else {
        return Err(MediaError::corrupt("it has no file type, or no items"));
    };
    if bytes.len() > end {
        finds.add(RemovedKind::Trailing, bytes.len() - end);
    }
    // What lies behind is nobody's.
    let bytes = bytes.get(..end).unwrap_or(bytes);
    for found in &top {
        let what = match &found.kind {
            b"ftyp" | b"meta" | b"moov" | b"mdat" => continue,
            // What was cleaned here before.
            b"free" | b"skip" if found.body.iter().all(|byte| *byte == 0) => continue,
            b"free" | b"skip" => RemovedKind::Unused,
            b"uuid" if bytes.get(..found.body_start).unwrap_or_default().ends_with(&C2PA) => RemovedKind::Provenance,
            _ => RemovedKind::Private,
        };
        finds.add(what, found.range().len());
    }
    let result = Items::read(meta).and_then(|items| {
        report(bytes, &items, finds)?;
        if let Some(moov) = find(b"moov") {
            return sequence(bytes, &top, &items, (meta, moov), finds);
        }
        unused(&top, &items, finds);
        Ok(still(bytes, &items, brand)?)
    });
    match result {
        Ok(pieces) => Ok(pieces),
        Err(Trouble::Broken(error)) => Err(error),
        Err(Trouble::Strange(reason)) => {
            finds.lossy = Some(reason);
            Ok(Pieces::of(bytes))
        }
    }
}

/// Boxes that a picture is made of.
fn counts(kind: [u8; 4]) -> bool {
    matches!(&kind, b"ftyp" | b"meta" | b"moov" | b"mdat")
}

/// The boxes of the file, and where they end: what follows the last that counts is no part of it.
fn top_level(bytes: &[u8]) -> Result<(Vec<IsoBox<'_>>, usize), MediaError> {
    let mut found = Vec::new();
    let mut known = 0;
    for next in boxes(bytes, 0) {
        match next {
            // Whatever is put behind the file would be a part of them.
            Ok(next) if next.open && counts(next.kind) && &next.kind != b"mdat" => {
                return Err(MediaError::corrupt(
                    "its list of items, or its movie, does not say where it ends",
                ));
            }
            Ok(next) => {
                found.push(next);
                if counts(next.kind) {
                    known = found.len();
                }
            }
            Err(BoxError::Beyond { kind: Some(kind) }) if counts(kind) => return Err(MediaError::Truncated),
            Err(_) => break,
        }
        if found.len() > MOST_BOXES {
            return Err(MediaError::corrupt(format!(
                "it has more than {MOST_BOXES} boxes in a row"
            )));
        }
    }
    found.truncate(known);
    let end = found.last().map_or(0, IsoBox::end);
    Ok((found, end))
}

/// What the items tell that the picture does not need.
fn report<'a>(bytes: &'a [u8], items: &Items<'a>, finds: &mut Finds) -> Result<(), MediaError> {
    let needed = items.needed();
    for item in &items.all {
        let data = data(bytes, &items.meta, item);
        if !needed.contains(&item.entry.id) {
            report_item(data, items, item, finds);
        } else if data.is_none() {
            return Err(MediaError::Truncated);
        }
    }
    let unknown = items.unknown();
    if unknown > 0 {
        finds.add(RemovedKind::Private, unknown);
    }
    Ok(())
}

/// The bytes of an item; none where they are not all there. One that is made of others has none, and that is all.
fn data<'a>(bytes: &'a [u8], meta: &Meta<'a>, item: &Item<'a>) -> Option<Cow<'a, [u8]>> {
    if item.extents.is_empty() {
        return Some(Cow::Borrowed(&[]));
    }
    meta.bytes_of(item.entry.id, bytes).ok()
}

fn report_item(data: Option<Cow<'_, [u8]>>, items: &Items<'_>, item: &Item<'_>, finds: &mut Finds) {
    let content = data.unwrap_or_default();
    let size = content.len().max(1);
    match &item.entry.kind {
        b"Exif" => {
            // How far behind this number the block begins.
            let skip = content.first_chunk().map_or(0, |skip| u32::from_be_bytes(*skip));
            let skip = usize::try_from(skip).unwrap_or(usize::MAX).saturating_add(4);
            let block = content.get(skip..).unwrap_or_default();
            finds.exif_gone(block.strip_prefix(EXIF_HEADER).unwrap_or(block), size);
        }
        b"mime" if item.entry.content_type == b"application/rdf+xml" => {
            finds.xmp(&content, size);
        }
        _ if items.is_thumbnail(item.entry.id) => finds.add(RemovedKind::Thumbnail, size),
        _ if items.is_picture(item.entry.id) => finds.add(RemovedKind::OtherPictures, size),
        _ => finds.add(RemovedKind::Private, size),
    }
}

/// Bytes of the data that no item uses.
fn unused(top: &[IsoBox<'_>], items: &Items<'_>, finds: &mut Finds) {
    let there: usize = top
        .iter()
        .filter(|found| &found.kind == b"mdat")
        .map(|found| found.body.len())
        .sum();
    let outside = items.all.iter().filter(|item| !item.inside);
    let used = outside
        .flat_map(|item| &item.extents)
        .fold(0, |used: usize, extent| used.saturating_add(extent.len()));
    if there > used {
        finds.add(RemovedKind::Unused, there - used);
    }
}

/// File type, items, data.
fn still<'a>(bytes: &'a [u8], items: &Items<'a>, brand: &IsoBox<'a>) -> Result<Pieces<'a>, MediaError> {
    let needed = items.needed();
    let kept: Vec<&Item> = items
        .all
        .iter()
        .filter(|item| needed.contains(&item.entry.id))
        .collect();
    let total: usize = kept.iter().flat_map(|item| &item.extents).map(Range::len).sum();
    if total == 0 {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    if total > bytes.len() {
        return Err(MediaError::corrupt("its items lie over one another"));
    }
    let locate = |start: usize| {
        let mut place = start;
        let locate = |item: &&Item| {
            let length: usize = item.extents.iter().map(Range::len).sum();
            let extent = place..place + length;
            place += length;
            // An item that is made of others has no data.
            let extents = if length == 0 { Vec::new() } else { vec![extent] };
            (item.entry.id, false, extents)
        };
        kept.iter().map(locate).collect::<Vec<_>>()
    };
    let brand = boxed(*b"ftyp", brand.body);
    // Once to see how long it gets, once with the places that follow from it.
    let length = items.write(&needed, &locate(0), None, 0)?.len();
    let start = brand.len() + 8 + length + 8;
    let mut pieces = Pieces::of(bytes);
    pieces.write(brand)?;
    pieces.write(boxed(*b"meta", &items.write(&needed, &locate(start), None, 0)?))?;
    let size = u32::try_from(total + 8).map_err(|_| MediaError::corrupt("it is larger than 4 GiB"))?;
    pieces.write([&size.to_be_bytes()[..], b"mdat"].concat())?;
    let inside = items.meta.data.map_or(0, |data| data.body_start);
    for item in kept {
        let base = if item.inside { inside } else { 0 };
        for extent in &item.extents {
            pieces.keep(base + extent.start..base + extent.end)?;
        }
    }
    Ok(pieces)
}

/// The file with zeros where it told something.
fn sequence<'a>(
    bytes: &'a [u8],
    top: &[IsoBox<'a>],
    items: &Items<'a>,
    (meta, movie): (&IsoBox<'a>, &IsoBox<'a>),
    finds: &mut Finds,
) -> Result<Pieces<'a>, Trouble> {
    let mut patches = Patches::default();
    let tracks = movie::clean(movie, &mut patches, finds)?;
    for found in top {
        match &found.kind {
            b"ftyp" | b"meta" | b"moov" | b"mdat" => {}
            b"free" | b"skip" if found.body.iter().all(|byte| *byte == 0) => {}
            _ => patches.blank(found.range()),
        }
    }
    let needed = items.needed();
    let mut inside = items.meta.data.map_or(Vec::new(), |data| data.body.to_vec());
    let (kept, gone): (Vec<&Item>, Vec<&Item>) = items.all.iter().partition(|item| needed.contains(&item.entry.id));
    let mut zeros = Vec::new();
    for item in gone {
        if items.is_picture(item.entry.id) {
            return Err(Trouble::Strange("its movie may share the data of its further pictures"));
        }
        for extent in &item.extents {
            if item.inside {
                inside.get_mut(extent.clone()).unwrap_or_default().fill(0);
            } else {
                zeros.push(data_range(top, extent)?);
            }
        }
    }
    // Tracks mostly name the same items once more.
    for track in &tracks {
        for item in &track.all {
            let known = items
                .all
                .iter()
                .any(|known| known.extents == item.extents && known.inside == item.inside);
            if !known {
                report_item(data(bytes, &track.meta, item), track, item, finds);
            }
            for extent in item.extents.iter().filter(|_| !item.inside) {
                zeros.push(data_range(top, extent)?);
            }
        }
    }
    let lies_in = |range: &Range<usize>, other: &Range<usize>| range.start < other.end && other.start < range.end;
    let outside = kept.iter().filter(|item| !item.inside).flat_map(|item| &item.extents);
    if outside
        .clone()
        .any(|extent| zeros.iter().any(|zero| lies_in(zero, extent)))
    {
        return Err(Trouble::Strange("parts of it lie over one another"));
    }
    patches.zeros(zeros);
    let located: Vec<_> = kept
        .iter()
        .map(|item| (item.entry.id, item.inside, item.extents.clone()))
        .collect();
    let data = (!inside.is_empty()).then_some(inside.as_slice());
    let length = items.write(&needed, &located, data, 0)?.len();
    let no_room = Trouble::Strange("its list of items leaves no room to be written anew");
    let room = (meta.range().len() - 8).checked_sub(length).ok_or(no_room)?;
    // Too little for a box is added to the first.
    let pad = if room < 8 { room } else { 0 };
    let mut body = items.write(&needed, &located, data, pad)?;
    if room >= 8 {
        body.extend(boxed(*b"free", &vec![0; room - 8]));
    }
    patches.put(meta.range(), boxed(*b"meta", &body));
    let patches = patches
        .sorted()
        .ok_or(Trouble::Strange("parts of it lie over one another"))?;
    let mut pieces = Pieces::of(bytes);
    let mut place = 0;
    for (range, patch) in patches {
        pieces.keep(place..range.start)?;
        place = range.end;
        pieces.write(patch)?;
    }
    pieces.keep(place..bytes.len())?;
    Ok(pieces)
}

/// An extent of data, which may not lie anywhere else.
fn data_range(top: &[IsoBox<'_>], extent: &Range<usize>) -> Result<Range<usize>, Trouble> {
    let within =
        |found: &&IsoBox<'_>| &found.kind == b"mdat" && found.body_start <= extent.start && extent.end <= found.end();
    match top.iter().find(within) {
        Some(_) => Ok(extent.clone()),
        None => Err(Trouble::Strange("an item of it lies outside its data")),
    }
}
