//! WebP, RFC 9649: chunks of the picture are copied, EXIF, XMP and unknown ones go, and the flags say so.

use super::{Finds, RemovedKind, Stripped};
use crate::{
    MediaError,
    tiff::{self, EXIF_HEADER},
};

const FLAG_EXIF: u8 = 0b0000_1000;
const FLAG_XMP: u8 = 0b0000_0100;

pub(super) fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
    let size: [u8; 4] = bytes
        .get(4..8)
        .and_then(|part| part.try_into().ok())
        .ok_or(MediaError::Truncated)?;
    let end = usize::try_from(u32::from_le_bytes(size))
        .unwrap_or(usize::MAX)
        .saturating_add(8);
    let mut rest = bytes.get(12..end).ok_or(MediaError::Truncated)?;
    let mut finds = Finds::default();
    let mut body = Vec::with_capacity(bytes.len());
    let (mut pixels, mut extended) = (false, None);
    while !rest.is_empty() {
        let (kind, data, whole) = next(&mut rest)?;
        match kind {
            b"VP8X" => {
                extended = Some(body.len() + 8);
                body.extend_from_slice(whole);
            }
            b"VP8 " | b"VP8L" | b"ANMF" => {
                pixels = true;
                body.extend_from_slice(whole);
            }
            b"ALPH" | b"ICCP" | b"ANIM" => body.extend_from_slice(whole),
            b"EXIF" => finds.exif(data.strip_prefix(EXIF_HEADER).unwrap_or(data), whole.len()),
            b"XMP " => finds.add(RemovedKind::Xmp, whole.len()),
            b"C2PA" => finds.add(RemovedKind::Provenance, whole.len()),
            _ => finds.add(RemovedKind::Private, whole.len()),
        }
    }
    if !pixels {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    if bytes.len() > end {
        finds.add(RemovedKind::Trailing, bytes.len() - end);
    }
    // Only an extended file may say how it is to be turned.
    let turned = extended.and(finds.orientation).filter(|orientation| *orientation != 1);
    if let Some(flags) = extended.and_then(|place| body.get_mut(place)) {
        *flags &= !(FLAG_EXIF | FLAG_XMP);
        if turned.is_some() {
            *flags |= FLAG_EXIF;
        }
    }
    if let Some(orientation) = turned {
        let block = tiff::only_orientation(orientation);
        body.extend(b"EXIF");
        body.extend(u32::try_from(block.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend(block);
    }
    let mut out = Vec::with_capacity(body.len() + 12);
    out.extend(b"RIFF");
    out.extend(u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(b"WEBP");
    out.extend_from_slice(&body);
    Ok(finds.into_stripped(out))
}

type Chunk<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn next<'a>(rest: &mut &'a [u8]) -> Result<Chunk<'a>, MediaError> {
    let kind = rest.get(..4).ok_or(MediaError::Truncated)?;
    let length: [u8; 4] = rest
        .get(4..8)
        .and_then(|part| part.try_into().ok())
        .ok_or(MediaError::Truncated)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    let end = length.checked_add(8).ok_or(MediaError::Truncated)?;
    let data = rest.get(8..end).ok_or(MediaError::Truncated)?;
    // Chunks are padded to an even size; the last one's padding is missing in some files.
    let padded = (end + (length & 1)).min(rest.len());
    let whole = rest.get(..padded).ok_or(MediaError::Truncated)?;
    *rest = rest.get(padded..).unwrap_or_default();
    Ok((kind, data, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageEncoder;

    fn lossless() -> Vec<u8> {
        let mut out = Vec::new();
        let pixels: Vec<u8> = (0..20_u32 * 10 * 4).map(|n| (n * 5).to_le_bytes()[0]).collect();
        let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut out);
        encoder
            .write_image(&pixels, 20, 10, image::ExtendedColorType::Rgba8)
            .unwrap();
        out
    }

    fn extended(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut body = b"WEBPVP8X\x0a\0\0\0\x1c\0\0\0\x13\0\0\x09\0\0".to_vec();
        body.extend_from_slice(&lossless()[12..]);
        for (kind, data) in chunks {
            body.extend_from_slice(*kind);
            body.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            body.extend_from_slice(data);
            if data.len() % 2 == 1 {
                body.push(0);
            }
        }
        [&b"RIFF"[..], &u32::try_from(body.len()).unwrap().to_le_bytes(), &body].concat()
    }

    #[test]
    fn metadata_goes_flags_follow_and_pixels_stay() {
        let exif = [&tiff::only_orientation(3)[..], b"more"].concat();
        let dirty = extended(&[(b"EXIF", &exif), (b"XMP ", b"<x/>"), (b"prvt", b"odd")]);
        let stripped = strip(&dirty).unwrap();
        let load = |bytes: &[u8]| {
            image::load_from_memory_with_format(bytes, image::ImageFormat::WebP)
                .unwrap()
                .into_bytes()
        };
        assert_eq!(load(&stripped.bytes), load(&dirty));
        assert_eq!(stripped.orientation, 3);
        for gone in [&b"<x/>"[..], b"prvt", b"more"] {
            assert!(memchr::memmem::find(&stripped.bytes, gone).is_none());
        }
        assert_eq!(stripped.bytes[20] & (FLAG_EXIF | FLAG_XMP), FLAG_EXIF);
        let again = strip(&stripped.bytes).unwrap();
        assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = lossless();
        for end in 12..whole.len() {
            assert!(strip(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
