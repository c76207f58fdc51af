//! GIF: the logical screen (GIF 89a, 18).

use super::{Header, ProbeError, at};

/// Room for a first frame that stands out of the screen, beside one that fills it.
const OUTSIDE: u64 = 4 * 1024 * 1024;

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    let width = u16::from_le_bytes(at(head, 6)?);
    let height = u16::from_le_bytes(at(head, 8)?);
    // The screen and a frame, both RGBA.
    let mut header = Header::plain(width.into(), height.into(), 4, 8);
    header.decoder_bytes = header.decoder_bytes.saturating_add(OUTSIDE);
    Ok(header)
}
