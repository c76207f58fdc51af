//! AVIF 1.1: a still picture is put together from its file type, a meta box that knows only the items that the picture
//! needs, and their data. EXIF, XMP, thumbnails, other pictures, unknown properties and boxes, names and the bytes that
//! no item uses go; ICC profile, rotation and mirroring are properties and stay.
//!
//! A sequence keeps its layout, since its tracks point into the file: what goes there is overwritten with zeros. Not
//! lossless: tracks that are no pictures, items whose data lies in other items or files.

use super::{
    boxes::{Found, boxed, boxes},
    finds::Finds,
    items::{Item, Items, Trouble},
    movie::{self, Patches},
    pieces::Pieces,
    removed::RemovedKind,
};
use crate::{MediaError, tiff::EXIF_HEADER};
use std::{borrow::Cow, ops::Range};

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
            b"uuid" if found.body.starts_with(&C2PA) => RemovedKind::Provenance,
            _ => RemovedKind::Private,
        };
        finds.add(what, found.whole.len());
    }
    let result = Items::read(meta.body).and_then(|items| {
        report(bytes, &items, finds)?;
        if let Some(moov) = find(b"moov") {
            return sequence(bytes, &top, &items, (meta, moov), finds);
        }
        unused(&top, &items, finds);
        Ok(still(bytes, &items, brand, meta)?)
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

/// The boxes of the file, and where they end: what follows the last that makes sense is no part of it.
fn top_level(bytes: &[u8]) -> Result<(Vec<Found<'_>>, usize), MediaError> {
    let mut known = 0;
    let mut place = 0;
    // Sizes first, so that trailing bytes do not make the file a broken one.
    while let Some(head) = bytes.get(place..).and_then(<[u8]>::first_chunk::<8>) {
        let &[a, b, c, d, kind @ ..] = head;
        let size = match u32::from_be_bytes([a, b, c, d]) {
            0 => bytes.len() - place,
            1 => match bytes.get(place + 8..).and_then(<[u8]>::first_chunk) {
                Some(size) => usize::try_from(u64::from_be_bytes(*size)).unwrap_or(usize::MAX),
                None => break,
            },
            size => usize::try_from(size).unwrap_or(usize::MAX),
        };
        let needed = matches!(&kind, b"ftyp" | b"meta" | b"moov" | b"mdat");
        match place.checked_add(size) {
            Some(end) if size >= 8 && end <= bytes.len() => {
                place = end;
                if needed {
                    known = end;
                }
            }
            _ if needed => return Err(MediaError::Truncated),
            _ => break,
        }
    }
    Ok((boxes(bytes.get(..known).unwrap_or_default())?, known))
}

/// The bytes of an item; none where they are not all there.
fn data<'a>(bytes: &'a [u8], items: &Items<'a>, item: &Item) -> Option<Cow<'a, [u8]>> {
    let source = if item.inside { items.data.as_ref()?.body } else { bytes };
    match item.extents.as_slice() {
        [one] => source.get(one.clone()).map(Cow::Borrowed),
        many => {
            let total: usize = many.iter().map(Range::len).sum();
            if total > source.len() {
                return None;
            }
            many.iter()
                .map(|extent| source.get(extent.clone()))
                .collect::<Option<Vec<_>>>()
                .map(|parts| Cow::Owned(parts.concat()))
        }
    }
}

/// What the items tell that the picture does not need.
fn report(bytes: &[u8], items: &Items<'_>, finds: &mut Finds) -> Result<(), MediaError> {
    let needed = items.needed();
    for item in &items.all {
        if !needed.contains(&item.id) {
            report_item(bytes, items, item, finds);
        } else if data(bytes, items, item).is_none() {
            return Err(MediaError::Truncated);
        }
    }
    let unknown = items.unknown + items.unknown_properties();
    if unknown > 0 {
        finds.add(RemovedKind::Private, unknown);
    }
    Ok(())
}

fn report_item(bytes: &[u8], items: &Items<'_>, item: &Item, finds: &mut Finds) {
    let content = data(bytes, items, item).unwrap_or_default();
    let size = content.len().max(1);
    match &item.kind {
        b"Exif" => {
            // How far behind this number the block begins.
            let skip = content.first_chunk().map_or(0, |skip| u32::from_be_bytes(*skip));
            let skip = usize::try_from(skip).unwrap_or(usize::MAX).saturating_add(4);
            let block = content.get(skip..).unwrap_or_default();
            finds.exif_gone(block.strip_prefix(EXIF_HEADER).unwrap_or(block), size);
        }
        b"mime" if item.media_type == b"application/rdf+xml" => {
            finds.xmp(&content, size);
        }
        _ if items.is_thumbnail(item.id) => finds.add(RemovedKind::Thumbnail, size),
        _ if items.is_picture(item.id) => finds.add(RemovedKind::OtherPictures, size),
        _ => finds.add(RemovedKind::Private, size),
    }
}

/// Bytes of the data that no item uses.
fn unused(top: &[Found<'_>], items: &Items<'_>, finds: &mut Finds) {
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
fn still<'a>(
    bytes: &'a [u8],
    items: &Items<'a>,
    brand: &Found<'a>,
    meta: &Found<'a>,
) -> Result<Pieces<'a>, MediaError> {
    let needed = items.needed();
    let kept: Vec<&Item> = items.all.iter().filter(|item| needed.contains(&item.id)).collect();
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
            (item.id, false, extents)
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
    // The boxes in a meta box stand behind its version and flags.
    let inside = items
        .data
        .as_ref()
        .map_or(0, |data| meta.body_start() + 4 + data.body_start());
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
    top: &[Found<'a>],
    items: &Items<'a>,
    (meta, movie): (&Found<'a>, &Found<'a>),
    finds: &mut Finds,
) -> Result<Pieces<'a>, Trouble> {
    let mut patches = Patches::default();
    let tracks = movie::clean(movie, &mut patches, finds)?;
    for found in top {
        match &found.kind {
            b"ftyp" | b"meta" | b"moov" | b"mdat" => {}
            b"free" | b"skip" if found.body.iter().all(|byte| *byte == 0) => {}
            _ => patches.blank(found.whole.clone()),
        }
    }
    let needed = items.needed();
    let mut inside = items.data.as_ref().map_or(Vec::new(), |data| data.body.to_vec());
    let (kept, gone): (Vec<&Item>, Vec<&Item>) = items.all.iter().partition(|item| needed.contains(&item.id));
    let mut zeros = Vec::new();
    for item in gone {
        if items.is_picture(item.id) {
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
                report_item(bytes, track, item, finds);
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
        .map(|item| (item.id, item.inside, item.extents.clone()))
        .collect();
    let data = (!inside.is_empty()).then_some(inside.as_slice());
    let length = items.write(&needed, &located, data, 0)?.len();
    let no_room = Trouble::Strange("its list of items leaves no room to be written anew");
    let room = (meta.whole.len() - 8).checked_sub(length).ok_or(no_room)?;
    // Too little for a box is added to the first.
    let pad = if room < 8 { room } else { 0 };
    let mut body = items.write(&needed, &located, data, pad)?;
    if room >= 8 {
        body.extend(boxed(*b"free", &vec![0; room - 8]));
    }
    patches.put(meta.whole.clone(), boxed(*b"meta", &body));
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
fn data_range(top: &[Found<'_>], extent: &Range<usize>) -> Result<Range<usize>, Trouble> {
    let within = |found: &&Found<'_>| {
        &found.kind == b"mdat" && found.body_start() <= extent.start && extent.end <= found.whole.end
    };
    match top.iter().find(within) {
        Some(_) => Ok(extent.clone()),
        None => Err(Trouble::Strange("an item of it lies outside its data")),
    }
}
