//! JPEG, ITU-T T.81 annex B: every segment before the end of the picture is looked at; entropy-coded data is copied.
//!
//! Kept: what decoding needs, JFIF without its thumbnail, ICC profiles (ICC.1 annex B.4, any number of parts), Adobe's
//! colour transform. Everything else goes, and so does everything after the first EOI. Where only places go, EXIF, XMP
//! and Photoshop's resources stay without them, comments and thumbnails as they are; an extension of XMP goes, since its
//! digest stands in the packet and it holds whole pictures.

use super::{
    finds::{Finds, LARGEST_BLOCK},
    pieces::{Mark, Pieces},
    removed::RemovedKind,
};
use crate::{
    MediaError, Policy,
    tiff::{self, EXIF_HEADER},
};
use memchr::memchr;

const ICC: &[u8] = b"ICC_PROFILE\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const XMP_EXTENSION: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";
const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";
/// Version, flags and transform stand in Adobe's first 12 bytes.
const ADOBE: usize = 12;
/// JFIF without a thumbnail.
const JFIF: usize = 14;
/// A segment's data at most.
const LARGEST_SEGMENT: usize = 65_533;
/// Scans of a progressive picture cost a pass over all coefficients each; encoders write about ten.
pub(crate) const MOST_SCANS: u32 = 100;

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    finds.largest_exif = LARGEST_SEGMENT - EXIF_HEADER.len();
    let mut walk = Walk::of(bytes, finds);
    walk.pieces.keep(0..2)?;
    // JFIF stands first, then the orientation: both may be found later.
    let (first, second) = (walk.pieces.mark()?, walk.pieces.mark()?);
    let (end, scans) = walk.segments(bytes, first)?;
    if scans == 0 {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    walk.photoshop();
    if let Some(orientation) = walk.finds.orientation_to_write() {
        let block = [EXIF_HEADER, &tiff::only_orientation(orientation)].concat();
        walk.pieces.write_at(second, &segment(0xe1, &block));
    }
    if bytes.len() > end {
        walk.finds.add(RemovedKind::Trailing, bytes.len() - end);
    }
    Ok(walk.pieces)
}

/// A stream within another file, tables without a picture too, and what went of it. It has no orientation of its own.
pub(super) fn stream(bytes: &[u8]) -> Result<(Vec<u8>, Finds), MediaError> {
    let mut finds = Finds::new(Policy::Strip);
    let mut walk = Walk::of(bytes, &mut finds);
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err(MediaError::corrupt("it does not begin like a JPEG"));
    }
    walk.pieces.keep(0..2)?;
    let first = walk.pieces.mark()?;
    let (end, _) = walk.segments(bytes, first)?;
    walk.photoshop();
    let clean = walk.pieces.finish();
    if bytes.len() > end {
        finds.add(RemovedKind::Trailing, bytes.len() - end);
    }
    Ok((clean, finds))
}

struct Walk<'a, 'f> {
    pieces: Pieces<'a>,
    finds: &'f mut Finds,
    jfif: bool,
    /// Photoshop's resources, which may go over several segments, their size there, and where the first stood.
    photoshop: Option<(Vec<u8>, usize, Mark)>,
}

impl<'a, 'f> Walk<'a, 'f> {
    fn of(bytes: &'a [u8], finds: &'f mut Finds) -> Self {
        Self {
            pieces: Pieces::of(bytes),
            finds,
            jfif: false,
            photoshop: None,
        }
    }

