//! WebP, RFC 9649: chunks of the picture are copied, EXIF, XMP and unknown ones go, and the flags say so.
//!
//! Unknown chunks within frames go too. Where only places go, EXIF and XMP stay without them.

use super::{
    finds::Finds,
    pieces::{Mark, Pieces},
    removed::RemovedKind,
};
use crate::{
    MediaError,
    tiff::{self, EXIF_HEADER},
};
use std::ops::Range;

const FLAG_EXIF: u8 = 0b0000_1000;
const FLAG_XMP: u8 = 0b0000_0100;
/// RIFF, its size, WEBP.
const HEADER: usize = 12;
/// What a frame says of itself before its chunks.
const FRAME: usize = 16;

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    let size = bytes
        .get(4..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(MediaError::Truncated)?;
    let end = usize::try_from(u32::from_le_bytes(*size))
        .unwrap_or(usize::MAX)
        .saturating_add(8);
    let inside = bytes.get(..end).filter(|inside| inside.len() >= HEADER);
    let inside = inside.ok_or(MediaError::Truncated)?;
    let mut pieces = Pieces::of(bytes);
    let header = pieces.mark()?;
    pieces.write_at(header, b"RIFF\0\0\0\0WEBP");
    let (mut pixels, mut extended) = (false, None);
    let mut metadata: Vec<([u8; 4], Vec<u8>)> = Vec::new();
    let mut place = HEADER;
    while place < end {
        let chunk = Chunk::at(inside, place)?;
        let start = std::mem::replace(&mut place, chunk.whole.end);
        let size = chunk.whole.len();
        match chunk.kind {
            b"VP8X" if start == HEADER => extended = Some(header_chunk(&mut pieces, chunk.data)?),
            b"VP8 " | b"VP8L" => {
                pixels = true;
                chunk.keep(&mut pieces)?;
            }
            b"ANMF" => {
                pixels = true;
                frame(inside, &chunk, &mut pieces, finds)?;
            }
            b"ALPH" | b"ICCP" | b"ANIM" => chunk.keep(&mut pieces)?,
            b"EXIF" => {
                let block = chunk.data.strip_prefix(EXIF_HEADER).unwrap_or(chunk.data);
                // Readers pass over EXIF that the header does not announce, and look no further in simple files.
                if extended.is_some_and(|(flags, _)| flags & FLAG_EXIF != 0) {
                    metadata.extend(finds.exif(block, size).map(|kept| (*b"EXIF", kept)));
                } else {
                    finds.exif_gone(block, size);
                }
            }
            b"XMP " if extended.is_some() => {
                metadata.extend(finds.xmp(chunk.data, size).map(|kept| (*b"XMP ", kept)));
            }
            b"XMP " => finds.add(RemovedKind::Xmp, size),
            b"C2PA" => finds.add(RemovedKind::Provenance, size),
            _ => finds.add(RemovedKind::Private, size),
        }
    }
    if !pixels {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    if bytes.len() > end {
        finds.add(RemovedKind::Trailing, bytes.len() - end);
    }
    if let Some((flags, mark)) = extended {
        close(&mut pieces, finds, flags, mark, metadata)?;
    }
    // The parts of a file whose size has 32 bits are no larger.
    let riff = u32::try_from(pieces.len() - 8).unwrap_or(u32::MAX);
    pieces.overwrite(header, 4, &riff.to_le_bytes());
    Ok(pieces)
}

/// VP8X: flags, canvas; what a writer put behind them goes.
fn header_chunk(pieces: &mut Pieces<'_>, data: &[u8]) -> Result<(u8, Mark), MediaError> {
    let data = data
        .get(..10)
        .ok_or_else(|| MediaError::corrupt("its extended header is too short"))?;
    let mark = pieces.mark()?;
    pieces.write_at(mark, &chunk(*b"VP8X", data));
    Ok((data.first().copied().unwrap_or(0), mark))
}

/// Metadata that stays, and the flags that say of it.
fn close(
    pieces: &mut Pieces<'_>,
    finds: &Finds,
    flags: u8,
    mark: Mark,
    mut metadata: Vec<([u8; 4], Vec<u8>)>,
) -> Result<(), MediaError> {
    if let Some(orientation) = finds.orientation_to_write() {
        metadata.push((*b"EXIF", tiff::only_orientation(orientation)));
    }
    let mut flags = flags & !(FLAG_EXIF | FLAG_XMP);
    for (kind, data) in metadata {
        flags |= if &kind == b"EXIF" { FLAG_EXIF } else { FLAG_XMP };
        pieces.write(chunk(kind, &data))?;
    }
    pieces.overwrite(mark, 8, &[flags]);
    Ok(())
}

/// A frame of an animation: its picture is kept, chunks that are no part of it are not.
fn frame(bytes: &[u8], whole: &Chunk<'_>, pieces: &mut Pieces<'_>, finds: &mut Finds) -> Result<(), MediaError> {
    let header = whole.data.get(..FRAME).ok_or(MediaError::Truncated)?;
    if let Some(&[low, middle, high]) = header.get(12..15) {
        finds.frame(u32::from_le_bytes([low, middle, high, 0]).into());
    }
    let start = whole.whole.start + 8;
    let inside = bytes.get(..start + whole.data.len()).ok_or(MediaError::Truncated)?;
    let mut place = start + FRAME;
    let mut kept = Vec::new();
    let mut gone = 0;
    while place < inside.len() {
        let chunk = Chunk::at(inside, place)?;
        place = chunk.whole.end;
        match chunk.kind {
            b"ALPH" | b"VP8 " | b"VP8L" if kept.len() < 2 => kept.push(chunk),
            _ => gone += chunk.whole.len(),
        }
    }
    if !kept.iter().any(|chunk| chunk.kind != b"ALPH") {
        return Err(MediaError::corrupt("a frame of it has no picture"));
    }
    if gone == 0 {
        return whole.keep(pieces);
    }
    finds.add(RemovedKind::Private, gone);
    let size: usize = kept.iter().map(|chunk| chunk.whole.len() + chunk.missing()).sum();
    let size = u32::try_from(FRAME + size).unwrap_or(u32::MAX);
    pieces.write([b"ANMF", &size.to_le_bytes()[..], header].concat())?;
    kept.iter().try_for_each(|chunk| chunk.keep(pieces))
}

struct Chunk<'a> {
    kind: &'a [u8],
    data: &'a [u8],
    /// With its padding, as far as it is there.
    whole: Range<usize>,
}

