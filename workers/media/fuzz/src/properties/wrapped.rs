//! Readers of one kind of metadata, reached through the containers that carry it.

use super::{
    cleaning::clean,
    planted::{chunk, segment},
};
use mediamill_media::{Format, Policy, strip};

/// A PNG of one pixel, cut before its pixels.
const PNG: (&[u8], &[u8]) = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55",
    b"\0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82",
);
/// A JPEG that is whole to a reader of segments.
const JPEG: (&[u8], &[u8]) = (b"\xff\xd8", b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\x2a\xff\xd9");
/// A segment's data at most.
const LARGEST_SEGMENT: usize = 65_533;

fn png(kind: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    [PNG.0, &chunk(kind, &parts.concat()), PNG.1].concat()
}

fn jpeg(code: u8, head: &[u8], data: &[u8]) -> Vec<u8> {
    let parts = data.chunks(LARGEST_SEGMENT - head.len());
    let segments: Vec<u8> = parts.flat_map(|part| segment(code, &[head, part].concat())).collect();
    [JPEG.0, &segments, JPEG.1].concat()
}

pub(super) fn exif(block: &[u8]) {
    clean(Format::Jpeg, &jpeg(0xe1, b"Exif\0\0", block));
    let file = png(*b"eXIf", &[block]);
    clean(Format::Png, &file);
    let Ok(stripped) = strip(Format::Png, &file, Policy::StripLocation) else {
        panic!("a PNG is refused for its EXIF");
    };
    if let Some(kept) = find(&stripped.bytes, *b"eXIf") {
        // GPS, maker note, GeoTIFF, XMP, IPTC, Photoshop.
        let places = [
            0x8825, 0x927c, 0x830e, 0x8480, 0x8482, 0x85d8, 0x87af, 0x87b0, 0x87b1, 0x02bc, 0x83bb, 0x8649,
        ];
        let left = tags(kept);
        let left: Vec<_> = left.iter().filter(|tag| places.contains(tag)).collect();
        assert!(left.is_empty(), "tags that tell places are left: {left:04x?}");
    }
}

pub(super) fn xmp(packet: &[u8]) {
    clean(Format::Jpeg, &jpeg(0xe1, b"http://ns.adobe.com/xap/1.0/\0", packet));
    clean(Format::Png, &png(*b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", packet]));
}

pub(super) fn iptc(resources: &[u8]) {
    clean(Format::Jpeg, &jpeg(0xed, b"Photoshop 3.0\0", resources));
}

pub(super) fn items(boxes: &[u8]) {
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let brand = b"\0\0\0\x14ftypavif\0\0\0\0avif";
    let head = [&size(boxes.len() + 12)[..], b"meta\0\0\0\0"].concat();
    let data = [&size(72)[..], b"mdat", &[0x61; 64]].concat();
    clean(Format::Avif, &[&brand[..], &head, boxes, &data].concat());
}

/// The data of a PNG's chunk.
fn find(png: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    let mut rest = png.get(8..)?;
    loop {
        let (size, after) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
        if after.starts_with(&kind) {
            return after.get(4..4 + size);
        }
        rest = after.get(size + 8..)?;
    }
}

/// Tags of a block's first directory, of the next one, and of EXIF's, read by nobody's code but this.
fn tags(block: &[u8]) -> Vec<u16> {
    let little = block.starts_with(b"II");
    let short = |place: usize| -> Option<u16> {
        let bytes = block.get(place..)?.first_chunk()?;
        Some(if little {
            u16::from_le_bytes(*bytes)
        } else {
            u16::from_be_bytes(*bytes)
        })
    };
    let long = |place: usize| -> Option<usize> {
        let bytes = block.get(place..)?.first_chunk()?;
        let number = if little {
            u32::from_le_bytes(*bytes)
        } else {
            u32::from_be_bytes(*bytes)
        };
        usize::try_from(number).ok()
    };
    let mut tags = Vec::new();
    let mut directories = vec![long(4)];
    // The loop of a hostile block ends here.
    for _ in 0..8 {
        let Some(start) = directories.pop().flatten().filter(|start| *start > 0) else {
            continue;
        };
        let count = usize::from(short(start).unwrap_or(0));
        for entry in (0..count).map(|entry| start + 2 + entry * 12) {
            let Some(tag) = short(entry) else { break };
            tags.push(tag);
            if tag == 0x8769 {
                directories.push(long(entry + 8));
            }
        }
        directories.push(long(start + 2 + count * 12));
    }
    tags
}
