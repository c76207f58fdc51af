//! GIF: frames and their controls are copied, comments, plain text and applications' blocks go, the loop count stays.

use super::{Finds, RemovedKind, Stripped};
use crate::MediaError;

pub(super) fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
    let mut finds = Finds::default();
    let flags = *bytes.get(10).ok_or(MediaError::Truncated)?;
    let mut place = 13 + colours(flags);
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(bytes.get(..place).ok_or(MediaError::Truncated)?);
    let mut frames = false;
    loop {
        let start = place;
        match *bytes.get(place).ok_or(MediaError::Truncated)? {
            0x3b => break,
            0x2c => {
                frames = true;
                let flags = *bytes.get(place + 9).ok_or(MediaError::Truncated)?;
                // The descriptor, its colours, the code size, then the blocks.
                place = blocks_end(bytes, place + 10 + colours(flags) + 1)?;
                out.extend_from_slice(bytes.get(start..place).ok_or(MediaError::Truncated)?);
            }
            0x21 => {
                let label = *bytes.get(place + 1).ok_or(MediaError::Truncated)?;
                place = blocks_end(bytes, place + 2)?;
                let whole = bytes.get(start..place).ok_or(MediaError::Truncated)?;
                let name = whole.get(3..14).unwrap_or_default();
                match label {
                    0xf9 => out.extend_from_slice(whole),
                    0xff if name == b"NETSCAPE2.0" || name == b"ANIMEXTS1.0" => out.extend_from_slice(whole),
                    0xff if name.starts_with(b"XMP Data") => finds.add(RemovedKind::Xmp, whole.len()),
                    0xfe | 0x01 => finds.add(RemovedKind::Comment, whole.len()),
                    _ => finds.add(RemovedKind::Private, whole.len()),
                }
            }
            _ => return Err(MediaError::corrupt("a block is of no known kind")),
        }
    }
    if !frames {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    out.push(0x3b);
    if bytes.len() > place + 1 {
        finds.add(RemovedKind::Trailing, bytes.len() - place - 1);
    }
    Ok(finds.into_stripped(out))
}

/// Size of a colour table.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Where a run of sub-blocks ends, its terminator included.
fn blocks_end(bytes: &[u8], mut place: usize) -> Result<usize, MediaError> {
    loop {
        let length = usize::from(*bytes.get(place).ok_or(MediaError::Truncated)?);
        place += 1 + length;
        if length == 0 {
            return Ok(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn animated() -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut out);
        encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
        for shade in [10, 200] {
            let frame = image::RgbaImage::from_pixel(8, 6, image::Rgba([shade, 30, 40, 255]));
            encoder.encode_frame(image::Frame::new(frame)).unwrap();
        }
        drop(encoder);
        out
    }

    #[test]
    fn comments_go_and_the_animation_stays() {
        let whole = animated();
        let (body, _) = whole.split_at(whole.len() - 1);
        let dirty = [
            body,
            b"\x21\xfe\x05hello\0",
            b"\x21\xff\x0bXMP DataXMP\x02ab\0",
            b";",
            b"tail",
        ]
        .concat();
        let stripped = strip(&dirty).unwrap();
        assert_eq!(stripped.bytes, whole);
        let kinds: Vec<_> = stripped.removed.iter().map(|removed| removed.what).collect();
        assert_eq!(kinds, [RemovedKind::Comment, RemovedKind::Xmp, RemovedKind::Trailing]);
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = animated();
        for end in 6..whole.len() {
            assert!(strip(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
