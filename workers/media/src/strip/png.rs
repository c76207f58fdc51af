//! PNG, W3C third edition: chunks that the picture's look depends on are copied, all others go, and what follows IEND.

use super::{Finds, RemovedKind, Stripped};
use crate::{MediaError, tiff};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(super) fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
    let mut finds = Finds::default();
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(SIGNATURE);
    let mut rest = bytes.get(SIGNATURE.len()..).ok_or(MediaError::Truncated)?;
    let mut first = true;
    // Where the pixels begin: the orientation goes before them, so that a reader that stops at them has seen it.
    let mut pixels = None;
    loop {
        let chunk = Chunk::next(&mut rest)?;
        if first != (chunk.kind == b"IHDR") {
            return Err(MediaError::corrupt(
                "its header is not the first chunk, or not the only one",
            ));
        }
        first = false;
        match chunk.kind {
            b"IHDR" | b"PLTE" | b"IDAT" | b"IEND" | b"tRNS" | b"iCCP" | b"sRGB" | b"gAMA" | b"cHRM" | b"cICP"
            | b"mDCV" | b"cLLI" | b"sBIT" | b"bKGD" | b"pHYs" | b"acTL" | b"fcTL" | b"fdAT" => {
                if chunk.kind == b"IDAT" {
                    pixels.get_or_insert(out.len());
                }
                chunk.check()?;
                out.extend_from_slice(chunk.whole);
                if chunk.kind == b"IEND" {
                    break;
                }
            }
            b"eXIf" => finds.exif(chunk.data, chunk.whole.len()),
            b"tEXt" | b"zTXt" | b"iTXt" => note_text(&mut finds, &chunk),
            b"tIME" => finds.add(RemovedKind::TakenAt, chunk.whole.len()),
            b"caBX" => finds.add(RemovedKind::Provenance, chunk.whole.len()),
            kind if kind.first().is_some_and(u8::is_ascii_uppercase) => {
                return Err(MediaError::corrupt("it needs a critical chunk that is unknown"));
            }
            _ => finds.add(RemovedKind::Private, chunk.whole.len()),
        }
    }
    let pixels = pixels.ok_or_else(|| MediaError::corrupt("it ends without a picture"))?;
    if let Some(orientation @ 2..=8) = finds.orientation {
        out.splice(pixels..pixels, chunk(*b"eXIf", &tiff::only_orientation(orientation)));
    }
    if !rest.is_empty() {
        finds.add(RemovedKind::Trailing, rest.len());
    }
    Ok(finds.into_stripped(out))
}

struct Chunk<'a> {
    kind: &'a [u8],
    data: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Chunk<'a> {
    fn next(rest: &mut &'a [u8]) -> Result<Self, MediaError> {
        let length: [u8; 4] = rest
            .get(..4)
            .and_then(|part| part.try_into().ok())
            .ok_or(MediaError::Truncated)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let end = length.checked_add(12).ok_or(MediaError::Truncated)?;
        let whole = rest.get(..end).ok_or(MediaError::Truncated)?;
        let (Some(kind), Some(data)) = (whole.get(4..8), whole.get(8..length + 8)) else {
            return Err(MediaError::Truncated);
        };
        *rest = rest.get(end..).unwrap_or_default();
        Ok(Self { kind, data, whole })
    }

    /// What is kept must be whole.
    fn check(&self) -> Result<(), MediaError> {
        let sum = crc32fast::hash(self.whole.get(4..self.data.len() + 8).unwrap_or_default());
        if self.whole.ends_with(&sum.to_be_bytes()) {
            Ok(())
        } else {
            Err(MediaError::corrupt(format!(
                "the checksum of its {} chunk is wrong",
                String::from_utf8_lossy(self.kind)
            )))
        }
    }
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind, data].concat();
    // The only chunk written here has 26 bytes.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