impl<'a> Chunk<'a> {
    fn at(bytes: &'a [u8], start: usize) -> Result<Self, MediaError> {
        let rest = bytes.get(start..).ok_or(MediaError::Truncated)?;
        let length = rest
            .get(4..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(MediaError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let end = length.checked_add(8).ok_or(MediaError::Truncated)?;
        let (Some(kind), Some(data)) = (rest.get(..4), rest.get(8..end)) else {
            return Err(MediaError::Truncated);
        };
        // Chunks are padded to an even size; the last one's padding is missing in some files.
        let padded = (end + (length & 1)).min(rest.len());
        Ok(Self {
            kind,
            data,
            whole: start..start + padded,
        })
    }

    /// How much padding is missing.
    const fn missing(&self) -> usize {
        (self.whole.end - self.whole.start) % 2
    }

    fn keep(&self, pieces: &mut Pieces<'_>) -> Result<(), MediaError> {
        pieces.keep(self.whole.clone())?;
        if self.missing() > 0 {
            pieces.write(vec![0])?;
        }
        Ok(())
    }
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    // What is written here has a mebibyte at most.
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = [&kind[..], &size, data].concat();
    out.resize(out.len() + data.len() % 2, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Policy, Stripped};
    use image::ImageEncoder;

    fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
        crate::strip(Format::WebP, bytes, Policy::Strip)
    }

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
    fn a_frame_without_a_picture_is_refused() {
        let lossless = lossless();
        let frame = |picture: &[u8]| {
            let frame = [&[0; 6][..], &[19, 0, 0, 9, 0, 0, 40, 0, 0, 0], picture].concat();
            let animation = [
                chunk(*b"VP8X", &[2, 0, 0, 0, 19, 0, 0, 9, 0, 0]),
                chunk(*b"ANIM", &[0; 6]),
                chunk(*b"ANMF", &frame),
            ]
            .concat();
            let size = u32::try_from(animation.len() + 4).unwrap().to_le_bytes();
            strip(&[b"RIFF", &size[..], b"WEBP", &animation].concat()).map(|stripped| stripped.facts)
        };
        assert!(frame(&lossless[12..]).is_ok());
        assert!(frame(&chunk(*b"VP6L", b"picture")).is_err());
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = lossless();
        for end in 12..whole.len() {
            assert!(strip(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