    /// All segments; returns where the picture ends, and how many scans it has.
    fn segments(&mut self, bytes: &'a [u8], first: Mark) -> Result<(usize, u32), MediaError> {
        let mut scans = 0;
        let mut place = 2;
        loop {
            let (code, junk) = marker(bytes, &mut place)?;
            if junk > 0 && scans > 0 {
                // Without what follows, decoders would show other pixels than with it.
                return Err(MediaError::corrupt("a marker is missing behind its coded pixels"));
            }
            if junk > 0 {
                self.finds.add(RemovedKind::Unused, junk);
            }
            let start = place - 2;
            match code {
                0xd9 => {
                    self.pieces.keep(start..place)?;
                    return Ok((place, scans));
                }
                // TEM stands alone. In damaged pixels decoders take it for their end.
                0x01 => {
                    self.pieces.keep(start..place)?;
                    continue;
                }
                0xd0..=0xd8 => return Err(MediaError::corrupt("a marker stands where none may")),
                _ => {}
            }
            let length = match bytes.get(place..place + 2) {
                Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
                _ => return Err(MediaError::Truncated),
            };
            if length < 2 {
                return Err(MediaError::corrupt("a segment is shorter than its own length"));
            }
            let data = bytes.get(place + 2..place + length).ok_or(MediaError::Truncated)?;
            place += length;
            let size = length + 2;
            match code {
                0xe0 if data.starts_with(b"JFIF\0") && data.len() >= JFIF && !self.jfif => {
                    self.jfif = true;
                    let jfif = self.jfif(data);
                    self.pieces.write_at(first, &jfif);
                }
                0xe2 if data.starts_with(ICC) => self.pieces.keep(start..place)?,
                0xee if data.starts_with(b"Adobe") => {
                    let kept = data.get(..ADOBE).unwrap_or(data);
                    if kept.len() < data.len() {
                        self.finds.add(RemovedKind::Private, data.len() - kept.len());
                    }
                    self.pieces.write(segment(code, kept))?;
                }
                0xe0..=0xef => self.metadata(code, data, start..place)?,
                0xfe if self.finds.only_places() => self.pieces.keep(start..place)?,
                0xfe => self.finds.add(RemovedKind::Comment, size),
                // Reserved for extensions: no decoder needs them.
                0x02..=0xbf | 0xc8 | 0xf0..=0xfd => self.finds.add(RemovedKind::Private, size),
                0xda => {
                    scans += 1;
                    if scans > MOST_SCANS {
                        return Err(MediaError::corrupt(format!("it has more than {MOST_SCANS} scans")));
                    }
                    place = scan_end(bytes, place)?;
                    self.pieces.keep(start..place)?;
                }
                _ => self.pieces.keep(start..place)?,
            }
        }
    }

    /// JFIF's version and density. Its thumbnail goes, unless only places do.
    fn jfif(&mut self, data: &[u8]) -> Vec<u8> {
        if self.finds.only_places() {
            return segment(0xe0, data);
        }
        if data.len() > JFIF {
            self.finds.add(RemovedKind::Thumbnail, data.len() - JFIF);
        }
        let mut kept: Vec<u8> = data.iter().take(JFIF - 2).copied().collect();
        kept.extend([0, 0]);
        segment(0xe0, &kept)
    }

    /// An application's segment that no decoder needs.
    fn metadata(&mut self, code: u8, data: &[u8], place: std::ops::Range<usize>) -> Result<(), MediaError> {
        let size = place.len();
        let kept = match code {
            // Also "JFXX", which is nothing but a thumbnail.
            0xe0 if self.finds.only_places() && data.starts_with(b"JF") => return self.pieces.keep(place),
            0xe1 => {
                if let Some(block) = data.strip_prefix(EXIF_HEADER) {
                    self.finds.exif(block, size).map(|kept| [EXIF_HEADER, &kept].concat())
                } else if let Some(packet) = data.strip_prefix(XMP) {
                    self.finds.xmp(packet, size).map(|kept| [XMP, &kept].concat())
                } else {
                    let extension = data.starts_with(XMP_EXTENSION);
                    self.finds.add(
                        if extension {
                            RemovedKind::Xmp
                        } else {
                            RemovedKind::Private
                        },
                        size,
                    );
                    None
                }
            }
            0xed if data.starts_with(PHOTOSHOP) => {
                let part = data.get(PHOTOSHOP.len()..).unwrap_or_default();
                return self.photoshop_part(part, size);
            }
            _ => {
                self.finds.add(
                    match code {
                        0xe0 => RemovedKind::Thumbnail,
                        0xe2 if data.starts_with(b"MPF\0") => RemovedKind::OtherPictures,
                        0xeb => RemovedKind::Provenance,
                        0xed => RemovedKind::Iptc,
                        _ => RemovedKind::Private,
                    },
                    size,
                );
                None
            }
        };
        match kept {
            Some(kept) => self.pieces.write(segment(code, &kept)),
            None => Ok(()),
        }
    }

