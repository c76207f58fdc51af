//! Metadata planted into a file: the cleaned file is byte for byte what it is without.

use mediamill_media::{Format, Policy, Stripped, strip};

/// A text that no file has by chance.
const MARKER: &[u8] = b"PLANTED-9c4e17b2";

/// What was planted is gone, and changes nothing else.
pub(super) fn gone(format: Format, bytes: &[u8]) {
    let Ok(clean) = strip(format, bytes, Policy::Strip) else {
        return;
    };
    if clean.not_lossless.is_some() || Format::sniff(bytes) != Some(format) {
        return;
    }
    if let Some(dirty) = inside(format, bytes) {
        let told = same(&dirty, format, &clean, "within it").removed;
        assert!(!told.is_empty(), "nobody tells of the metadata within it");
    }
    // Where the file reaches behind its own end, what is put there becomes a part of it.
    let longer = [bytes, &[0; MARKER.len()]].concat();
    if strip(format, &longer, Policy::Strip).is_ok_and(|longer| longer.bytes == clean.bytes) {
        same(&[bytes, MARKER].concat(), format, &clean, "behind it");
    }
}

fn same(dirty: &[u8], format: Format, clean: &Stripped, place: &str) -> Stripped {
    let stripped = strip(format, dirty, Policy::Strip);
    let stripped = stripped.unwrap_or_else(|error| panic!("with metadata {place} it is refused: {error}"));
    assert!(stripped.bytes == clean.bytes, "metadata {place} has left a trace");
    let places = strip(format, dirty, Policy::StripLocation);
    assert!(
        places.is_ok(),
        "with metadata {place} it is refused where only places go"
    );
    stripped
}

/// `bytes`, which are in order, with metadata where each reader finds it; none where the format has no such place.
fn inside(format: Format, bytes: &[u8]) -> Option<Vec<u8>> {
    match format {
        Format::Jpeg => {
            let (start, rest) = bytes.split_at_checked(2)?;
            let packet = [&b"http://ns.adobe.com/xap/1.0/\0<a b='"[..], MARKER, b"'/>"].concat();
            let planted = [(0xfe, MARKER), (0xe1, &packet), (0xe5, MARKER)].map(|(code, data)| segment(code, data));
            Some([start, &planted.concat(), rest].concat())
        }
        Format::Png => {
            let (start, rest) = bytes.split_at_checked(33)?;
            let text = [b"Comment\0", MARKER].concat();
            let planted = [(*b"tEXt", &text[..]), (*b"prVt", MARKER)].map(|(kind, data)| chunk(kind, data));
            let end = chunk(*b"IEND", MARKER);
            let body = rest.strip_suffix(b"\0\0\0\0IEND\xae\x42\x60\x82");
            let (body, end) = body.map_or((rest, &[][..]), |body| (body, &end));
            Some([start, &planted.concat(), body, end].concat())
        }
        Format::WebP => {
            let size = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
            let end = usize::try_from(size).ok()?.checked_add(8)?;
            let (riff, rest) = bytes.split_at_checked(end)?;
            // The last chunk's padding may be missing.
            let mut out = riff.to_vec();
            out.resize(end + end % 2, 0);
            out.extend(b"PLNT");
            out.extend(u32::try_from(MARKER.len()).ok()?.to_le_bytes());
            out.extend(MARKER);
            let size = u32::try_from(out.len() - 8).ok()?;
            out.get_mut(4..8)?.copy_from_slice(&size.to_le_bytes());
            out.extend(rest);
            Some(out)
        }
        Format::Gif => {
            let flags = *bytes.get(10)?;
            let colours = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
            let (start, rest) = bytes.split_at_checked(13 + colours)?;
            let size = u8::try_from(MARKER.len()).ok()?;
            let comment = [&[0x21, 0xfe, size], MARKER, &[0]].concat();
            let application = [&b"\x21\xff\x0bPLANTED 1.0"[..], &[size], MARKER, &[0]].concat();
            Some([start, &comment, &application, rest].concat())
        }
        // Places in them are counted from the file's beginning.
        Format::Avif | Format::Bmp | Format::Tiff => None,
    }
}

/// A JPEG's segment.
pub(super) fn segment(code: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(data.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
    [&[0xff, code, high, low], data].concat()
}

/// A PNG's chunk. Its checksum is wrong: nobody looks at that of a chunk which no decoder needs.
pub(super) fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&size[..], &kind, data, &[0; 4]].concat()
}
