//! BMP: the headers, masks, palette, pixels and an embedded ICC profile are put together without what lies between and
//! behind them. Chapter "Bitmap Storage" of Microsoft's GDI reference says what there is.
//!
//! A linked profile is a path on somebody's disk: it goes, and the colours are sRGB's.

use super::{finds::Finds, pieces::Pieces, removed::RemovedKind};
use crate::MediaError;
use std::ops::Range;

/// "BM", size, two reserved numbers, where the pixels begin.
const FILE_HEADER: usize = 14;
const CORE: usize = 12;
const INFO: usize = 40;
const V5: usize = 124;
const SRGB: u32 = 0x7352_4742;
const LINKED: u32 = 0x4c49_4e4b;
const EMBEDDED: u32 = 0x4d42_4544;

const RGB: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BIT_FIELDS: u32 = 3;
const ALPHA_BIT_FIELDS: u32 = 6;

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    let header = Header::read(bytes)?;
    let pixels = header.pixels(bytes)?;
    let tables = header.tables();
    if tables.end > pixels.end {
        finds.lossy = Some("its palette reaches behind its pixels");
        return Ok(Pieces::of(bytes));
    }
    let mut head = bytes
        .get(..FILE_HEADER + header.size)
        .ok_or(MediaError::Truncated)?
        .to_vec();
    let mut used = head.len() + tables.len() + pixels.len();
    let profile = header.profile(bytes, pixels.end, &mut head, finds);
    used += profile.as_ref().map_or(0, Range::len);
    let length = used;
    let mut put = |place: usize, number: usize| {
        let number = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(target) = head.get_mut(place..place + 4) {
            target.copy_from_slice(&number);
        }
    };
    put(2, length);
    put(6, 0);
    put(10, FILE_HEADER + header.size + tables.len());
    if header.size >= INFO {
        put(FILE_HEADER + 20, pixels.len());
        put(FILE_HEADER + 32, header.colours);
    }
    if profile.is_some() {
        put(FILE_HEADER + 112, header.size + tables.len() + pixels.len());
    }
    if bytes.get(6..10).is_some_and(|reserved| reserved != [0; 4]) {
        finds.add(RemovedKind::Private, 4);
    }
    let end = profile.as_ref().map_or(0, |profile| profile.end).max(pixels.end);
    if bytes.len() > end {
        finds.add(RemovedKind::Trailing, bytes.len() - end);
    }
    if end > used {
        finds.add(RemovedKind::Unused, end - used);
    }
    let mut pieces = Pieces::of(bytes);
    pieces.write(head)?;
    pieces.keep(tables)?;
    pieces.keep(pixels)?;
    if let Some(profile) = profile {
        pieces.keep(profile)?;
    }
    Ok(pieces)
}

struct Header {
    size: usize,
    offset: usize,
    width: u64,
    height: u64,
    bits: u64,
    coding: u32,
    image_size: usize,
    colours: usize,
}

