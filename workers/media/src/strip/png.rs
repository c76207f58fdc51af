//! PNG, W3C third edition: chunks that the picture's look depends on are copied, all others go, and what follows IEND.
//!
//! Where only places go, EXIF, XMP, texts and the time stay without them.

use super::{
    finds::Finds,
    pieces::Pieces,
    png_text::{self, Texts},
    removed::RemovedKind,
};
use crate::{MediaError, tiff};
use std::ops::Range;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    let mut pieces = Pieces::of(bytes);
    pieces.keep(0..SIGNATURE.len())?;
    let mut texts = Texts::default();
    let mut place = SIGNATURE.len();
    // Where the pixels begin: the orientation goes before them, so that a reader that stops at them has seen it.
    let mut pixels = None;
    let animated = animated(bytes);
    let end = loop {
        let chunk = Chunk::at(bytes, place)?;
        if (place == SIGNATURE.len()) != (chunk.kind == b"IHDR") {
            return Err(MediaError::corrupt(
                "its header is not the first chunk, or not the only one",
            ));
        }
        place = chunk.whole.end;
        let size = chunk.whole.len();
        chunk.sized()?;
        let kept = match chunk.kind {
            b"IEND" => break chunk,
            b"IHDR" | b"IDAT" | b"PLTE" | b"iCCP" => None,
            b"acTL" if pixels.is_none() => Some(8),
            b"fcTL" | b"fdAT" if animated => {
                if chunk.kind == b"fcTL" {
                    finds.frame(shown_for(chunk.data));
                }
                None
            }
            // Frames that no decoder shows.
            b"acTL" | b"fcTL" | b"fdAT" => {
                finds.add(RemovedKind::OtherPictures, size);
                continue;
            }
            // What they have at most: more would be a place to hide in.
            b"tRNS" => Some(256),
            b"sRGB" => Some(1),
            b"gAMA" | b"cICP" | b"sBIT" => Some(4),
            b"cHRM" => Some(32),
            b"mDCV" => Some(24),
            b"cLLI" => Some(8),
            b"bKGD" => Some(6),
            b"pHYs" => Some(9),
            kind if kind.first().is_some_and(u8::is_ascii_uppercase) => {
                return Err(MediaError::corrupt("it needs a critical chunk that is unknown"));
            }
            _ => {
                if let Some(written) = metadata(finds, &mut texts, &chunk) {
                    match written {
                        Kept::AsItIs => pieces.keep(chunk.whole)?,
                        Kept::Edited(bytes) => pieces.write(bytes)?,
                    }
                }
                continue;
            }
        };
        if kept.is_some_and(|most| chunk.data.len() > most) {
            finds.add(RemovedKind::Private, size);
            continue;
        }
        chunk.check(bytes)?;
        if chunk.kind == b"IDAT" && pixels.is_none() {
            pixels = Some(pieces.mark()?);
        }
        pieces.keep(chunk.whole)?;
    };
    if end.data.is_empty() {
        end.check(bytes)?;
        pieces.keep(end.whole)?;
    } else {
        // It has none; readers stop at its name.
        finds.add(RemovedKind::Private, end.data.len());
        pieces.write(self::chunk(*b"IEND", &[]))?;
    }
    let pixels = pixels.ok_or_else(|| MediaError::corrupt("it ends without a picture"))?;
    if let Some(orientation) = finds.orientation_to_write() {
        pieces.write_at(pixels, &chunk(*b"eXIf", &tiff::only_orientation(orientation)));
    }
    if bytes.len() > place {
        finds.add(RemovedKind::Trailing, bytes.len() - place);
    }
    Ok(pieces)
}

/// Whether it moves: one chunk before the pixels says so, and may stand behind the first frame's.
fn animated(bytes: &[u8]) -> bool {
    let mut place = SIGNATURE.len();
    while let Ok(chunk) = Chunk::at(bytes, place) {
        match chunk.kind {
            b"acTL" => return true,
            b"IDAT" | b"IEND" => return false,
            _ => place = chunk.whole.end,
        }
    }
    false
}

/// What stays of a chunk.
enum Kept {
    AsItIs,
    Edited(Vec<u8>),
}

/// A chunk that the picture's look does not depend on.
fn metadata(finds: &mut Finds, texts: &mut Texts, found: &Chunk<'_>) -> Option<Kept> {
    let size = found.whole.len();
    match found.kind {
        b"eXIf" => finds
            .exif(found.data, size)
            .map(|block| Kept::Edited(chunk(*b"eXIf", &block))),
        b"tEXt" | b"zTXt" | b"iTXt" => match texts.look(finds, found.kind, found.data, size)? {
            png_text::Kept::AsItIs => Some(Kept::AsItIs),
            png_text::Kept::Edited(kind, data) => Some(Kept::Edited(chunk(kind, &data))),
        },
        b"tIME" if finds.only_places() && found.data.len() == 7 => Some(Kept::AsItIs),
        b"tIME" => {
            finds.add(RemovedKind::TakenAt, size);
            None
        }
        b"caBX" => {
            finds.add(RemovedKind::Provenance, size);
            None
        }
        _ => {
            finds.add(RemovedKind::Private, size);
            None
        }
    }
}

