//! JPEG, ITU-T T.81 annex B: every segment before the end of the picture is looked at; entropy-coded data is copied.
//!
//! Kept: what decoding needs, JFIF without its thumbnail, ICC profiles (ICC.1 annex B.4, any number of parts), Adobe's
//! colour transform. Everything else goes, and so does everything after the first EOI.

use super::{Finds, RemovedKind, Stripped};
use crate::{
    MediaError,
    tiff::{self, EXIF_HEADER},
};
use memchr::memchr;

const ICC: &[u8] = b"ICC_PROFILE\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const XMP_EXTENSION: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";
/// Scans of a progressive picture cost a pass over all coefficients each; encoders write about ten.
const MOST_SCANS: u32 = 200;

pub(super) fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
    let mut finds = Finds::default();
    let mut body = Vec::with_capacity(bytes.len());
    let mut jfif = None;
    let mut scans = 0;
    let mut place = 2;
    loop {
        let code = marker(bytes, &mut place)?;
        match code {
            0xd9 => break,
            // TEM stands alone.
            0x01 => continue,
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
        match code {
            0xe0 if data.starts_with(b"JFIF\0") && data.len() >= 14 && jfif.is_none() => {
                jfif = Some(keep_jfif(data, &mut finds));
            }
            0xe2 if data.starts_with(ICC) => segment(&mut body, code, data),
            0xee if data.starts_with(b"Adobe") => segment(&mut body, code, data),
            0xe0..=0xef => note(&mut finds, code, data, length + 2),
            0xfe => finds.add(RemovedKind::Comment, length + 2),
            // Reserved for extensions: no decoder needs them.
            0x02..=0xbf | 0xc8 | 0xf0..=0xfd => finds.add(RemovedKind::Private, length + 2),
            0xda => {
                scans += 1;
                if scans > MOST_SCANS {
                    return Err(MediaError::corrupt(format!("it has more than {MOST_SCANS} scans")));
                }
                segment(&mut body, code, data);
                let end = scan_end(bytes, place)?;
                body.extend_from_slice(bytes.get(place..end).ok_or(MediaError::Truncated)?);
                place = end;
            }
            _ => segment(&mut body, code, data),
        }
    }
    if scans == 0 {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    let trailing = bytes.len().saturating_sub(place);
    if trailing > 0 {
        finds.add(RemovedKind::Trailing, trailing);
    }
    let mut out = Vec::with_capacity(body.len() + 64);
    out.extend([0xff, 0xd8]);
    if let Some(jfif) = jfif {
        segment(&mut out, 0xe0, &jfif);
    }
    if let Some(orientation @ 2..=8) = finds.orientation {
        segment(
            &mut out,
            0xe1,
            &[EXIF_HEADER, &tiff::only_orientation(orientation)].concat(),
        );
    }
    out.extend_from_slice(&body);
    out.extend([0xff, 0xd9]);
    Ok(finds.into_stripped(out))
}

/// The next marker's code; fill bytes before it are passed over.
fn marker(bytes: &[u8], place: &mut usize) -> Result<u8, MediaError> {
    if *bytes.get(*place).ok_or(MediaError::Truncated)? != 0xff {
        return Err(MediaError::corrupt("a marker is missing between its segments"));
    }
    loop {
        *place += 1;
        let code = *bytes.get(*place).ok_or(MediaError::Truncated)?;
        if code != 0xff {
            *place += 1;
            return Ok(code);
        }
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

fn segment(out: &mut Vec<u8>, code: u8, data: &[u8]) {
    // Data that came from a segment, or is a few bytes long, fits a segment.
    let length = u16::try_from(data.len() + 2).unwrap_or(u16::MAX);
    out.extend([0xff, code]);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(data);
}

/// JFIF's version and density; its thumbnail goes.
fn keep_jfif(data: &[u8], finds: &mut Finds) -> Vec<u8> {
    let mut kept: Vec<u8> = data.iter().take(12).copied().collect();
    kept.extend([0, 0]);
    if data.len() > 14 {
        finds.add(RemovedKind::Thumbnail, data.len() - 14);
    }
    kept
}

fn note(finds: &mut Finds, code: u8, data: &[u8], size: usize) {
    let what = match code {
        0xe0 => RemovedKind::Thumbnail,
        0xe1 if data.starts_with(EXIF_HEADER) => {
            return finds.exif(data.get(EXIF_HEADER.len()..).unwrap_or_default(), size);
        }
        0xe1 if data.starts_with(XMP) || data.starts_with(XMP_EXTENSION) => RemovedKind::Xmp,
        0xe2 if data.starts_with(b"MPF\0") => RemovedKind::OtherPictures,
        0xeb => RemovedKind::Provenance,
        0xed => RemovedKind::Iptc,
        _ => RemovedKind::Private,
    };
    finds.add(what, size);
}

#[cfg(test)]
mod tests {
    use super::*;

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
            segment(&mut out, *code, data);
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
            segment(&mut bytes, 0xda, &[1, 1, 0, 0, 63, 0]);
        }
        bytes.extend([0xff, 0xd9]);
        assert_eq!(strip(&bytes).unwrap_err().code(), "corrupt");
    }
}
