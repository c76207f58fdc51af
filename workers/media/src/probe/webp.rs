//! WebP: the first chunk, which is VP8X, VP8 or VP8L (RFC 9649).

use super::{Header, ProbeError, at};
use crate::MediaError;

/// A partition's length has 24 bits, and its buffer is made before it is read.
const PARTITION: u64 = 1 << 24;
/// Output (4 bytes a pixel), planes of a lossy frame (1.5), its alpha while it is unpacked (5); or output and a lossless
/// frame (8) with its transforms (1).
const STILL: u64 = 11;
/// The canvas and a frame more.
const ANIMATED: u64 = STILL + 8;

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    let (width, height, bytes) = match &at::<4>(head, 12)? {
        b"VP8X" => {
            let [flags] = at(head, 20)?;
            let side =
                |start| at::<3>(head, start).map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]) + 1);
            let animated = flags & 2 != 0;
            (side(24)?, side(27)?, if animated { ANIMATED } else { STILL })
        }
        b"VP8 " => {
            if at::<3>(head, 23)? != [0x9d, 0x01, 0x2a] {
                return Err(MediaError::corrupt("its key frame has no start code").into());
            }
            let width = u16::from_le_bytes(at(head, 26)?) & 0x3fff;
            let height = u16::from_le_bytes(at(head, 28)?) & 0x3fff;
            (width.into(), height.into(), STILL)
        }
        b"VP8L" => {
            let [signature] = at(head, 20)?;
            if signature != 0x2f {
                return Err(MediaError::corrupt("its lossless stream has no signature").into());
            }
            let bits = u32::from_le_bytes(at(head, 21)?);
            ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1, STILL)
        }
        _ => return Err(MediaError::corrupt("it begins with a chunk that is no picture").into()),
    };
    let mut header = Header::plain(width, height, 4, bytes);
    header.decoder_bytes = header.decoder_bytes.saturating_add(PARTITION);
    Ok(header)
}