fn long(bytes: &[u8], place: usize) -> Result<u32, MediaError> {
    bytes
        .get(place..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or(MediaError::Truncated)
}

fn short(bytes: &[u8], place: usize) -> Result<u16, MediaError> {
    bytes
        .get(place..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u16::from_le_bytes(*bytes))
        .ok_or(MediaError::Truncated)
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, MediaError> {
        let head = size(long(bytes, FILE_HEADER)?);
        let offset = size(long(bytes, 10)?);
        if head == CORE {
            let bits = short(bytes, 24)?;
            return Ok(Self {
                size: head,
                offset,
                width: short(bytes, 18)?.into(),
                height: short(bytes, 20)?.into(),
                bits: bits.into(),
                coding: RGB,
                image_size: 0,
                colours: if bits <= 8 { 1 << bits } else { 0 },
            });
        }
        if !matches!(head, INFO | 52 | 56 | 64 | 108 | V5) {
            return Err(MediaError::corrupt(format!("it has a header of {head} bytes")));
        }
        let bits = short(bytes, 28)?;
        let most = if bits <= 8 { 1 << bits } else { 0 };
        let coding = long(bytes, 30)?;
        let named = size(long(bytes, 46)?);
        if head == 64 && coding > RLE4 {
            return Err(unsupported("a coding of OS/2"));
        }
        Ok(Self {
            size: head,
            offset,
            width: long(bytes, 18)?.cast_signed().unsigned_abs().into(),
            height: long(bytes, 22)?.cast_signed().unsigned_abs().into(),
            bits: bits.into(),
            coding,
            image_size: size(long(bytes, 34)?),
            // A palette beside true colours is a hint for old screens.
            colours: if named == 0 { most } else { named.min(most) },
        })
    }

    /// Where the pixels are.
    fn pixels(&self, bytes: &[u8]) -> Result<Range<usize>, MediaError> {
        let start = self.offset;
        if start < FILE_HEADER + self.size {
            return Err(MediaError::corrupt("its pixels begin within its header"));
        }
        let rest = bytes.get(start..).ok_or(MediaError::Truncated)?;
        let length = match self.coding {
            RGB | BIT_FIELDS | ALPHA_BIT_FIELDS => {
                let row = (self.width * self.bits).div_ceil(32) * 4;
                row.checked_mul(self.height)
                    .and_then(|length| usize::try_from(length).ok())
                    .ok_or(MediaError::Truncated)?
            }
            RLE8 | RLE4 => {
                let bounded = match self.image_size {
                    0 => rest,
                    size => rest.get(..size).unwrap_or(rest),
                };
                runs_end(bounded, self.coding == RLE4)?
            }
            other => return Err(unsupported(&format!("coding {other}"))),
        };
        let end = start.checked_add(length).ok_or(MediaError::Truncated)?;
        if length == 0 || end > bytes.len() {
            return Err(MediaError::Truncated);
        }
        Ok(start..end)
    }

    /// Where masks and palette are. Some palettes are shorter than they are said to be:
    /// decoders take the first pixels for the rest, so these are copied twice.
    fn tables(&self) -> Range<usize> {
        let start = FILE_HEADER + self.size;
        let masks = match self.coding {
            BIT_FIELDS if self.size == INFO => 12,
            ALPHA_BIT_FIELDS if self.size == INFO => 16,
            _ => 0,
        };
        let colour = if self.size == CORE { 3 } else { 4 };
        start..start + masks + self.colours * colour
    }

    /// Where an embedded profile is, behind the pixels, which end at `after`. In `head` one that is not embedded is forgotten.
    fn profile(&self, bytes: &[u8], after: usize, head: &mut [u8], finds: &mut Finds) -> Option<Range<usize>> {
        if self.size < V5 {
            // Version 4 has no place for one.
            return None;
        }
        let kind = long(bytes, FILE_HEADER + 56).ok()?;
        let start = FILE_HEADER.checked_add(size(long(bytes, FILE_HEADER + 112).ok()?))?;
        let length = size(long(bytes, FILE_HEADER + 116).ok()?);
        let range = start..start.checked_add(length)?;
        let embedded = kind == EMBEDDED && length > 0 && start >= after && bytes.get(range.clone()).is_some();
        if embedded {
            return Some(range);
        }
        if let Some(fields) = head.get_mut(FILE_HEADER + 112..FILE_HEADER + 124) {
            fields.fill(0);
        }
        if kind == LINKED || kind == EMBEDDED {
            finds.add(RemovedKind::Private, 12);
            if let Some(space) = head.get_mut(FILE_HEADER + 56..FILE_HEADER + 60) {
                space.copy_from_slice(&SRGB.to_le_bytes());
            }
        }
        None
    }
}

fn unsupported(problem: &str) -> MediaError {
    MediaError::Unsupported {
        format: "BMP",
        problem: problem.to_owned(),
    }
}

/// Where a run-length coding ends: behind its end-of-bitmap escape.
fn runs_end(bytes: &[u8], nibbles: bool) -> Result<usize, MediaError> {
    let mut place = 0;
    loop {
        let pair: &[u8; 2] = bytes
            .get(place..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(MediaError::Truncated)?;
        place += 2;
        match *pair {
            [0, 1] => return Ok(place),
            [0, 2] => place += 2,
            [0, 0] => {}
            [0, count] => {
                let length = usize::from(count);
                let length = if nibbles { length.div_ceil(2) } else { length };
                place += length + length % 2;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Policy, Stripped};
    use proptest::prelude::*;

    fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
        crate::strip(Format::Bmp, bytes, Policy::Strip)
    }

    fn encoded(image: &image::DynamicImage) -> Vec<u8> {
        let mut out = Vec::new();
        image
            .write_to(&mut std::io::Cursor::new(&mut out), image::ImageFormat::Bmp)
            .unwrap();
        out
    }

    fn picture() -> image::DynamicImage {
        image::RgbImage::from_fn(7, 5, |x, y| {
            image::Rgb([x.to_le_bytes()[0] * 30, y.to_le_bytes()[0] * 40, 9])
        })
        .into()
    }

    fn pixels(bytes: &[u8]) -> Vec<u8> {
        image::load_from_memory_with_format(bytes, image::ImageFormat::Bmp)
            .unwrap()
            .into_bytes()
    }

    /// `bytes` with a secret in the reserved numbers, before the pixels and behind them.
    fn dirty(bytes: &[u8]) -> Vec<u8> {
        let offset = size(long(bytes, 10).unwrap());
        let (head, rest) = bytes.split_at(offset);
        let mut out = [head, b"SECRET-GAP!!", rest, b"SECRET-TAIL"].concat();
        out[6..10].copy_from_slice(b"SECR");
        out[10..14].copy_from_slice(&u32::try_from(offset + 12).unwrap().to_le_bytes());
        out
    }

    #[test]
    fn gaps_and_tails_go_and_pixels_stay() {
        let grey = image::DynamicImage::ImageLuma8(picture().into_luma8());
        let glass = image::DynamicImage::ImageRgba8(picture().into_rgba8());
        for image in [picture(), grey, glass] {
            let clean = encoded(&image);
            let stripped = strip(&dirty(&clean)).unwrap();
            assert!(memchr::memmem::find(&stripped.bytes, b"SECR").is_none());
            assert_eq!(pixels(&stripped.bytes), pixels(&clean));
            assert_eq!(stripped.bytes.len(), clean.len());
            let kinds: Vec<_> = stripped.removed.iter().map(|removed| removed.what).collect();
            assert_eq!(
                kinds,
                [RemovedKind::Private, RemovedKind::Unused, RemovedKind::Trailing]
            );
            let again = strip(&stripped.bytes).unwrap();
            assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
        }
    }

    #[test]
    fn a_palette_that_pixels_begin_in_is_read_as_before() {
        // Two of 16 colours, and pixels that begin where the third would stand.
        let mut bytes = b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0".to_vec();
        bytes.extend([16, 0, 0, 0, 8, 0, 0, 0, 1, 0, 4, 0]);
        bytes.resize(54, 0);
        bytes.extend([10, 20, 30, 0, 200, 100, 0, 0]);
        bytes.extend((0..64).map(|number| number * 3));
        let stripped = strip(&bytes).unwrap();
        assert_eq!(pixels(&stripped.bytes), pixels(&bytes));
    }

    /// A picture of one pixel with a version 5 header, and `profile` behind it.
    fn version5(space: u32, profile: &[u8]) -> Vec<u8> {
        let mut out = b"BM\0\0\0\0\0\0\0\0".to_vec();
        out.extend(138_u32.to_le_bytes());
        out.extend(124_u32.to_le_bytes());
        out.extend([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 24, 0]);
        out.resize(138, 0);
        out[70..74].copy_from_slice(&space.to_le_bytes());
        out.extend([1, 2, 3, 0]);
        let place = u32::try_from(out.len() + 4 - FILE_HEADER).unwrap();
        out.extend(b"gap!");
        out[126..130].copy_from_slice(&place.to_le_bytes());
        out[130..134].copy_from_slice(&u32::try_from(profile.len()).unwrap().to_le_bytes());
        out.extend(profile);
        out
    }

    #[test]
    fn an_embedded_profile_stays_and_a_linked_one_goes() {
        let stripped = strip(&version5(EMBEDDED, b"a profile")).unwrap();
        assert!(stripped.bytes.ends_with(&[&[1, 2, 3, 0][..], b"a profile"].concat()));
        assert_eq!(long(&stripped.bytes, 126), Ok(128));
        assert_eq!(strip(&stripped.bytes).unwrap().removed, []);
        let stripped = strip(&version5(LINKED, b"c:\\users\\somebody\\screen.icc")).unwrap();
        assert!(memchr::memmem::find(&stripped.bytes, b"somebody").is_none());
        assert_eq!(long(&stripped.bytes, 70), Ok(SRGB));
        assert_eq!(strip(&stripped.bytes).unwrap().removed, []);
    }

    #[test]
    fn run_lengths_end_at_their_escape() {
        assert_eq!(runs_end(&[4, 9, 0, 3, 1, 2, 3, 0, 0, 1, 7, 7], false), Ok(10));
        assert_eq!(runs_end(&[0, 5, 1, 2, 3, 0, 0, 2, 1, 1, 0, 1], true), Ok(12));
        assert_eq!(runs_end(&[4, 9, 0, 3, 1], false), Err(MediaError::Truncated));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = encoded(&picture());
        for end in 0..whole.len() {
            assert!(strip(&whole[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_once_is_enough(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            five in any::<bool>(),
        ) {
            let mut bytes = if five { version5(EMBEDDED, b"a profile") } else { dirty(&encoded(&picture())) };
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Ok(stripped) = strip(&bytes) {
                prop_assert!(stripped.bytes.len() <= bytes.len());
                let again = strip(&stripped.bytes).unwrap();
                prop_assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
            }
        }
    }
}