    fn photoshop_part(&mut self, part: &[u8], size: usize) -> Result<(), MediaError> {
        if self.photoshop.is_none() {
            self.photoshop = Some((Vec::new(), 0, self.pieces.mark()?));
        }
        let Some((bytes, total, _)) = &mut self.photoshop else {
            return Ok(());
        };
        *total = total.saturating_add(size);
        // One byte over the limit says that there was more.
        let room = (LARGEST_BLOCK + 1).saturating_sub(bytes.len());
        bytes.extend_from_slice(part.get(..room).unwrap_or(part));
        Ok(())
    }

    /// What stays of Photoshop's resources, in as many segments as it takes.
    fn photoshop(&mut self) {
        let Some((resources, size, mark)) = self.photoshop.take() else {
            return;
        };
        if let Some(kept) = self.finds.iptc(&resources, size) {
            for part in kept.chunks(LARGEST_SEGMENT - PHOTOSHOP.len()) {
                self.pieces.write_at(mark, &segment(0xed, &[PHOTOSHOP, part].concat()));
            }
        }
    }
}

/// The next marker's code, and how many bytes before it are part of no segment: some programs leave a few, and every
/// decoder passes over them. Fill bytes, which may stand there, do not count.
fn marker(bytes: &[u8], place: &mut usize) -> Result<(u8, usize), MediaError> {
    let mut junk = 0;
    loop {
        let rest = bytes.get(*place..).ok_or(MediaError::Truncated)?;
        let skipped = memchr(0xff, rest).ok_or(MediaError::Truncated)?;
        junk += skipped;
        *place += skipped;
        let code = loop {
            *place += 1;
            let code = *bytes.get(*place).ok_or(MediaError::Truncated)?;
            if code != 0xff {
                break code;
            }
        };
        *place += 1;
        if code != 0 {
            return Ok((code, junk));
        }
        junk += 2;
    }
}

/// Where entropy-coded data ends: at a marker that is neither a stuffed zero nor a restart.
fn scan_end(bytes: &[u8], start: usize) -> Result<usize, MediaError> {
    let mut place = start;
    loop {
        place += memchr(0xff, bytes.get(place..).ok_or(MediaError::Truncated)?).ok_or(MediaError::Truncated)?;
        match bytes.get(place + 1) {
            Some(0x00 | 0xd0..=0xd7) => place += 2,
            // A fill byte: the next may begin a marker.
            Some(0xff) => place += 1,
            Some(_) => return Ok(place),
            None => return Err(MediaError::Truncated),
        }
    }
}