/// How long an fcTL chunk shows its frame, milliseconds: numerator and denominator of seconds, 0 is a hundredth.
fn shown_for(data: &[u8]) -> u64 {
    let short = |place: usize| match data.get(place..place + 2) {
        Some(&[high, low]) => u64::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    let parts = match short(22) {
        0 => 100,
        parts => parts,
    };
    short(20) * 1_000 / parts
}

struct Chunk<'a> {
    kind: &'a [u8],
    data: &'a [u8],
    whole: Range<usize>,
}

impl<'a> Chunk<'a> {
    fn at(bytes: &'a [u8], start: usize) -> Result<Self, MediaError> {
        let rest = bytes.get(start..).ok_or(MediaError::Truncated)?;
        let length = u32::from_be_bytes(*rest.first_chunk().ok_or(MediaError::Truncated)?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let end = length.checked_add(12).ok_or(MediaError::Truncated)?;
        let (Some(kind), Some(data), Some(_)) = (rest.get(4..8), rest.get(8..end - 4), rest.get(..end)) else {
            return Err(MediaError::Truncated);
        };
        Ok(Self {
            kind,
            data,
            whole: start..start + end,
        })
    }

    /// What has one size has that: more would be a place to hide in.
    fn sized(&self) -> Result<(), MediaError> {
        let fits = match self.kind {
            b"IHDR" => self.data.len() == 13,
            b"PLTE" => self.data.len() <= 768,
            b"fcTL" => self.data.len() == 26,
            _ => true,
        };
        if fits {
            return Ok(());
        }
        let (kind, length) = (String::from_utf8_lossy(self.kind), self.data.len());
        Err(MediaError::corrupt(format!("its {kind} chunk has {length} bytes")))
    }

    /// What is kept must be whole.
    fn check(&self, bytes: &[u8]) -> Result<(), MediaError> {
        let whole = bytes.get(self.whole.clone()).unwrap_or_default();
        let sum = crc32fast::hash(whole.get(4..self.data.len() + 8).unwrap_or_default());
        if whole.ends_with(&sum.to_be_bytes()) {
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
    // What is written here has a mebibyte or two at most.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Policy, Stripped, tiff::EXIF_HEADER};
    use image::ImageEncoder;

    fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
        crate::strip(Format::Png, bytes, Policy::Strip)
    }

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
    fn chunks_of_one_size_hide_nothing() {
        let plain = plain();
        let (body, _) = plain.split_at(plain.len() - 12);
        let stripped = strip(&[body, &chunk(*b"IEND", b"hidden")].concat()).unwrap();
        assert_eq!(stripped.bytes, plain);
        assert_eq!(stripped.removed[0].what, RemovedKind::Private);
        for (kind, size) in [(*b"PLTE", 771), (*b"fcTL", 27)] {
            let error = strip(&with(&[(kind, &vec![9; size])], b"")).unwrap_err();
            assert_eq!(error.code(), "corrupt");
        }
    }

    #[test]
    fn a_frame_that_is_told_before_the_animation_stays() {
        let frame = [&[0; 7][..], &[40, 0, 0, 0, 30], &[0; 8], &[0, 1, 0, 10, 0, 0]].concat();
        let motion = [0, 0, 0, 1, 0, 0, 0, 0];
        let first = with(&[(*b"fcTL", &frame), (*b"acTL", &motion)], b"");
        let stripped = strip(&first).unwrap();
        assert_eq!((stripped.bytes, stripped.removed), (first, vec![]));
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
    fn a_profile_in_a_text_does_not_stand_in_for_the_orientation() {
        let hidden = [EXIF_HEADER, &tiff::only_orientation(8)].concat();
        let text = [b"Raw profile type exif\0", &png_text::to_digits("exif", &hidden)[..]].concat();
        let dirty = with(&[(*b"tEXt", &text), (*b"eXIf", &tiff::only_orientation(6))], b"");
        let once = crate::strip(Format::Png, &dirty, Policy::StripLocation).unwrap();
        let again = crate::strip(Format::Png, &once.bytes, Policy::StripLocation).unwrap();
        assert_eq!((once.orientation, again.orientation), (6, 6));
        assert_eq!((again.removed, again.bytes), (vec![], once.bytes));
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
