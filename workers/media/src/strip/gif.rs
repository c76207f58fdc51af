//! GIF: frames and their controls are copied, comments, plain text and applications' blocks go, the loop count stays.
//!
//! An ICC profile (ICC's own "ICCRGBG1" block) stays as in every other format. Where only places go, comments and plain
//! text stay, and XMP without them.

use super::{finds::Finds, pieces::Pieces, removed::RemovedKind};
use crate::MediaError;

/// Introducer, label, size, name and authentication code of an application's block.
const APPLICATION: usize = 14;
/// What ends a packet of XMP, so that readers of sub-blocks find their way out of it: 1, 255 down to 0, 0.
const XMP_TRAILER: usize = 258;

pub(super) fn walk<'a>(bytes: &'a [u8], finds: &mut Finds) -> Result<Pieces<'a>, MediaError> {
    let flags = *bytes.get(10).ok_or(MediaError::Truncated)?;
    let mut place = 13 + colours(flags);
    let mut pieces = Pieces::of(bytes);
    pieces.keep(0..place)?;
    let mut frames = false;
    // What a graphic control says of the next frame, milliseconds.
    let mut shown_for = 0;
    loop {
        let start = place;
        match *bytes.get(place).ok_or(MediaError::Truncated)? {
            0x3b => break,
            0x2c => {
                frames = true;
                finds.frame(std::mem::take(&mut shown_for));
                let flags = *bytes.get(place + 9).ok_or(MediaError::Truncated)?;
                // The descriptor, its colours, the code size, then the blocks.
                place = blocks_end(bytes, place + 10 + colours(flags) + 1)?;
                pieces.keep(start..place)?;
            }
            0x21 => {
                let label = *bytes.get(place + 1).ok_or(MediaError::Truncated)?;
                place = blocks_end(bytes, place + 2)?;
                let whole = bytes.get(start..place).ok_or(MediaError::Truncated)?;
                // A control has a block of four bytes, or is none (GIF 89a, 23).
                if let (0xf9, Some(&[4, _, low, high])) = (label, whole.get(2..6)) {
                    shown_for = u64::from(u16::from_le_bytes([low, high])) * 10;
                }
                match extension(label, whole, finds) {
                    Kept::AsItIs => pieces.keep(start..place)?,
                    Kept::Edited(edited) => pieces.write(edited)?,
                    Kept::Nothing => {}
                }
            }
            _ => return Err(MediaError::corrupt("a block is of no known kind")),
        }
    }
    if !frames {
        return Err(MediaError::corrupt("it ends without a picture"));
    }
    pieces.keep(place..place + 1)?;
    if bytes.len() > place + 1 {
        finds.add(RemovedKind::Trailing, bytes.len() - place - 1);
    }
    Ok(pieces)
}

/// What stays of an extension.
enum Kept {
    AsItIs,
    Edited(Vec<u8>),
    Nothing,
}

fn extension(label: u8, whole: &[u8], finds: &mut Finds) -> Kept {
    let size = whole.len();
    // Its block has this size (GIF 89a, 26), or it is none that anybody reads.
    let named = whole.get(2) == Some(&11);
    let name = whole.get(3..APPLICATION).filter(|_| named).unwrap_or_default();
    let what = match label {
        0xf9 if size == 8 => return Kept::AsItIs,
        // Readers take the first block of a control, and of a loop count; more would be a place to hide in.
        0xf9 if size > 8 && whole.get(2) == Some(&4) => {
            finds.add(RemovedKind::Private, size - 8);
            return Kept::Edited([whole.get(..7).unwrap_or_default(), &[0]].concat());
        }
        0xff if name == b"NETSCAPE2.0" || name == b"ANIMEXTS1.0" => match whole.get(APPLICATION..APPLICATION + 4) {
            Some([3, 1, _, _]) if size == APPLICATION + 5 => return Kept::AsItIs,
            Some([3, 1, _, _]) => {
                finds.add(RemovedKind::Private, size - APPLICATION - 5);
                return Kept::Edited([whole.get(..APPLICATION + 4).unwrap_or_default(), &[0]].concat());
            }
            _ => RemovedKind::Private,
        },
        0xff if name == b"ICCRGBG1012" => return Kept::AsItIs,
        0xff if name == b"XMP DataXMP" => {
            let packet = whole
                .get(APPLICATION..size.saturating_sub(XMP_TRAILER))
                .unwrap_or_default();
            // A zero would end the block.
            let packet = if packet.contains(&0) { &[] } else { packet };
            if !packet.is_empty() {
                return match finds.xmp(packet, size) {
                    Some(kept) if !kept.is_empty() => Kept::Edited(with_xmp(whole, &kept)),
                    Some(_) | None => Kept::Nothing,
                };
            }
            RemovedKind::Xmp
        }
        0xfe | 0x01 if finds.only_places() => return Kept::AsItIs,
        0xfe | 0x01 => RemovedKind::Comment,
        _ => RemovedKind::Private,
    };
    finds.add(what, size);
    Kept::Nothing
}

/// The block `whole` with another packet.
fn with_xmp(whole: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut out = whole.get(..APPLICATION).unwrap_or_default().to_vec();
    out.extend_from_slice(packet);
    out.push(1);
    out.extend((0..=255_u8).rev());
    out.push(0);
    out
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
    use crate::{Format, Policy, Stripped};

    fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
        crate::strip(Format::Gif, bytes, Policy::Strip)
    }

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