fn note_text(finds: &mut Finds, chunk: &Chunk<'_>) {
    let keyword = chunk.data.split(|byte| *byte == 0).next().unwrap_or_default();
    let what = match keyword {
        b"XML:com.adobe.xmp" => RemovedKind::Xmp,
        b"Software" => RemovedKind::Software,
        b"Author" => RemovedKind::Owner,
        b"Raw profile type exif" | b"Raw profile type APP1" => RemovedKind::Exif,
        b"Raw profile type iptc" => RemovedKind::Iptc,
        _ => RemovedKind::Comment,
    };
    finds.add(what, chunk.whole.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageEncoder;

    fn plain() -> Vec<u8> {
        let mut out = Vec::new();
        let pixels: Vec<u8> = (0..40_u32 * 30 * 4).map(|n| (n * 11).to_le_bytes()[0]).collect();
        image::codecs::png::PngEncoder::new(&mut out)
            .write_image(&pixels, 40, 30, image::ExtendedColorType::Rgba8)
            .unwrap();
        out
    }

    /// `chunks` after the header.
    fn with(chunks: &[([u8; 4], &[u8])], trailing: &[u8]) -> Vec<u8> {
        let plain = plain();
        let (head, tail) = plain.split_at(SIGNATURE.len() + 25);
        let mut out = head.to_vec();
        for (kind, data) in chunks {
            out.extend(chunk(*kind, data));
        }
        out.extend_from_slice(tail);
        out.extend_from_slice(trailing);
        out
    }

    fn pixels(bytes: &[u8]) -> Vec<u8> {
        image::load_from_memory_with_format(bytes, image::ImageFormat::Png)
            .unwrap()
            .into_bytes()
    }

    #[test]
    fn metadata_goes_and_the_look_stays() {
        let exif = [&tiff::only_orientation(8)[..], b"more"].concat();
        let dirty = with(
            &[
                (*b"gAMA", &45_455_u32.to_be_bytes()),
                (*b"eXIf", &exif),
                (*b"tEXt", b"Author\0Somebody"),
                (*b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
                (*b"tIME", &[7, 230, 1, 1, 0, 0, 0]),
                (*b"prVt", b"private"),
            ],
            b"after the end",
        );
        let stripped = strip(&dirty).unwrap();
        assert_eq!(pixels(&stripped.bytes), pixels(&dirty));
        assert_eq!(stripped.orientation, 8);
        for gone in [
            &b"Somebody"[..],
            b"XML:com",
            b"tIME",
            b"private",
            b"after the end",
            b"more",
        ] {
            assert!(
                memchr::memmem::find(&stripped.bytes, gone).is_none(),
                "{}",
                String::from_utf8_lossy(gone)
            );
        }
        assert!(memchr::memmem::find(&stripped.bytes, b"gAMA").is_some());
        let again = strip(&stripped.bytes).unwrap();
        assert_eq!(
            (again.bytes, again.removed, again.orientation),
            (stripped.bytes, vec![], 8)
        );
    }

    #[test]
    fn an_orientation_after_the_pixels_counts_too() {
        let plain = plain();
        let (body, end) = plain.split_at(plain.len() - 12);
        let late = [body, &chunk(*b"eXIf", &tiff::only_orientation(6)), end].concat();
        let stripped = strip(&late).unwrap();
        assert_eq!((stripped.orientation, pixels(&stripped.bytes)), (6, pixels(&plain)));
        let place = |needle: &[u8]| memchr::memmem::find(&stripped.bytes, needle);
        assert!(place(b"eXIf") < place(b"IDAT"));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_of_a_kept_chunk_is_noticed() {
        let whole = plain();
        for end in 0..whole.len() {
            assert!(strip(&whole[..end]).is_err(), "cut at {end}");
        }
        for place in SIGNATURE.len() + 4..whole.len() - 12 {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            assert!(strip(&flipped).is_err(), "flipped at {place}");
        }
    }
}