/// A segment. Its data came from one, or is a few bytes long.
fn segment(code: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(data.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
    [&[0xff, code, high, low], data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Stripped};

    fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
        crate::strip(Format::Jpeg, bytes, Policy::Strip)
    }

    fn plain() -> Vec<u8> {
        let mut out = Vec::new();
        let pixels: Vec<u8> = (0..64_u32 * 48 * 3).map(|n| (n * 7).to_le_bytes()[0]).collect();
        jpeg_encoder::Encoder::new(&mut out, 90)
            .encode(&pixels, 64, 48, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        out
    }

    fn with(segments: &[(u8, Vec<u8>)], trailing: &[u8]) -> Vec<u8> {
        let plain = plain();
        let mut out = vec![0xff, 0xd8];
        for (code, data) in segments {
            out.extend(segment(*code, data));
        }
        out.extend_from_slice(&plain[2..]);
        out.extend_from_slice(trailing);
        out
    }

    fn pixels(bytes: &[u8]) -> Vec<u8> {
        image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg)
            .unwrap()
            .into_bytes()
    }

    fn dirty() -> Vec<u8> {
        with(
            &[
                (0xe1, [EXIF_HEADER, &tiff::only_orientation(6), b"and more"].concat()),
                (0xe1, [XMP, b"<x:xmpmeta/>"].concat()),
                (0xe2, b"MPF\0II".to_vec()),
                (0xe2, [ICC, &[1, 1], b"profile"].concat()),
                (0xed, b"Photoshop 3.0\08BIM".to_vec()),
                (0xeb, b"JP c2pa".to_vec()),
                (0xfe, b"a comment".to_vec()),
                (0xe5, b"private".to_vec()),
            ],
            &plain(),
        )
    }

    #[test]
    fn bytes_between_segments_go() {
        let mut dirty = with(&[(0xfe, b"a comment".to_vec())], b"");
        let after = 4 + 2 + b"a comment".len();
        dirty.splice(after..after, *b"junk \xff\0 junk");
        let stripped = strip(&dirty).unwrap();
        assert!(memchr::memmem::find(&stripped.bytes, b"junk").is_none());
        assert_eq!(pixels(&stripped.bytes), pixels(&plain()));
        let junk = stripped
            .removed
            .iter()
            .find(|removed| removed.what == RemovedKind::Unused);
        assert_eq!(junk.unwrap().bytes, 12);
        assert_eq!(strip(&stripped.bytes).unwrap().removed, []);
        let mut damaged = plain();
        let end = damaged.len() - 2;
        damaged.splice(end..end, *b"\xff\x08\0\x06abcdefgh");
        let error = strip(&damaged).unwrap_err().to_string();
        assert!(error.contains("behind its coded pixels"), "{error}");
    }

    #[test]
    fn metadata_goes_and_pixels_stay_bit_for_bit() {
        let dirty = dirty();
        let stripped = strip(&dirty).unwrap();
        assert_eq!(pixels(&stripped.bytes), pixels(&dirty));
        let kinds: Vec<_> = stripped.removed.iter().map(|removed| removed.what).collect();
        for kind in [
            RemovedKind::Exif,
            RemovedKind::Xmp,
            RemovedKind::OtherPictures,
            RemovedKind::Iptc,
            RemovedKind::Provenance,
            RemovedKind::Comment,
            RemovedKind::Private,
            RemovedKind::Trailing,
        ] {
            assert!(kinds.contains(&kind), "{kind} is not reported");
        }
        for gone in [
            &b"xmpmeta"[..],
            b"MPF",
            b"8BIM",
            b"c2pa",
            b"a comment",
            b"private",
            b"and more",
        ] {
            assert!(
                memchr::memmem::find(&stripped.bytes, gone).is_none(),
                "{}",
                String::from_utf8_lossy(gone)
            );
        }
        assert!(
            memchr::memmem::find(&stripped.bytes, b"profile").is_some(),
            "the ICC profile stays"
        );
        assert_eq!(stripped.orientation, 6);
        assert_eq!(
            memchr::memmem::find_iter(&stripped.bytes, &[0xff, 0xd8][..]).count(),
            1,
            "one picture is left"
        );
    }

    #[test]
    fn stripping_twice_changes_nothing_and_finds_nothing() {
        let once = strip(&dirty()).unwrap();
        let twice = strip(&once.bytes).unwrap();
        assert_eq!(twice.bytes, once.bytes);
        assert_eq!(twice.removed, []);
        assert_eq!(twice.orientation, 6);
    }

    #[test]
    fn a_second_block_of_exif_does_not_turn_the_picture() {
        let block = |exif: &[u8]| segment(0xe1, &[EXIF_HEADER, exif].concat());
        let (sixth, broken) = (block(&tiff::only_orientation(6)), block(b"no TIFF"));
        let plain = plain();
        for (blocks, orientation) in [(&[&broken[..], &sixth], 1), (&[&sixth[..], &broken], 6)] {
            let dirty = [&plain[..2], &blocks.concat(), &plain[2..]].concat();
            for policy in [Policy::Strip, Policy::StripLocation] {
                let once = crate::strip(Format::Jpeg, &dirty, policy).unwrap();
                let again = crate::strip(Format::Jpeg, &once.bytes, policy).unwrap();
                assert_eq!((once.orientation, again.orientation), (orientation, orientation));
                assert_eq!((again.removed, again.bytes), (vec![], once.bytes));
            }
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = plain();
        for end in 2..whole.len() {
            assert!(strip(&whole[..end]).is_err(), "cut at {end} of {}", whole.len());
        }
    }

    #[test]
    fn a_scan_bomb_is_refused() {
        let mut bytes = vec![0xff, 0xd8];
        for _ in 0..=MOST_SCANS {
            bytes.extend(segment(0xda, &[1, 1, 0, 0, 63, 0]));
        }
        bytes.extend([0xff, 0xd9]);
        assert_eq!(strip(&bytes).unwrap_err().code(), "corrupt");
    }
}
